use super::fixture::*;
use crate::{EventCount, SourceStatus};
use chainflume_core::domain::U256;
use chainflume_db::{Schema, StoreError};
use chainflume_testkit::postgres as testing;

#[tokio::test]
async fn the_status_shows_the_state_of_each_source() {
    let store = store().await;
    let chain = open(&store).await;
    let at = block(4, 0);
    let mut first = step(
        None,
        at,
        vec![event(at, 0, transfer(0, 1, U256::from(1))), event(at, 1, approval(1, 2, U256::ZERO))],
    );
    first.expected = first.expected.split_off(1);
    first.dead_letters = vec![letter(at, 7)];
    first.final_number = 2;
    chain.advance(&first).await.expect("advances");
    let status = store.status().await.expect("reads");
    let expected = SourceStatus {
        chain_id: CHAIN,
        chain: "sepolia".to_owned(),
        source: "token".to_owned(),
        family: "erc20".to_owned(),
        start_block: Some(1),
        starts_at_latest: false,
        checkpoint: Some(at),
        updated_at: status[2].updated_at,
        final_number: Some(2),
        events: 2,
        dead_letters_open: 1,
    };
    assert_eq!(status[2], expected);
    assert!(status[2].updated_at.is_some());
    assert_eq!(
        (status[3].source.as_str(), status[3].checkpoint, status[3].updated_at),
        ("vault", None, None)
    );
    let count = |event_type: &str, events| EventCount {
        chain_id: CHAIN,
        source: "token".to_owned(),
        event_type: event_type.to_owned(),
        events,
    };
    let counts = store.event_counts().await.expect("reads");
    assert_eq!(
        counts[3..6],
        [count("erc20.approval", 1), count("erc20.mint", 1), count("erc20.transfer", 0)]
    );
}

#[tokio::test]
async fn the_write_probe_fails_where_the_database_is_read_only() {
    let url = testing::database().await;
    let store = connect(&url).await;
    let mut probe = store.write_probe();
    probe.write().await.expect("writable");
    probe.write().await.expect("writable");
    let name = texts(&store, "select current_database()::text").await.swap_remove(0);
    execute(&store, &format!("alter database {name} set default_transaction_read_only = on")).await;
    store.close().await;
    let read_only = connect(&url).await;
    assert!(read_only.write_probe().write().await.expect_err("read-only").is_transient());
    assert_eq!(read_only.schema().await.expect("reads"), Schema::Current);
}

#[tokio::test]
async fn a_chain_of_the_same_id_is_refused_and_a_moved_source_blocked() {
    let store = store().await;
    open(&store).await;
    let mut other = record();
    other.genesis_hash = Some(chainflume_core::domain::B256::ZERO);
    assert!(matches!(store.open_chain(&other, &kinds()).await, Err(StoreError::OtherChain { .. })));
    other.genesis_hash = None;
    store.open_chain(&other, &kinds()).await.expect("a genesis that is not known is not compared");
    other.chain_id = 1;
    let moved = store.open_chain(&other, &kinds()).await.expect("one source stops no chain");
    assert!(moved.comparison().sources.iter().all(|compared| compared.is_blocked()));
    let of_chain = "select chain_id::text from sources group by 1";
    assert_eq!(texts(&store, of_chain).await, ["421614"], "nothing was moved");
    other.chain_id = u64::MAX;
    assert!(matches!(store.open_chain(&other, &kinds()).await, Err(StoreError::OutOfRange { .. })));
}

#[tokio::test]
async fn a_lost_connection_is_transient_and_the_next_call_works() {
    let store = store().await;
    let chain = open(&store).await;
    let killed = chain.snapshot();
    let kill = "select pg_terminate_backend(pid)::text from pg_stat_activity \
        where datname = current_database() and pid <> pg_backend_pid()";
    killed.await.expect("reads");
    let mut tx = chainflume_db::transaction::begin(&store.pool).await.expect("begins");
    execute(&store, kill).await;
    let error = sqlx::query("select 1").execute(&mut *tx).await.expect_err("the connection is gone");
    assert!(StoreError::from(error).is_transient());
    drop(tx);
    chain.snapshot().await.expect("reads over a new connection");
}
