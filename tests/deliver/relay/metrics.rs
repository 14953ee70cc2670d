//! What an operator reads about messages is what happened to them.

use std::collections::BTreeMap;
use std::time::Duration;

use chainflume_core::domain::B256;
use chainflume_devchain::{Action, DEMO_TOKEN, RawLog};
use sqlx::postgres::PgPool;

use super::{outbox, sources, until_all};
use crate::daemon::{Daemon, Home};
use crate::flume::{connect, devchain};
use crate::postgres;
use crate::redis_server::RedisServer;
use crate::wait::until_async;

/// A log that calls itself a transfer and has not enough data.
fn malformed() -> Action {
    let topic = alloy_primitives::keccak256("Transfer(address,address,uint256)");
    Action::Raw(Box::new(RawLog::new(DEMO_TOKEN, &[topic, B256::ZERO, B256::ZERO], &[1, 2, 3])))
}

/// The samples of one scrape whose name begins so, by the rest of their name.
async fn samples(daemon: &Daemon, name: &str) -> BTreeMap<String, f64> {
    let (_, text) = daemon.get("/metrics").await;
    let sample = |line: &str| {
        let (sample, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        Some((sample.to_owned(), value.parse().ok()?))
    };
    text.lines().filter_map(sample).collect()
}

async fn one(daemon: &Daemon, sample: &str) -> f64 {
    daemon.metric(sample).await.unwrap_or_else(|| panic!("no {sample}"))
}

/// How many messages there are by type and state, as the counter names them.
async fn counts(pool: &PgPool) -> BTreeMap<String, f64> {
    let rows: Vec<(String, f64)> = sqlx::query_as(
        "select '{sink=\"redis\",type=\"' || type || '\",state=\"' || state || '\"}', count(*)::float8 \
         from outbox group by 1",
    )
    .fetch_all(pool)
    .await
    .expect("reads");
    rows.into_iter().collect()
}

const PUBLISHED: &str = "chainflume_messages_published_total";

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_was_sent_refused_kept_and_put_aside() {
    let (url, server) = (postgres::database().await, RedisServer::start());
    let pool = connect(&url).await;
    let (chain, node) = devchain(17, 20).await;
    chain.mine_with(vec![vec![malformed()], vec![malformed()]]);
    // Out of reach of the reorgs.
    chain.mine(8);
    let home = Home::new(&node, &sources(&server.url()), Some(&url));
    let daemon = home.start();
    daemon.until_tip(chain.head().number - 2).await;
    for _ in 0..4 {
        chain.reorg(4, 7);
        daemon.until_tip(chain.head().number - 2).await;
    }
    until_all(&pool, &server).await;
    let all = f64::from(u32::try_from(outbox(&pool).await).expect("few"));
    // The relay counts after Redis has answered, a moment after the entry is there.
    let counted = async || samples(&daemon, PUBLISHED).await.values().sum::<f64>();
    until_async("all are counted", async || counted().await >= all).await;
    let expected = counts(&pool).await;
    assert!(expected.keys().any(|labels| labels.contains("retracted")), "{expected:?}");
    assert_eq!(samples(&daemon, PUBLISHED).await, expected);
    assert_eq!(one(&daemon, "chainflume_commit_to_publish_seconds_count{sink=\"redis\"}").await, all);
    let live: f64 = sqlx::query_scalar("select count(seen_at)::float8 from outbox")
        .fetch_one(&pool)
        .await
        .expect("a count");
    assert!(live > 0.0 && live < all, "{live} of {all} follow from a head");
    assert_eq!(one(&daemon, "chainflume_head_to_publish_seconds_count{sink=\"redis\"}").await, live);
    let slowest = one(&daemon, "chainflume_head_to_publish_seconds_sum{sink=\"redis\"}").await;
    assert!(slowest > 0.0 && slowest / live < 10.0, "{slowest} s for {live}");
    assert_eq!(one(&daemon, "chainflume_messages_repeated_total{sink=\"redis\"}").await, 0.0);
    assert_eq!(
        samples(&daemon, "chainflume_dead_letters_total").await,
        [("{source=\"nft\",kind=\"decode\"}", 0.0), ("{source=\"nft\",kind=\"mapping\"}", 0.0)]
            .into_iter()
            .chain([
                ("{source=\"token\",kind=\"decode\"}", 2.0),
                ("{source=\"token\",kind=\"mapping\"}", 0.0)
            ])
            .chain([
                ("{source=\"vault\",kind=\"decode\"}", 0.0),
                ("{source=\"vault\",kind=\"mapping\"}", 0.0)
            ])
            .map(|(labels, count)| (labels.to_owned(), count))
            .collect()
    );
    until(&daemon, "chainflume_outbox_messages", all).await;
    until(&daemon, "chainflume_sink_lag_messages{sink=\"redis\"}", 0.0).await;
    let age = one(&daemon, "chainflume_outbox_oldest_age_seconds").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(one(&daemon, "chainflume_outbox_oldest_age_seconds").await > age, "computed at the scrape");
    daemon.stop_well().await;

    // As after a crash before the cursor was written: all is sent again, and refused.
    sqlx::query("update sink_cursors set seq = 0").execute(&pool).await.expect("updates");
    let daemon = home.start();
    until(&daemon, "chainflume_messages_repeated_total{sink=\"redis\"}", all).await;
    assert_eq!(samples(&daemon, PUBLISHED).await.values().sum::<f64>(), 0.0, "a repeat is not published");
    // Counted at the start and once a minute.
    until(&daemon, "chainflume_dead_letters_open", 2.0).await;
    daemon.stop_well().await;
}

/// Waits until a sample has this value.
async fn until(daemon: &Daemon, sample: &str, value: f64) {
    let deadline = std::time::Instant::now() + crate::flume::WAIT_LIMIT;
    loop {
        let found = match daemon.try_get("/metrics").await {
            Some(_) => daemon.metric(sample).await,
            None => None,
        };
        if found == Some(value) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{sample} is {found:?}, not {value}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
