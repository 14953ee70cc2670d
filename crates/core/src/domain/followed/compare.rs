//! Compares the configuration with the stored record of what each source read.

mod holders;

use std::collections::{BTreeMap, BTreeSet};

use super::difference::{SourceDifference, UnreadRange, listed};
use super::ranges::{self, Span, missing};
use super::{ConfiguredSource, EventKey, FilledSource, FollowedEvent, FollowedRange, SourceGap};
use crate::domain::{Address, AddressSet, BlockRange};
use holders::{Holder, Holders};

/// The result for a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainComparison {
    /// Per source, in the order of the configuration.
    pub sources: Vec<SourceComparison>,
    /// Differences of stored sources that are not configured.
    pub gone: Vec<SourceDifference>,
}

/// The result for a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceComparison {
    /// Its name.
    pub source: String,
    /// Its first block; `None` until the first head has decided it.
    pub start: Option<u64>,
    /// What it has read.
    pub parts: Vec<FollowedRange>,
    /// What it follows from here on: the configuration, without the parts that need an operator's decision.
    pub listens: Vec<FollowedEvent>,
    /// The gaps below its checkpoint, lowest first.
    pub gaps: Vec<SourceGap>,
    /// The differences to report.
    pub differences: Vec<SourceDifference>,
}

impl SourceComparison {
    /// Whether the source follows nothing until an operator decides.
    pub fn is_blocked(&self) -> bool {
        self.listens.is_empty() && self.hindrance().is_some()
    }

    /// Why the source, or a part of it, is not followed.
    pub fn hindrance(&self) -> Option<String> {
        let texts = self.differences.iter().filter(|difference| difference.blocks()).map(ToString::to_string);
        texts.reduce(|all, one| format!("{all}; {one}"))
    }

    /// The gaps that are not read yet.
    pub fn unread(&self) -> Option<&UnreadRange> {
        self.differences.iter().find_map(|difference| match difference {
            SourceDifference::Unread(unread) => Some(unread),
            _ => None,
        })
    }

    /// Records that its lowest gap was read up to this block.
    pub fn read_to(&mut self, to: u64) {
        if let Some(gap) = self.gaps.first_mut() {
            match BlockRange::new(to.saturating_add(1), gap.range.to()) {
                Some(left) => gap.range = left,
                None => drop(self.gaps.remove(0)),
            }
        }
        self.differences.retain(|difference| !matches!(difference, SourceDifference::Unread(_)));
        let unread = UnreadRange::of(&self.source, &self.listens, &self.gaps);
        self.differences.extend(unread.map(SourceDifference::Unread));
    }

    /// The last block up to which everything was read, if its checkpoint is `tip`; `None` if nothing was.
    pub fn complete_to(&self, tip: u64) -> Option<u64> {
        self.gaps.first().map_or(Some(tip), |gap| gap.range.from().checked_sub(1))
    }
}

impl ChainComparison {
    /// The sources that follow nothing until an operator decides.
    pub fn blocked(&self) -> BTreeSet<&str> {
        let blocked = self.sources.iter().filter(|compared| compared.is_blocked());
        blocked.map(|compared| compared.source.as_str()).collect()
    }

    /// Every difference.
    pub fn differences(&self) -> impl Iterator<Item = &SourceDifference> {
        self.sources.iter().flat_map(|compared| &compared.differences).chain(&self.gone)
    }
}

/// Compares the configuration of a chain with everything stored.
pub fn compare(chain_id: u64, configured: &[ConfiguredSource], kept: &[FilledSource]) -> ChainComparison {
    let sides = ComparedSides::new(chain_id, configured, kept);
    let sources: Vec<SourceComparison> =
        configured.iter().map(|configured| sides.compared(configured)).collect();
    let renamed: BTreeSet<&str> = sources
        .iter()
        .flat_map(|compared| &compared.differences)
        .filter_map(|difference| match difference {
            SourceDifference::Renamed { stored, .. } => Some(stored.as_str()),
            _ => None,
        })
        .collect();
    let of_chain = kept.iter().filter(|kept| kept.chain_id == chain_id && kept.tip.is_some());
    let gone = of_chain
        .filter(|kept| !sides.is_listed(&kept.name) && !renamed.contains(kept.name.as_str()))
        .map(|kept| match (kept.name.clone(), kept.emptying) {
            (source, true) => SourceDifference::Emptying { source, listed: false },
            (source, false) => SourceDifference::Gone { source, events: kept.events },
        })
        .collect();
    ChainComparison { sources, gone }
}

struct ComparedSides<'a> {
    chain_id: u64,
    configured: BTreeMap<&'a str, &'a ConfiguredSource>,
    kept: BTreeMap<&'a str, &'a FilledSource>,
    holders: Holders<'a>,
}

impl<'a> ComparedSides<'a> {
    fn new(chain_id: u64, configured: &'a [ConfiguredSource], kept: &'a [FilledSource]) -> Self {
        let configured: BTreeMap<_, _> =
            configured.iter().map(|configured| (configured.name.as_str(), configured)).collect();
        let with_events =
            kept.iter().filter(|kept| kept.chain_id == chain_id && kept.tip.is_some() && kept.events > 0);
        let holder = |source: &'a FilledSource| Holder { source, parts: parts(&configured, source) };
        let holders = Holders::new(with_events.map(holder).collect());
        let kept = kept.iter().map(|kept| (kept.name.as_str(), kept)).collect();
        Self { chain_id, configured, kept, holders }
    }

    fn is_listed(&self, name: &str) -> bool {
        self.configured.contains_key(name)
    }

    fn compared(&self, configured: &ConfiguredSource) -> SourceComparison {
        let own = self.kept.get(configured.name.as_str()).copied();
        let parts = own.map_or_else(Vec::new, |own| parts(&self.configured, own));
        let start = configured.start(own);
        let (source, nothing) =
            (configured.name.clone(), SourceComparison { start, ..SourceComparison::default() });
        let blocked = |difference| SourceComparison {
            source,
            parts: parts.clone(),
            differences: vec![difference],
            ..nothing
        };
        if let Some(FilledSource { chain_id: stored, .. }) = own.filter(|own| own.chain_id != self.chain_id) {
            let (source, stored, given) = (configured.name.clone(), *stored, self.chain_id);
            return blocked(SourceDifference::OtherChain { source, stored, given });
        }
        if own.is_some_and(|own| own.emptying) {
            return blocked(SourceDifference::Emptying { source: configured.name.clone(), listed: true });
        }
        // Without stored events there is no meaning to contradict.
        let filled = own.filter(|own| own.tip.is_some() && own.events > 0);
        if let Some(own) = filled.filter(|own| own.family != configured.family) {
            let (source, stored, given) =
                (configured.name.clone(), own.family.clone(), configured.family.clone());
            return blocked(SourceDifference::Family { source, stored, given });
        }
        let mut differences = redeclared(configured, if filled.is_some() { &parts } else { &[] });
        // Nothing is read before the first block is decided.
        let first = start.unwrap_or(u64::MAX);
        let (listens, taken) = self.split_taken(configured, first, &parts);
        let begun = own.is_some_and(|own| own.tip.is_some());
        if let [(holder, _)] = &taken[..]
            && !begun
            && !holder.emptying
            && !self.is_listed(&holder.name)
        {
            let (source, stored) = (configured.name.clone(), holder.name.clone());
            let to = holder.tip.unwrap_or_default();
            return blocked(SourceDifference::Renamed { source, stored, to });
        }
        differences.extend(taken.into_iter().map(|(holder, items)| SourceDifference::Taken {
            source: configured.name.clone(),
            what: in_words(&items),
            holder: holder.name.clone(),
            listed: self.is_listed(&holder.name),
            to: holder.tip.unwrap_or_default(),
        }));
        let gaps =
            own.and_then(|own| own.tip).map_or_else(Vec::new, |tip| gaps(&listens, (first, tip), &parts));
        differences.extend(UnreadRange::of(&configured.name, &listens, &gaps).map(SourceDifference::Unread));
        differences.extend(filled.and_then(|_| left(configured, &parts)));
        differences.extend(past_end(configured, own));
        SourceComparison { source: configured.name.clone(), start, parts, listens, gaps, differences }
    }

    /// Splits the events of a configured source into those that no other source has read, and those that others have read. The blocks
    /// from `first` on count, and of them those that the source itself has not read (`own`).
    fn split_taken(
        &self,
        configured: &ConfiguredSource,
        first: u64,
        own: &[FollowedRange],
    ) -> (Vec<FollowedEvent>, Vec<(&FilledSource, Vec<FollowedEvent>)>) {
        let mut listens = configured.events.clone();
        let mut taken = Vec::new();
        let others =
            self.holders.of(&configured.events).filter(|holder| holder.source.name != configured.name);
        for Holder { source: holder, parts } in others {
            let tip = holder.tip.unwrap_or_default();
            let held = |item: &FollowedEvent| held(item, (first, tip), parts, own);
            let items: Vec<FollowedEvent> =
                listens.iter().filter_map(|item| Some((item.0.clone(), held(item)?))).collect();
            for (event, addresses) in &items {
                listens
                    .retain_mut(|listened| listened.0 != *event || keep_others(&mut listened.1, addresses));
            }
            if !items.is_empty() {
                taken.push((*holder, items));
            }
        }
        (listens, taken)
    }
}

/// What a source has read. For a source of an older program this is unknown. Then the present configuration counts
/// as followed since its start, except events that it never stored. For a source without configuration its stored
/// events count.
fn parts(configured: &BTreeMap<&str, &ConfiguredSource>, kept: &FilledSource) -> Vec<FollowedRange> {
    if !kept.parts.is_empty() || kept.tip.is_none() {
        return if kept.tip.is_none() { Vec::new() } else { kept.parts.clone() };
    }
    let part = |event: &EventKey, addresses: AddressSet| FollowedRange {
        event: event.clone(),
        addresses,
        from: kept.start_block.unwrap_or_default(),
        to: None,
        quiet: false,
    };
    if let Some(configured) = configured.get(kept.name.as_str()) {
        let known = configured.events.iter().filter(|(event, _)| kept.seen.contains_key(&event.signature));
        return known.map(|(event, addresses)| part(event, addresses.clone())).collect();
    }
    let events: BTreeSet<&EventKey> =
        configured.values().flat_map(|configured| &configured.events).map(|(event, _)| event).collect();
    let seen = |event: &EventKey| Some(AddressSet::Only(kept.seen.get(&event.signature)?.clone()));
    events.into_iter().filter_map(|event| Some(part(event, seen(event)?))).collect()
}

/// Removes contracts from a set; returns whether any is left.
fn keep_others(set: &mut AddressSet, taken: &AddressSet) -> bool {
    match (set, taken) {
        (AddressSet::Only(set), AddressSet::Only(taken)) => {
            set.retain(|address| !taken.contains(address));
            !set.is_empty()
        }
        _ => false,
    }
}

/// The contracts of an item that another source has, for blocks that this source has not read.
fn held(
    item: &FollowedEvent,
    (start, tip): Span,
    parts: &[FollowedRange],
    own: &[FollowedRange],
) -> Option<AddressSet> {
    let (event, addresses) = item;
    let mut all: Option<AddressSet> = None;
    let shares_logs = |part: &&FollowedRange| {
        part.event.means_logs_of(event) && part.event.filter.intersects(&event.filter)
    };
    for part in parts.iter().filter(shares_logs) {
        let (from, to) = (part.from.max(start), part.to.unwrap_or(tip).min(tip));
        let shared = match (addresses, &part.addresses) {
            (AddressSet::Only(one), AddressSet::Only(other)) => AddressSet::Only(one & other),
            (AddressSet::Any, AddressSet::Any) => AddressSet::Any,
            (AddressSet::Any, AddressSet::Only(one)) | (AddressSet::Only(one), AddressSet::Any) => {
                AddressSet::Only(one.clone())
            }
        };
        if from > to || shared == AddressSet::Only(BTreeSet::new()) {
            continue;
        }
        let unread = missing(&(event.clone(), shared), (from, to), own).into_iter().map(|(set, _)| set);
        // No filter can express all contracts except a few.
        let unread = unread.map(|set| if *addresses == AddressSet::Any { AddressSet::Any } else { set });
        all = all.into_iter().chain(unread).reduce(|one, other| ranges::both(&one, &other));
    }
    all
}

/// The events whose declaration has changed since they were read.
fn redeclared(configured: &ConfiguredSource, parts: &[FollowedRange]) -> Vec<SourceDifference> {
    let other = |(event, addresses): &FollowedEvent| {
        let other = parts.iter().find(|part| {
            part.event.means_logs_of(event)
                && part.event.declaration != event.declaration
                && part.addresses.intersects(addresses)
        });
        Some(SourceDifference::Declaration {
            source: configured.name.clone(),
            stored: other?.event.declaration.clone(),
            given: event.declaration.clone(),
        })
    };
    configured.events.iter().filter_map(other).collect()
}

fn gaps(listens: &[FollowedEvent], whole: Span, parts: &[FollowedRange]) -> Vec<SourceGap> {
    if whole.0 > whole.1 {
        return Vec::new();
    }
    let missing = listens.iter().flat_map(|item| {
        missing(item, whole, parts).into_iter().map(|(set, span)| ((item.0.clone(), set), span))
    });
    ranges::gaps(missing.collect())
}

/// That a source has stored blocks above the last block it is configured for.
fn past_end(configured: &ConfiguredSource, own: Option<&FilledSource>) -> Option<SourceDifference> {
    let (end, to) = configured.end_block.zip(own?.tip).filter(|(end, to)| to > end)?;
    Some(SourceDifference::PastEnd { source: configured.name.clone(), end, to })
}

/// The events that a source has read and no longer follows.
fn left(configured: &ConfiguredSource, parts: &[FollowedRange]) -> Option<SourceDifference> {
    let followed =
        |event: &EventKey| configured.events.iter().any(|(configured, _)| configured.means_logs_of(event));
    let mut events: Vec<&str> = parts
        .iter()
        .filter(|part| !followed(&part.event))
        .map(|part| part.event.signature.as_str())
        .collect();
    events.sort_unstable();
    events.dedup();
    let listened =
        |address: &Address| configured.events.iter().any(|(_, addresses)| addresses.contains(address));
    let mut addresses = BTreeSet::<Address>::new();
    let mut any = false;
    for part in parts {
        match &part.addresses {
            AddressSet::Any => any |= !configured.events.iter().any(|(_, set)| *set == AddressSet::Any),
            AddressSet::Only(set) => addresses.extend(set.iter().filter(|address| !listened(address))),
        }
    }
    let mut what = Vec::new();
    if !events.is_empty() {
        what.push(listed("event", &events));
    }
    let filtered = filtered_out(configured, parts);
    if !filtered.is_empty() {
        what.push(format!("the logs of {} that `where` leaves out", listed("event", &filtered)));
    }
    if any {
        what.push("all contracts".to_owned());
    } else if !addresses.is_empty() {
        what.push(listed("contract", &addresses.into_iter().collect::<Vec<_>>()));
    }
    let source = configured.name.clone();
    (!what.is_empty()).then(|| SourceDifference::Left { source, what: what.join(" and ") })
}

/// The events of which a source follows fewer logs than it has read.
fn filtered_out<'a>(configured: &ConfiguredSource, parts: &'a [FollowedRange]) -> Vec<&'a str> {
    let is_narrower = |part: &&FollowedRange| {
        let mut same = configured.events.iter().filter(|(event, _)| event.means_logs_of(&part.event));
        same.any(|(event, _)| !event.covers(&part.event))
    };
    let mut events: Vec<&str> =
        parts.iter().filter(is_narrower).map(|part| part.event.signature.as_str()).collect();
    events.sort_unstable();
    events.dedup();
    events
}

fn in_words(items: &[FollowedEvent]) -> String {
    let events: Vec<&str> = items.iter().map(|(event, _)| event.signature.as_str()).collect();
    let all = items.iter().map(|(_, set)| set.clone()).reduce(|one, other| ranges::both(&one, &other));
    let of = match all {
        Some(AddressSet::Only(set)) => listed("contract", &set.into_iter().collect::<Vec<_>>()),
        _ => "all contracts".to_owned(),
    };
    format!("{} of {of}", listed("event", &events))
}

#[cfg(test)]
mod tests;
