//! Each combination of what was restored to an older state (the database, Redis or both), with and without a reorg in between,
//! and what each sink has afterwards: the streams, Pub/Sub, a webhook and the listeners in the process.

use std::collections::BTreeSet;

use chainflume_devchain::DevChain;
use futures_util::StreamExt;

use super::super::chaos::{restore, snapshot};
use super::super::end_to_end::until_confirmed_is_stored;
use super::super::{Relays, fold, published, sources};
use super::{World, canon, is_foreign, outbox};
use crate::flume::Flume;
use crate::postgres;
use crate::receiver::webhook;
use crate::receiver::{Got, Receiver};
use crate::redis_server::RedisServer;

/// What is restored to a state in which it had less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Older {
    Database,
    Redis,
    /// Redis to an even older state than the database.
    Both,
}

/// A daemon's life in three parts. The database was copied after the second part, and Redis after the first.
struct Life {
    world: World,
    /// `None` where messages are delivered in the process instead.
    redis: Option<RedisServer>,
    receiver: Receiver,
    /// The database at the end.
    url: String,
    /// The database after the second part.
    copy: String,
    /// Redis after the first part.
    older: Vec<(String, Vec<u8>)>,
}

impl Life {
    async fn new(seed: u64, redis: Option<RedisServer>) -> Self {
        let receiver = Receiver::start().await;
        let to = redis.as_ref().map_or_else(String::new, RedisServer::url);
        let world = World::new(seed, || sources(&to) + &webhook("crm", &receiver, "")).await;
        let main_sink = redis.as_ref().map_or("in-process", |_| "redis");
        let (url, sinks) = (postgres::database().await, [main_sink, "webhook:crm"]);
        world.live(&url, &sinks).await;
        let older = match &redis {
            Some(redis) => snapshot(redis).await,
            None => Vec::new(),
        };
        world.chain.mine(4);
        world.live(&url, &sinks).await;
        let copy = postgres::copy(&url).await;
        world.chain.mine(4);
        world.live(&url, &sinks).await;
        Self { world, redis, receiver, url, copy, older }
    }
}

/// What happens on the chain in between. The reorg reaches below what the copy of the database has. Without one an older
/// database reads the same blocks again under the same head, so that its messages are the lost ones to the last letter.
fn meanwhile(chain: &DevChain, older: Older, with_reorg: bool) {
    match (with_reorg, older) {
        (true, _) => drop(chain.reorg(8, 10)),
        (false, Older::Redis) => drop(chain.mine(2)),
        (false, Older::Database | Older::Both) => {}
    }
}

/// What was posted before the restore, and what the restored database does not have of it.
struct Before {
    posted: usize,
    /// Messages that the restored database has.
    known: usize,
    lost: Vec<String>,
}

impl Before {
    async fn of(life: &Life, db: &str) -> Self {
        let known = outbox(db).await.len();
        let lost = outbox(&life.url).await.split_off(known);
        Self { posted: life.receiver.taken().len(), known, lost }
    }

    /// The receiver gets each new message once. A message with the text of a lost one has another id, so that the receiver
    /// does not treat it as a repeat.
    fn check_webhook(&self, taken: &[Got], all: &[String]) {
        let posted: Vec<&str> = taken[self.posted..].iter().map(|got| got.body.as_str()).collect();
        let new: BTreeSet<&str> = all[self.known..].iter().map(String::as_str).collect();
        assert!(!new.is_empty());
        assert_eq!(posted.len(), new.len(), "each once");
        assert_eq!(posted.into_iter().collect::<BTreeSet<_>>(), new);
        // `taken` leaves out a second message with the same id.
        for message in all {
            let times = taken.iter().filter(|got| got.body == *message).count();
            assert_eq!(times, if self.lost.contains(message) { 2 } else { 1 }, "{message}");
        }
    }
}

/// One case: something is restored, the daemon starts again, and each sink is checked when everything was stored and sent.
async fn restored(seed: u64, older: Older, with_reorg: bool) {
    let life = Life::new(seed, Some(RedisServer::start())).await;
    let (world, redis) = (&life.world, life.redis.as_ref().expect("it was started"));
    meanwhile(&world.chain, older, with_reorg);
    let db = if older == Older::Redis { &life.url } else { &life.copy };
    if older != Older::Database {
        restore(redis, life.older.clone()).await;
    }
    let held: BTreeSet<String> = published(redis).await.into_iter().collect();
    let before = Before::of(&life, db).await;
    let client = redis::Client::open(redis.url()).expect("a url");
    let mut channels = client.get_async_pubsub().await.expect("connects");
    channels.psubscribe("*").await.expect("subscribes");

    let flume = Flume::start(&world.config, db).await;
    until_confirmed_is_stored(&flume, &world.chain).await;
    let relays = Relays::start(&world.config, db).await;
    have_all(&relays, &["webhook:crm"]).await;
    if older == Older::Database {
        is_foreign(&relays).await;
    } else {
        have_all(&relays, &["redis"]).await;
    }
    let (all, streams) = (outbox(db).await, published(redis).await);
    // Redis has what its database has, or nothing was appended to what another history left there.
    if older == Older::Database {
        assert_eq!(streams.iter().cloned().collect::<BTreeSet<_>>(), held);
    } else {
        assert_eq!(streams, all);
        assert_eq!(fold(&all), canon(db).await);
    }
    let appended: Vec<String> = streams.into_iter().filter(|message| !held.contains(message)).collect();
    assert_eq!(heard(redis, channels).await, appended, "what is appended is published, once");
    let again = all[before.known..].iter().any(|message| before.lost.contains(message));
    assert_eq!(again, older != Older::Redis && !with_reorg);
    before.check_webhook(&life.receiver.taken(), &all);
    relays.stop().await;
    flume.stop().await;
}

/// The same without Redis: only the database can be older. A listener in the process hears what is new, in its order.
async fn restored_without_redis(seed: u64, with_reorg: bool) {
    let life = Life::new(seed, None).await;
    let (world, db) = (&life.world, &life.copy);
    meanwhile(&world.chain, Older::Database, with_reorg);
    let before = Before::of(&life, db).await;
    // Delivery starts first, so that the listener hears everything that is new.
    let (relays, sinks) = (Relays::start(&world.config, db).await, ["in-process", "webhook:crm"]);
    let mut listener = relays.bus.as_ref().expect("a bus").subscribe();
    have_all(&relays, &sinks).await;
    let flume = Flume::start(&world.config, db).await;
    until_confirmed_is_stored(&flume, &world.chain).await;
    have_all(&relays, &sinks).await;
    let all = outbox(db).await;
    let mut heard = Vec::new();
    while let Ok(envelope) = listener.try_recv() {
        heard.push(envelope.json.clone());
    }
    assert_eq!(heard, all[before.known..]);
    before.check_webhook(&life.receiver.taken(), &all);
    relays.stop().await;
    flume.stop().await;
}

async fn have_all(relays: &Relays, sinks: &[&str]) {
    for sink in sinks {
        relays.until_all(sink).await;
        assert!(relays.sink(sink).foreign.is_none(), "{sink}");
    }
}

/// What the channels of the streams had since they were subscribed to.
async fn heard(redis: &RedisServer, mut channels: redis::aio::PubSub) -> Vec<String> {
    redis.run::<u64>("PUBLISH end end").await;
    let (mut heard, mut messages) = (Vec::new(), channels.on_message());
    while let Some(message) = messages.next().await {
        match message.get_channel_name() {
            "end" => break,
            channel if channel.starts_with("events:") => heard.push(message.get_payload().expect("text")),
            _ => {}
        }
    }
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_older_than_redis_stops_that_sink_alone() {
    tokio::join!(restored(51, Older::Database, false), restored(52, Older::Database, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_older_than_its_database_is_filled_again_alone() {
    tokio::join!(restored(53, Older::Redis, false), restored(54, Older::Redis, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_both_are_older_each_sink_gets_what_is_stored() {
    tokio::join!(restored(55, Older::Both, false), restored(56, Older::Both, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_database_without_redis_costs_no_message() {
    tokio::join!(restored_without_redis(57, false), restored_without_redis(58, true));
}
