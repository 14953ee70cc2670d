use chainflume_core::domain::{Event, U256};

use super::fixture::*;
use crate::{Checkpoint, DeletedRows, SourceDeletion, Store};
use chainflume_db::StoreError;

/// Six blocks in which every source has events of the same wallets.
fn events() -> Vec<Event> {
    let nft_of = |n: u8| nft(u8::from(n > 1) * n, n + 1, U256::from(n % 2));
    let of_block = |n: u8| {
        let at = block(n.into(), 0);
        vec![
            event(at, 0, staked(n % 3 + 1, n.into())),
            event(at, 1, transfer(0, n % 3 + 1, U256::from(n))),
            event(at, 2, transfer(n % 3 + 1, 4, U256::from(1))),
            event(at, 3, approval(1, 2, U256::from(n))),
            event(at, 4, nft_of(n)),
            event(at, 5, note("{}")),
        ]
    };
    (1..=6).flat_map(of_block).collect()
}

const TOP: u64 = 6;

/// A store that was filled in one step, but for one source.
async fn filled(without: Option<&str>) -> Store {
    let store = store().await;
    let chain = open(&store).await;
    let kinds = kinds();
    let is_there = |source: &str| without != Some(source);
    let mut events = events();
    events.retain(|event| is_there(&kinds[event.fact.kind.0].source));
    let mut step = step(None, block(TOP, 0), events);
    step.expected.retain(|Checkpoint { source, .. }| is_there(source));
    chain.advance(&step).await.expect("advances");
    store
}

fn emptying(name: &str, forget: bool, page: u32) -> SourceDeletion<'_> {
    SourceDeletion { name, forget, digest: None, page }
}

async fn count(store: &Store, sql: &str) -> u64 {
    texts(store, &format!("select count(*)::text from {sql}")).await[0].parse().expect("a number")
}

#[tokio::test]
async fn emptying_by_any_page_size_leaves_no_trace_of_the_source() {
    for (source, page) in [("vault", 1), ("token", 4), ("token", 100), ("nft", 2), ("misc", 5)] {
        let (store, never) = (filled(None).await, filled(Some(source)).await);
        let before = count(&store, "events").await;
        let mut reported = Vec::new();
        let emptied = store.empty_source(&emptying(source, false, page), |done| reported.push(done)).await;
        let left = count(&store, "events").await;
        assert_eq!(emptied.expect("it is emptied"), Some(DeletedRows { events: before - left, pending: 0 }));
        assert_eq!(reported.last(), Some(&(before - left)));
        assert!(reported.len() > 1 || page == 100, "{source}: {reported:?}");
        assert_eq!(dump(&store).await, dump(&never).await, "{source} in pages of {page}");
        assert_eq!(count(&store, "orphaned_events").await, 0);
        assert_eq!(texts(&store, "select events::text from reorgs").await, [(before - left).to_string()]);
    }
}

#[tokio::test]
async fn what_was_announced_is_retracted_once_and_the_newest_first() {
    let store = filled(None).await;
    store.empty_source(&emptying("token", true, 3), |_| {}).await.expect("it is emptied");
    let of = |state: &str| {
        format!(
            "select concat_ws(' ', message::json->'metadata'->>'blockNumber', message::json->'metadata'->>'logIndex') \
             from outbox where state = '{state}' and message::json->'metadata'->>'source' = 'token' order by seq"
        )
    };
    let mut confirmed = texts(&store, &of("confirmed")).await;
    confirmed.reverse();
    assert_eq!((confirmed.len(), texts(&store, &of("retracted")).await), (18, confirmed));
    assert_eq!(texts(&store, "select name from sources order by 1").await, ["misc", "nft", "vault"]);
}

/// Deletes the first page of a source and ends there, as a process that is killed.
async fn interrupted(store: &Store, name: &'static str) {
    let other = store.clone();
    let killed = tokio::spawn(async move {
        other.empty_source(&emptying(name, true, 3), |_| panic!("killed after the first page")).await
    });
    assert!(killed.await.expect_err("it is killed").is_panic());
}

#[tokio::test]
async fn a_source_deleted_in_part_is_not_followed_until_it_is_gone() {
    let (store, never) = (filled(None).await, filled(Some("token")).await);
    let leader = open(&store).await;
    interrupted(&store, "token").await;
    // A writer that read before cannot go on.
    let (at, next) = (Some(block(TOP, 0)), block(TOP + 1, 0));
    let went_on = advance(&leader, at, next, vec![]).await;
    assert!(went_on.expect_err("its checkpoint is gone").is_conflict());
    // A later opening sees what is left, and does not take it for whole.
    let chain = store.open_chain(&record(), &kinds()).await.expect("the chain opens");
    let why = chain.follow().await.expect("compares").sources[1].hindrance().unwrap_or_default();
    assert!(
        why.contains("token is deleted in part") && why.contains("`chainflume sources reset token`"),
        "{why}"
    );
    assert!(matches!(store.rename_source("token", "other").await, Err(StoreError::Emptying { .. })));
    // A reorg meanwhile takes its share.
    let expected: Vec<Checkpoint> = chain.snapshot().await.expect("reads").checkpoints;
    assert_eq!(expected[1].at, None);

    let emptied = store.empty_source(&emptying("token", false, 4), |_| {}).await.expect("it goes on");
    assert_eq!(emptied, Some(DeletedRows { events: 15, pending: 0 }));
    assert_eq!(dump(&store).await, dump(&never).await);
    let again = store.open_chain(&record(), &kinds()).await.expect("the chain opens");
    assert!(!again.comparison().blocked().contains("token"));
}

#[tokio::test]
async fn a_reorg_while_a_source_is_deleted_takes_its_share() {
    let (store, never) = (filled(None).await, filled(Some("token")).await);
    interrupted(&store, "token").await;
    for (store, rest) in [(&store, 2 * 3), (&never, 0)] {
        let chain = store.open_chain(&record(), &kinds()).await.expect("the chain opens");
        let rewound = rewind(&chain, block(3, 0)).await.expect("rewinds");
        assert_eq!(rewound.events, 3 * 3 + rest);
    }
    let emptied = store.empty_source(&emptying("token", false, 4), |_| {}).await.expect("it goes on");
    assert_eq!(emptied, Some(DeletedRows { events: 9, pending: 0 }));
    assert_eq!(dump(&store).await, dump(&never).await);
    assert_eq!(count(&store, "orphaned_events").await, count(&never, "orphaned_events").await);
}

#[tokio::test]
async fn a_chain_that_is_forgotten_leaves_the_others_as_they_are() {
    let (store, never) = (store().await, store().await);
    let mut other = record();
    (other.chain_id, other.name) = (7, "other".to_owned());
    other.sources.iter_mut().for_each(|source| source.name = format!("{}_2", source.name));
    let mut kinds_of_other = kinds();
    kinds_of_other.iter_mut().for_each(|kind| kind.source = format!("{}_2", kind.source));
    for store in [&store, &never] {
        let chain = store.open_chain(&other, &kinds_of_other).await.expect("the chain opens");
        let mut step = step(None, block(TOP, 0), events());
        step.expected.iter_mut().for_each(|at| at.source = format!("{}_2", at.source));
        step.refs = vec![block(TOP, 0)];
        chain.advance(&step).await.expect("advances");
    }
    let chain = open(&store).await;
    let mut step = step(None, block(TOP, 0), events());
    step.refs = vec![block(TOP, 0)];
    step.dead_letters = vec![letter(block(2, 0), 9)];
    chain.advance(&step).await.expect("advances");
    rewind(&chain, block(5, 0)).await.expect("rewinds");

    let kept = store.stored_chains().await.expect("reads");
    let kept = kept.into_iter().find(|kept| kept.chain_id == CHAIN).expect("it is stored");
    assert_eq!((kept.name.as_str(), kept.sources.len(), kept.tip, kept.events), ("sepolia", 4, Some(5), 30));
    let mut reported = 0;
    let emptied = store.forget_chain(&kept, 7, |done| reported = done).await.expect("it is forgotten");
    assert_eq!((emptied, reported), (Some(DeletedRows { events: 30, pending: 0 }), 30));
    assert_eq!(dump(&store).await, dump(&never).await);
    for table in ["chains", "reorgs", "orphaned_events", "pending_events", "blocks", "dead_letters"] {
        assert_eq!(count(&store, &format!("{table} where chain_id = {CHAIN}")).await, 0, "{table}");
    }
    assert_eq!(store.forget_chain(&kept, 7, |_| {}).await.expect("nothing is left"), None);
}
