//! What is stored is taken back only on proof, and what a source does not follow any more is evidence of nothing.

use alloy_primitives::{Address, U256};
use chainflume_devchain::{
    Action, DEMO_TOKEN, DevChain, Effect, Lie, RawLog, RpcError, Rule, Server, TRANSFER, wallet,
};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::daemon::{CommandOutput, Home};
use crate::flume::{config, connect, devchain, source};
use crate::postgres;

const LOGS: &str = "eth_getLogs";

/// A chain of 100 blocks whose token is stored and announced from the start, and no daemon any more.
struct Stored {
    chain: DevChain,
    server: Server,
    /// Another node of the same chain.
    other: DevChain,
    other_server: Server,
    home: Home,
    url: String,
    pool: PgPool,
}

fn token() -> String {
    source("token", "erc20", DEMO_TOKEN, 0) + "publish_from = \"start\"\n"
}

impl Stored {
    async fn new(seed: u64) -> Self {
        let (chain, server) = devchain(seed, 90).await;
        // One block of nothing, and then blocks in which the token is heard of.
        chain.mine_empty(1);
        chain.mine(29);
        let other = chain.another_node();
        let other_server = other.serve("127.0.0.1:0").await.expect("a free port");
        let url = postgres::empty_database().await;
        let home = Home::new(&server, &token(), Some(&url));
        let daemon = home.start();
        daemon.until_tip(118).await;
        daemon.stop_well().await;
        let pool = connect(&url).await;
        Self { chain, server, other, other_server, home, url, pool }
    }

    /// Both nodes are configured from now on; the first is read first.
    fn with_two_providers(&self) {
        let provider = |name: &str, url: String, priority: u64| {
            format!("[[chain.provider]]\nname = \"{name}\"\nhttp = \"{url}\"\npriority = {priority}\n")
        };
        let providers =
            provider("one", self.server.http_url(), 9) + &provider("other", self.other_server.http_url(), 1);
        let text = config(&self.server, &format!("ws = none\n{providers}"), &token());
        let text = text.replacen(&format!("http = \"{}\"\n", self.server.http_url()), "", 1);
        self.home.write(&text, Some(&self.url));
    }

    /// Both nodes know nothing of receipts.
    fn without_receipts(&self) {
        for node in [&self.chain, &self.other] {
            for method in ["eth_getBlockReceipts", "eth_getTransactionReceipt"] {
                let off = RpcError::new(-32601, "the method does not exist/is not available");
                node.faults().add(Rule::on(method, Effect::Error(off)));
            }
        }
    }

    async fn count(&self, of: &'static str) -> i64 {
        sqlx::query_scalar(of).fetch_one(&self.pool).await.expect("a count")
    }

    async fn events(&self) -> i64 {
        self.count("select count(*) from events").await
    }

    async fn retractions(&self) -> i64 {
        self.count("select count(*) from outbox where message::jsonb ->> 'state' = 'retracted'").await
    }

    /// An event that never was on the chain is stored in this block, as if by a fault of old.
    async fn forge(&self, number: u64) {
        let hash = self.chain.block(number).expect("it is mined").hash;
        let done = sqlx::query(
            "insert into events (chain_id, block_number, tx_index, log_index, block_time, kind_id, projection, block_hash, \
                 tx_hash, address, account, counterparty, amount, token_id, args) \
             select chain_id, $1, 77, 777, block_time, kind_id, projection, $2, tx_hash, address, account, counterparty, \
                 amount, token_id, args from events where projection = 'b' order by block_number limit 1",
        )
        .bind(number.cast_signed())
        .bind(hash.as_slice())
        .execute(&self.pool)
        .await
        .expect("it can be written");
        assert_eq!(done.rows_affected(), 1);
        sqlx::query("update event_kinds set events = events + 1 where id = (select kind_id from events where log_index = 777)")
            .execute(&self.pool)
            .await
            .expect("it can be written");
    }

    async fn repair(&self, from: u64, to: u64) -> CommandOutput {
        let (from, to) = (from.to_string(), to.to_string());
        self.home.run(&["verify", "--repair", "--json", "--from", &from, "--to", &to]).await
    }

    /// A block of the end in which the token has events.
    async fn busy(&self) -> u64 {
        let number: i64 = self.count("select max(block_number) from events where block_number < 104").await;
        assert!(number > 91);
        number.cast_unsigned()
    }
}

fn found(output: &CommandOutput) -> Value {
    let all: Value = serde_json::from_str(&output.out).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    all[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_omission_of_one_provider_is_kept_and_the_rest_repaired() {
    let stored = Stored::new(91).await;
    stored.without_receipts();
    let (events, missing) = (stored.events().await, stored.busy().await);
    // Blocks 92 to 96 are answered empty; and of the busy one an event is missing in the database.
    let empty = |asked: &Value| asked[0]["blockHash"].is_null();
    let (from, to) = (93, missing);
    sqlx::query("delete from events where block_number = $1")
        .bind(missing.cast_signed())
        .execute(&stored.pool)
        .await
        .expect("goes");
    let gone = events - stored.events().await;
    assert!(gone > 0);
    let in_between = stored.count("select count(*) from events where block_number between 93 and 103").await;
    assert!(in_between > 0);
    let lying = stored.chain.faults().add(Rule::on(LOGS, Effect::Lie(Lie::DropLogs)).asking(empty));
    let output = stored.repair(from, to - 1).await;
    assert!(lying.fired() > 0);
    let error = output.error(1).to_owned();
    for words in ["were not taken back", "second provider", "eth_getBlockReceipts", "93"] {
        assert!(error.contains(words), "`{words}` is not in `{error}`");
    }
    let report = found(&output);
    assert_eq!(report["unproven"]["count"], json!(in_between), "{report}");
    assert_eq!(report["surplus"]["count"], json!(0));
    assert_eq!((stored.events().await, stored.retractions().await), (events - gone, 0));
    lying.lift();
    let output = stored.repair(from, to).await;
    assert_eq!(found(&output)["missing"]["count"], json!(gone), "{output:?}");
    assert_eq!((output.code, stored.events().await), (Some(0), events));
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_prove_what_is_on_the_chain_and_what_is_not() {
    let stored = Stored::new(92).await;
    let events = stored.events().await;
    // The index of logs is empty and the receipts are there: nothing is surplus.
    let lying = stored.chain.faults().add(Rule::on(LOGS, Effect::Lie(Lie::DropLogs)));
    let output = stored.repair(93, 103).await;
    let report = found(&output);
    assert_eq!((report["surplus"]["count"].clone(), output.code), (json!(0), Some(0)), "{report}");
    assert!(report["agree"].as_u64() > Some(0), "{report}");
    assert_eq!((stored.events().await, stored.retractions().await), (events, 0));
    // What never was goes all the same.
    stored.forge(stored.busy().await).await;
    let output = stored.repair(93, 103).await;
    assert_eq!(found(&output)["surplus"]["count"], json!(1), "{output:?}");
    assert_eq!((output.code, stored.events().await, stored.retractions().await), (Some(0), events, 1));
    lying.lift();
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_without_the_root_of_their_header_prove_nothing() {
    let stored = Stored::new(93).await;
    let events = stored.events().await;
    stored.chain.faults().set(|node| node.wrong_receipts_root = true);
    stored.chain.faults().add(Rule::on(LOGS, Effect::Lie(Lie::DropLogs)));
    let output = stored.repair(93, 103).await;
    assert!(output.error(1).contains("root"), "{output:?}");
    assert_eq!((stored.events().await, stored.retractions().await), (events, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bloom_that_excludes_a_log_proves_that_it_never_was() {
    let stored = Stored::new(94).await;
    stored.without_receipts();
    let events = stored.events().await;
    stored.forge(91).await;
    let output = stored.repair(85, 103).await;
    assert_eq!(found(&output)["surplus"]["count"], json!(1), "{output:?}");
    assert_eq!((output.code, stored.events().await, stored.retractions().await), (Some(0), events, 1));
    // On a chain whose blooms are always empty they prove nothing.
    stored.chain.faults().set(|node| node.wrong_bloom = true);
    stored.chain.faults().add(Rule::on(LOGS, Effect::Lie(Lie::DropLogs)));
    let output = stored.repair(93, 103).await;
    assert!(output.error(1).contains("were not taken back"), "{output:?}");
    assert_eq!((stored.events().await, stored.retractions().await), (events, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_equal_provider_is_proof_and_a_different_one_is_none() {
    let stored = Stored::new(95).await;
    stored.without_receipts();
    let events = stored.events().await;
    let busy = stored.busy().await;
    stored.forge(busy).await;
    let output = stored.repair(93, 103).await;
    assert!(output.error(1).contains("second provider"), "{output:?}");
    assert_eq!((stored.events().await, stored.retractions().await), (events + 1, 0));
    stored.with_two_providers();
    let output = stored.repair(93, 103).await;
    assert_eq!(found(&output)["surplus"]["count"], json!(1), "{output:?}");
    assert_eq!((output.code, stored.events().await, stored.retractions().await), (Some(0), events, 1));
    // Whichever of the two is read first, it leaves out what the other has.
    for node in [&stored.chain, &stored.other] {
        let lying = node.faults().add(Rule::on(LOGS, Effect::Lie(Lie::DropLogs)));
        let output = stored.repair(93, 103).await;
        if output.code != Some(0) {
            assert!(output.error(1).contains("return different blocks"), "{output:?}");
        }
        lying.lift();
        assert_eq!((stored.events().await, stored.retractions().await), (events, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_part_no_longer_followed_is_no_difference() {
    let url = postgres::empty_database().await;
    let (chain, server) = devchain(96, 20).await;
    let coin = Address::repeat_byte(0xb2);
    let transfer = |from: u64| {
        let topics = [TRANSFER, wallet(from).into_word(), wallet(from + 1).into_word()];
        Action::Raw(Box::new(RawLog::new(coin, &topics, &U256::from(5).to_be_bytes::<32>())))
    };
    chain.mine_with((0..40).map(|n| vec![transfer(n)]).collect());
    chain.mine(20);
    let audit = "[chain.audit]\nblocks = 13\nevery = \"20ms\"\n";
    let with = |addresses: &str, more: &str| {
        let token = source("token", "erc20", "0x", 0).replace("\"0x\"", addresses);
        format!("{audit}{token}publish_from = \"start\"\n{more}")
    };
    let both = format!("[\"{DEMO_TOKEN}\", \"{coin}\"]");
    let home = Home::new(&server, &with(&both, ""), Some(&url));
    let daemon = home.start();
    daemon.until_tip(78).await;
    daemon.stop_well().await;
    let pool = connect(&url).await;
    let before: i64 =
        sqlx::query_scalar("select count(*) from events").fetch_one(&pool).await.expect("a count");
    // The contract leaves the list, and then an event does.
    for (less, kept) in
        [(with(&format!("\"{DEMO_TOKEN}\""), ""), 40), (with(&both, "events = [\"Approval\"]\n"), 0)]
    {
        sqlx::query("update sources set verified_to = null").execute(&pool).await.expect("forgets");
        home.write(&crate::daemon::chain(&server, "", &less), Some(&url));
        for arguments in [&["verify", "--json"][..], &["verify", "--repair", "--json"]] {
            let output = home.run(arguments).await;
            let report = found(&output);
            let count = |of: &str| report[of]["count"].as_u64();
            let counts = [count("missing"), count("surplus"), count("differing"), count("unproven")];
            assert_eq!((counts, output.code), ([Some(0); 4], Some(0)), "{output:?}");
            assert!(report["notFollowed"].as_u64() >= Some(kept.max(1)), "{report}");
        }
        let daemon = home.start();
        daemon
            .until("audited", |_, report| {
                let token = &report["chains"]["dev"]["sources"]["token"];
                token["verifiedTo"] == json!(64) && token["differences"] == json!(0)
            })
            .await;
        daemon.stop_well().await;
    }
    let after: i64 =
        sqlx::query_scalar("select count(*) from events").fetch_one(&pool).await.expect("a count");
    let retracted: i64 =
        sqlx::query_scalar("select count(*) from outbox where message::jsonb ->> 'state' = 'retracted'")
            .fetch_one(&pool)
            .await
            .expect("a count");
    assert_eq!((after, retracted), (before, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_providers_that_answer_otherwise_prove_nothing_together() {
    let stored = Stored::new(95).await;
    stored.without_receipts();
    stored.with_two_providers();
    let events = stored.events().await;
    stored.forge(stored.busy().await).await;
    for node in [&stored.chain, &stored.other] {
        let lying = node.faults().add(Rule::on(LOGS, Effect::Lie(Lie::DropLogs)));
        let output = stored.repair(93, 103).await;
        assert!(output.error(1).contains("return different blocks"), "{output:?}");
        assert_eq!((stored.events().await, stored.retractions().await), (events + 1, 0));
        lying.lift();
    }
}
