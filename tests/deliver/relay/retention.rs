//! The outbox stays bounded, and deletes nothing that a sink lacks.

use std::time::{Duration, Instant};

use chainflume_core::domain::U256;
use chainflume_devchain::{Action, wallet};

use super::end_to_end::until_confirmed_is_stored;
use super::{Relays, connect as store_at, published, sources};
use crate::daemon::Home;
use crate::flume::{Flume, config, connect, devchain};
use crate::postgres;
use crate::redis_server::RedisServer;

#[tokio::test(flavor = "multi_thread")]
async fn old_messages_go_once_the_sink_has_them_and_not_before() {
    let url = postgres::database().await;
    let mut server = RedisServer::start();
    let pool = connect(&url).await;
    let (chain, node) = devchain(21, 10).await;
    let config = format!("[outbox]\nretention = \"0s\"\n{}", config(&node, "", &sources(&server.url())));
    let flume = Flume::start(&config, &url).await;
    until_confirmed_is_stored(&flume, &chain).await;
    server.kill();
    let relays = Relays::start(&config, &url).await;
    relays.until("redis", "fails", |sink| sink.consecutive_errors > 3).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let store = store_at(&url).await;
    let state = store.outbox().state().await.expect("reads");
    assert_eq!(state.first, 1, "what the sink lacks is kept, however old");

    server.restart();
    for _ in 0..20 {
        chain.mine(5);
        until_confirmed_is_stored(&flume, &chain).await;
    }
    let last = relays.until_all("redis").await;
    let kept = async || -> i64 {
        sqlx::query_scalar("select count(*) from outbox").fetch_one(&pool).await.expect("a count")
    };
    for _ in 0..100 {
        if kept().await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!((kept().await, store.outbox().state().await.expect("reads").last), (0, last));
    assert_eq!(published(&server).await.len(), usize::try_from(last).expect("few"));

    // What is lost now is not kept any more: the stream goes on with what is, and reports it.
    server.run::<()>("FLUSHALL").await;
    chain.mine(5);
    until_confirmed_is_stored(&flume, &chain).await;
    let newest = relays.until_all("redis").await;
    let messages = published(&server).await;
    assert_eq!(messages.len(), usize::try_from(newest - last).expect("few"));
    relays.stop().await;
    flume.stop().await;
    store.close().await;
}

/// Steady load, in messages a block and blocks a round.
const LOAD: (usize, usize) = (40, 4);
const ROUND: Duration = Duration::from_millis(200);
const ROUNDS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn under_steady_load_the_table_on_disk_stops_growing() {
    let server = RedisServer::start();
    let (chain, node) = devchain(22, 10).await;
    let home = Home::new(&node, &format!("[outbox]\nretention = \"1s\"\n{}", sources(&server.url())), None);
    let daemon = home.start();
    daemon.until_tip(8).await;
    let pool = connect(&home.private_url()).await;
    // The daemon's own server, as it is, but for its clock: a minute is longer than a test.
    for sql in ["alter system set autovacuum_naptime = '1s'", "select pg_reload_conf()"] {
        sqlx::query(sql).execute(&pool).await.expect("the server is ours");
    }
    let (messages, blocks) = LOAD;
    let mint = Action::Erc20Mint { to: wallet(1), amount: U256::from(1) };
    let (mut sizes, started) = (Vec::new(), Instant::now());
    for round in 1..=ROUNDS {
        chain.mine_with(vec![vec![mint.clone(); messages]; blocks]);
        tokio::time::sleep_until((started + ROUND * u32::try_from(round).expect("few")).into()).await;
        let size: (i64, i64, i64) = sqlx::query_as(
            "select pg_total_relation_size('outbox'), (select count(*) from outbox), \
                 (select n_dead_tup from pg_stat_user_tables where relname = 'outbox')",
        )
        .fetch_one(&pool)
        .await
        .expect("reads");
        sizes.push(size);
    }
    let last = store_at(&home.private_url()).await.outbox().state().await.expect("reads").last;
    let written: i64 = i64::try_from(last).expect("few");
    let (bytes, kept) = (sizes.iter().map(|size| size.0).max(), sizes.iter().map(|size| size.1).max());
    let (bytes, kept) = (bytes.expect("some"), kept.expect("some"));
    assert!(written > 2 * kept, "{written} written, {kept} kept at once: no steady load: {sizes:?}");
    // What rows take while none is deleted yet. Twice that for the most rows at once is room for those that wait for the vacuum; the
    // space of deleted rows is used again, so all that was written never fits.
    let full = sizes.windows(2).find(|pair| pair[1].1 < pair[0].1).map(|pair| pair[0]);
    let a_row = full.map(|full| full.0 / full.1).expect("rows were deleted");
    assert!(bytes < 2 * kept * a_row, "{a_row} bytes a row; bytes, rows, dead rows: {sizes:?}");
    assert!(sizes.iter().all(|size| size.2 < 3 * kept), "bytes, rows, dead rows: {sizes:?}");
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_records_of_a_chain_go_by_themselves() {
    let url = postgres::database().await;
    let pool = connect(&url).await;
    let (_chain, node) = devchain(22, 1).await;
    let kept_for = "[retention]\ndead_letters = \"1d\"\n[publish]\nretention = \"1d\"\n";
    let config = format!("{kept_for}{}", config(&node, "", &sources("")));
    // More than a page of old rows: the rest does not wait for the next turn.
    let letters = "insert into dead_letters (kind, sink, seq, reason, raw, resolved_at) \
        select 'delivery', 'webhook:old', n, 'refused', '{}', now() - make_interval(days => n) from generate_series(0, 2500) n";
    let facts = "insert into domain_events (id, type, aggregate_type, aggregate_id, payload, source, happened_at, stored_at, seq) \
        select gen_random_uuid(), 'order.paid', 'order', n::text, '{}', 'shop', now(), now() - make_interval(days => n), n \
        from generate_series(0, 2500) n";
    // So many old messages that one page each two seconds would need two minutes.
    let messages = "with head as (update outbox_head set seq = 60000) \
        insert into outbox (seq, chain_id, aggregate_type, type, state, message, created_at) \
        select n, 1, 'contract', 'contract.note', 'confirmed', '{}', now() - interval '8 days' from generate_series(1, 60000) n";
    for insert in [letters, facts, messages] {
        sqlx::query(insert).execute(&pool).await.expect("writes");
    }
    let relays = Relays::start(&config, &url).await;
    let kept = "select (select count(*) from dead_letters), (select count(*) from domain_events), (select count(*) from outbox)";
    let kept = async || -> (i64, i64, i64) { sqlx::query_as(kept).fetch_one(&pool).await.expect("counts") };
    let deadline = Instant::now() + Duration::from_secs(40);
    while kept().await != (1, 1, 0) {
        assert!(Instant::now() < deadline, "{:?} are kept, not those of today alone", kept().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    relays.stop().await;
}
