use chainflume_core::domain::{BlockRange, Event, FollowedEvent, U256};

use super::fixture::*;
use crate::{Backfill, ChainStore, Read, SourceDeletion, Store};
use chainflume_db::StoreError;

const TIP: u64 = 5;

fn approved(number: u64) -> Event {
    event(block(number, 0), 1, approval(1, 2, U256::from(number)))
}

fn backfill(range: (u64, u64), events: Vec<Event>) -> Backfill {
    let range = BlockRange::new(range.0, range.1).expect("in order");
    Backfill { source: "token".to_owned(), range, reorgs: 0, events, dead_letters: vec![] }
}

/// What approvals are listened for by.
fn approvals() -> Vec<FollowedEvent> {
    record().sources[1]
        .follows
        .iter()
        .filter(|(key, _)| key.signature.starts_with("Approval"))
        .cloned()
        .collect()
}

fn read(published: bool) -> Read {
    Read { items: approvals(), refs: vec![], published }
}

/// `token` was filled with a transfer in each block, and gets approvals now, whose past is not read.
async fn with_a_gap() -> (Store, ChainStore) {
    let store = store().await;
    let mut first = record();
    first.sources[1].follows.retain(|(key, _)| key.signature.starts_with("Transfer"));
    let chain = store.open_chain(&first, &kinds()).await.expect("opens");
    chain.follow().await.expect("follows");
    let transfers = (1..=TIP).map(|n| event(block(n, 0), 0, transfer(0, 1, U256::from(n))));
    advance(&chain, None, block(TIP, 0), transfers.collect()).await.expect("advances");
    let chain = store.open_chain(&record(), &kinds()).await.expect("opens");
    chain.follow().await.expect("follows");
    assert_eq!(gaps(&chain).await, [(1, TIP)]);
    (store, chain)
}

async fn gaps(chain: &ChainStore) -> Vec<(u64, u64)> {
    let comparison = chain.compared().await.expect("compares");
    comparison.sources[1].gaps.iter().map(|gap| (gap.range.from(), gap.range.to())).collect()
}

/// Type and block of each message in this state, in their order.
async fn messages(store: &Store, state: &str) -> Vec<String> {
    let sql =
        "select concat_ws(' ', type, message::json->'metadata'->>'blockNumber') from outbox where state =";
    texts(store, &format!("{sql} '{state}' order by seq")).await
}

#[tokio::test]
async fn missing_events_are_added_and_published_and_count_as_filled() {
    let (store, chain) = with_a_gap().await;
    let published = messages(&store, "confirmed").await;
    let filled =
        chain.fill(&backfill((1, 3), vec![approved(3), approved(2)]), &read(true)).await.expect("fills");
    assert_eq!((filled.missing.len(), filled.present, filled.differing.len()), (2, 0, 0));
    let more = messages(&store, "confirmed").await.split_off(published.len());
    assert_eq!(more, ["erc20.approval 2", "erc20.approval 3"]);
    assert_eq!(gaps(&chain).await, [(4, TIP)]);
    assert_eq!(texts(&store, "select amount::text from token_allowances").await, ["3"]);
    // Once more: it was there, and no message is published again.
    let again =
        chain.fill(&backfill((1, 3), vec![approved(2), approved(3)]), &read(true)).await.expect("fills");
    assert_eq!((again.missing.len(), again.present), (0, 2));
    assert_eq!(messages(&store, "confirmed").await.len(), published.len() + 2);
}

#[tokio::test]
async fn events_added_without_messages_leave_without_messages() {
    for by_removal in [false, true] {
        let (store, chain) = with_a_gap().await;
        let published = messages(&store, "confirmed").await;
        let events = (1..=4).map(approved).collect();
        let filled = chain.fill(&backfill((1, 4), events), &read(false)).await.expect("fills");
        assert_eq!((filled.missing.len(), messages(&store, "confirmed").await), (4, published));
        chain.fill(&backfill((5, 5), vec![approved(5)]), &read(true)).await.expect("fills");
        assert_eq!(gaps(&chain).await, []);
        let quiet = "select concat_ws('-', from_block, to_block) from followed where quiet order by 1";
        assert_eq!(texts(&store, quiet).await, ["1-4"]);
        let lowest = if by_removal {
            let emptying = SourceDeletion { name: "token", forget: false, digest: None, page: 3 };
            store.empty_source(&emptying, |_| {}).await.expect("it is emptied");
            1
        } else {
            rewind(&chain, block(2, 0)).await.expect("rewinds");
            assert_eq!(texts(&store, quiet).await, ["1-2"]);
            3
        };
        let mut expected = vec!["erc20.approval 5".to_owned()];
        expected.extend((lowest..=TIP).rev().map(|n| format!("erc20.mint {n}")));
        assert_eq!(messages(&store, "retracted").await, expected, "by removal: {by_removal}");
    }
}

#[tokio::test]
async fn a_difference_is_not_filled_and_another_block_is_refused() {
    let (store, chain) = with_a_gap().await;
    let other = event(block(2, 9), 1, approval(1, 2, U256::from(7)));
    let before = dump(&store).await;
    let filled = chain.fill(&backfill((1, 3), vec![other]), &read(true)).await.expect("compares");
    assert_eq!((filled.missing.len(), filled.differing.len()), (0, 1));
    assert_eq!((gaps(&chain).await, dump(&store).await), (vec![(1, TIP)], before));
    let refs = vec![block(5, 9)];
    let refused = chain.fill(&backfill((5, 5), vec![]), &Read { refs, ..read(true) }).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
}
