//! What a source follows, and what it was filled by: sets of logs over ranges of blocks, and how the two compare.

mod compare;
mod difference;
mod ranges;

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, keccak256};

use super::{AddressSet, BlockRange};

pub use compare::{ChainComparison, SourceCourse, compare};
pub use difference::{SourceDifference, UnreadRange};
pub use ranges::normal;

/// An event as far as it decides which logs are meant and how they are read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventKey {
    /// First topic, `None` for an anonymous event.
    pub topic0: Option<B256>,
    /// Number of topics of its logs, the first included.
    pub topics: u8,
    /// Canonical signature, `Transfer(address,address,uint256)` for instance.
    pub signature: String,
    /// The signature with what else decides how a log is read: which arguments are indexed, and which one is the account.
    pub declaration: String,
}

impl EventKey {
    /// Whether both mean the same logs. Anonymous events differ by their shape alone.
    pub fn means_logs_of(&self, other: &Self) -> bool {
        (self.topic0, self.topics) == (other.topic0, other.topics)
            && (self.topic0.is_some() || self.declaration == other.declaration)
    }
}

/// What is listened for: an event of these contracts.
pub type FollowedEvent = (EventKey, AddressSet);

/// Blocks in which an event of these contracts was followed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FollowedRange {
    /// The event.
    pub event: EventKey,
    /// The contracts.
    pub addresses: AddressSet,
    /// First block.
    pub from: u64,
    /// Last block; `None` where it is followed still: up to the source's checkpoint.
    pub to: Option<u64>,
    /// Whether the events were stored without being announced: the past of what was added to a source that is announced
    /// from the head.
    pub quiet: bool,
}

/// A source as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredSource {
    /// Unique.
    pub name: String,
    /// `stake`, `erc20`, `erc721` or `generic`.
    pub family: String,
    /// First block.
    pub start_block: u64,
    /// What it listens for.
    pub events: Vec<FollowedEvent>,
}

impl ConfiguredSource {
    /// Tells one configuration of a source from another: 64 hexadecimal digits. Only for comparison with another digest.
    pub fn digest(&self) -> String {
        format!("{:x}", keccak256(format!("{self:?}")))
    }
}

/// A source as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilledSource {
    /// Unique.
    pub name: String,
    /// EIP-155.
    pub chain_id: u64,
    /// What its events were stored as.
    pub family: String,
    /// The lowest block whose events may be stored.
    pub start_block: u64,
    /// Its checkpoint.
    pub tip: Option<u64>,
    /// Number of its stored events.
    pub events: u64,
    /// What it was filled by; empty where that is not known, because an older program filled it.
    pub parts: Vec<FollowedRange>,
    /// Whether a part of its events is deleted already, by a command that has not ended. Its checkpoint is the one it had.
    pub emptying: bool,
    /// Where that is not known: the signatures of its events, and of each some contracts that have emitted it.
    pub seen: BTreeMap<String, BTreeSet<Address>>,
}

/// Blocks of a source in which a part of what it follows was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceGap {
    /// The blocks, none above the checkpoint.
    pub range: BlockRange,
    /// What was not read there.
    pub items: Vec<FollowedEvent>,
}
