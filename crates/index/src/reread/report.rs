//! What a second reading found.

use std::collections::BTreeSet;

use chainflume_core::domain::Place;
use chainflume_store::Compared;

/// The result of comparing the blocks with the stored events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RereadReport {
    /// Events that were stored as they should be.
    pub present: u64,
    /// Events that were not stored. They are now, unless this was only a look.
    pub missing: Places,
    /// Places where something else was stored. Only a repair corrects them.
    pub differing: Places,
    /// Stored events that are not among the node's logs; gone after a repair.
    pub surplus: Places,
    /// Stored events that a repair left as they are: the provider did not answer them, and nothing proves that they are wrong.
    pub unproven: Places,
    /// Why nothing was proven, the first few reasons.
    pub reasons: Vec<String>,
    /// Stored events that the source does not follow any more. They are no difference.
    pub not_followed: u64,
    /// Blocks whose receipts prove logs where the node returned no event at all. Looked for where events are added.
    pub omitted: Vec<u64>,
    /// Why it is not known whether the node left logs out, where it returned no event at all.
    pub doubts: Vec<String>,
}

/// Reasons that are kept: enough to see the kind.
const REASONS: usize = 5;

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
            if self.reasons.len() < REASONS && !self.reasons.contains(reason) {
                self.reasons.push(reason.clone());
            }
        }
    }

    /// Whether the node returned no event.
    pub(super) fn is_empty(&self) -> bool {
        self.present == 0 && self.missing.count == 0 && self.differing.count == 0
    }

    /// Whether everything was as it should be.
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

/// Places of events: how many, and the first of them, so that a report of millions is no millions in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// All of them.
    pub count: u64,
    /// The first, in the order they were found.
    pub first: Vec<Place>,
}

/// More than a person looks at.
const FIRST: usize = 100;

impl Places {
    fn add(&mut self, places: &[Place]) {
        self.count += places.len() as u64;
        self.first.extend(places.iter().take(FIRST.saturating_sub(self.first.len())));
    }
}
