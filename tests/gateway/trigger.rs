//! What the real daemon publishes by itself.

use chainflume_core::domain::{Address, U256};
use chainflume_devchain::{Action, DEMO_TOKEN, DevChain, Server, wallet};
use serde_json::{Value, json};
use sqlx::postgres::PgPool;

use crate::daemon::{Daemon, Home, chain as chain_tables, free_port};
use crate::flume::{all_sources, connect, devchain};
use crate::postgres;
use crate::receiver::{Receiver, Reply, webhook};
use crate::wait::{until_equal, until_ok};

/// A database that several daemons share.
struct Triggers {
    chain: DevChain,
    server: Server,
    url: String,
    pool: PgPool,
    port: u16,
}

impl Triggers {
    async fn new(seed: u64) -> Self {
        let url = postgres::empty_database().await;
        let (chain, server) = devchain(seed, 20).await;
        Self { chain, server, pool: connect(&url).await, url, port: free_port() }
    }

    fn home(&self, name: &str, port: u16, tables: &str) -> Home {
        let home = Home::bare();
        let public = format!("[server]\nlisten = \"127.0.0.1:{port}\"\n[server.auth]\nmode = \"none\"\n");
        let chain = chain_tables(&self.server, "", &all_sources());
        home.write(&format!("[standby]\nname = \"{name}\"\n{public}{tables}{chain}"), Some(&self.url));
        home
    }

    async fn put(&self, path: &str, body: Value) -> u16 {
        let url = format!("http://127.0.0.1:{}/v1/users/{path}", self.port);
        let request = reqwest::Client::new().put(url).header("content-type", "application/json");
        request.body(body.to_string()).send().await.expect("an answer").status().as_u16()
    }

    /// What was published beside the runs of schedules and the wallets of people, in order: type, state and balance.
    async fn published(&self) -> Vec<String> {
        let sql = "select type || ' ' || state || ' ' || coalesce(message::jsonb #>> '{payload,balance}', '') \
            from outbox where chain_id is null and type not like 'service.%' and type <> 'user.updated' order by seq";
        sqlx::query_scalar(sql).fetch_all(&self.pool).await.expect("messages")
    }

    async fn until_published(&self, expected: &[&str]) {
        let expected: Vec<String> = expected.iter().map(|&message| message.to_owned()).collect();
        let what = format!("the messages are {expected:#?}");
        until_equal(&what, expected, async || self.published().await).await;
    }

    /// Runs of the schedule: minutes since the oldest.
    async fn runs(&self) -> Vec<i64> {
        let sql = "select ((extract(epoch from happened_at) - min(extract(epoch from happened_at)) over ()) / 60)::bigint \
            from domain_events where type = 'service.sync.due' order by seq";
        sqlx::query_scalar(sql).fetch_all(&self.pool).await.expect("events")
    }

    async fn until_runs(&self, most: usize) -> Vec<i64> {
        let read = async || {
            let runs = self.runs().await;
            if runs.len() >= most { Ok(runs) } else { Err(runs) }
        };
        until_ok(&format!("the schedule ran {most} times"), read).await
    }

    /// As if there had been no leader for so many minutes.
    async fn miss(&self, minutes: i32) {
        let sql = "update schedules set due_at = due_at - make_interval(mins => $1)";
        let missed = sqlx::query(sql).bind(minutes).execute(&self.pool).await.expect("updated");
        assert_eq!(missed.rows_affected(), 1);
    }
}

async fn until_leader(daemon: &Daemon, lease: &str) {
    let is = |_, report: &Value| report["leases"][lease]["role"] == "leader";
    daemon.until(&format!("the leader of {lease}"), is).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_run_is_there_once_through_two_takeovers() {
    let triggers = Triggers::new(941).await;
    let table = "[[schedule]]\nname = \"sync\"\ncron = \"* * * * *\"\ntype = \"service.sync.due\"\nmissed = \"all\"\n";
    let (one, two) = (triggers.home("one", free_port(), table), triggers.home("two", free_port(), table));
    let first = one.start();
    until_leader(&first, "schedule").await;
    let second = two.start();
    second.until("a standby", |_, report| report["leases"]["schedule"]["role"] == "standby").await;
    first.kill_9().await;
    triggers.miss(30).await;
    until_leader(&second, "schedule").await;
    let runs = triggers.until_runs(30).await;
    assert_eq!(runs[..30], (0..30).collect::<Vec<i64>>());
    let first = one.start();
    first.until("a standby", |_, report| report["leases"]["schedule"]["role"] == "standby").await;
    second.kill_9().await;
    // For the next instance the runs that the killed one published are still due: the ids are the same.
    triggers.miss(10).await;
    until_leader(&first, "schedule").await;
    until_equal("a run of the schedule is due", false, async || {
        let sql = "select due_at < now() - interval '2 minutes' from schedules";
        sqlx::query_scalar(sql).fetch_one(&triggers.pool).await.expect("a row")
    })
    .await;
    let runs = triggers.runs().await;
    let minutes: Vec<i64> = (0..).take(runs.len()).collect();
    assert_eq!(runs, minutes, "each minute once and in order");
    let sql = "select count(*) from outbox where type = 'service.sync.due'";
    let messages: i64 = sqlx::query_scalar(sql).fetch_one(&triggers.pool).await.expect("messages");
    assert!((30..=33).contains(&messages), "{messages}");
    first.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_balance_is_published_once_through_a_reorg_and_a_kill() {
    let triggers = Triggers::new(942).await;
    let own = Address::repeat_byte(0xa7);
    let table = format!(
        "[[threshold]]\nname = \"low\"\nchain = \"dev\"\ntoken = \"{DEMO_TOKEN:#x}\"\nbelow = \"50\"\n"
    );
    let home = triggers.home("one", triggers.port, &table);
    let daemon = home.start();
    until_leader(&daemon, "limits").await;
    daemon.until_tip(triggers.chain.head().number - 2).await;
    assert_eq!(triggers.put("7", json!({ "wallets": [own] })).await, 201);
    let alert = json!([{ "token": DEMO_TOKEN, "chainId": 31_337, "above": "120" }]);
    assert_eq!(triggers.put("7/alerts", alert.clone()).await, 200);
    assert_eq!(triggers.put("8/alerts", alert).await, 404);
    let unknown = json!([{ "token": DEMO_TOKEN, "chainId": 1, "above": "120" }]);
    assert_eq!(triggers.put("7/alerts", unknown).await, 400);

    let (gain, lose) = (
        |amount: u64| Action::Erc20Mint { to: own, amount: U256::from(amount) },
        |amount: u64| Action::Erc20Transfer { from: own, to: wallet(2), amount: U256::from(amount) },
    );
    let chain = &triggers.chain;
    chain.mine_with(vec![vec![gain(100)], vec![lose(60)]]);
    chain.mine_empty(2);
    let low = "account.balance.low confirmed 40";
    triggers.until_published(&[low]).await;
    daemon.kill_9().await;
    chain.mine_with(vec![vec![gain(90)], vec![lose(100)]]);
    chain.mine_empty(2);
    let daemon = home.start();
    let (high, again) = ("alert.triggered confirmed 130", "account.balance.low confirmed 30");
    triggers.until_published(&[low, high, again]).await;
    // The last four blocks go: both crossings in them are withdrawn, the first is kept.
    chain.reorg_with(4, &[vec![], vec![], vec![], vec![], vec![]]);
    let withdrawn = ["account.balance.low retracted 30", "alert.triggered retracted 130"];
    triggers.until_published(&[low, high, again, withdrawn[0], withdrawn[1]]).await;
    let counted = "chainflume_limit_crossings_total{threshold=\"low\",result=\"withdrawn\"}";
    assert_eq!(daemon.metric(counted).await, Some(1.0));
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_url_answers_is_published_and_a_loop_ends() {
    let triggers = Triggers::new(943).await;
    let receiver = Receiver::start().await;
    let table = webhook(
        "ship",
        &receiver,
        "on = \"order.*\"\nretry_schedule = [\"20ms\", \"50ms\"]\nretry_attempts = 2",
    );
    let home = triggers.home("one", triggers.port, &table.replace("[[webhook]]", "[[reaction]]"));
    // An order is answered by another, without end; the first answer is none.
    receiver.rule(|got| {
        let mut reply = Reply::status(200);
        let message = got.json();
        let body = json!({ "type": "order.paid", "aggregateType": "order", "aggregateId": "9",
            "payload": { "after": message["payload"]["after"].as_u64().unwrap_or_default() + 1 } });
        reply.body = if message["type"] == "order.wrong" { "<html>".to_owned() } else { body.to_string() };
        reply
    });
    let daemon = home.start();
    daemon.until_tip(triggers.chain.head().number - 2).await;
    for kind in ["order.wrong", "order.paid", "stock.low"] {
        let event =
            json!({ "type": kind, "aggregateType": "order", "aggregateId": kind, "payload": { "after": 0 } });
        let url = format!("http://127.0.0.1:{}/v1/domain-events", triggers.port);
        let request = reqwest::Client::new().post(url).header("content-type", "application/json");
        let answer = request.body(event.to_string()).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 201);
    }
    let cut = "chainflume_reactions_total{reaction=\"ship\",result=\"cut\"}";
    let dead = "select count(*) from dead_letters where sink = 'webhook:ship'";
    until_equal("dead letters of the reaction, and its sample of cut chains", (1, Some(1.0)), async || {
        let letters: i64 = sqlx::query_scalar(dead).fetch_one(&triggers.pool).await.expect("letters");
        (letters, daemon.metric(cut).await)
    })
    .await;
    let sql = "select count(*) from domain_events where type = 'order.paid'";
    let events: i64 = sqlx::query_scalar(sql).fetch_one(&triggers.pool).await.expect("events");
    assert_eq!(events, 9, "the first, and those that one to eight others caused");
    let calls: Vec<Value> = receiver.got().iter().map(crate::receiver::Got::json).collect();
    assert_eq!(
        calls.iter().filter(|call| call["type"] == "order.wrong").count(),
        2,
        "tried again, then a dead letter"
    );
    assert_eq!(calls.iter().filter(|call| call["type"] == "stock.low").count(), 0);
    assert_eq!(daemon.metric(cut).await, Some(1.0));
    let sql = "select reason from dead_letters where sink = 'webhook:ship'";
    let error: String = sqlx::query_scalar(sql).fetch_one(&triggers.pool).await.expect("a letter");
    assert!(error.contains("answered what cannot be published"), "{error}");
    daemon.stop_well().await;
}
