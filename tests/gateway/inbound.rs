//! Webhooks of providers at the real daemon.

use std::time::{SystemTime, UNIX_EPOCH};

use chainflume_core::domain::{BlockRange, U256};
use chainflume_devchain::{Action, DEMO_TOKEN, DevChain, Server, TRANSFER, wallet};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use sqlx::postgres::PgPool;

use crate::daemon::{CANARY, Daemon, Home, chain as chain_tables, free_port};
use crate::flume::{all_sources, connect, devchain};
use crate::postgres;
use crate::wait::until_equal;

/// A daemon whose chain hears of new blocks by deliveries alone.
struct Hooked {
    chain: DevChain,
    daemon: Daemon,
    pool: PgPool,
    port: u16,
    _parts: (Server, Home),
}

impl Hooked {
    async fn start(seed: u64) -> Self {
        let url = postgres::empty_database().await;
        let (chain, server) = devchain(seed, 20).await;
        let (home, port) = (Home::bare(), free_port());
        let public = format!("[server]\nlisten = \"127.0.0.1:{port}\"\n[server.auth]\nmode = \"none\"\n");
        let inbound = format!(
            "[[inbound]]\nname = \"coinbase\"\nprovider = \"coinbase\"\nsecret = [\"{}\", \"the old secret\"]\nchain = \"dev\"\n\
             [[inbound]]\nname = \"shop\"\nprovider = \"hmac\"\nsecret = \"{}\"\n",
            secret(),
            secret()
        );
        let tables = chain_tables(&server, "ws = none\npoll_interval = \"1h\"\n", &all_sources());
        home.write(&format!("{public}{inbound}{tables}"), Some(&url));
        let daemon = home.start();
        daemon.until_tip(18).await;
        Self { chain, daemon, pool: connect(&url).await, port, _parts: (server, home) }
    }

    /// Sends a body, signed at this time.
    async fn send(&self, path: &str, body: &str, at: u64) -> (u16, String) {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret().as_bytes()).expect("any length");
        mac.update(format!("{at}.content-type.application/json.{body}").as_bytes());
        let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let signature = format!("t={at},h=content-type,v1={digits}");
        let request = self.request(reqwest::Method::POST, path).header("content-type", "application/json");
        answer(request.header("x-hook0-signature", signature).body(body.to_owned())).await
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        reqwest::Client::new().request(method, format!("http://127.0.0.1:{}{path}", self.port))
    }

    async fn deliver(&self, body: Value) {
        let answered = self.send("/webhooks/coinbase", &body.to_string(), now()).await;
        assert_eq!(answered, (200, r#"{"success":true}"#.to_owned()));
    }

    /// Mines blocks, and reports in a delivery that the newest is there. Returns the newest confirmed block, which is stored.
    async fn mine(&self, blocks: u64) -> u64 {
        self.chain.mine_empty(blocks - 1);
        let mint = Action::Erc20Mint { to: wallet(0), amount: U256::from(7) };
        let head = self.chain.mine_with(vec![vec![mint]]).number;
        // A transaction without a log: its receipt confirms it.
        let transaction = self.chain.transactions(head)[0].hash();
        self.deliver(json!({ "hash": transaction, "blockNum": head })).await;
        self.daemon.until_tip(head - 2).await;
        head - 2
    }

    /// Waits until a sample has this value: it is counted after the commit.
    async fn until_metric(&self, sample: &str, expected: f64) {
        until_equal(sample, Some(expected), async || self.daemon.metric(sample).await).await;
    }

    /// Waits until a query gives this.
    async fn until(&self, sql: &'static str, expected: &str) {
        let read = async || {
            let found: Option<String> = sqlx::query_scalar(sql).fetch_optional(&self.pool).await.expect(sql);
            found.unwrap_or_default()
        };
        until_equal(sql, expected.to_owned(), read).await;
    }
}

/// Appears in no log line, which the daemon's tests look for.
fn secret() -> String {
    format!("{CANARY} of a provider")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, String) {
    let response = request.send().await.expect("the server answers");
    let media = response.headers()["content-type"].to_str().expect("text").to_owned();
    assert_eq!(media, "application/json");
    (response.status().as_u16(), response.text().await.expect("a body"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_wakes_its_chain_and_the_chain_confirms_it() {
    let hooked = Hooked::start(901).await;
    let mint = Action::Erc20Mint { to: wallet(0), amount: U256::from(7) };
    let block = hooked.chain.mine_with(vec![vec![mint]]).number;
    let head = hooked.chain.mine_empty(4).number;
    let logs = hooked.chain.canonical_logs(BlockRange::single(block));
    let [log] = logs.as_slice() else { panic!("{logs:?}") };
    let topics: Vec<String> = log.topics.as_slice().iter().map(ToString::to_string).collect();
    let report = json!({ "data": { "address": log.address, "topics": topics, "transactionHash": log.tx_hash,
        "blockNumber": log.place.block_number, "logIndex": log.place.log_index } });
    hooked.deliver(report.clone()).await;
    // A repeat, by the path of integrations that were registered elsewhere.
    let repeated = hooked.send("/api/webhooks/coinbase", &report.to_string(), now()).await;
    assert_eq!(repeated.0, 200);
    hooked.daemon.until_tip(head - 2).await;
    let tip = hooked.mine(5).await;
    assert!(tip > log.place.block_number);
    hooked
        .until("select string_agg(state, ',') from inbound_hints where address is not null", "confirmed")
        .await;

    // A transfer that was never mined.
    let lie = json!({ "data": { "address": DEMO_TOKEN, "topics": [TRANSFER, topics[1], topics[2]],
        "transactionHash": format!("0x{}", "99".repeat(32)), "blockNumber": 29, "logIndex": 0 } });
    hooked.deliver(lie).await;
    let tip = hooked.mine(20).await;
    assert!(tip >= 29 + 16);
    let message = "select message::jsonb #>> '{payload,transactionHash}' from outbox where type = 'inbound.unconfirmed'";
    hooked.until(message, &format!("0x{}", "99".repeat(32))).await;
    let counted = |outcome: &str| {
        format!("chainflume_inbound_hints_total{{endpoint=\"coinbase\",outcome=\"{outcome}\"}}")
    };
    hooked.until_metric(&counted("unconfirmed"), 1.0).await;
    // The transaction of the newest delivery is in the head, which needs two confirmations.
    hooked.chain.mine_empty(2);
    let plain =
        "select string_agg(distinct state || followed::text, ',') from inbound_hints where address is null";
    hooked.until(plain, "confirmedtrue").await;
    hooked.until_metric(&counted("confirmed"), 3.0).await;
    hooked.daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_gets_the_exact_answer_and_stores_nothing_unsigned() {
    let hooked = Hooked::start(902).await;
    let path = "/webhooks/coinbase";
    let invalid = (401, r#"{"error":"Invalid signature"}"#.to_owned());
    let post = || hooked.request(reqwest::Method::POST, path).header("content-type", "application/json");
    assert_eq!(answer(post().body("{}")).await, invalid);
    let forged =
        post().header("x-hook0-signature", format!("t={},h=content-type,v1={}", now(), "0".repeat(64)));
    assert_eq!(answer(forged.body("{}")).await, invalid);
    assert_eq!(hooked.send(path, "{}", now() - 4_000).await, invalid, "an old delivery");
    assert_eq!(hooked.send(path, "{}", now() + 400).await, invalid, "one of the future");
    // Each reason has its own remedy, once a minute.
    let log = hooked.daemon.log();
    for words in [
        "a webhook delivery was refused; compare inbound.provider and inbound.header with what the provider sends",
        "a webhook delivery was refused; compare inbound.secret with the provider's",
        "a webhook delivery was refused; synchronise the clock of this machine",
        "the timestamp is 400",
        " s old by the clock of this machine, and 300 s are allowed",
    ] {
        assert_eq!(log.matches(words).count(), 1, "{words}: {log}");
    }
    // A refusal there hides none of another endpoint.
    assert_eq!(answer(hooked.request(reqwest::Method::POST, "/webhooks/shop").body("{}")).await, invalid);
    let wrong = (405, r#"{"error":"Method not allowed"}"#.to_owned());
    for method in [reqwest::Method::GET, reqwest::Method::PUT, reqwest::Method::DELETE] {
        assert_eq!(answer(hooked.request(method, path)).await, wrong);
    }
    let missing = answer(hooked.request(reqwest::Method::POST, "/webhooks/other").body("{}")).await;
    assert_eq!(missing, (404, r#"{"error":"Not found"}"#.to_owned()));
    hooked.until("select count(*)::text from inbound_deliveries", "0").await;
    assert_eq!(hooked.send(path, "not JSON, and signed", now()).await.0, 200);
    hooked.until("select convert_from(body, 'UTF8') from inbound_deliveries", "not JSON, and signed").await;
    let refused = "chainflume_inbound_deliveries_total{endpoint=\"coinbase\",outcome=\"stale\"}";
    assert_eq!(hooked.daemon.metric(refused).await, Some(2.0));
    let log = hooked.daemon.log();
    for endpoint in ["coinbase", "shop"] {
        let named = |line: &str| line.contains("delivery was refused") && line.contains(endpoint);
        assert!(log.lines().any(named), "{endpoint}: {log}");
    }
    hooked.daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_moves_the_activity_of_its_transaction() {
    let hooked = Hooked::start(903).await;
    // It waits: the chain has not mined it, whatever the provider reports.
    let tx = hooked.chain.submit(Action::Erc20Mint { to: wallet(0), amount: U256::from(7) }, None);
    let activity = json!({ "userId": "7", "type": "deposit", "title": "Deposit",
        "transaction": { "chainId": 31_337, "hash": tx.hash() } });
    let made =
        hooked.request(reqwest::Method::POST, "/v1/activities").header("content-type", "application/json");
    assert_eq!(answer(made.body(activity.to_string())).await.0, 201);
    hooked.until("select status from activities", "pending").await;
    hooked.deliver(json!({ "hash": tx.hash() })).await;
    hooked.until("select status from activities", "in_progress").await;
    let by = "select made_by from activity_changes where number = 2";
    hooked.until(by, "coinbase").await;
    hooked.daemon.stop_well().await;
}
