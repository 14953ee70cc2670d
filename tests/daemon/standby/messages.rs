//! One instance delivers to a sink that all share.

use rustix::process::Signal;

use super::*;
use crate::consumer::{canonical, fold, published};
use crate::receiver::{FAST, webhook};
use crate::receiver::{Got, Receiver};
use crate::redis_server::RedisServer;
use crate::relays::sources;
use crate::wait::until_async;

#[tokio::test(flavor = "multi_thread")]
async fn one_delivers_and_the_other_goes_on_where_it_ended() {
    let (url, redis) = (postgres::empty_database().await, RedisServer::start());
    let (chain, server) = devchain(431, 20).await;
    let home = || {
        let home = Home::bare();
        let sources = sources(&redis.url());
        let (tables, sources) = sources.split_once("[[source]]").expect("some");
        let sources = format!("[[source]]{sources}");
        let rest = crate::daemon::chain(&server, "", &sources);
        home.write(&format!("[standby]\nlease = \"2s\"\n{tables}\n{rest}"), Some(&url));
        home
    };
    let (one, two) = (home(), home());
    let pool = connect(&url).await;
    let carries = "chainflume_lease_held{lease=\"sink redis\"}";
    let (mut leader, mut standby, mut spare) = (one.start(), two.start(), Some(&two));
    leader.until("ready", |status, _| status == 200).await;
    standby.until("ready", |status, _| status == 200).await;
    if leader.metric(carries).await != Some(1.0) {
        std::mem::swap(&mut leader, &mut standby);
        spare = Some(&one);
    }
    for round in 0..3 {
        chain.reorg(4, 6);
        chain.mine(3);
        let holder: String = sqlx::query_scalar("select holder from leases where name = 'sink redis'")
            .fetch_one(&pool)
            .await
            .expect("one");
        if round == 1 {
            leader.kill_9().await;
            let home = spare.take().expect("once");
            until_taken(&pool, "sink redis", &holder).await;
            leader = home.start();
            leader.until("ready", |status, _| status == 200).await;
        } else {
            leader.signal(Signal::STOP);
            until_taken(&pool, "sink redis", &holder).await;
            leader.signal(Signal::CONT);
        }
        std::mem::swap(&mut leader, &mut standby);
        chain.mine(2);
    }
    let tip = i64::try_from(chain.head().number - 2).expect("small");
    let settled = "select (select min(block_number) from checkpoints) = $1 \
                   and (select seq from sink_cursors where sink = 'redis') = (select seq from outbox_head)";
    let is_settled =
        async || sqlx::query_scalar::<_, bool>(settled).bind(tip).fetch_one(&pool).await.expect("a word");
    until_async("all is stored and sent", is_settled).await;
    leader.stop_well().await;
    standby.stop_well().await;
    assert_eq!(fold(&published(&redis).await), canonical(&pool).await);
}

/// Waits until the endpoint was given all there is.
async fn until_settled(pool: &PgPool) {
    let settled = "select (select seq from sink_cursors where sink = 'webhook:crm') = (select seq from outbox_head) \
                   and not exists (select from deliveries)";
    let is_settled = async || {
        let settled: Option<bool> = sqlx::query_scalar(settled).fetch_one(pool).await.expect("a word");
        settled == Some(true)
    };
    until_async("the endpoint has all messages", is_settled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_posts_to_a_webhook_from_where_the_other_stopped() {
    let (url, receiver) = (postgres::empty_database().await, Receiver::start().await);
    let (chain, server) = devchain(432, 20).await;
    let keys = format!("[standby]\nlease = \"2s\"\n{}", webhook("crm", &receiver, FAST));
    let (one, two) = (home(&server, &keys, &url), home(&server, &keys, &url));
    let first = one.start();
    first.until_tip(18).await;
    let second = two.start();
    until_standby(&second).await;
    chain.mine(10);
    first.until_tip(28).await;
    let pool = connect(&url).await;
    until_settled(&pool).await;
    assert_eq!(receiver.got().len(), receiver.taken().len(), "no instance sends beside the leader");

    let lease = "sink webhook:crm";
    let holder: String = sqlx::query_scalar("select holder from leases where name = $1")
        .bind(lease)
        .fetch_one(&pool)
        .await
        .expect("one");
    first.signal(Signal::STOP);
    until_taken(&pool, lease, &holder).await;
    chain.mine(10);
    second.until_tip(38).await;
    first.signal(Signal::CONT);
    until_standby(&first).await;
    until_settled(&pool).await;
    let mut seqs: Vec<u64> = receiver.taken().iter().map(Got::seq).collect();
    seqs.sort_unstable();
    let told: Vec<i64> =
        sqlx::query_scalar("select seq from outbox order by seq").fetch_all(&pool).await.expect("reads");
    let told: Vec<u64> = told.into_iter().map(i64::unsigned_abs).collect();
    assert_eq!(seqs, told);
    first.stop_well().await;
    second.stop_well().await;
}
