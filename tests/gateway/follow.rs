//! Transactions that the real daemon follows.

use std::sync::Arc;

use chainflume_core::domain::U256;
use chainflume_devchain::{Action, DevChain, Server, SignedTx, wallet};
use serde_json::{Value, json};
use sqlx::postgres::PgPool;

use crate::daemon::{Daemon, Home, chain as chain_tables, free_port};
use crate::flume::{all_sources, connect, devchain};
use crate::postgres;
use crate::wait::until_ok;

/// A chain whose transactions are followed.
struct Followed {
    chain: DevChain,
    home: Home,
    pool: PgPool,
    port: u16,
    url: String,
    server: Server,
}

fn write(home: &Home, (server, port): (&Server, u16), url: &str) {
    let public = format!("[server]\nlisten = \"127.0.0.1:{port}\"\n[server.auth]\nmode = \"none\"\n");
    let tables = format!("[standby]\nname = \"at-{port}\"\n{}", chain_tables(server, "", &all_sources()));
    home.write(&format!("[activity]\ntransaction_timeout = \"10m\"\n{public}{tables}"), Some(url));
}

impl Followed {
    async fn new(seed: u64) -> Self {
        let url = postgres::empty_database().await;
        let (chain, server) = devchain(seed, 20).await;
        let (home, port) = (Home::bare(), free_port());
        write(&home, (&server, port), &url);
        Self { chain, home, pool: connect(&url).await, port, url, server }
    }

    /// Another daemon on the same database and chain, which is asked from now on.
    fn second(&mut self) -> Home {
        let home = Home::bare();
        self.port = free_port();
        write(&home, (&self.server, self.port), &self.url);
        home
    }

    /// Begins an activity that follows this transaction.
    async fn activity(&self, tx: &SignedTx) -> String {
        let new = json!({ "userId": "7", "type": "send", "title": "Send",
            "transaction": { "chainId": 31_337, "hash": tx.hash() } });
        let made = self.request(reqwest::Method::POST, "").header("content-type", "application/json");
        let made = made.body(new.to_string()).send().await.expect("an answer");
        assert_eq!(made.status().as_u16(), 201);
        parsed(made).await["eventId"].as_str().expect("an id").to_owned()
    }

    /// Types and statuses of the messages about activities, in order.
    async fn activity_messages(&self) -> String {
        let sql = "select string_agg(type || ' ' || (message::jsonb #>> '{payload,status}'), ', ' order by seq) from outbox \
            where type like 'activity.%'";
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.expect("messages")
    }

    async fn start(&self) -> Daemon {
        let daemon = self.home.start();
        daemon.until_tip(self.chain.head().number - 2).await;
        daemon
    }

    async fn sql(&self, sql: &'static str, hash: &[u8]) {
        sqlx::query(sql).bind(hash).execute(&self.pool).await.expect(sql);
    }

    /// Follows a transaction.
    async fn follow(&self, tx: &SignedTx) {
        let sql = "insert into watched_transactions (chain_id, tx_hash, subject) values (31337, $1, gen_random_uuid())";
        self.sql(sql, tx.hash().as_slice()).await;
    }

    /// Waits until a transaction is in this state, or, with an empty one, is not followed any more.
    async fn until(&self, tx: &SignedTx, state: &str) {
        let read = async || {
            let found = sqlx::query_scalar(
                "select state || case when sender is null then '' else ' known' end \
                    from watched_transactions where tx_hash = $1",
            );
            let found: Option<String> =
                found.bind(tx.hash().as_slice()).fetch_optional(&self.pool).await.expect("a look");
            let found = found.unwrap_or_default();
            if found == state || found.strip_suffix(" known") == Some(state) { Ok(()) } else { Err(found) }
        };
        until_ok(&format!("the watched transaction is {state}"), read).await;
    }

    /// A transaction that waits, and that the daemon has seen to wait.
    async fn waiting(&self, action: Action) -> Arc<SignedTx> {
        let tx = self.chain.submit(action, None);
        self.follow(&tx).await;
        self.until(&tx, "waiting known").await;
        tx
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        reqwest::Client::new().request(method, format!("http://127.0.0.1:{}/v1/activities{path}", self.port))
    }

    /// Waits until an activity has this status, and its data this state of the transaction.
    async fn until_status(&self, id: &str, status: &str, state: &str) {
        let read = async || {
            // The server may be about to start.
            let answer = self.request(reqwest::Method::GET, &format!("/{id}")).send().await;
            let found = parsed(answer.map_err(|error| error.to_string())?).await;
            let is_so = found["status"] == status && found["data"]["transactionState"] == state;
            if is_so { Ok(()) } else { Err(found.to_string()) }
        };
        until_ok(&format!("the activity {id} is {status} by a transaction that is {state}"), read).await;
    }

    /// Mines a block with this transaction.
    fn mine(&self, tx: &Arc<SignedTx>) {
        self.chain.reorg_with(0, &[vec![tx.clone()]]);
    }
}

async fn parsed(answer: reqwest::Response) -> Value {
    serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON")
}

fn mint() -> Action {
    Action::Erc20Mint { to: wallet(1), amount: U256::from(7) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_followed_through_a_kill_and_a_reorg() {
    let followed = Followed::new(911).await;
    let daemon = followed.start().await;
    let tx = followed.waiting(mint()).await;
    followed.mine(&tx);
    followed.until(&tx, "mined").await;
    followed.chain.mine_empty(2);
    followed.until(&tx, "succeeded").await;
    daemon.kill_9().await;
    followed.chain.reorg_with(3, &[vec![], vec![], vec![], vec![]]);
    let daemon = followed.home.start();
    followed.until(&tx, "waiting").await;
    followed.mine(&tx);
    followed.until(&tx, "mined").await;
    followed.chain.mine_empty(2);
    followed.until(&tx, "succeeded").await;
    followed.chain.mine_empty(16);
    followed.until(&tx, "").await;
    let changes = "chainflume_follow_changes_total{chain=\"dev\",state=\"succeeded\"}";
    assert_eq!(daemon.metric(changes).await, Some(1.0));
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activity_ends_and_reopens_as_its_transaction_does() {
    let followed = Followed::new(913).await;
    let daemon = followed.start().await;
    let tx = followed.chain.submit(mint(), None);
    let id = followed.activity(&tx).await;
    followed.until(&tx, "waiting known").await;
    followed.mine(&tx);
    followed.until_status(&id, "in_progress", "mined").await;
    followed.chain.mine_empty(2);
    followed.until_status(&id, "completed", "succeeded").await;
    followed.chain.reorg_with(3, &[vec![], vec![], vec![], vec![]]);
    followed.until_status(&id, "in_progress", "waiting").await;
    followed.mine(&tx);
    followed.until_status(&id, "in_progress", "mined").await;
    followed.chain.mine_empty(2);
    followed.until_status(&id, "completed", "succeeded").await;
    assert_eq!(
        followed.activity_messages().await,
        "activity.created pending, activity.updated in_progress, activity.completed completed, \
         activity.updated in_progress, activity.updated in_progress, activity.completed completed"
    );
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_follows_on_where_a_killed_leader_stopped() {
    let mut followed = Followed::new(914).await;
    let leader = followed.start().await;
    let waits = followed.chain.submit(mint(), None);
    let mined = followed.chain.submit(Action::Stake { developer: wallet(3), amount: U256::from(7) }, None);
    let ids = [followed.activity(&waits).await, followed.activity(&mined).await];
    followed.until(&waits, "waiting known").await;
    followed.mine(&mined);
    followed.until_status(&ids[1], "in_progress", "mined").await;
    let second = followed.second();
    let standby = second.start();
    standby.until("a standby", |status, report| status == 200 && report["role"] == "standby").await;
    leader.kill_9().await;
    // What happens while no instance leads is seen by the next leader, once.
    followed.mine(&waits);
    followed.chain.mine_empty(2);
    for id in &ids {
        followed.until_status(id, "completed", "succeeded").await;
    }
    // The first comes back and stands by, and a reorg is the second one's.
    let first = followed.home.start();
    first.until("a standby", |status, report| status == 200 && report["role"] == "standby").await;
    followed.chain.reorg_with(3, &[vec![], vec![], vec![], vec![]]);
    followed.until_status(&ids[0], "in_progress", "waiting").await;
    standby.stop_well().await;
    followed.mine(&waits);
    followed.chain.mine_empty(2);
    followed.until(&waits, "succeeded").await;
    let of_the_first = "select string_agg(changed ->> 'status', ', ' order by number) from activity_changes where activity_id = $1::uuid";
    let changes: String =
        sqlx::query_scalar(of_the_first).bind(&ids[0]).fetch_one(&followed.pool).await.expect("changes");
    assert!(
        [
            "pending, in_progress, completed, in_progress, completed",
            "pending, completed, in_progress, completed"
        ]
        .contains(&changes.as_str()),
        "each change once, and what no leader saw is passed over: {changes}"
    );
    first.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reverted_a_replaced_and_a_lost_transaction_end_as_such() {
    let followed = Followed::new(912).await;
    let daemon = followed.start().await;
    let broke = Action::Erc20Transfer { from: wallet(1_000), to: wallet(2), amount: U256::from(7) };
    let reverted = followed.waiting(broke).await;
    let replaced = followed.waiting(mint()).await;
    let lost = followed.waiting(Action::Stake { developer: wallet(3), amount: U256::from(7) }).await;
    followed.chain.forget(&lost);
    let instead =
        followed.chain.submit(Action::Erc20Mint { to: wallet(1), amount: U256::from(8) }, Some(&replaced));
    followed.chain.reorg_with(0, &[vec![reverted.clone(), instead]]);
    followed.until(&reverted, "mined").await;
    followed.chain.mine_empty(2);
    followed.until(&reverted, "reverted").await;
    followed.until(&replaced, "replaced").await;
    let sql = "update watched_transactions set known_at = now() - interval '11 minutes' where tx_hash = $1";
    followed.sql(sql, lost.hash().as_slice()).await;
    followed.until(&lost, "timed_out").await;
    daemon.stop_well().await;
}
