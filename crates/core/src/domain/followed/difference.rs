use std::fmt;

use super::{FollowedEvent, SourceGap};
use crate::domain::{AddressSet, BlockRange};

/// A difference between a source's configuration and the stored record of what it read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceDifference {
    /// The name is taken by a source of another chain.
    OtherChain {
        /// The source.
        source: String,
        /// EIP-155, as stored.
        stored: u64,
        /// EIP-155, as configured.
        given: u64,
    },
    /// The stored events have the meaning of another family.
    Family {
        /// The source.
        source: String,
        /// As stored.
        stored: String,
        /// As configured.
        given: String,
    },
    /// From here on, the same logs are decoded by another declaration. The source continues: this is how an ABI is
    /// corrected.
    Declaration {
        /// The source.
        source: String,
        /// As stored.
        stored: String,
        /// As configured.
        given: String,
    },
    /// The source holds the same events as a stored source that is no longer configured: it was renamed.
    Renamed {
        /// The new name.
        source: String,
        /// The name under which it is stored.
        stored: String,
        /// The last stored block.
        to: u64,
    },
    /// A part of what a source follows is stored for another source.
    Taken {
        /// The source.
        source: String,
        /// The part.
        what: String,
        /// The source that has the part.
        holder: String,
        /// Whether that source is still configured.
        listed: bool,
        /// The last block for which that source has the part.
        to: u64,
    },
    /// Blocks that were not read for a part of what the source follows. The daemon reads them without a command.
    Unread(UnreadRange),
    /// The source no longer follows a part of its stored events. The stored events remain.
    Left {
        /// The source.
        source: String,
        /// The part that it no longer follows.
        what: String,
    },
    /// The source has stored blocks above its last block. They remain.
    PastEnd {
        /// The source.
        source: String,
        /// The last block, as configured.
        end: u64,
        /// The last stored block.
        to: u64,
    },
    /// A command that has not ended has deleted a part of the source's stored events.
    Emptying {
        /// The source.
        source: String,
        /// Whether it is configured.
        listed: bool,
    },
    /// A source that is no longer configured. Its stored events remain.
    Gone {
        /// The source.
        source: String,
        /// Number of its stored events.
        events: u64,
    },
}

/// Blocks of a source in which a part of what it follows is not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadRange {
    /// The source.
    pub source: String,
    /// The part, for a person.
    pub what: String,
    /// The first and the last of the blocks.
    pub range: BlockRange,
    /// Number of blocks.
    pub blocks: u64,
}

impl UnreadRange {
    /// Summary of these gaps; `None` if there are none.
    pub(super) fn of(source: &str, listens: &[FollowedEvent], gaps: &[SourceGap]) -> Option<Self> {
        let range = BlockRange::new(gaps.first()?.range.from(), gaps.last()?.range.to())?;
        let blocks = gaps.iter().fold(0, |sum: u64, gap| sum.saturating_add(gap.range.width()));
        let items: Vec<&FollowedEvent> = gaps.iter().flat_map(|gap| &gap.items).collect();
        let contracts = contracts(items.iter().copied(), listens);
        let events = events(items.iter().copied(), listens);
        let what = match (contracts, events) {
            (None, None) => "all it follows".to_owned(),
            (Some(contracts), None) => contracts,
            (None, Some(events)) => events,
            (Some(contracts), Some(events)) => format!("{events} of {contracts}"),
        };
        Some(Self { source: source.to_owned(), what, range, blocks })
    }
}

/// The contracts of a part in words; `None` for all contracts.
fn contracts<'a>(part: impl Iterator<Item = &'a FollowedEvent>, all: &'a [FollowedEvent]) -> Option<String> {
    let set = |items: &mut dyn Iterator<Item = &'a FollowedEvent>| {
        items.map(|(_, addresses)| addresses.clone()).reduce(|one, other| super::ranges::both(&one, &other))
    };
    let (part, all) = (set(&mut { part })?, set(&mut all.iter())?);
    match (part, all) {
        (AddressSet::Only(part), AddressSet::Only(all)) if part.len() < all.len() => match part.first() {
            Some(address) if part.len() == 1 => Some(format!("contract {address}")),
            _ => Some(format!("{} of {} contracts", part.len(), all.len())),
        },
        _ => None,
    }
}

/// The events of a part in words; `None` for all events.
fn events<'a>(part: impl Iterator<Item = &'a FollowedEvent>, all: &'a [FollowedEvent]) -> Option<String> {
    let mut names: Vec<&str> = part.map(|(event, _)| event.signature.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let every = all.iter().all(|(event, _)| names.contains(&event.signature.as_str()));
    (!every).then(|| listed("event", &names))
}

/// At most two names, or else their number.
pub(super) fn listed(noun: &str, names: &[impl fmt::Display]) -> String {
    match names {
        [one] => format!("{noun} {one}"),
        [one, two] => format!("{noun}s {one} and {two}"),
        more => format!("{} {noun}s", more.len()),
    }
}

impl SourceDifference {
    /// The source that the difference concerns.
    pub fn source(&self) -> &str {
        match self {
            Self::OtherChain { source, .. }
            | Self::Family { source, .. }
            | Self::Declaration { source, .. }
            | Self::Renamed { source, .. }
            | Self::Taken { source, .. }
            | Self::Left { source, .. }
            | Self::PastEnd { source, .. }
            | Self::Emptying { source, .. }
            | Self::Gone { source, .. }
            | Self::Unread(UnreadRange { source, .. }) => source,
        }
    }

    /// Whether the source, or the part of it, stays unread until an operator decides.
    pub fn blocks(&self) -> bool {
        match self {
            Self::Declaration { .. }
            | Self::Unread(_)
            | Self::Left { .. }
            | Self::PastEnd { .. }
            | Self::Gone { .. } => false,
            Self::Emptying { listed, .. } => *listed,
            _ => true,
        }
    }
}

impl fmt::Display for SourceDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherChain { source, stored, given } => write!(
                f,
                "source {source} is stored for chain {stored}, not {given}: give the new one another name, or run \
                 `chainflume sources remove {source}` to delete what is stored"
            ),
            Self::Family { source, stored, given } => write!(
                f,
                "source {source} was filled as family {stored} and is configured as {given}: what is stored does not have \
                 that meaning; run `chainflume sources reset {source}` to read it anew, or give it back family {stored}"
            ),
            Self::Declaration { source, stored, given } => write!(
                f,
                "source {source} was filled by an ABI that declares {stored}, and the ABI declares {given} now: what is stored \
                 keeps the values it was read with; run `chainflume sources reset {source}` to read all of it by the new ABI, or \
                 `chainflume dead-letters retry` for the logs that did not fit the old one"
            ),
            Self::Renamed { source, stored, to } => write!(
                f,
                "source {source} follows what source {stored} was filled with up to block {to}: run \
                 `chainflume sources rename {stored} {source}` to keep what is stored, or \
                 `chainflume sources remove {stored}` to read it anew, or give the source its name {stored} back"
            ),
            Self::Taken { source, what, holder, listed, to } => {
                let remedy = match listed {
                    true => format!(
                        "run `chainflume sources reset {holder}` to delete it there and read the rest of {holder} anew"
                    ),
                    false => format!("run `chainflume sources remove {holder}` to delete it there"),
                };
                write!(
                    f,
                    "source {source} follows {what}, which is stored for source {holder} up to block {to}: this part is not \
                     followed; {remedy}, or put it back"
                )
            }
            Self::Unread(UnreadRange { source, what, range, blocks }) => write!(
                f,
                "source {source} reads the past of {what}: blocks {} to {}, {blocks} left",
                range.from(),
                range.to()
            ),
            Self::Left { source, what } => write!(
                f,
                "source {source} no longer follows {what}: its stored events stay; \
                 `chainflume sources reset {source}` deletes them and reads the source anew"
            ),
            Self::PastEnd { source, end, to } => write!(
                f,
                "source {source} has stored blocks up to {to}, and its end_block is {end}: they stay, and nothing more is read; \
                 `chainflume sources reset {source}` deletes them and reads the source anew, up to {end}"
            ),
            Self::Emptying { source, listed } => emptying(f, source, *listed),
            Self::Gone { source, events } => write!(
                f,
                "source {source} is not configured any more: its {events} stored events stay; \
                 `chainflume sources remove {source}` deletes them"
            ),
        }
    }
}

fn emptying(f: &mut fmt::Formatter<'_>, source: &str, listed: bool) -> fmt::Result {
    let remedy = match listed {
        true => format!("`chainflume sources reset {source}` deletes the rest and reads the source anew"),
        false => format!("`chainflume sources remove {source}` deletes the rest"),
    };
    write!(f, "source {source} is deleted in part, by a command that still runs or was interrupted: {remedy}")
}
