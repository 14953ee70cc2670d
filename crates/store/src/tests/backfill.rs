use chainflume_core::domain::{BlockRange, Event, Place, StartBlock, U256};

use super::fixture::*;
use crate::{Backfill, ChainStore, Compared, Read};
use chainflume_db::StoreError;

fn backfill(source: &str, range: (u64, u64), events: Vec<Event>) -> Backfill {
    Backfill {
        source: source.to_owned(),
        range: BlockRange::new(range.0, range.1).expect("in order"),
        reorgs: 0,
        events,
        dead_letters: vec![],
    }
}

/// Events added, events that were there, and places that differ.
fn brief(done: &Compared) -> (usize, u64, Vec<Place>) {
    assert_eq!(done.surplus, []);
    (done.missing.len(), done.present, done.differing.clone())
}

fn place(block_number: u64, log_index: u32) -> Place {
    Place { block_number, tx_index: log_index / 3, log_index }
}

#[tokio::test]
async fn a_backfill_inserts_what_is_missing_once() {
    let store = store().await;
    let chain = open(&store).await;
    let (one, two) = (block(1, 0), block(2, 0));
    let full = vec![
        event(one, 0, approval(1, 2, U256::from(1))),
        event(one, 1, transfer(0, 1, U256::from(9))),
        event(two, 0, approval(1, 2, U256::from(2))),
    ];
    let mut early = step(None, two, vec![full[2].clone()]);
    early.dead_letters = vec![letter(one, 1)];
    chain.advance(&early).await.expect("advances");

    let again = backfill("token", (1, 2), full);
    let first = chain.backfill(&again).await.expect("backfills");
    assert_eq!(brief(&first), (2, 1, vec![]));
    assert_eq!(texts(&store, "select amount::text from token_allowances").await, ["2"]);
    assert_eq!(texts(&store, "select balance::text from token_balances").await, ["9"]);
    assert_eq!(
        texts(&store, "select count(*)::text from dead_letters where resolved_at is null").await,
        ["0"]
    );
    let before = dump(&store).await;
    let second = chain.backfill(&again).await.expect("backfills");
    assert_eq!(brief(&second), (0, 3, vec![]));
    assert_eq!(dump(&store).await, before);
}

#[tokio::test]
async fn differences_are_reported_and_left_alone() {
    let store = store().await;
    let chain = open(&store).await;
    let one = block(1, 0);
    let mut stored = event(one, 5, note(r#"{"a":"1","b":["2"]}"#));
    advance(&chain, None, one, vec![event(one, 0, staked(1, 1)), stored.clone()]).await.expect("advances");
    let before = dump(&store).await;

    stored.fact.args = Some(r#"{ "b": ["2"], "a": "1" }"#.to_owned());
    let same = chain.backfill(&backfill("misc", (1, 1), vec![stored.clone()])).await.expect("backfills");
    assert_eq!(brief(&same), (0, 1, vec![]));

    stored.fact.args = Some(r#"{"a":"1","b":["3"]}"#.to_owned());
    let events = vec![event(one, 0, note("{}")), stored];
    let other = chain.backfill(&backfill("misc", (1, 1), events)).await.expect("backfills");
    assert_eq!(brief(&other), (0, 0, vec![place(1, 0), place(1, 5)]));

    let fork = vec![event(block(1, 1), 5, note("{}")), event(block(1, 1), 9, note("{}"))];
    let fork = chain.backfill(&backfill("misc", (1, 1), fork)).await.expect("backfills");
    assert_eq!(brief(&fork), (0, 0, vec![place(1, 5), place(1, 9)]));
    assert_eq!(dump(&store).await, before);
}

#[tokio::test]
async fn a_backfill_ends_at_the_checkpoint_and_not_across_a_rewind() {
    let store = store().await;
    let chain = open(&store).await;
    advance(&chain, None, block(5, 0), vec![]).await.expect("advances");
    let beyond = chain.backfill(&backfill("token", (4, 6), vec![])).await;
    assert!(matches!(beyond, Err(StoreError::NotReached { to: 6, .. })));
    let foreign = backfill("token", (4, 5), vec![event(block(4, 0), 0, staked(1, 1))]);
    assert!(matches!(chain.backfill(&foreign).await, Err(StoreError::Invalid(_))));
    rewind(&chain, block(4, 0)).await.expect("rewinds");
    let stale = chain.backfill(&backfill("token", (1, 3), vec![])).await;
    assert!(stale.expect_err("refused").is_conflict());
}

#[tokio::test]
async fn a_backfill_below_the_start_extends_the_source() {
    let store = store().await;
    let mut record = record();
    record.sources[0].start_block = StartBlock::Number(5);
    let chain = store.open_chain(&record, &kinds()).await.expect("opens");
    assert_eq!(differences(&chain), [""; 0]);
    chain.follow().await.expect("follows");
    advance(&chain, None, block(9, 0), vec![]).await.expect("advances");

    record.sources[0].start_block = StartBlock::Number(2);
    let chain = store.open_chain(&record, &kinds()).await.expect("opens");
    assert_eq!(differences(&chain), ["source vault reads the past of all it follows: blocks 2 to 4, 3 left"]);
    let below = vec![event(block(3, 0), 0, staked(1, 4))];
    let items = record.sources[0].follows.clone();
    let read = Read { items, refs: vec![], published: true };
    chain.fill(&backfill("vault", (2, 4), below), &read).await.expect("backfills");
    let chain = store.open_chain(&record, &kinds()).await.expect("opens");
    assert_eq!(differences(&chain), [""; 0]);
    let rewound = rewind(&chain, block(3, 0)).await.expect("rewinds");
    assert_eq!(rewound.checkpoints, all_at(Some(block(3, 0))));
    assert_eq!(texts(&store, "select stake_amount::text from users").await, ["4"]);
}

fn differences(chain: &ChainStore) -> Vec<String> {
    chain.comparison().differences().map(ToString::to_string).collect()
}
