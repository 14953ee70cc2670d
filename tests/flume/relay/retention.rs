//! The outbox stays bounded, and takes nothing away that somebody lacks.

use std::time::Duration;

use super::end_to_end::settle;
use super::{Carriers, connect as store_at, published, sources};
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
    settle(&flume, &chain).await;
    server.kill();
    let carriers = Carriers::start(&config, &url).await;
    carriers.until("redis", "fails", |sink| sink.consecutive_errors > 3).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let store = store_at(&url).await;
    let state = store.outbox_state().await.expect("reads");
    assert_eq!(state.first, 1, "what the sink lacks is kept, however old");

    server.restart();
    for _ in 0..20 {
        chain.mine(5);
        settle(&flume, &chain).await;
    }
    let last = carriers.until_all("redis").await;
    let kept = async || -> i64 {
        sqlx::query_scalar("select count(*) from outbox").fetch_one(&pool).await.expect("a count")
    };
    for _ in 0..100 {
        if kept().await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!((kept().await, store.outbox_state().await.expect("reads").last), (0, last));
    assert_eq!(published(&server).await.len(), usize::try_from(last).expect("few"));

    // What is lost now is not kept any more: the stream goes on with what is, and says so.
    server.run::<()>("FLUSHALL").await;
    chain.mine(5);
    settle(&flume, &chain).await;
    let newest = carriers.until_all("redis").await;
    let messages = published(&server).await;
    assert_eq!(messages.len(), usize::try_from(newest - last).expect("few"));
    carriers.stop().await;
    flume.stop().await;
    store.close().await;
}
