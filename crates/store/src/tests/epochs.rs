use super::fixture::*;
use crate::Store;
use chainflume_outbox::{Adopted, Position, SinkContents};
use chainflume_testkit::postgres as testing;

/// First number and epoch of each epoch.
async fn epochs(store: &Store) -> Vec<(u64, String)> {
    let lineage = store.outbox().lineage("redis", 0, &[]).await.expect("reads");
    lineage.epochs.into_iter().map(|epoch| (epoch.first, epoch.epoch)).collect()
}

/// Commits a message about block `number`.
async fn publish(store: &Store, number: u64) {
    let chain = open(store).await;
    let held = chain.snapshot().await.expect("reads");
    let (from, at) = (held.checkpoints[0].at, block(number, 0));
    chain.advance(&step(from, at, vec![event(at, 0, note("{}"))])).await.expect("advances");
}

async fn numbers(store: &Store) -> Vec<(u64, String)> {
    let rows = store.outbox().read_after(0, 100).await.expect("reads").expect("of this history");
    for row in &rows {
        let message: serde_json::Value = serde_json::from_str(&row.message).expect("json");
        assert_eq!(message["seq"].as_u64(), Some(row.seq), "the message has its number");
    }
    rows.into_iter().map(|row| (row.seq, row.epoch.epoch)).collect()
}

#[tokio::test]
async fn a_moved_database_begins_an_epoch_with_its_next_number() {
    let url = testing::database().await;
    let store = connect(&url).await;
    publish(&store, 1).await;
    publish(&store, 2).await;
    let [(1, first)] = &epochs(&store).await[..] else { panic!("one epoch, from the first number on") };
    assert!(first.len() == 12 && first.bytes().all(|byte| byte.is_ascii_hexdigit()), "{first}");
    store.close().await;
    let copies = [testing::copy(&url).await, testing::copy(&url).await];
    let mut found = Vec::new();
    for url in &copies {
        let store = connect(url).await;
        assert_eq!(epochs(&store).await, [(1, first.clone())], "a look changes nothing");
        publish(&store, 3).await;
        let [(1, kept), (3, fresh)] = &epochs(&store).await[..] else { panic!("a new one from 3 on") };
        assert_eq!(kept, first);
        let expected = [(1, first.clone()), (2, first.clone()), (3, fresh.clone())];
        assert_eq!(numbers(&store).await, expected);
        found.push(fresh.clone());
        let at = |seq, epoch: &str| Position { seq, epoch: Some(epoch.to_owned()) };
        for (position, is_ours) in
            [(at(2, first), true), (at(3, fresh), true), (at(3, first), false), (at(2, "another"), false)]
        {
            let read = store.outbox().read_after(position.clone(), 9).await.expect("reads");
            assert_eq!(read.is_some(), is_ours, "{position:?}");
        }
        assert!(store.outbox().read_after(4, 9).await.expect("reads").is_none(), "a number it never had");
        store.close().await;
    }
    assert_ne!(found[0], found[1], "two copies go their own ways");
    let store = connect(&url).await;
    publish(&store, 3).await;
    assert_eq!(epochs(&store).await, [(1, first.clone())], "the place is the same");
}

#[tokio::test]
async fn tables_that_were_restored_in_place_are_another_place() {
    let store = store().await;
    publish(&store, 1).await;
    let before = epochs(&store).await;
    // As a dump that is restored into the same database.
    for sql in [
        "create table saved as select * from outbox_head",
        "truncate outbox_head",
        "insert into outbox_head select * from saved",
    ] {
        sqlx::query(sql).execute(&store.pool).await.expect("runs");
    }
    publish(&store, 2).await;
    let after = epochs(&store).await;
    assert_eq!((after.len(), &after[0], after[1].0), (2, &before[0], 2));
}

#[tokio::test]
async fn an_adoption_moves_what_a_sink_lacks_behind_what_it_holds() {
    let url = testing::database().await;
    let store = connect(&url).await;
    publish(&store, 1).await;
    publish(&store, 2).await;
    let old = epochs(&store).await[0].1.clone();
    for sink in ["redis", "webhook:behind", "replay replay:"] {
        store.outbox().set_sink_cursor(sink, 2).await.expect("notes");
    }
    store.close().await;
    let store = connect(&testing::copy(&url).await).await;
    for number in 3..=5 {
        publish(&store, number).await;
    }
    for (sink, cursor) in [("webhook:ahead", 4), ("replay replay:", 4)] {
        store.outbox().set_sink_cursor(sink, cursor).await.expect("notes");
    }
    store.outbox().note_foreign("redis", "because", None).await.expect("notes");
    store.outbox().note_foreign("redis", "of another thing", None).await.expect("notes");
    assert_eq!(store.outbox().sink_start("redis").await.expect("reads").foreign.as_deref(), Some("because"));
    let adopted = Adopted { aggregate_type: "contract".to_owned(), seq: 9, epoch: Some(old.clone()) };
    let found = SinkContents { top: 9, foreign: vec![adopted] };
    let joined = store.outbox().adopt_sink("redis", &found).await.expect("adopts");
    assert_eq!((joined.kept, joined.next, joined.moved), (2, 10, 3));
    let fresh = epochs(&store).await[1].1.clone();
    let expected = [(1, &old), (2, &old), (10, &fresh), (11, &fresh), (12, &fresh)];
    assert_eq!(numbers(&store).await, expected.map(|(seq, epoch)| (seq, epoch.clone())));
    let cursor = async |sink: &str| store.outbox().sink_cursor(sink).await.expect("reads");
    assert_eq!((cursor("redis").await, cursor("webhook:behind").await), (Some(9), Some(2)));
    assert_eq!((cursor("webhook:ahead").await, cursor("replay replay:").await), (Some(11), Some(4)));
    assert_eq!(store.outbox().sink_start("redis").await.expect("reads").foreign, None);
    let next = store.outbox().read_after(2, 9).await.expect("reads").expect("of this history");
    assert_eq!((next[0].missed(2), next[1].missed(10)), (0, 0), "what was left out is not missed");

    let again = store.outbox().adopt_sink("redis", &found).await.expect("adopts");
    assert_eq!(
        (again.moved, store.outbox().state().await.expect("reads").last),
        (0, 12),
        "and once is enough"
    );
    publish(&store, 6).await;
    assert_eq!(numbers(&store).await.last(), Some(&(13, fresh)));
}
