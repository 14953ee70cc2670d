use chainflume_core::domain::{BlockId, BlockRange, DeadLetterKind, Event, Log, U256};

use super::fixture::*;
use crate::{Backfill, ChainStore, DeadLetterQuery, FailedRetry, Store, StoredDeadLetter};

fn all() -> DeadLetterQuery {
    DeadLetterQuery { resolved: true, limit: 100, ..DeadLetterQuery::default() }
}

async fn open_ones(store: &Store) -> Vec<u64> {
    let which = DeadLetterQuery { limit: 100, ..DeadLetterQuery::default() };
    store.dead_letters(&which).await.expect("reads").iter().map(|letter| letter.id).collect()
}

/// A chain with letters in blocks 1 and 2.
async fn with_letters(store: &Store) -> (ChainStore, Vec<StoredDeadLetter>) {
    let chain = open(store).await;
    let mut one = step(None, block(1, 0), vec![]);
    one.dead_letters = vec![letter(block(1, 0), 0), letter(block(1, 0), 1)];
    chain.advance(&one).await.expect("advances");
    let mut two = step(Some(block(1, 0)), block(2, 0), vec![]);
    two.dead_letters = vec![letter(block(2, 0), 0)];
    chain.advance(&two).await.expect("advances");
    let letters = store.dead_letters(&all()).await.expect("reads");
    (chain, letters)
}

fn backfill(at: BlockId, events: Vec<Event>) -> Backfill {
    let range = BlockRange::single(at.number);
    Backfill { source: "token".to_owned(), range, reorgs: 0, events, dead_letters: vec![] }
}

#[tokio::test]
async fn a_letter_holds_the_log_and_is_found_until_it_is_dropped() {
    let store = store().await;
    let (_, letters) = with_letters(&store).await;
    let logs: Vec<Log> = letters.iter().map(|letter| letter.log().expect("a log")).collect();
    let given =
        [letter(block(1, 0), 0), letter(block(1, 0), 1), letter(block(2, 0), 0)].map(|letter| letter.log);
    assert_eq!(logs, given);
    let ids: Vec<u64> = letters.iter().map(|letter| letter.id).collect();
    assert_eq!(open_ones(&store).await, ids);
    let page = DeadLetterQuery { after: ids[0], limit: 1, source: Some("token".to_owned()), resolved: false };
    assert_eq!(store.dead_letters(&page).await.expect("reads"), [letters[1].clone()]);
    let other = DeadLetterQuery { source: Some("nft".to_owned()), ..all() };
    assert_eq!(store.dead_letters(&other).await.expect("reads"), []);

    assert!(store.drop_dead_letter(ids[1], "a test contract").await.expect("writes"));
    assert!(!store.drop_dead_letter(ids[1], "again").await.expect("writes"));
    assert_eq!(open_ones(&store).await, [ids[0], ids[2]]);
    let dropped = store.dead_letters_of(&[ids[1]]).await.expect("reads").remove(0);
    assert_eq!((dropped.note.as_deref(), dropped.resolved_at.is_some()), (Some("a test contract"), true));
}

#[tokio::test]
async fn a_failed_try_is_counted_and_names_who_gave_up() {
    let store = store().await;
    let (chain, letters) = with_letters(&store).await;
    let failed =
        |letter: &StoredDeadLetter, kind| FailedRetry { id: letter.id, kind, reason: "no\0".to_owned() };
    store.drop_dead_letter(letters[1].id, "").await.expect("writes");
    let mapping = Some(DeadLetterKind::Mapping);
    let again = [failed(&letters[0], mapping), failed(&letters[1], mapping), failed(&letters[2], None)];
    chain.record_failed_retries(&again).await.expect("writes");
    let lines: Vec<_> = store
        .dead_letters(&all())
        .await
        .expect("reads")
        .into_iter()
        .map(|letter| (letter.kind, letter.attempts, letter.reason))
        .collect();
    let line = |kind, attempts, reason: &str| (kind, attempts, reason.to_owned());
    let first = "data is \u{fffd} bytes short";
    assert_eq!(
        lines,
        [
            line(DeadLetterKind::Mapping, 2, "no\u{fffd}"),
            line(DeadLetterKind::Decode, 1, first),
            line(DeadLetterKind::Decode, 2, "no\u{fffd}"),
        ]
    );
}

#[tokio::test]
async fn an_event_resolves_the_letter_of_its_place_even_a_stored_one() {
    let store = store().await;
    let (chain, letters) = with_letters(&store).await;
    let mut fact = transfer(1, 2, U256::from(3));
    fact.args = None;
    let mut stored = event(block(2, 0), 0, fact);
    stored.place.tx_index = 0;
    let step = backfill(block(2, 0), vec![stored]);
    chain.backfill(&step).await.expect("backfills");
    assert_eq!(open_ones(&store).await, [letters[0].id, letters[1].id]);
    // A letter that came later, from an instance that still reads with an old ABI.
    execute(&store, "update dead_letters set resolved_at = null where block_number = 2").await;
    chain.backfill(&step).await.expect("backfills");
    assert_eq!(open_ones(&store).await, [letters[0].id, letters[1].id]);
    let attempts = store.dead_letters_of(&[letters[2].id]).await.expect("reads")[0].attempts;
    assert_eq!(attempts, 3);
}

#[tokio::test]
async fn a_reorg_takes_the_letters_of_its_blocks() {
    let store = store().await;
    let (chain, letters) = with_letters(&store).await;
    rewind(&chain, block(1, 0)).await.expect("rewinds");
    let ids: Vec<u64> = letters.iter().map(|letter| letter.id).collect();
    let left = chain.open_dead_letters(&ids).await.expect("reads");
    assert_eq!(left, letters[..2]);
}

/// A command with a newer configuration stores beside a daemon that has not been restarted.
#[tokio::test]
async fn events_of_later_kinds_are_retracted_like_others() {
    let store = store().await;
    let daemon = open(&store).await;
    let (one, two) = (block(1, 0), block(2, 0));
    advance(&daemon, None, one, vec![]).await.expect("advances");
    advance(&daemon, Some(one), two, vec![]).await.expect("advances");
    let mut newer = kinds();
    newer.push(kind("token", "contract.sync", "Sync()", chainflume_core::domain::Projection::None, vec![]));
    let command = store.open_chain(&record(), &newer).await.expect("opens");
    let mut fact = note("{}");
    fact.kind = chainflume_core::domain::KindIndex(newer.len() - 1);
    command.backfill(&backfill(two, vec![event(two, 0, fact)])).await.expect("backfills");
    assert_eq!(rewind(&daemon, one).await.expect("rewinds").events, 1);
    let published = texts(&store, "select type || ' ' || state from outbox order by seq").await;
    assert_eq!(published, ["contract.sync confirmed", "contract.sync retracted"]);
}
