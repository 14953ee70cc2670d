//! What every sink promises. A new kind of sink adds a [`Fixture`] and one test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chainflume_core::domain::{Envelope, MessageState};
use chainflume_deliver::relay::{Cursor, Ownership, judge};
use chainflume_deliver::sink::{
    Bus, Delivered, InProcess, RedisServers, RedisSettings, RedisSink, SigningKey, Sink, SinkError,
    WebhookSettings, WebhookSink,
};
use chainflume_ops::http::AddressPolicy;
use chainflume_outbox::{Lineage, OutboxEpoch};
use tokio::sync::broadcast;

use crate::certificates::Certificates;
use crate::receiver::{Receiver, SECRET};
use crate::redis_sets::{self, NAMES, RedisSet};

/// A sink and what it leads to.
pub trait Fixture {
    type Sink: Sink;
    /// A sink to the same destination, as after a restart of the daemon.
    async fn sink(&mut self) -> Self::Sink;
    /// Numbers that are there for consumers, in the order they would see them, by aggregate type.
    async fn there(&mut self) -> BTreeMap<String, Vec<u64>>;
    /// Loses all it can lose. `false` when it holds nothing itself.
    async fn lose(&mut self) -> bool;
    /// Takes no messages until mended. `false` when it always does.
    async fn refuse(&mut self) -> bool;
    async fn mend(&mut self);
    /// Whether the sink learns which messages had been there; a receiver of webhooks keeps that to itself.
    fn returns_repeats(&self) -> bool {
        true
    }
}

const TYPES: [&str; 4] = ["user", "token", "nft", "contract"];

pub fn envelopes(range: std::ops::RangeInclusive<u64>) -> Vec<Arc<Envelope>> {
    let envelope = |seq: u64| {
        Arc::new(Envelope {
            seq,
            epoch: "e".to_owned(),
            aggregate_type: type_of(seq).to_owned(),
            message_type: "contract.note".to_owned(),
            state: MessageState::Confirmed,
            user_id: None,
            counterparty_user_id: None,
            json: format!("{{\"seq\":{seq}}}"),
        })
    };
    range.map(envelope).collect()
}

fn type_of(seq: u64) -> &'static str {
    TYPES[usize::try_from(seq * seq % 7 % 4).expect("below four")]
}

fn by_type(range: std::ops::RangeInclusive<u64>) -> BTreeMap<String, Vec<u64>> {
    let mut by_type: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    range.for_each(|seq| by_type.entry(type_of(seq).to_owned()).or_default().push(seq));
    by_type
}

/// Newest number of the outbox these streams are compared with.
const LAST: u64 = 5_000;

/// After which number to go on, where everything up to `cursor` had been delivered, as the relay decides it.
pub async fn resume(sink: &mut impl Sink, cursor: u64) -> Result<u64, SinkError> {
    let streams = sink.look().await?;
    let ends = by_type(1..=cursor).into_iter().filter_map(|(name, all)| Some((name, *all.last()?))).collect();
    let kept = (1..=LAST).map(|seq| (seq, (type_of(seq).to_owned(), format!("{{\"seq\":{seq}}}")))).collect();
    let epochs = vec![OutboxEpoch { epoch: "e".to_owned(), after: 0, first: 1 }];
    let lineage = Lineage { last: LAST, first: 1, epochs, ends, kept, ..Lineage::default() };
    match judge(&streams, &lineage, Cursor { seq: cursor, is_new: false }) {
        Ownership::Ours(from) => Ok(from),
        Ownership::Foreign(reason) => panic!("{reason}"),
    }
}

async fn keeps_the_contract(mut fixture: impl Fixture) {
    let mut sink = fixture.sink().await;
    assert_eq!(resume(&mut sink, 0).await.expect("answers"), 0, "a new sink begins at the beginning");

    let delivered = sink.deliver(&envelopes(1..=20)).await.expect("takes them");
    assert_eq!(delivered, Delivered { upto: 20, repeats: vec![] });
    assert_eq!(fixture.there().await, by_type(1..=20), "each once and in order");

    let delivered = sink.deliver(&envelopes(15..=30)).await.expect("takes the new ones");
    let repeats = if fixture.returns_repeats() { (15..=20).collect() } else { vec![] };
    assert_eq!(delivered, Delivered { upto: 30, repeats }, "repeats count as delivered");
    assert_eq!(fixture.there().await, by_type(1..=30), "repeats are refused");
    assert_eq!(resume(&mut sink, 30).await.expect("answers"), 30, "nothing is lost");
    assert_eq!(resume(&mut sink, 10).await.expect("answers"), 10, "never ahead of the cursor");

    if fixture.refuse().await {
        sink.deliver(&envelopes(31..=40)).await.expect_err("what is not taken is no success");
        sink.deliver(&envelopes(31..=40)).await.expect_err("nor at the second try");
        fixture.mend().await;
    }
    let delivered = sink.deliver(&envelopes(31..=40)).await.expect("takes them");
    assert_eq!(delivered, Delivered { upto: 40, repeats: vec![] });
    assert_eq!(fixture.there().await, by_type(1..=40));

    if fixture.lose().await {
        sink.deliver(&envelopes(41..=50)).await.expect_err("nothing is put behind a hole");
        let from = resume(&mut sink, 40).await.expect("answers");
        assert_eq!(from, 0, "goes on from what it holds");
        let delivered = sink.deliver(&envelopes(1..=50)).await.expect("takes them");
        assert_eq!(delivered, Delivered { upto: 50, repeats: vec![] });
        assert_eq!(fixture.there().await, by_type(1..=50), "it is filled again");
    }
    let mut sink = fixture.sink().await;
    assert_eq!(resume(&mut sink, 40).await.expect("answers"), 40, "a restart loses nothing");
}

struct Heard {
    bus: Bus,
    receiver: broadcast::Receiver<Arc<Envelope>>,
    there: BTreeMap<String, Vec<u64>>,
}

impl Fixture for Heard {
    type Sink = InProcess;

    async fn sink(&mut self) -> InProcess {
        InProcess::new(self.bus.clone())
    }

    async fn there(&mut self) -> BTreeMap<String, Vec<u64>> {
        while let Ok(envelope) = self.receiver.try_recv() {
            self.there.entry(envelope.aggregate_type.clone()).or_default().push(envelope.seq);
        }
        self.there.clone()
    }

    async fn lose(&mut self) -> bool {
        false
    }

    async fn refuse(&mut self) -> bool {
        false
    }

    async fn mend(&mut self) {}
}

#[tokio::test]
async fn the_in_process_sink_keeps_the_contract() {
    let bus = Bus::default();
    let receiver = bus.subscribe();
    keeps_the_contract(Heard { bus, receiver, there: BTreeMap::new() }).await;
}

#[tokio::test]
async fn a_slow_listener_delays_no_other_and_learns_what_it_missed() {
    let bus = Bus::default();
    let mut slow = bus.subscribe();
    let mut sink = InProcess::new(bus.clone());
    for start in (1..=5_000).step_by(500) {
        sink.deliver(&envelopes(start..=start + 499)).await.expect("takes them");
    }
    let error = slow.recv().await.expect_err("it missed some");
    assert_eq!(error, broadcast::error::RecvError::Lagged(5_000 - 1_024));
    assert_eq!(slow.recv().await.expect("the oldest kept").seq, 5_000 - 1_023);
}

pub fn settings(url: String) -> RedisSettings {
    redis_sets::settings(RedisServers::Single(url))
}

impl Fixture for RedisSet {
    type Sink = RedisSink;

    async fn sink(&mut self) -> RedisSink {
        RedisSet::sink(self)
    }

    async fn there(&mut self) -> BTreeMap<String, Vec<u64>> {
        let name = |stream: String| stream.trim_start_matches("events:").to_owned();
        let numbers = |entries: Vec<(u64, String)>| entries.into_iter().map(|(seq, _)| seq).collect();
        self.streams().await.into_iter().map(|(stream, entries)| (name(stream), numbers(entries))).collect()
    }

    async fn lose(&mut self) -> bool {
        self.run("FLUSHALL").await;
        true
    }

    async fn refuse(&mut self) -> bool {
        self.run("CONFIG SET maxmemory 1").await;
        true
    }

    async fn mend(&mut self) {
        self.run("CONFIG SET maxmemory 0").await;
    }
}

impl Fixture for Receiver {
    type Sink = WebhookSink;

    async fn sink(&mut self) -> WebhookSink {
        let settings = WebhookSettings {
            name: "contract".to_owned(),
            url: self.url(),
            keys: vec![SigningKey::read(SECRET).expect("a key")],
            timeout: Duration::from_secs(2),
            reach: AddressPolicy::Public { except: ["127.0.0.1".to_owned()].into() },
            ca: None,
            max_bytes: 1_000,
        };
        WebhookSink::new(settings).expect("a url")
    }

    async fn there(&mut self) -> BTreeMap<String, Vec<u64>> {
        let mut there: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for seq in self.seqs() {
            there.entry(type_of(seq).to_owned()).or_default().push(seq);
        }
        there
    }

    async fn lose(&mut self) -> bool {
        false
    }

    async fn refuse(&mut self) -> bool {
        self.answers(503);
        true
    }

    async fn mend(&mut self) {
        self.answers(204);
    }

    fn returns_repeats(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_webhook_keeps_the_contract_with_a_receiver_that_knows_ids() {
    keeps_the_contract(Receiver::start().await).await;
}

#[tokio::test]
async fn redis_keeps_the_contract() {
    keeps_the_contract(RedisSet::single()).await;
}

#[tokio::test]
async fn redis_by_tls_for_a_user_of_few_rights_keeps_the_contract() {
    keeps_the_contract(RedisSet::tls()).await;
}

#[tokio::test]
async fn redis_behind_sentinels_keeps_the_contract() {
    keeps_the_contract(RedisSet::sentinel().await).await;
}

#[tokio::test]
async fn redis_behind_sentinels_by_tls_keeps_the_contract() {
    keeps_the_contract(RedisSet::sentinel_by_tls(Certificates::new(NAMES)).await).await;
}

#[tokio::test]
async fn a_redis_cluster_by_tls_keeps_the_contract() {
    keeps_the_contract(RedisSet::cluster_by_tls(Certificates::new(NAMES)).await).await;
}

#[tokio::test]
async fn a_redis_cluster_keeps_the_contract() {
    let set = RedisSet::cluster(3).await;
    let mut owners = Vec::new();
    for stream in ["events:user", "events:token", "events:nft"] {
        owners.push(set.owner(stream).await);
    }
    owners.dedup();
    assert!(owners.len() > 1, "the streams live on several masters");
    keeps_the_contract(set).await;
}
