//! Arithmetic of the block ranges in which events were followed.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;

use super::{EventKey, FollowedEvent, FollowedRange, SourceGap};
use crate::domain::{AddressSet, BlockRange};

/// First and last block. `u64::MAX` as the last block means: still followed.
pub(super) type Span = (u64, u64);

/// The same blocks as ascending spans that do not touch.
pub(super) fn joined(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut joined: Vec<Span> = Vec::with_capacity(spans.len());
    for (from, to) in spans {
        match joined.last_mut() {
            Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    joined
}

/// The parts of `whole` that are in none of the spans, which are ascending.
pub(super) fn without((mut from, to): Span, spans: &[Span]) -> Vec<Span> {
    let mut left = Vec::new();
    for span in spans {
        if span.1 < from {
            continue;
        }
        if span.0 > to {
            break;
        }
        if span.0 > from {
            left.push((from, span.0 - 1));
        }
        match span.1.checked_add(1) {
            Some(next) => from = next,
            None => return left,
        }
    }
    if from <= to {
        left.push((from, to));
    }
    left
}

fn span(part: &FollowedRange) -> Span {
    (part.from, part.to.unwrap_or(u64::MAX))
}

/// The parts of these blocks in which an event was not followed, by contracts.
pub(super) fn missing(
    (event, addresses): &FollowedEvent,
    whole: Span,
    parts: &[FollowedRange],
) -> Vec<(AddressSet, Span)> {
    let parts: Vec<&FollowedRange> = parts.iter().filter(|part| part.event.covers(event)).collect();
    let left = |of: &dyn Fn(&AddressSet) -> bool| {
        let covering = parts.iter().filter(|part| of(&part.addresses));
        without(whole, &joined(covering.map(|part| span(part)).collect()))
    };
    match addresses {
        AddressSet::Any => {
            let left = left(&|covered| *covered == AddressSet::Any);
            left.into_iter().map(|span| (AddressSet::Any, span)).collect()
        }
        AddressSet::Only(addresses) => {
            let mut by_span = BTreeMap::<Span, BTreeSet<Address>>::new();
            for address in addresses {
                for span in left(&|covered| covered.contains(address)) {
                    by_span.entry(span).or_default().insert(*address);
                }
            }
            by_span.into_iter().map(|(span, addresses)| (AddressSet::Only(addresses), span)).collect()
        }
    }
}

/// The blocks that were not read, as gaps in ascending order. Every part of a gap lacks all blocks of the gap. Each
/// block of a part is in one gap.
pub(super) fn gaps(mut missing: Vec<(FollowedEvent, Span)>) -> Vec<SourceGap> {
    let mut gaps: Vec<SourceGap> = Vec::new();
    while let Some(from) = missing.iter().map(|(_, span)| span.0).min() {
        let ends = missing.iter().filter(|(_, span)| span.0 == from).map(|(_, span)| span.1);
        let begins =
            missing.iter().map(|(_, span)| span.0).filter(|begin| *begin > from).map(|begin| begin - 1);
        let to = ends.chain(begins).min().unwrap_or(from);
        let mut items = BTreeMap::<EventKey, AddressSet>::new();
        for ((event, addresses), span) in missing.iter_mut().filter(|(_, span)| span.0 == from) {
            match items.get_mut(event) {
                Some(known) => *known = both(known, addresses),
                None => drop(items.insert(event.clone(), addresses.clone())),
            }
            span.0 = to.saturating_add(1);
        }
        missing.retain(|(_, span)| span.0 <= span.1 && span.0 > from);
        let items: Vec<FollowedEvent> = items.into_iter().collect();
        match gaps.last_mut() {
            Some(last) if last.items == items && last.range.to().checked_add(1) == Some(from) => {
                last.range = BlockRange::new(last.range.from(), to).unwrap_or(last.range);
            }
            _ => gaps.extend(BlockRange::new(from, to).map(|range| SourceGap { range, items })),
        }
    }
    gaps
}

/// The contracts of both.
pub(super) fn both(one: &AddressSet, other: &AddressSet) -> AddressSet {
    match (one, other) {
        (AddressSet::Only(one), AddressSet::Only(other)) => AddressSet::Only(one | other),
        _ => AddressSet::Any,
    }
}

/// The same blocks in few, ordered parts: contracts with the same blocks are joined, and so are spans that touch.
pub fn normal(parts: &[FollowedRange]) -> Vec<FollowedRange> {
    let mut events = BTreeMap::<(&EventKey, bool), Vec<&FollowedRange>>::new();
    for part in parts {
        events.entry((&part.event, part.quiet)).or_default().push(part);
    }
    let mut normal = Vec::new();
    for ((event, quiet), parts) in events {
        let of = |covers: &dyn Fn(&AddressSet) -> bool| {
            joined(parts.iter().filter(|part| covers(&part.addresses)).map(|part| span(part)).collect())
        };
        let one = |addresses: &AddressSet, (from, to): Span| FollowedRange {
            event: event.clone(),
            addresses: addresses.clone(),
            from,
            to: (to < u64::MAX).then_some(to),
            quiet,
        };
        normal.extend(of(&|set| *set == AddressSet::Any).into_iter().map(|span| one(&AddressSet::Any, span)));
        let named = parts.iter().filter_map(|part| match &part.addresses {
            AddressSet::Any => None,
            AddressSet::Only(set) => Some(set),
        });
        let mut by_span = BTreeMap::<Span, BTreeSet<Address>>::new();
        for address in named.flatten().collect::<BTreeSet<_>>() {
            let names = |set: &AddressSet| matches!(set, AddressSet::Only(set) if set.contains(address));
            for span in of(&names) {
                by_span.entry(span).or_default().insert(*address);
            }
        }
        normal.extend(by_span.into_iter().map(|(span, set)| one(&AddressSet::Only(set), span)));
    }
    normal.sort();
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_joined_and_taken_out_to_the_block() {
        assert_eq!(joined(vec![(5, 9), (0, 3), (4, 4), (20, u64::MAX)]), [(0, 9), (20, u64::MAX)]);
        assert_eq!(without((0, 30), &[(0, 9), (20, u64::MAX)]), [(10, 19)]);
        assert_eq!(without((0, 30), &[]), [(0, 30)]);
        assert_eq!(without((0, 30), &[(5, 6), (31, 40)]), [(0, 4), (7, 30)]);
        assert_eq!(without((3, 3), &[(0, 9)]), []);
    }
}
