use std::time::Duration;

use super::fixture::*;
use chainflume_core::domain::DeadLetterKind;

use crate::{HistoryRetention, Store, TrimmedHistory};

const DAY: Duration = Duration::from_hours(24);

fn keep(letters: u32) -> HistoryRetention {
    HistoryRetention {
        resolved: DAY,
        orphaned: DAY,
        strangers: vec!["vault".to_owned()],
        strangers_letters: letters,
    }
}

async fn counts(store: &Store) -> Vec<String> {
    let sql = "select (select count(*) from dead_letters) || ' ' || (select count(*) from orphaned_events) || ' ' \
        || (select count(*) from reorgs)";
    texts(store, sql).await
}

#[tokio::test]
async fn resolved_letters_and_records_of_reorgs_are_deleted_when_old() {
    let store = store().await;
    let (chain, one, two) = (open(&store).await, block(1, 0), block(2, 0));
    advance(&chain, None, one, vec![]).await.expect("advances");
    let mut step = step(Some(one), two, vec![event(two, 0, staked(1, 5)), event(two, 1, staked(1, 5))]);
    step.dead_letters = vec![letter(two, 2)];
    chain.advance(&step).await.expect("advances");
    rewind(&chain, one).await.expect("rewinds");
    let mut again = super::fixture::step(Some(one), two, vec![]);
    again.dead_letters = vec![letter(two, 2), letter(two, 3), letter(two, 4)];
    chain.advance(&again).await.expect("advances");
    execute(&store, "update dead_letters set resolved_at = now() where log_index < 4").await;
    assert_eq!(store.trim_history(&keep(9), 10).await.expect("trims"), TrimmedHistory::default());
    assert_eq!(counts(&store).await, ["3 2 1"]);

    execute(&store, "update reorgs set detected_at = now() - interval '25 hours'").await;
    execute(&store, "update dead_letters set resolved_at = now() - interval '25 hours' where log_index = 2")
        .await;
    let first = store.trim_history(&keep(9), 1).await.expect("trims");
    assert!(first.is_full(1) && (first.resolved, first.orphaned, first.reorgs) == (1, 1, 0), "{first:?}");
    let second = store.trim_history(&keep(9), 1).await.expect("trims");
    assert_eq!((second.resolved, second.orphaned, second.reorgs), (0, 1, 1));
    assert_eq!(counts(&store).await, ["2 0 0"], "the open letter and the one resolved today");
}

#[tokio::test]
async fn a_source_of_any_contract_keeps_its_newest_letters() {
    let store = store().await;
    let (chain, one) = (open(&store).await, block(1, 0));
    let mut step = step(None, one, vec![]);
    step.dead_letters = (0..5).map(|index| letter(one, index)).collect();
    chain.advance(&step).await.expect("advances");
    execute(&store, "update dead_letters set source = 'vault'").await;
    let trimmed = store.trim_history(&keep(2), 10).await.expect("trims");
    assert_eq!(trimmed.strangers, [("vault".to_owned(), 3)]);
    assert_eq!(texts(&store, "select log_index::text from dead_letters order by id").await, ["3", "4"]);
    execute(&store, "update dead_letters set source = 'token'").await;
    assert_eq!(store.trim_history(&keep(1), 10).await.expect("trims"), TrimmedHistory::default());
}

#[tokio::test]
async fn letters_of_a_source_and_kind_are_dropped_together() {
    let store = store().await;
    let (chain, one) = (open(&store).await, block(1, 0));
    let mut step = step(None, one, vec![]);
    step.dead_letters = (0..5).map(|index| letter(one, index)).collect();
    chain.advance(&step).await.expect("advances");
    execute(&store, "update dead_letters set kind = 'mapping' where log_index = 4").await;
    let source = texts(&store, "select distinct source from dead_letters").await.remove(0);
    assert_eq!(
        store.drop_dead_letters(&source, Some(DeadLetterKind::Decode), "spam").await.expect("drops"),
        4
    );
    assert_eq!(store.drop_dead_letters(&source, None, "the rest").await.expect("drops"), 1);
    assert_eq!(store.drop_dead_letters(&source, None, "again").await.expect("drops"), 0);
    let notes = texts(&store, "select distinct note from dead_letters order by 1").await;
    assert_eq!(notes, ["spam", "the rest"]);
}
