//! What a source follows and what it has read, as sets of logs over ranges of blocks, and how the two compare.

mod compare;
mod difference;
mod ranges;

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256, keccak256};
use serde::{Deserialize, Deserializer};

use super::{AddressSet, BlockRange, BlockRef, TopicFilter};
use crate::settings::number_or_word;

pub use compare::{ChainComparison, SourceComparison, compare};
pub use difference::{SourceDifference, UnreadRange};
pub use ranges::normal;

/// The parts of an event that decide which logs are meant and how they are decoded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventKey {
    /// First topic, `None` for an anonymous event.
    pub topic0: Option<B256>,
    /// Number of topics of its logs, the first included.
    pub topics: u8,
    /// Canonical signature, `Transfer(address,address,uint256)` for instance.
    pub signature: String,
    /// The signature with everything else that decides how a log is decoded: which arguments are indexed, and which one
    /// is the account.
    pub declaration: String,
    /// Selects the logs that are followed.
    pub filter: TopicFilter,
}

impl EventKey {
    /// Whether both have the same logs, apart from their filters. Anonymous events differ only by their shape.
    pub fn means_logs_of(&self, other: &Self) -> bool {
        (self.topic0, self.topics) == (other.topic0, other.topics)
            && (self.topic0.is_some() || self.declaration == other.declaration)
    }

    /// Whether this key includes every log of the other key, filters included.
    pub fn covers(&self, other: &Self) -> bool {
        self.means_logs_of(other) && self.filter.covers(&other.filter)
    }
}

/// An item to follow: an event of these contracts.
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
    /// Last block; `None` while it is still followed, up to the source's checkpoint.
    pub to: Option<u64>,
    /// Whether the events were stored without messages: the earlier blocks of an addition to a source that publishes
    /// only from the head.
    pub quiet: bool,
}

/// The configured first block of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartBlock {
    /// This block.
    Number(u64),
    /// The first head of a node that has synced. It is stored and never decided again.
    Latest,
}

impl<'de> Deserialize<'de> for StartBlock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = [("latest", Self::Latest)];
        let remedy = "write a block number or \"latest\"";
        number_or_word::<0, { BlockRef::HIGHEST }, _, _>(deserializer, Self::Number, &words, remedy)
    }
}

/// A configured source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredSource {
    /// Unique.
    pub name: String,
    /// `stake`, `erc20`, `erc721` or `generic`.
    pub family: String,
    /// First block.
    pub start_block: StartBlock,
    /// Last block; `None` without one.
    pub end_block: Option<u64>,
    /// What it follows.
    pub events: Vec<FollowedEvent>,
}

impl ConfiguredSource {
    /// Digest of the configuration, 64 hexadecimal digits. Only for comparison with another digest.
    pub fn digest(&self) -> String {
        format!("{:x}", keccak256(format!("{self:?}")))
    }

    /// Its first block; `None` until the first head has decided it. `own` is the stored record of this source.
    pub fn start(&self, own: Option<&FilledSource>) -> Option<u64> {
        match self.start_block {
            StartBlock::Number(number) => Some(number),
            StartBlock::Latest => own?.start_block,
        }
    }
}

/// The stored record of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilledSource {
    /// Unique.
    pub name: String,
    /// EIP-155.
    pub chain_id: u64,
    /// The family of its stored events.
    pub family: String,
    /// The lowest block whose events may be stored; `None` until the first head has decided it.
    pub start_block: Option<u64>,
    /// Its checkpoint.
    pub tip: Option<u64>,
    /// Number of its stored events.
    pub events: u64,
    /// What it has read; empty for a source of an older program, which did not record it.
    pub parts: Vec<FollowedRange>,
    /// Whether an unfinished command has deleted a part of its events. Its checkpoint is unchanged.
    pub emptying: bool,
    /// For a source of an older program: the signatures of its stored events, each with some contracts that emitted it.
    pub seen: BTreeMap<String, BTreeSet<Address>>,
}

/// Blocks of a source in which a part of what it follows was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceGap {
    /// The blocks, none above the checkpoint.
    pub range: BlockRange,
    /// The part that was not read there.
    pub items: Vec<FollowedEvent>,
}
