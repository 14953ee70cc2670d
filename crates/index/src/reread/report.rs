//! The result of a second read.

use std::collections::BTreeSet;

use chainflume_core::domain::Place;
use chainflume_store::Compared;

/// The result of comparing the blocks with the stored events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RereadReport {
    /// Events that were stored correctly.
    pub present: u64,
    /// Events that were not stored. Unless the purpose is to compare, they are stored now.
    pub missing: Places,
    /// Places where another event was stored. Only a repair corrects them.
    pub differing: Places,
    /// Stored events that the chain does not have. Only a comparison or a repair finds them, and a repair undoes them.
    pub surplus: Places,
    /// Stored events that a repair left unchanged: the provider did not return them, and nothing proves that they are wrong.
    pub unproven: Places,
    /// The first few reasons why they are not proven.
    pub reasons: Vec<String>,
    /// Stored events that the source does not follow any more, which is no difference.
    pub not_followed: u64,
    /// Blocks whose receipts prove logs where the node returned no event at all. Looked for where events are added.
    pub omitted: Vec<u64>,
    /// Why it is not known whether the node left logs out, where it returned no event at all.
    pub doubts: Vec<String>,
}

/// Maximum number of reasons: enough to see the kind.
const MAX_REASONS: usize = 5;

impl RereadReport {
    pub(super) fn add(&mut self, outcome: &BatchOutcome) {
        let BatchOutcome { compared, unproven, reasons } = outcome;
        self.present += compared.present;
        self.missing.add(&compared.missing);
        self.differing.add(&compared.differing);
        self.surplus.add(&compared.surplus);
        self.not_followed += compared.not_followed;
        self.unproven.add(unproven);
        for reason in reasons {
            if self.reasons.len() < MAX_REASONS && !self.reasons.contains(reason) {
                self.reasons.push(reason.clone());
            }
        }
    }

    /// Whether the node returned no event.
    pub(super) fn is_empty(&self) -> bool {
        self.present == 0 && self.missing.count == 0 && self.differing.count == 0
    }

    /// Whether stored events and chain agree.
    pub fn agrees(&self) -> bool {
        self.missing.count == 0 && self.differing.count == 0 && self.surplus.count == 0
    }
}

/// The result of a batch.
#[derive(Default)]
pub(crate) struct BatchOutcome {
    pub(crate) compared: Compared,
    pub(crate) unproven: Vec<Place>,
    pub(crate) reasons: BTreeSet<String>,
}

impl From<Compared> for BatchOutcome {
    fn from(compared: Compared) -> Self {
        Self { compared, ..Self::default() }
    }
}

/// Places of events: their number and the first of them, so that a report about millions needs little memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// All of them.
    pub count: u64,
    /// The first, in the order they were found.
    pub first: Vec<Place>,
}

/// Maximum number of places that are kept.
const MAX_FIRST: usize = 100;

impl Places {
    fn add(&mut self, places: &[Place]) {
        self.count += places.len() as u64;
        self.first.extend(places.iter().take(MAX_FIRST.saturating_sub(self.first.len())));
    }
}
