//! Blocks of a source that were read again, and the result of comparing them with the store.

use std::collections::BTreeSet;

use chainflume_core::domain::{BlockRange, DeadLetter, Event, Place};

/// Blocks of one source read again.
#[derive(Clone, Debug)]
pub struct Backfill {
    /// The source.
    pub source: String,
    /// The blocks, none above the source's checkpoint.
    pub range: BlockRange,
    /// [`super::StoreSnapshot::reorgs`] as read before the logs were fetched: a rewind in between makes them worthless.
    pub reorgs: u64,
    /// Events of the source in the range, in any order. What is stored and not among them is left alone.
    pub events: Vec<Event>,
    /// Logs of the range that could not become events.
    pub dead_letters: Vec<DeadLetter>,
}

/// How blocks of a source that were read again compare with what is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Events that are stored as given.
    pub present: u64,
    /// Places of given events where nothing is stored, ascending.
    pub missing: Vec<Place>,
    /// Places where something else is stored, ascending.
    pub differing: Vec<Place>,
    /// Places of stored events that were not given, ascending.
    pub surplus: Vec<Place>,
    /// Number of stored events of contracts or kinds that the source does not follow any more. They are not differences: the
    /// reading left them out.
    pub not_followed: u64,
}

impl Compared {
    /// Whether no event is missing, differing or surplus.
    pub fn agrees(&self) -> bool {
        self.missing.is_empty() && self.differing.is_empty() && self.surplus.is_empty()
    }
}

/// What is proven about a source's blocks: only this may be taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProvenBlocks {
    /// Stored events that are proven not to be on the chain as they are stored.
    pub places: BTreeSet<Place>,
    /// Blocks of which all logs are proven: dead letters of other logs may go.
    pub blocks: BTreeSet<u64>,
}
