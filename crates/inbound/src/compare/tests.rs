use chainflume_follow::{Subject as _, TransactionChange, WatchState};
use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::*;
use crate::inbox::{InboundAnswer, InboundDeliveries};
use crate::testing::{delivery, endpoint, migrated, quiet, signed, token, transaction};

const WINDOW: u64 = 10;

/// A database with a chain, of which one source reads the token.
struct Stored {
    database: Database,
    inbox: InboundDeliveries,
}

impl Stored {
    async fn new() -> Self {
        let database = migrated().await;
        let inbox = InboundDeliveries::new(&database, vec![endpoint("alchemy", Some(1))], 1 << 20, quiet());
        let this = Self { database, inbox };
        this.sql("insert into chains (chain_id, name) values (1, 'dev')").await;
        this.sql("insert into sources (name, chain_id, family, start_block) values ('usdc', 1, 'erc20', 0)")
            .await;
        this.sql(
            "with present as (insert into source_groups (chain_id, block_number, block_hash) \
                 values (1, 0, decode(repeat('00', 32), 'hex')) returning id) \
             update sources set group_id = (select id from present)",
        )
        .await;
        this.sql(&format!(
            "insert into followed (source, signature, declaration, topics, addresses, from_block) \
             values ('usdc', 'Transfer(address,address,uint256)', '', 3, array['\\x{:x}'::bytea], 0)",
            token()
        ))
        .await;
        this
    }

    async fn sql(&self, sql: &str) {
        sqlx::query(AssertSqlSafe(sql.to_owned())).execute(self.database.pool()).await.expect(sql);
    }

    async fn deliver(&self, id: &str, block: u64) {
        let body = delivery(id, block, 1);
        assert_eq!(self.inbox.receive("alchemy", &signed(&body), &body, 0).await, InboundAnswer::Stored);
    }

    /// The transfers that [`delivery`] reports of `reported` are stored in block `stored`.
    async fn event(&self, reported: u64, stored: u64) {
        self.sql(&format!(
            "insert into events (chain_id, block_number, tx_index, log_index, block_time, kind_id, projection, block_hash, \
                 tx_hash, address) \
             values (1, {stored}, 0, 0, now(), 1, 'n', decode(repeat('11', 32), 'hex'), '\\x{:x}', '\\x{:x}')",
            transaction(reported),
            token()
        ))
        .await;
    }

    /// The event in this block is undone by a reorg.
    async fn orphaned(&self, block: u64) {
        self.sql(
            "insert into reorgs (chain_id, ancestor_number, ancestor_hash, old_tip_number, old_tip_hash, depth, events) \
             values (1, 0, decode(repeat('00', 32), 'hex'), 0, decode(repeat('00', 32), 'hex'), 1, 1)",
        )
        .await;
        self.sql(&format!(
            "with undone as (delete from events where block_number = {block} returning *) \
             insert into orphaned_events (reorg_id, chain_id, block_number, tx_index, log_index, block_time, kind_id, projection, \
                 block_hash, tx_hash, address) \
             select (select max(id) from reorgs), chain_id, block_number, tx_index, log_index, block_time, kind_id, projection, \
                 block_hash, tx_hash, address from undone"
        ))
        .await;
    }

    async fn tip(&self, block: u64) {
        self.sql(&format!("update source_groups set block_number = {block}")).await;
    }

    async fn round(&self, head: u64) -> HintRound {
        let chain = ComparedChain {
            name: "dev".to_owned(),
            chain_id: 1,
            head,
            window: WINDOW,
            sources: vec!["usdc".to_owned()],
        };
        Comparison::of(&self.database).round(&chain).await.expect("the database is there")
    }

    /// What the transaction of a hint did.
    async fn followed(&self, subject: Uuid, (from, to): (WatchState, WatchState)) {
        let change =
            TransactionChange { subject, chain_id: 1, transaction: transaction(100), from, to, block: None };
        let mut tx = transaction::begin(self.database.pool()).await.expect("a transaction");
        Comparison::of(&self.database).changed(&mut tx, vec![change]).await.expect("stored");
        tx.commit().await.expect("a commit");
    }

    async fn states(&self) -> Vec<String> {
        sqlx::query_scalar("select state from inbound_hints order by id")
            .fetch_all(self.database.pool())
            .await
            .expect("rows")
    }

    async fn messages(&self) -> Vec<Value> {
        let texts: Vec<String> = sqlx::query_scalar("select message from outbox order by seq")
            .fetch_all(self.database.pool())
            .await
            .expect("rows");
        texts.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect()
    }
}

#[tokio::test]
async fn a_stored_event_confirms_a_hint() {
    let stored = Stored::new().await;
    stored.deliver("a", 100).await;
    let first = stored.round(98).await;
    assert_eq!(first, HintRound { is_ahead: true, ..HintRound::default() }, "the chain is to be woken");
    assert_eq!(stored.round(100).await, HintRound::default(), "once");
    stored.event(100, 100).await;
    stored.tip(100).await;
    assert_eq!(stored.round(102).await, HintRound { confirmed: 1, ..HintRound::default() });
    assert_eq!(stored.states().await, ["confirmed"]);
    stored.tip(200).await;
    assert_eq!(stored.round(200).await, HintRound::default());
    assert!(stored.messages().await.is_empty());
}

#[tokio::test]
async fn what_the_chain_lacks_is_unconfirmed_after_the_window() {
    let stored = Stored::new().await;
    stored.deliver("a", 100).await;
    stored.tip(109).await;
    assert_eq!(stored.round(109).await, HintRound::default(), "the window is open");
    stored.tip(110).await;
    assert_eq!(stored.round(112).await, HintRound { unconfirmed: 1, ..HintRound::default() });
    assert_eq!(stored.round(112).await, HintRound::default(), "once");
    let messages = stored.messages().await;
    let [message] = messages.as_slice() else { panic!("{messages:?}") };
    assert_eq!(message["type"], "inbound.unconfirmed");
    assert_eq!((&message["aggregateType"], &message["aggregateId"]), (&"inbound".into(), &"alchemy".into()));
    let payload = &message["payload"];
    assert_eq!(payload["transactionHash"], transaction(100).to_string());
    assert_eq!((&payload["deliveryId"], &payload["kind"]), (&"a".into(), &"erc20_transfer".into()));
    assert_eq!((&payload["chainId"], &payload["blockNumber"]), (&1.into(), &100.into()));
    assert_eq!(stored.states().await, ["unconfirmed"]);
}

#[tokio::test]
async fn a_reorg_may_move_what_a_hint_is_about() {
    let stored = Stored::new().await;
    stored.deliver("a", 100).await;
    stored.event(100, 104).await;
    stored.tip(109).await;
    assert_eq!(stored.round(109).await, HintRound::default());
    stored.tip(110).await;
    assert_eq!(stored.round(110).await, HintRound { confirmed: 1, ..HintRound::default() });
}

#[tokio::test]
async fn a_hint_whose_event_a_reorg_took_away_is_open_again() {
    let stored = Stored::new().await;
    for (id, block) in [("a", 100), ("b", 101), ("c", 102)] {
        stored.deliver(id, block).await;
        stored.event(block, block).await;
    }
    stored.tip(102).await;
    assert_eq!(stored.round(104).await, HintRound { confirmed: 3, ..HintRound::default() });
    for block in [100, 101, 102] {
        stored.orphaned(block).await;
    }
    // One comes back in its block, one in another, and one does not.
    stored.event(100, 100).await;
    stored.event(101, 105).await;
    stored.tip(105).await;
    assert_eq!(stored.round(107).await, HintRound::default());
    assert_eq!(stored.states().await, ["confirmed", "confirmed", "open"]);
    stored.tip(112).await;
    assert_eq!(stored.round(114).await, HintRound { unconfirmed: 1, ..HintRound::default() });
    assert_eq!(stored.round(114).await, HintRound::default());
    assert_eq!(stored.states().await, ["confirmed", "confirmed", "unconfirmed"]);
    let messages = stored.messages().await;
    let [message] = messages.as_slice() else { panic!("{messages:?}") };
    assert_eq!(message["payload"]["transactionHash"], transaction(102).to_string());
}

#[tokio::test]
async fn a_hint_of_a_source_that_was_removed_stays_confirmed() {
    let stored = Stored::new().await;
    stored.deliver("a", 100).await;
    stored.event(100, 100).await;
    stored.tip(100).await;
    assert_eq!(stored.round(102).await, HintRound { confirmed: 1, ..HintRound::default() });
    // The chain has the event still.
    stored.orphaned(100).await;
    stored.sql("update reorgs set reason = 'removal'").await;
    stored.tip(112).await;
    for _ in 0..2 {
        assert_eq!(stored.round(114).await, HintRound::default());
        assert_eq!(stored.states().await, ["confirmed"]);
    }
    assert!(stored.messages().await.is_empty());
}

#[tokio::test]
async fn a_hint_that_no_event_can_confirm_is_followed() {
    let stored = Stored::new().await;
    stored.deliver("a", 100).await;
    stored.deliver("b", 101).await;
    stored.sql("update inbound_hints set address = decode(repeat('dd', 20), 'hex')").await;
    assert!(stored.round(100).await.is_ahead);
    let subjects: Vec<Uuid> = sqlx::query_scalar("select subject from watched_transactions order by id")
        .fetch_all(stored.database.pool())
        .await
        .expect("rows");
    let [first, _] = subjects.as_slice() else { panic!("{subjects:?}") };
    assert!(is_hint(*first) && !is_hint(Uuid::from_u128(7)));
    // A reorg takes it out of its block, and in again.
    for (from, to, state) in [
        (WatchState::Waiting, WatchState::Succeeded, "confirmed"),
        (WatchState::Succeeded, WatchState::Waiting, "open"),
        (WatchState::Waiting, WatchState::Mined, "open"),
        (WatchState::Mined, WatchState::Succeeded, "confirmed"),
        (WatchState::Succeeded, WatchState::Mined, "open"),
        (WatchState::Mined, WatchState::Succeeded, "confirmed"),
    ] {
        stored.followed(*first, (from, to)).await;
        assert_eq!(stored.states().await, [state, "open"], "{from:?} {to:?}");
    }
    stored.tip(111).await;
    assert_eq!(stored.round(111).await, HintRound { unconfirmed: 1, ..HintRound::default() });
    assert_eq!(stored.states().await, ["confirmed", "unconfirmed"]);
    assert_eq!(stored.messages().await.len(), 1);
}

#[tokio::test]
async fn a_hint_that_cannot_be_followed_raises_nothing() {
    let stored = Stored::new().await;
    stored
        .sql(
            "insert into watched_transactions (chain_id, tx_hash, subject) \
             select 1, decode(repeat('ee', 32), 'hex'), gen_random_uuid() from generate_series(1, 10000)",
        )
        .await;
    stored.deliver("a", 100).await;
    stored.sql("update inbound_hints set address = decode(repeat('dd', 20), 'hex')").await;
    stored.tip(110).await;
    assert_eq!(stored.round(110).await, HintRound { uncovered: 1, ..HintRound::default() });
    assert_eq!(stored.states().await, ["uncovered"]);
    assert!(stored.messages().await.is_empty());
}

#[tokio::test]
async fn an_absurd_block_number_keeps_no_hint_open() {
    let stored = Stored::new().await;
    stored.deliver("a", 1 << 60).await;
    stored.tip(100).await;
    assert!(stored.round(100).await.is_ahead);
    stored.tip(119).await;
    assert_eq!(stored.round(119).await, HintRound::default());
    stored.tip(120).await;
    assert_eq!(stored.round(120).await, HintRound { unconfirmed: 1, ..HintRound::default() });
}

#[tokio::test]
async fn several_instances_end_a_hint_once() {
    let stored = Stored::new().await;
    for (id, block) in [("a", 100), ("b", 101), ("c", 102)] {
        stored.deliver(id, block).await;
    }
    stored.round(100).await;
    stored.tip(200).await;
    let (one, two, three) = tokio::join!(stored.round(200), stored.round(200), stored.round(200));
    assert_eq!(one.unconfirmed + two.unconfirmed + three.unconfirmed, 3);
    assert_eq!(stored.messages().await.len(), 3);
}
