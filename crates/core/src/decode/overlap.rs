use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::event::{AbiEvent, SourceAbi, SourceIndex};
use crate::domain::{Address, AddressSet};

/// Two events that the same log could match. A log belongs to one source and one event, so an overlap is an error in
/// the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The source that comes first.
    pub a: SourceIndex,
    /// The other source, or the same one.
    pub b: SourceIndex,
    /// Event of `a`.
    pub event_a: Arc<AbiEvent>,
    /// Event of `b`.
    pub event_b: Arc<AbiEvent>,
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topics = self.event_a.topic_count();
        if self.event_a.signature == self.event_b.signature {
            return write!(
                f,
                "both take {} with {topics} topics from the same contract",
                self.event_a.signature
            );
        }
        let (a, b) = (&self.event_a.signature, &self.event_b.signature);
        write!(f, "{a} and {b} cannot be distinguished: one is anonymous, both have {topics} topics")
    }
}

/// Every pair of events, of two sources or of one, that the same log could match. `sources` are the sources of one
/// chain. Two conditions must hold: both follow some contract, and the numbers of topics are equal. The rest depends on
/// the kinds of events:
///
/// - both signed: they overlap if their first topics are equal. Within one source that is the same signature with other
///   arguments indexed;
/// - one anonymous: they overlap if they are of two sources. Within one source the signed event is tried first. Across
///   sources this order fails: while one source catches up, a decoder may know only one event and would take the other's
///   logs for it;
/// - both anonymous: they overlap unless the data of both has a fixed size and the sizes differ. With
///   dynamic data there are always bytes that are canonical for both (a `bytes` of three words is also
///   three `uint256`).
pub fn overlaps(sources: &[SourceAbi]) -> Vec<Overlap> {
    let mut by_count: BTreeMap<usize, Vec<(&SourceAbi, &Arc<AbiEvent>)>> = BTreeMap::new();
    for source in sources {
        for event in source.events.iter().filter(|event| source.listens_for(event)) {
            by_count.entry(event.topic_count()).or_default().push((source, event));
        }
    }
    let mut found = Vec::new();
    for wanted in by_count.values() {
        let near = EventsByContract::new(wanted.iter().map(|(source, _)| &source.addresses));
        for (i, (a, event_a)) in wanted.iter().enumerate() {
            for (b, event_b) in near.after(i, &a.addresses).into_iter().map(|j| &wanted[j]) {
                if alike(event_a, event_b, a.source == b.source) && a.addresses.intersects(&b.addresses) {
                    let (event_a, event_b) = (Arc::clone(event_a), Arc::clone(event_b));
                    found.push(Overlap { a: a.source, b: b.source, event_a, event_b });
                }
            }
        }
    }
    found
}

/// Positions of events in a list, by contract: of thousands of sources each pair would take seconds.
struct EventsByContract {
    by_contract: BTreeMap<Address, Vec<usize>>,
    of_all_contracts: Vec<usize>,
    count: usize,
}

impl EventsByContract {
    fn new<'a>(events: impl Iterator<Item = &'a AddressSet>) -> Self {
        let mut all = Self { by_contract: BTreeMap::new(), of_all_contracts: Vec::new(), count: 0 };
        for (index, addresses) in events.enumerate() {
            match addresses {
                AddressSet::Any => all.of_all_contracts.push(index),
                AddressSet::Only(set) => {
                    set.iter().for_each(|address| all.by_contract.entry(*address).or_default().push(index));
                }
            }
            all.count += 1;
        }
        all
    }

    /// The events after this one that share a contract with it, in order.
    fn after(&self, index: usize, addresses: &AddressSet) -> BTreeSet<usize> {
        let AddressSet::Only(set) = addresses else { return (index + 1..self.count).collect() };
        let same = set.iter().filter_map(|address| self.by_contract.get(address)).flatten();
        same.chain(&self.of_all_contracts).copied().filter(|other| *other > index).collect()
    }
}

fn alike(a: &AbiEvent, b: &AbiEvent, same_source: bool) -> bool {
    match (a.anonymous, b.anonymous) {
        (false, false) => a.topic0 == b.topic0,
        (true, true) => !(a.has_static_data() && b.has_static_data() && a.data_words() != b.data_words()),
        _ => !same_source,
    }
}
