use super::audit::{blocks, deceived, proven, read, truth};
use super::fixture::*;
use crate::{ChainRecord, Store};

const INDEXES: &str = "select indexdef from pg_indexes where tablename in ('events', 'token_balances', 'nft_owners') order by 1";

async fn indexes(store: &Store) -> Vec<String> {
    texts(store, INDEXES).await
}

#[tokio::test]
async fn a_first_history_drops_indexes_and_restores_them() {
    let store = store().await;
    let chain = open(&store).await;
    let all = indexes(&store).await;
    chain.defer_indexes().await.expect("defers");
    chain.defer_indexes().await.expect("and again, after a restart");
    let kept: Vec<String> =
        all.iter().filter(|index| index.contains("UNIQUE") || index.contains("negative")).cloned().collect();
    assert_eq!((indexes(&store).await, kept.len()), (kept, 4));
    assert_eq!(chain.build_indexes().await.expect("builds"), (all.len() - 4) as u64);
    assert_eq!((indexes(&store).await, chain.build_indexes().await.expect("nothing is left")), (all, 0));
}

#[tokio::test]
async fn indexes_stay_where_there_are_events_or_another_chain() {
    let store = store().await;
    let chain = open(&store).await;
    let all = indexes(&store).await;
    let at = block(1, 0);
    advance(&chain, None, at, vec![event(at, 0, staked(1, 1))]).await.expect("advances");
    chain.defer_indexes().await.expect("does nothing");
    assert_eq!(indexes(&store).await, all);

    let store = super::fixture::store().await;
    let chain = open(&store).await;
    let other = ChainRecord { chain_id: 5, genesis_hash: None, sources: Vec::new(), ..record() };
    store.open_chain(&other, &[]).await.expect("opens");
    chain.defer_indexes().await.expect("does nothing");
    assert_eq!(indexes(&store).await, all);
}

/// A chain with wrong events is compared, repaired and rewound: what each found, what was published, and what is left.
async fn mended(deferred: bool) -> Vec<String> {
    let store = store().await;
    if deferred {
        open(&store).await.defer_indexes().await.expect("defers");
    }
    let chain = deceived(&store).await;
    let (token, vault) = truth();
    let mut seen = Vec::new();
    for (source, reorgs, events) in [("token", 0, token), ("vault", 1, vault)] {
        let reread = read(source, reorgs, events);
        seen.push(format!("{:?}", chain.compare(&reread).await.expect("compares")));
        seen.push(format!(
            "{:?}",
            chain.repair(&reread, &proven(&chain, &reread).await).await.expect("repairs")
        ));
    }
    seen.extend(dump(&store).await);
    let [one, ..] = blocks();
    seen.push(format!("{:?}", rewind(&chain, one).await.expect("rewinds")));
    seen.extend(dump(&store).await);
    seen.extend(
        texts(
            &store,
            "select concat_ws(' ', state, type, message::jsonb ->> 'aggregateId') from outbox order by seq",
        )
        .await,
    );
    assert_eq!(chain.is_deferred().await.expect("reads"), deferred, "nothing built them on the way");
    seen
}

#[tokio::test]
async fn comparing_repairing_and_rewinding_do_without_indexes_too() {
    let (with, without) = (mended(false).await, mended(true).await);
    assert!(with.len() > 20, "{with:?}");
    assert_eq!(without, with);
}
