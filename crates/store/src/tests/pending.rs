use serde_json::Value;

use super::fixture::*;
use crate::{ChainStore, Pending, PendingBlock, PublishFrom, Store};
use chainflume_core::domain::{BlockId, Event, U256};
use chainflume_db::StoreError;

/// All sources at `from`, with these blocks above.
fn pending(from: Option<BlockId>, blocks: &[BlockId], events: Vec<Event>) -> Pending {
    let head = blocks.last().expect("a block").number;
    Pending { expected: all_at(from), blocks: blocks.to_vec(), events, head, seen_at: None }
}

async fn announce(
    chain: &ChainStore,
    from: Option<BlockId>,
    blocks: &[BlockId],
    events: Vec<Event>,
) -> Result<u64, StoreError> {
    chain.publish_pending(&pending(from, blocks, events)).await
}

/// Number, type, state, block and log of each message.
async fn lines(store: &Store) -> Vec<String> {
    let line = |text: &String| {
        let message: Value = serde_json::from_str(text).expect("json");
        let (word, metadata) =
            (|key: &str| message[key].as_str().expect("text").to_owned(), &message["metadata"]);
        let at = format!("{}/{}", metadata["blockNumber"], metadata["logIndex"]);
        let of = message["retracts"].as_str().map(|state| format!(" of {state}")).unwrap_or_default();
        let (kind, state) = (word("type"), word("state") + &of);
        format!("{} {kind} {state} {at} after {}", message["seq"], metadata["confirmations"])
    };
    texts(store, "select message from outbox order by seq").await.iter().map(line).collect()
}

#[tokio::test]
async fn a_pending_event_is_published_once_and_changes_no_table() {
    let store = store().await;
    let chain = open(&store).await;
    let (one, two, three) = (block(1, 0), block(2, 0), block(3, 0));
    advance(&chain, None, one, vec![]).await.expect("advances");
    let before = dump(&store).await;
    let of_two = vec![event(two, 0, staked(9, 5)), event(two, 1, note("{}"))];
    let of_three = vec![event(three, 0, note(r#"{"number":"7"}"#))];
    let both = [of_two.clone(), of_three.clone()].concat();
    assert_eq!(announce(&chain, Some(one), &[two], of_two.clone()).await.expect("publishes"), 2);
    assert_eq!(announce(&chain, Some(one), &[two, three], both.clone()).await.expect("publishes"), 1);
    assert_eq!(announce(&chain, Some(one), &[two, three], both).await.expect("publishes"), 0);
    assert_eq!(dump(&store).await, before);
    let held = chain.snapshot().await.expect("reads");
    let published = |source: &str, block| PendingBlock { source: source.to_owned(), block };
    assert_eq!(held.pending, [published("misc", two), published("vault", two), published("misc", three)]);

    let mut step = step(Some(one), two, of_two);
    step.head = 4;
    assert_eq!(chain.advance(&step).await.expect("advances").retracted, 0);
    let held = chain.snapshot().await.expect("reads");
    assert_eq!(held.pending, [published("misc", three)]);
    assert_eq!(
        lines(&store).await,
        [
            "1 stake.staked pending 2/0 after 0",
            "2 contract.note pending 2/1 after 0",
            "3 contract.note pending 3/0 after 0",
            "4 stake.staked confirmed 2/0 after 2",
            "5 contract.note confirmed 2/1 after 2",
            "6 user.activated confirmed 2/0 after 0",
        ]
    );
    let ids = texts(&store, "select message::jsonb ->> 'id' from outbox order by seq").await;
    assert_eq!((&ids[0], &ids[1]), (&ids[3], &ids[4]));
}

#[tokio::test]
async fn a_reorg_above_confirmed_retracts_pending_newest_first_only() {
    let store = store().await;
    let chain = open(&store).await;
    let (one, two, three) = (block(1, 0), block(2, 0), block(3, 0));
    advance(&chain, None, one, vec![event(one, 0, note("{}"))]).await.expect("advances");
    let before = dump(&store).await;
    let events = vec![event(two, 0, note("{}")), event(three, 0, note("{}")), event(three, 1, note("{}"))];
    announce(&chain, Some(one), &[two, three], events).await.expect("publishes");
    let rewound = rewind(&chain, two).await.expect("rewinds");
    assert_eq!((rewound.retracted, rewound.events, rewound.depth), (2, 0, 0));
    let other = block(3, 1);
    announce(&chain, Some(one), &[two, other], vec![event(other, 0, note("{}"))]).await.expect("publishes");
    rewind(&chain, two).await.expect("rewinds");
    announce(&chain, Some(one), &[two, three], vec![event(three, 0, note("{}"))]).await.expect("publishes");
    assert_eq!(dump(&store).await, before);
    assert_eq!(texts(&store, "select id::text from reorgs").await, [""; 0]);
    assert_eq!(
        lines(&store).await[1..],
        [
            "2 contract.note pending 2/0 after 1",
            "3 contract.note pending 3/0 after 0",
            "4 contract.note pending 3/1 after 0",
            "5 contract.note retracted of pending 3/1 after 0",
            "6 contract.note retracted of pending 3/0 after 0",
            "7 contract.note pending 3/0 after 0",
            "8 contract.note retracted of pending 3/0 after 0",
            "9 contract.note pending 3/0 after 0",
        ]
    );
    let hashes =
        "select message::jsonb -> 'metadata' ->> 'blockHash' from outbox where seq in (7, 8, 9) order by seq";
    let hash = |at: BlockId| format!("{:#x}", at.hash);
    assert_eq!(texts(&store, hashes).await, [hash(other), hash(other), hash(three)]);
}

#[tokio::test]
async fn a_reorg_across_the_confirmed_line_retracts_in_one_order() {
    let store = store().await;
    let chain = open(&store).await;
    let (one, two, three) = (block(1, 0), block(2, 0), block(3, 0));
    advance(&chain, None, one, vec![]).await.expect("advances");
    advance(&chain, Some(one), two, vec![event(two, 0, staked(9, 1))]).await.expect("advances");
    announce(&chain, Some(two), &[three], vec![event(three, 0, staked(9, 2))]).await.expect("publishes");
    let rewound = rewind(&chain, one).await.expect("rewinds");
    assert_eq!((rewound.retracted, rewound.events, rewound.depth), (1, 1, 1));
    assert_eq!(
        lines(&store).await,
        [
            "1 stake.staked confirmed 2/0 after 0",
            "2 user.activated confirmed 2/0 after 0",
            "3 stake.staked pending 3/0 after 0",
            "4 stake.staked retracted of pending 3/0 after 0",
            "5 stake.staked retracted 2/0 after 0",
            "6 user.activated retracted 2/0 after 0",
        ]
    );
}

/// Whatever the loop overlooked, or a new configuration no longer listens to.
#[tokio::test]
async fn another_confirmed_block_retracts_the_pending_messages() {
    let store = store().await;
    let chain = open(&store).await;
    let (one, two, other) = (block(1, 0), block(2, 0), block(2, 1));
    advance(&chain, None, one, vec![]).await.expect("advances");
    let published = vec![event(two, 0, transfer(1, 2, U256::from(5))), event(two, 1, note("{}"))];
    announce(&chain, Some(one), &[two], published).await.expect("publishes");
    let done = advance(&chain, Some(one), other, vec![event(other, 1, note("{}"))]).await.expect("advances");
    assert_eq!(done.retracted, 2);
    let three = block(3, 1);
    let published = vec![event(three, 0, note("{}")), event(three, 1, note("{}"))];
    announce(&chain, Some(other), &[three], published).await.expect("publishes");
    let done =
        advance(&chain, Some(other), three, vec![event(three, 1, note("{}"))]).await.expect("advances");
    assert_eq!(done.retracted, 1);
    assert_eq!(
        lines(&store).await,
        [
            "1 erc20.transfer pending 2/0 after 0",
            "2 contract.note pending 2/1 after 0",
            "3 contract.note retracted of pending 2/1 after 0",
            "4 erc20.transfer retracted of pending 2/0 after 0",
            "5 contract.note confirmed 2/1 after 0",
            "6 contract.note pending 3/0 after 0",
            "7 contract.note pending 3/1 after 0",
            "8 contract.note retracted of pending 3/0 after 0",
            "9 contract.note confirmed 3/1 after 0",
        ]
    );
    assert_eq!(chain.snapshot().await.expect("reads").pending, []);
}

#[tokio::test]
async fn a_writer_with_an_old_idea_of_the_chain_publishes_nothing() {
    let store = store().await;
    let chain = open(&store).await;
    let (one, two, three) = (block(1, 0), block(2, 0), block(3, 0));
    advance(&chain, None, one, vec![]).await.expect("advances");
    advance(&chain, Some(one), two, vec![]).await.expect("advances");
    announce(&chain, Some(two), &[three], vec![event(three, 0, note("{}"))]).await.expect("publishes");
    let (other_two, other_three) = (block(2, 1), block(3, 1));
    let of = |at: BlockId| vec![event(at, 5, note("{}"))];
    for (from, blocks, at, conflict) in [
        (one, vec![two, three], three, true),
        (two, vec![other_three], other_three, true),
        (two, vec![other_two, three], three, true),
        (two, vec![two, three], two, false),
        (two, vec![three], block(4, 0), false),
    ] {
        let refused = announce(&chain, Some(from), &blocks, of(at)).await.expect_err("is refused");
        assert_eq!(refused.is_conflict(), conflict, "{refused}");
        assert!(conflict || matches!(refused, StoreError::Invalid { .. }), "{refused}");
    }
    assert_eq!(lines(&store).await, ["1 contract.note pending 3/0 after 0"]);
}

#[tokio::test]
async fn events_left_out_below_are_not_published_after_later_ones() {
    let store = store().await;
    let chain = open(&store).await;
    let (one, two, three) = (block(1, 0), block(2, 0), block(3, 0));
    advance(&chain, None, one, vec![]).await.expect("advances");
    announce(&chain, Some(one), &[three], vec![event(three, 0, note("{}"))]).await.expect("publishes");
    let events = vec![event(two, 0, note("{}")), event(two, 1, staked(9, 1))];
    assert_eq!(announce(&chain, Some(one), &[two], events).await.expect("publishes"), 1);
    assert_eq!(
        lines(&store).await,
        ["1 contract.note pending 3/0 after 0", "2 stake.staked pending 2/1 after 0"]
    );
}

#[tokio::test]
async fn a_source_that_is_not_published_has_no_pending_messages() {
    let store = store().await;
    let mut record = record();
    for source in &mut record.sources {
        source.publish_from = PublishFrom::Block(3);
    }
    let chain = store.open_chain(&record, &kinds()).await.expect("opens");
    let (one, two, three) = (block(1, 0), block(2, 0), block(3, 0));
    advance(&chain, None, one, vec![]).await.expect("advances");
    let events = vec![event(two, 0, note("{}")), event(three, 0, note("{}"))];
    assert_eq!(announce(&chain, Some(one), &[two, three], events).await.expect("publishes"), 1);
    assert_eq!(lines(&store).await, ["1 contract.note pending 3/0 after 0"]);
}

#[tokio::test]
async fn pending_events_of_a_removed_source_are_retracted() {
    let store = store().await;
    let chain = open(&store).await;
    let (one, two) = (block(1, 0), block(2, 0));
    advance(&chain, None, one, vec![]).await.expect("advances");
    let events = vec![event(two, 0, staked(9, 1)), event(two, 1, note("{}"))];
    announce(&chain, Some(one), &[two], events).await.expect("publishes");
    let mut record = record();
    record.sources.retain(|source| source.name != "misc");
    let kinds: Vec<_> = kinds().into_iter().filter(|kind| kind.source != "misc").collect();
    let chain = store.open_chain(&record, &kinds).await.expect("opens");
    assert_eq!(chain.retract_unfollowed().await.expect("retracts"), 1);
    assert_eq!(chain.retract_unfollowed().await.expect("retracts"), 0);
    assert_eq!(
        lines(&store).await,
        [
            "1 stake.staked pending 2/0 after 0",
            "2 contract.note pending 2/1 after 0",
            "3 contract.note retracted of pending 2/1 after 0",
        ]
    );
}
