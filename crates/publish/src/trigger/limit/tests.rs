mod edges;
mod judged;

use alloy_primitives::{B256, address};

use super::*;
use crate::tests::fixture::{database, user};
use chainflume_api::access::Principal;
use chainflume_api::routes::{ApiMethod, ApiRequest, Refusal};
use chainflume_db::Database;
use serde_json::{Value, json};

const TOKEN: Address = address!("00000000000000000000000000000000000000cc");
const OWN: Address = address!("00000000000000000000000000000000000000aa");
const OTHER: Address = address!("00000000000000000000000000000000000000ee");

/// A chain whose only token is that of these tests: its messages are written as the indexer writes them.
struct Chain {
    database: Database,
    seq: i64,
}

/// A movement in a block.
#[derive(Clone, Copy)]
struct Move {
    block: (u64, u8),
    from: Address,
    to: Address,
    amount: i64,
}

fn gains(block: (u64, u8), amount: i64) -> Move {
    Move { block, from: OTHER, to: OWN, amount }
}

fn loses(block: (u64, u8), amount: i64) -> Move {
    Move { block, from: OWN, to: OTHER, amount }
}

impl Chain {
    async fn new() -> Self {
        let database = database().await;
        for sql in [
            "insert into application_users (id) values ('7'), ('8')",
            "insert into user_wallets (wallet, user_id) values (decode(repeat('00', 19) || 'aa', 'hex'), '7')",
        ] {
            sqlx::query(sql).execute(database.pool()).await.expect("inserted");
        }
        Self { database, seq: 0 }
    }

    /// Blocks that are confirmed in one transaction, with their messages.
    async fn confirm(&mut self, moves: &[Move]) {
        self.write(moves, 1, "confirmed").await;
    }

    /// A reorg takes these back, the newest first.
    async fn retract(&mut self, moves: &[Move]) {
        let newest_first: Vec<Move> = moves.iter().rev().copied().collect();
        self.write(&newest_first, -1, "retracted").await;
    }

    async fn write(&mut self, moves: &[Move], sign: i64, state: &str) {
        let mut tx = self.database.pool().begin().await.expect("begins");
        for one in moves {
            for (account, amount) in [(one.to, one.amount * sign), (one.from, -one.amount * sign)] {
                sqlx::query(
                    "insert into token_balances (chain_id, token, account, balance, events) values (1337, $1, $2, $3, 1) \
                     on conflict on constraint token_balances_pkey do update set balance = token_balances.balance + excluded.balance",
                )
                .bind(TOKEN.as_slice())
                .bind(account.as_slice())
                .bind(amount as f64)
                .execute(&mut *tx)
                .await
                .expect("written");
            }
            self.seq = sqlx::query_scalar("update outbox_head set seq = seq + 1 returning seq")
                .fetch_one(&mut *tx)
                .await
                .expect("numbered");
            sqlx::query(
                "insert into outbox (seq, chain_id, aggregate_type, type, state, message, account) \
                 values ($1, 1337, 'token', 'erc20.transfer', $2, $3, $4)",
            )
            .bind(self.seq)
            .bind(state)
            .bind(message(one, state, self.seq).to_string())
            .bind(one.from.as_slice())
            .execute(&mut *tx)
            .await
            .expect("written");
        }
        tx.commit().await.expect("commits");
    }

    /// Types, states and users of the messages that are not the chain's, in their order.
    async fn published(&self) -> Vec<String> {
        let messages: Vec<String> =
            sqlx::query_scalar("select message from outbox where chain_id is null order by seq")
                .fetch_all(self.database.pool())
                .await
                .expect("reads");
        let shown = |text: &String| {
            let message: Value = serde_json::from_str(text).expect("JSON");
            let part = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
            let balance = message["payload"]["balance"].as_str().unwrap_or_default().to_owned();
            let user = message["metadata"]["userId"].as_str().unwrap_or_default().to_owned();
            format!("{} {} {user} {balance}", part("type"), part("state"))
        };
        messages.iter().map(shown).collect()
    }
}

/// With unexpected names of an ABI, and the amount in whole tokens beside it.
fn message(one: &Move, state: &str, seq: i64) -> Value {
    let (number, fork) = one.block;
    let hash = B256::with_last_byte(u8::try_from(number).expect("small") * 10 + fork);
    let id = uuid::Uuid::from_u128(
        u128::from(number) << 32 | u128::from(fork) << 16 | one.amount.unsigned_abs() as u128,
    );
    json!({
        "id": id, "seq": seq, "version": 1, "type": "erc20.transfer", "state": state, "timestamp": "2026-01-01T00:00:00Z",
        "aggregateType": "token", "aggregateId": format!("{TOKEN:#x}"),
        "payload": { "dst": format!("{:#x}", one.to), "src": format!("{:#x}", one.from), "wadFormatted": "1",
            "wad": one.amount.to_string() },
        "metadata": { "chainId": 1337, "blockNumber": number, "blockHash": hash, "transactionHash": B256::with_last_byte(9), "logIndex": 0 },
    })
}

fn threshold(amount: u64) -> Threshold {
    let limit =
        BalanceLimit { chain_id: 1337, token: TOKEN, side: LimitSide::Below, amount: U256::from(amount) };
    Threshold { name: "low".to_owned(), limit, event_type: "account.balance.low".to_owned() }
}

fn watch(chain: &Chain, thresholds: Vec<Threshold>) -> BalanceWatch {
    BalanceWatch::new(&chain.database, WatchSettings { thresholds, windows: [(1337, 16)].into() })
}

const LOW: &str = "account.balance.low";

#[tokio::test]
async fn a_balance_that_falls_below_a_limit_is_published_once() {
    let mut chain = Chain::new().await;
    let low = watch(&chain, vec![threshold(50)]);
    low.begin().await.expect("begins");
    chain.confirm(&[gains((1, 0), 100)]).await;
    assert_eq!(low.round().await.expect("judges"), 0, "it was below before, and that is no crossing");
    chain.confirm(&[loses((2, 0), 60)]).await;
    assert_eq!(low.round().await.expect("judges"), 1);
    assert_eq!(low.round().await.expect("judges"), 0, "nothing is new");
    chain.confirm(&[loses((3, 0), 5), gains((4, 0), 2)]).await;
    assert_eq!(low.round().await.expect("judges"), 0, "it stays below");
    // Several crossings between two looks: each is published, with its balance. Within a block none is.
    chain
        .confirm(&[
            gains((5, 0), 63),
            loses((6, 0), 95),
            gains((7, 0), 60),
            loses((8, 0), 60),
            gains((8, 0), 59),
            loses((9, 0), 15),
        ])
        .await;
    assert_eq!(low.round().await.expect("judges"), 2);
    let published = [40, 5, 49].map(|balance| format!("{LOW} confirmed 7 {balance}"));
    assert_eq!(chain.published().await, published);
}

#[tokio::test]
async fn a_reorg_withdraws_what_was_published_and_nothing_else() {
    let mut chain = Chain::new().await;
    let low = watch(&chain, vec![threshold(50)]);
    low.begin().await.expect("begins");
    let (first, rise, second) = (loses((2, 0), 60), gains((3, 0), 50), loses((4, 0), 70));
    chain.confirm(&[gains((1, 0), 100), first, rise, second]).await;
    low.round().await.expect("judges");
    let mut published = vec![format!("{LOW} confirmed 7 40"), format!("{LOW} confirmed 7 20")];
    assert_eq!(chain.published().await, published);
    // Two blocks go: the second crossing is withdrawn; the first is kept, although the balance was above in between.
    chain.retract(&[rise, second]).await;
    low.round().await.expect("judges");
    published.push(format!("{LOW} retracted 7 20"));
    assert_eq!(chain.published().await, published);
    // On the new branch the balance rises and falls again: another crossing.
    chain.confirm(&[gains((3, 1), 50), loses((4, 1), 60)]).await;
    low.round().await.expect("judges");
    published.push(format!("{LOW} confirmed 7 30"));
    assert_eq!(chain.published().await, published);
    // That branch goes too, and the first comes back whole: its event is published again.
    chain.retract(&[gains((3, 1), 50), loses((4, 1), 60)]).await;
    chain.confirm(&[rise, second]).await;
    low.round().await.expect("judges");
    published.extend([format!("{LOW} retracted 7 30"), format!("{LOW} confirmed 7 20")]);
    assert_eq!(chain.published().await, published);
    let stored: Vec<(String, bool)> = sqlx::query_as(
        "select payload ->> 'balance', withdrawn_at is null from domain_events order by payload ->> 'balance'",
    )
    .fetch_all(chain.database.pool())
    .await
    .expect("reads");
    assert_eq!(stored, [("20".to_owned(), true), ("30".to_owned(), false), ("40".to_owned(), true)]);
}

#[tokio::test]
async fn limits_that_people_set_begin_when_they_are_set() {
    let mut chain = Chain::new().await;
    let (watch, alerts) = (watch(&chain, Vec::new()), UserAlerts::of(&chain.database, vec![1337]));
    watch.begin().await.expect("begins");
    chain.confirm(&[gains((1, 0), 100), loses((2, 0), 90)]).await;
    let limit =
        |side, amount: u64| AlertLimit { chain_id: 1337, token: TOKEN, side, amount: U256::from(amount) };
    let limits = [limit(LimitSide::Below, 50), limit(LimitSide::Above, 200)];
    assert!(alerts.put("7", &limits).await.expect("writes"));
    assert!(alerts.put("8", &limits).await.expect("writes"));
    assert!(!alerts.put("9", &limits).await.expect("looks"), "no such person");
    assert_eq!(watch.round().await.expect("judges"), 0, "what was before counts for nothing");
    chain.confirm(&[gains((3, 0), 300)]).await;
    chain.confirm(&[loses((4, 0), 290)]).await;
    assert_eq!(watch.round().await.expect("judges"), 2);
    let published = ["alert.triggered confirmed 7 310", "alert.triggered confirmed 7 20"];
    assert_eq!(chain.published().await, published);
    // A limit that stays goes on, one that is removed is silent.
    assert!(alerts.put("7", &limits[..1]).await.expect("writes"));
    assert_eq!(alerts.get("7").await.expect("reads"), Some(limits[..1].to_vec()));
    chain.confirm(&[gains((5, 0), 300), loses((6, 0), 280)]).await;
    assert_eq!(watch.round().await.expect("judges"), 1);
    assert_eq!(chain.published().await.last().expect("one"), "alert.triggered confirmed 7 40");
}

#[tokio::test]
async fn a_wallet_that_is_linked_is_no_crossing() {
    let mut chain = Chain::new().await;
    let low = watch(&chain, vec![threshold(50)]);
    low.begin().await.expect("begins");
    chain.confirm(&[gains((1, 0), 100), loses((2, 0), 60), gains((3, 0), 60)]).await;
    low.round().await.expect("judges");
    assert_eq!(chain.published().await.len(), 1);
    sqlx::query("delete from user_wallets").execute(chain.database.pool()).await.expect("deleted");
    chain.confirm(&[loses((4, 0), 70)]).await;
    assert_eq!(low.round().await.expect("judges"), 0, "the wallet has no user");
    sqlx::query(
        "insert into user_wallets (wallet, user_id) values (decode(repeat('00', 19) || 'aa', 'hex'), '7')",
    )
    .execute(chain.database.pool())
    .await
    .expect("inserted");
    chain.confirm(&[loses((5, 0), 1)]).await;
    assert_eq!(low.round().await.expect("judges"), 0, "it is below, but fell while no user had it");
    chain.confirm(&[gains((6, 0), 71), loses((7, 0), 80)]).await;
    assert_eq!(low.round().await.expect("judges"), 1);
}

#[tokio::test]
async fn crossings_that_no_reorg_reaches_are_forgotten() {
    let mut chain = Chain::new().await;
    let low = watch(&chain, vec![threshold(50)]);
    low.begin().await.expect("begins");
    chain.confirm(&[gains((1, 0), 100)]).await;
    for block in 0..20 {
        chain.confirm(&[loses((2 + block, 0), 60), gains((2 + block, 1), 60)]).await;
    }
    low.round().await.expect("judges");
    assert_eq!(chain.published().await.len(), 20);
    let kept: i64 = sqlx::query_scalar("select count(*) from limit_crossings")
        .fetch_one(chain.database.pool())
        .await
        .expect("reads");
    assert!((17 * 2 - 2..=17 * 2 + 2).contains(&kept), "{kept}");
}

#[tokio::test]
async fn limits_of_merged_people_are_those_of_the_one_who_stays() {
    let chain = Chain::new().await;
    let alerts = UserAlerts::of(&chain.database, vec![1337]);
    let limit =
        AlertLimit { chain_id: 1337, token: TOKEN, side: LimitSide::Below, amount: U256::from(50u64) };
    assert!(alerts.put("8", std::slice::from_ref(&limit)).await.expect("writes"));
    sqlx::query(
        "insert into limit_crossings (rule, user_id, is_beyond, chain_id) values ('low', '8', true, 1337)",
    )
    .execute(chain.database.pool())
    .await
    .expect("inserted");
    let settings = crate::Settings {
        schemas: crate::EventSchemas::default(),
        activity_types: Vec::new(),
        activity_texts: Vec::new(),
        chains: Vec::new(),
        limits: crate::FactLimits { payload_bytes: 4096, ..crate::FactLimits::default() },
    };
    let publisher = crate::Publisher::new(&chain.database, settings);
    let wallet = crate::UserChanges { wallets: Some(vec![OWN]), ..Default::default() };
    publisher.put_user("8", &wallet, "test").await.expect("merges");
    for id in ["7", "8", &format!("{OWN:#x}")] {
        assert_eq!(alerts.get(id).await.expect("reads"), Some(vec![limit.clone()]), "{id} is an id of 7");
    }
    let crossings: Vec<String> = sqlx::query_scalar("select user_id from limit_crossings")
        .fetch_all(chain.database.pool())
        .await
        .expect("reads");
    assert_eq!(crossings, ["7"]);
    assert!(alerts.put("8", &[]).await.expect("writes"));
    assert_eq!(alerts.get("7").await.expect("reads"), Some(Vec::new()));
}

/// Asks the routes of alerts as the server does.
async fn ask(
    alerts: &UserAlerts,
    (method, id): (ApiMethod, &str),
    (caller, body): (Principal, Value),
) -> Result<Value, Refusal> {
    let api = alert_routes(alerts);
    let route = api.routes.iter().find(|route| route.method == method).expect("a route");
    let request = ApiRequest {
        method: method.as_str().to_owned(),
        parameters: [("id".to_owned(), id.to_owned())].into_iter().collect(),
        body: body.to_string().into_bytes(),
        caller: Some(caller),
        ..ApiRequest::default()
    };
    let answer = (route.handler)(request).await?;
    Ok(serde_json::from_str(&answer.json).expect("JSON"))
}

#[tokio::test]
async fn alerts_are_of_the_person_by_each_id_and_of_no_other() {
    let chain = Chain::new().await;
    let alerts = UserAlerts::of(&chain.database, vec![1337]);
    sqlx::query("insert into user_aliases (alias, user_id) values ('6', '7')")
        .execute(chain.database.pool())
        .await
        .expect("inserted");
    let limits = json!([{ "token": format!("{TOKEN:#x}"), "chainId": 1337, "below": "50" }]);
    let own = format!("{OWN:#x}");
    for caller in ["7", "6", &own] {
        for id in ["7", "6", &own] {
            let put = ask(&alerts, (ApiMethod::Put, id), (user(caller, ""), limits.clone())).await;
            assert_eq!(put.expect("written"), limits, "{caller} {id}");
            let read = ask(&alerts, (ApiMethod::Get, id), (user(caller, ""), Value::Null)).await;
            assert_eq!(read.expect("read"), limits, "{caller} {id}");
        }
    }
    for id in ["7", "6", &own] {
        // The scope `read` of a token opens nothing of another user.
        for method in [ApiMethod::Put, ApiMethod::Get] {
            let refused = ask(&alerts, (method, id), (user("8", "read admin"), json!([]))).await;
            assert_eq!(refused.expect_err(id).code, "forbidden");
        }
        ask(&alerts, (ApiMethod::Get, id), (user("8", "publish"), Value::Null)).await.expect_err(id);
        let put = ask(&alerts, (ApiMethod::Put, id), (user("8", "publish"), limits.clone())).await;
        assert_eq!(put.expect("written"), limits, "a token with publish is the back end's");
    }
}

#[tokio::test]
async fn alerts_of_an_unknown_person_are_not_found() {
    let chain = Chain::new().await;
    let alerts = UserAlerts::of(&chain.database, vec![1337]);
    for caller in [Principal::Local, user("9", "")] {
        for (method, body) in [(ApiMethod::Get, Value::Null), (ApiMethod::Put, json!([]))] {
            let refusal = ask(&alerts, (method, "9"), (caller.clone(), body)).await.expect_err("no person");
            assert_eq!((refusal.status, refusal.code), (404, "not_found"), "{method:?}");
        }
    }
    let none = ask(&alerts, (ApiMethod::Get, "8"), (Principal::Local, Value::Null)).await;
    assert_eq!(none.expect("a person without alerts"), json!([]));
}

#[tokio::test]
async fn an_amount_is_a_whole_number_in_digits() {
    let chain = Chain::new().await;
    let alerts = UserAlerts::of(&chain.database, vec![1337]);
    let put = async |amount: Value| {
        let limits = json!([{ "token": format!("{TOKEN:#x}"), "chainId": 1337, "below": amount }]);
        ask(&alerts, (ApiMethod::Put, "7"), (user("7", ""), limits)).await
    };
    for amount in [json!("50"), json!("050"), json!(50), json!(50.0)] {
        assert_eq!(put(amount.clone()).await.expect("written")[0]["below"], "50", "{amount}");
    }
    for amount in ["", "5_0", "+50", "-50", "0x50", "5e1", "5.0"].map(Value::from).into_iter().chain([
        json!(-50),
        json!(0.5),
        Value::Null,
    ]) {
        assert_eq!(put(amount.clone()).await.expect_err("no amount").code, "bad_alert", "{amount}");
    }
}
