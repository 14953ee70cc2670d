use std::collections::BTreeSet;
use std::sync::Arc;

use alloy_primitives::map::{AddressMap, B256Map};

use super::canonical;
use super::event::{AbiEvent, SourceAbi, SourceIndex};
use super::reader;
use super::value::{TypedLog, Value};
use crate::domain::{AddressSet, B256, Log, LogFilter, TopicFilter, TopicValues};

/// The result of decoding a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeOutcome {
    /// A log of a configured source.
    Typed(TypedLog),
    /// A log of no source.
    Foreign,
    /// A log of a source by address and first topic, whose bytes or number of topics do not fit the ABI. The number counts
    /// only if the source names the contract: with `address = "any"` such a log is another event of the same name.
    Malformed {
        /// The source that the log belongs to.
        source: SourceIndex,
        /// The event that its topics name.
        event: Arc<AbiEvent>,
        /// The reason, for a person.
        reason: String,
    },
}

/// Finds the source of a log and decodes it. A decoder is cheap to build, so each group of sources has its own. The
/// result does not depend on the group, provided that [`overlaps`](super::overlaps) finds no overlap.
#[derive(Clone, Debug)]
pub struct Decoder {
    wanted: Vec<KnownEvent>,
    /// By first topic, then by number of topics less one.
    signed: B256Map<[EventSlot; 4]>,
    /// Anonymous events by contract.
    anonymous: AddressMap<Vec<usize>>,
    filter: LogFilter,
}

#[derive(Clone, Debug)]
struct KnownEvent {
    source: SourceIndex,
    event: Arc<AbiEvent>,
}

/// Positions in `wanted`.
#[derive(Clone, Debug, Default)]
struct EventSlot {
    everywhere: Option<usize>,
    by_address: AddressMap<usize>,
}

impl Decoder {
    /// Where two sources overlap, the log belongs to the first one.
    pub fn new(sources: Vec<SourceAbi>) -> Self {
        let filter = filter(&sources);
        let mut decoder =
            Self { wanted: Vec::new(), signed: B256Map::default(), anonymous: AddressMap::default(), filter };
        for source in &sources {
            for event in source.events.iter().filter(|event| source.listens_for(event)) {
                decoder.add(source, event);
            }
        }
        decoder
    }

    fn add(&mut self, source: &SourceAbi, event: &Arc<AbiEvent>) {
        let position = self.wanted.len();
        self.wanted.push(KnownEvent { source: source.source, event: Arc::clone(event) });
        if event.anonymous {
            if let AddressSet::Only(addresses) = &source.addresses {
                for address in addresses {
                    self.anonymous.entry(*address).or_default().push(position);
                }
            }
            return;
        }
        let slots = self.signed.entry(event.topic0).or_default();
        let Some(slot) = slots.get_mut(event.topic_count() - 1) else { return };
        match &source.addresses {
            AddressSet::Any => {
                slot.everywhere.get_or_insert(position);
            }
            AddressSet::Only(addresses) => {
                for address in addresses {
                    slot.by_address.entry(*address).or_insert(position);
                }
            }
        }
    }

    /// One filter that matches every log of these sources. It may match others too. Do not send it without sources: it
    /// would name no address and no event, and nodes then return all logs.
    pub fn filter(&self) -> &LogFilter {
        &self.filter
    }

    /// Decodes a log. Allocates only the list of arguments, unless the event has nested ones.
    pub fn decode(&self, log: &Log) -> DecodeOutcome {
        let Some(wanted) = self.by_signature(log) else {
            return match self.by_shape(log) {
                DecodeOutcome::Foreign => self.by_first_topic(log),
                typed => typed,
            };
        };
        match reader::read(&wanted.event, log) {
            Ok(args) => wanted.typed(args),
            Err(reason) => {
                DecodeOutcome::Malformed { source: wanted.source, event: Arc::clone(&wanted.event), reason }
            }
        }
    }

    /// Whether the log is one of these events: it has the first topic and number of topics of an event, or fits an
    /// anonymous one.
    pub fn claims(&self, log: &Log) -> bool {
        self.by_signature(log).is_some() || self.by_shape(log) != DecodeOutcome::Foreign
    }

    fn by_signature(&self, log: &Log) -> Option<&KnownEvent> {
        let topics = log.topics.as_slice();
        let slot = self.signed.get(topics.first()?)?.get(topics.len() - 1)?;
        let position = slot.by_address.get(&log.address).copied().or(slot.everywhere)?;
        self.wanted.get(position).filter(|wanted| wanted.event.filter.admits(topics))
    }

    /// A log of a named contract with the first topic of a wanted event and another number of topics. A signature does
    /// not contain which arguments are indexed, so this detects an ABI with a wrong `indexed`.
    fn by_first_topic(&self, log: &Log) -> DecodeOutcome {
        let topics = log.topics.as_slice();
        let slots = topics.first().and_then(|topic| self.signed.get(topic)).into_iter().flatten();
        let named = slots.filter_map(|slot| slot.by_address.get(&log.address)).next();
        let named = named.and_then(|position| self.wanted.get(*position));
        let Some(wanted) = named.filter(|wanted| wanted.event.filter.admits(topics)) else {
            return DecodeOutcome::Foreign;
        };
        let (found, expected) = (topics.len(), wanted.event.topic_count());
        let reason = format!(
            "the log of {} has {found} topics where the ABI expects {expected}: is `indexed` right in the ABI?",
            wanted.event.signature
        );
        DecodeOutcome::Malformed { source: wanted.source, event: Arc::clone(&wanted.event), reason }
    }

    /// Anonymous events are tried last and must fit exactly: no first topic identifies their logs, and bytes that
    /// nearly fit are another event.
    fn by_shape(&self, log: &Log) -> DecodeOutcome {
        let positions = self.anonymous.get(&log.address).map_or(&[][..], Vec::as_slice);
        let candidates = positions.iter().filter_map(|position| self.wanted.get(*position));
        for wanted in candidates.filter(|w| w.event.topic_count() == log.topics.as_slice().len()) {
            if let Ok(args) = reader::read(&wanted.event, log)
                && canonical::encode(&wanted.event, &args) == log.data
            {
                return wanted.typed(args);
            }
        }
        DecodeOutcome::Foreign
    }
}

impl KnownEvent {
    fn typed(&self, args: Vec<Value>) -> DecodeOutcome {
        DecodeOutcome::Typed(TypedLog { source: self.source, event: Arc::clone(&self.event), args })
    }
}

fn filter(sources: &[SourceAbi]) -> LogFilter {
    let one = |source: &SourceAbi| LogFilter {
        addresses: match &source.addresses {
            AddressSet::Any => None,
            AddressSet::Only(addresses) => Some(addresses.clone()),
        },
        topic0: topics(source),
        values: values(source),
    };
    let nothing = LogFilter {
        addresses: Some(BTreeSet::new()),
        topic0: Some(BTreeSet::new()),
        values: [const { Some(BTreeSet::new()) }; 3],
    };
    sources.iter().map(one).fold(nothing, LogFilter::merge)
}

/// What the events of a source allow, position by position.
fn values(source: &SourceAbi) -> TopicValues {
    let events = source.events.iter().filter(|event| source.listens_for(event));
    events.map(|event| event.filter.hull()).reduce(TopicFilter::merge_values).unwrap_or_default()
}

/// `None` for an anonymous event, whose first topic may be any value.
fn topics(source: &SourceAbi) -> Option<BTreeSet<B256>> {
    let events = source.events.iter().filter(|event| source.listens_for(event));
    events.map(|event| (!event.anonymous).then_some(event.topic0)).collect()
}
