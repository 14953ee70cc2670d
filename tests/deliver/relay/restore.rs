//! Databases and sinks that are restored to older states, each without the other.

mod matrix;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use chainflume::app::{self, AppError, Loaded};
use chainflume::config::{Config, ProcessEnvironment};
use chainflume_core::domain::Envelope;
use chainflume_deliver::sink::{Bus, InProcess, Sink};
use chainflume_devchain::{DevChain, Server};
use serde_json::Value;

use super::contract::envelopes;
use super::end_to_end::until_confirmed_is_stored;
use super::sentinel::takes_over;
use super::{Relays, canonical, fold, in_order, published, sources, sources_to};
use crate::daemon::database;
use crate::flume::{Flume, config, connect, devchain};
use crate::postgres;
use crate::receiver::Receiver;
use crate::receiver::webhook;
use crate::redis_server::RedisServer;
use crate::redis_sets::RedisSet;
use crate::wait::until_async;

/// A chain, and a daemon's configuration to read it by.
struct World {
    chain: DevChain,
    _node: Server,
    config: String,
}

impl World {
    async fn new(seed: u64, sinks: impl FnOnce() -> String) -> Self {
        let (chain, node) = devchain(seed, 10).await;
        let config = config(&node, "", &sinks());
        Self { chain, _node: node, config }
    }

    fn loaded(&self, url: &str) -> Loaded {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("chainflume.toml");
        let text = database(url) + &self.config;
        let config =
            Config::parse(&path, &text, &ProcessEnvironment).unwrap_or_else(|problems| panic!("{problems}"));
        Loaded { path, config }
    }

    /// The daemon runs until everything confirmed is stored and in the sinks.
    async fn live(&self, url: &str, sinks: &[&str]) {
        let flume = Flume::start(&self.config, url).await;
        until_confirmed_is_stored(&flume, &self.chain).await;
        let relays = Relays::start(&self.config, url).await;
        for sink in sinks {
            relays.until_all(sink).await;
        }
        relays.stop().await;
        flume.stop().await;
    }

    /// The daemon runs until everything confirmed is stored, and no message leaves.
    async fn index(&self, url: &str) {
        let flume = Flume::start(&self.config, url).await;
        until_confirmed_is_stored(&flume, &self.chain).await;
        flume.stop().await;
    }
}

/// Whether the sink is foreign, which must show within a minute if it is.
async fn is_foreign(relays: &Relays) -> String {
    relays.until("redis", "is foreign", |sink| sink.foreign.is_some()).await;
    relays.sink("redis").foreign.expect("it is")
}

/// A database that was restored to before what its Redis holds; `with_reorg`, the chain went another way meanwhile. Returns
/// the restored database's URL.
async fn restored(world: &World, with_reorg: bool) -> String {
    let url = postgres::database().await;
    world.live(&url, &["redis"]).await;
    let copy = postgres::copy(&url).await;
    world.chain.mine(6);
    world.live(&url, &["redis"]).await;
    if with_reorg {
        world.chain.reorg(5, 7);
    }
    copy
}

/// Messages of the outbox, by number.
async fn outbox(url: &str) -> Vec<String> {
    let pool = connect(url).await;
    let messages =
        sqlx::query_scalar("select message from outbox order by seq").fetch_all(&pool).await.expect("reads");
    pool.close().await;
    messages
}

fn seq(message: &str) -> u64 {
    serde_json::from_str::<Value>(message).expect("json")["seq"].as_u64().expect("a number")
}

async fn canon(url: &str) -> BTreeSet<String> {
    let pool = connect(url).await;
    let ids = canonical(&pool).await;
    pool.close().await;
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_older_than_its_redis_stops_delivery() {
    for (seed, with_reorg, races) in [(31, false, false), (32, true, false), (33, true, true)] {
        let server = RedisServer::start();
        let world = World::new(seed, || sources(&server.url())).await;
        let copy = restored(&world, with_reorg).await;
        let (before, known) = (server.streams().await, outbox(&copy).await.len() as u64);
        if races {
            // The relay looks only when the database has numbers for all that Redis holds.
            world.chain.mine(12);
            world.index(&copy).await;
        }
        let flume = Flume::start(&world.config, &copy).await;
        for _ in 0..2 {
            // Also after a restart, and while the database's numbers pass those of the streams.
            let relays = Relays::start(&world.config, &copy).await;
            let reason = is_foreign(&relays).await;
            assert!(reason.contains("chainflume sinks adopt redis"), "the remedy is named: {reason}");
            world.chain.mine(12);
            until_confirmed_is_stored(&flume, &world.chain).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            is_foreign(&relays).await;
            let delivered = relays.sink("redis").delivered;
            assert!(
                delivered.is_none_or(|upto| upto <= known),
                "{delivered:?} of {known}: the rest was not sent"
            );
            relays.stop().await;
        }
        assert_eq!(server.streams().await, before, "nothing was appended");
        let listed = app::sinks(&world.loaded(&copy)).await.expect("lists");
        assert_eq!((listed[0].name.as_str(), listed[0].state), ("redis", "foreign"));
        assert!(listed[0].remedy.as_ref().is_some_and(|remedy| remedy.contains("sinks reset redis")));
        flume.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_redis_gets_what_it_lacks_above_what_it_holds() {
    for (seed, with_reorg) in [(34, false), (35, true)] {
        let server = RedisServer::start();
        let world = World::new(seed, || sources(&server.url())).await;
        let copy = restored(&world, with_reorg).await;
        let known = outbox(&copy).await.len();
        world.chain.mine(4);
        let flume = Flume::start(&world.config, &copy).await;
        until_confirmed_is_stored(&flume, &world.chain).await;
        let relays = Relays::start(&world.config, &copy).await;
        is_foreign(&relays).await;
        let (before, ours) = (published(&server).await, outbox(&copy).await);
        let top = seq(before.last().expect("some"));

        let adoption = app::adopt_sink(&world.loaded(&copy), "redis").await.expect("adopts");
        assert_eq!((adoption.kept, adoption.next), (known as u64, top + 1));
        assert_eq!(adoption.moved, (ours.len() - known) as u64);
        relays.until("redis", "goes on", |sink| sink.foreign.is_none() && sink.delivered.is_some()).await;
        world.chain.mine(4);
        until_confirmed_is_stored(&flume, &world.chain).await;
        relays.until_all("redis").await;
        let (after, moved) = (published(&server).await, outbox(&copy).await.split_off(known));
        assert_eq!(after[..before.len()], before, "what was there stays");
        assert_eq!(after[before.len()..], moved, "and what it lacked follows, each once");
        assert_eq!(seq(&moved[0]), top + 1);
        assert!(moved.len() > ours.len() - known);
        relays.stop().await;

        // A restart finds it its own.
        let relays = Relays::start(&world.config, &copy).await;
        relays.until_all("redis").await;
        assert!(relays.sink("redis").foreign.is_none());
        let refused = app::adopt_sink(&world.loaded(&copy), "redis").await.expect_err("nothing to adopt");
        assert!(refused.to_string().contains("nothing foreign"), "{refused}");
        relays.stop().await;
        flume.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_reset_is_filled_again_from_the_outbox() {
    let server = RedisServer::start();
    let world = World::new(36, || sources(&server.url())).await;
    let copy = restored(&world, true).await;
    let flume = Flume::start(&world.config, &copy).await;
    until_confirmed_is_stored(&flume, &world.chain).await;
    let relays = Relays::start(&world.config, &copy).await;
    is_foreign(&relays).await;
    app::reset_sink(&world.loaded(&copy), "redis").await.expect("resets");
    relays.until("redis", "goes on", |sink| sink.foreign.is_none() && sink.delivered.is_some()).await;
    relays.until_all("redis").await;
    assert_eq!(published(&server).await, outbox(&copy).await);
    assert_eq!(fold(&published(&server).await), canon(&copy).await);
    let unknown = app::reset_sink(&world.loaded(&copy), "reddis").await.expect_err("no such sink");
    assert!(unknown.to_string().contains("there are: redis"), "{unknown}");
    relays.stop().await;
    flume.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_lost_nothing_is_noticed_by_no_sink() {
    let server = RedisServer::start();
    let receiver = Receiver::start().await;
    let world = World::new(40, || sources(&server.url()) + &webhook("crm", &receiver, "")).await;
    let url = postgres::database().await;
    let sinks = ["redis", "webhook:crm"];
    world.live(&url, &sinks).await;
    // Another server with the same commits: another place, and so another epoch.
    let copy = postgres::copy(&url).await;
    world.chain.mine(4);
    world.live(&copy, &sinks).await;
    world.chain.reorg(3, 5);
    world.live(&copy, &sinks).await;
    assert_eq!(published(&server).await, outbox(&copy).await);
    assert_eq!(fold(&published(&server).await), canon(&copy).await);
    let positions: BTreeSet<String> =
        receiver.got().iter().filter_map(|got| Some(got.position.split_once('.')?.0.to_owned())).collect();
    assert_eq!(positions.len(), 2, "{positions:?}");
    assert_eq!(receiver.got().len(), outbox(&copy).await.len(), "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_database_on_the_same_streams_is_refused() {
    let server = RedisServer::start();
    let world = World::new(41, || sources(&server.url())).await;
    let (first, second) = (postgres::database().await, postgres::database().await);
    world.live(&first, &["redis"]).await;
    // The same chain, so the same messages under the same numbers: only the epoch distinguishes them.
    world.index(&second).await;
    let relays = Relays::start(&world.config, &second).await;
    is_foreign(&relays).await;
    relays.stop().await;
    world.chain.mine(4);
    world.live(&first, &["redis"]).await;
    assert_eq!(published(&server).await, outbox(&first).await);
}

/// The streams as programs wrote them before there were epochs, and the database as one of theirs after its migration.
async fn age(server: &RedisServer, url: &str) {
    for (stream, entries) in server.streams().await {
        server.run::<()>(&format!("DEL {stream}")).await;
        for (seq, message) in entries {
            let mut add = redis::cmd("XADD");
            add.arg(&stream).arg(format!("{seq}-0")).arg("message").arg(message);
            add.arg("type").arg("x").arg("state").arg("confirmed");
            add.exec_async(&mut server.connection().await).await.expect("added");
        }
    }
    let pool = connect(url).await;
    for sql in [
        "delete from outbox_epochs",
        "insert into outbox_epochs (first_seq, after_seq, epoch) values (1, 0, '0')",
        "update outbox_head set epoch = '0', home = ''",
    ] {
        sqlx::query(sql).execute(&pool).await.expect("runs");
    }
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_from_before_epochs_are_adopted_when_they_agree() {
    let server = RedisServer::start();
    let world = World::new(42, || sources(&server.url())).await;
    let url = postgres::database().await;
    world.live(&url, &["redis"]).await;
    age(&server, &url).await;
    world.live(&url, &["redis"]).await;
    world.chain.mine(4);
    world.live(&url, &["redis"]).await;
    assert_eq!(published(&server).await, outbox(&url).await);
    let newest: Vec<(String, Vec<String>)> = server.run("XREVRANGE events:user + - COUNT 1").await;
    assert_eq!(newest[0].1[6], "epoch", "new entries bear the epoch: {newest:?}");

    // One of another database, with the same numbers.
    age(&server, &url).await;
    let pool = connect(&url).await;
    sqlx::query("update outbox set message = replace(message, '\"version\":1', '\"version\": 1')")
        .execute(&pool)
        .await
        .expect("writes");
    pool.close().await;
    let relays = Relays::start(&world.config, &url).await;
    is_foreign(&relays).await;
    relays.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_ahead_of_its_database_stops_until_adopted_or_reset() {
    let set = RedisSet::cluster(3).await;
    let world = World::new(43, || sources_to(&set.config())).await;
    let copy = restored(&world, true).await;
    world.chain.mine(4);
    let flume = Flume::start(&world.config, &copy).await;
    until_confirmed_is_stored(&flume, &world.chain).await;
    let relays = Relays::start(&world.config, &copy).await;
    is_foreign(&relays).await;
    let before = in_order(set.streams().await);
    app::adopt_sink(&world.loaded(&copy), "redis").await.expect("adopts");
    relays.until("redis", "goes on", |sink| sink.foreign.is_none() && sink.delivered.is_some()).await;
    relays.until_all("redis").await;
    let after = in_order(set.streams().await);
    assert_eq!(after[..before.len()], before);
    let ours = outbox(&copy).await;
    assert!(ours.ends_with(&after[before.len()..]) && after.len() > before.len());

    let refused = app::reset_sink(&world.loaded(&copy), "redis").await.expect_err("without the right");
    assert!(refused.to_string().contains("let the user of [redis] run +del"), "{refused}");
    assert_eq!(in_order(set.streams().await), after, "nothing was deleted");
    set.run("ACL SETUSER flume +del").await;
    app::reset_sink(&world.loaded(&copy), "redis").await.expect("resets");
    until_async("it is filled again", async || in_order(set.streams().await) == ours).await;
    relays.stop().await;
    flume.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_redis_ahead_of_its_database_stops_until_adopted() {
    let set = RedisSet::sentinel().await;
    let world = World::new(47, || sources_to(&set.config())).await;
    let copy = restored(&world, true).await;
    world.chain.mine(4);
    let flume = Flume::start(&world.config, &copy).await;
    until_confirmed_is_stored(&flume, &world.chain).await;
    let relays = Relays::start(&world.config, &copy).await;
    let reason = is_foreign(&relays).await;
    assert!(reason.contains("chainflume sinks adopt redis"), "the remedy is named: {reason}");
    let before = in_order(set.streams().await);
    // The replica that takes over holds the same entries: what was decided stays.
    set.servers[0].run::<u64>("WAIT 1 10000").await;
    set.sentinels[0].run::<()>("SENTINEL FAILOVER mymaster").await;
    takes_over(&set, 1).await;
    world.chain.mine(2);
    until_confirmed_is_stored(&flume, &world.chain).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    is_foreign(&relays).await;
    assert_eq!(in_order(set.streams().await), before, "nothing was appended");

    app::adopt_sink(&world.loaded(&copy), "redis").await.expect("adopts");
    relays.until("redis", "goes on", |sink| sink.foreign.is_none() && sink.delivered.is_some()).await;
    let last = relays.until_all("redis").await;
    until_async("all is there", async || set.holds(last).await).await;
    let after = in_order(set.streams().await);
    assert_eq!(after[..before.len()], before, "what was there stays");
    let ours = outbox(&copy).await;
    assert!(ours.ends_with(&after[before.len()..]) && after.len() > before.len());
    relays.stop().await;
    flume.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_names_a_foreign_sink_and_the_remedy_at_any_time() {
    let server = RedisServer::start();
    let world = World::new(48, || sources(&server.url())).await;
    let copy = restored(&world, false).await;
    let mut reports = Vec::new();
    for seen in [false, true] {
        if seen {
            let relays = Relays::start(&world.config, &copy).await;
            is_foreign(&relays).await;
            relays.stop().await;
        }
        let (loaded, mut lines) = (world.loaded(&copy), Vec::new());
        let checked = app::check(&loaded, app::CheckScope::Everything, |report| {
            assert!(!report.ok);
            lines.extend(report.lines.iter().filter(|line| !line.ok).map(|line| line.text.clone()));
        });
        let error = checked.await.expect_err("a sink is foreign");
        assert!(matches!(&error, AppError::Config(text) if text.contains("never sent")), "{error}");
        reports.push(lines);
    }
    assert_eq!(reports[0].len(), 1, "{reports:?}");
    for line in reports.iter().flatten() {
        assert!(
            line.starts_with("sink redis: ") && line.contains("`chainflume sinks adopt redis`"),
            "{line}"
        );
        assert!(line.contains("`chainflume sinks reset redis`"), "{line}");
    }
    // A start is not kept from it: the daemon stores, and delivers where it can.
    app::check(&world.loaded(&copy), app::CheckScope::Start, |_| {}).await.expect("it starts");
    app::adopt_sink(&world.loaded(&copy), "redis").await.expect("adopts");
    app::check(&world.loaded(&copy), app::CheckScope::Everything, |report| assert!(report.ok))
        .await
        .expect("all is well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_ahead_of_its_database_stops_for_an_operator() {
    let receiver = Receiver::start().await;
    let world = World::new(45, || sources("") + &webhook("crm", &receiver, "")).await;
    let url = postgres::database().await;
    let sinks = ["webhook:crm", "in-process"];
    world.live(&url, &sinks).await;
    let pool = connect(&url).await;
    sqlx::query("update sink_cursors set seq = 1000000").execute(&pool).await.expect("writes");
    let relays = Relays::start(&world.config, &url).await;
    for sink in sinks {
        relays.until(sink, "is foreign", |sink| sink.foreign.is_some()).await;
    }
    let got = receiver.got().len();
    for sink in sinks {
        app::adopt_sink(&world.loaded(&url), sink).await.expect("adopts");
        relays.until(sink, "goes on", |sink| sink.foreign.is_none() && sink.delivered.is_some()).await;
    }
    assert_eq!(receiver.got().len(), got, "it had everything");
    app::reset_sink(&world.loaded(&url), "webhook:crm").await.expect("resets");
    relays.stop().await;
    world.live(&url, &["webhook:crm"]).await;
    let messages = outbox(&url).await.len();
    until_async("everything came again", async || receiver.got().len() == got + messages).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_back_under_a_running_relay_is_noticed() {
    let server = RedisServer::start();
    let world = World::new(46, || sources(&server.url())).await;
    let url = postgres::database().await;
    world.live(&url, &["redis"]).await;
    let relays = Relays::start(&world.config, &url).await;
    let last = relays.until_all("redis").await;
    let pool = connect(&url).await;
    let sql = format!(
        "delete from outbox where seq > {0}; update outbox_head set seq = {0}; update sink_cursors set seq = {0}",
        last - 5
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await.expect("goes back");
    is_foreign(&relays).await;
    relays.stop().await;
}

#[tokio::test]
async fn a_listener_hears_the_same_number_of_another_epoch() {
    let bus = Bus::default();
    let (mut heard, mut sink) = (bus.subscribe(), InProcess::new(bus.clone()));
    let of = |epoch: &str, range| -> Vec<std::sync::Arc<Envelope>> {
        let mut all = envelopes(range);
        all.iter_mut().for_each(|one| std::sync::Arc::make_mut(one).epoch = epoch.to_owned());
        all
    };
    sink.deliver(&of("a", 1..=3)).await.expect("takes them");
    sink.deliver(&of("a", 2..=2)).await.expect("had it");
    sink.deliver(&of("b", 3..=4)).await.expect("takes them");
    let mut all = Vec::new();
    while let Ok(envelope) = heard.try_recv() {
        all.push(format!("{}.{}", envelope.epoch, envelope.seq));
    }
    assert_eq!(all, ["a.1", "a.2", "a.3", "b.3", "b.4"]);
}
