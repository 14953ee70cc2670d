use std::collections::{BTreeMap, BTreeSet};

use super::super::{FilledSource, FollowedEvent, FollowedRange};
use crate::domain::{Address, AddressSet};

/// A source with stored events, and what it has read.
pub(super) struct Holder<'a> {
    pub(super) source: &'a FilledSource,
    pub(super) parts: Vec<FollowedRange>,
}

/// All sources with stored events, by contract. Thousands of sources may follow thousands of contracts: compared each with each,
/// they would take seconds at every start.
pub(super) struct Holders<'a> {
    all: Vec<Holder<'a>>,
    by_contract: BTreeMap<Address, Vec<usize>>,
    of_all_contracts: Vec<usize>,
}

impl<'a> Holders<'a> {
    pub(super) fn new(all: Vec<Holder<'a>>) -> Self {
        let (mut by_contract, mut of_all_contracts) = (BTreeMap::<Address, Vec<usize>>::new(), Vec::new());
        for (index, holder) in all.iter().enumerate() {
            for part in &holder.parts {
                match &part.addresses {
                    AddressSet::Any => of_all_contracts.push(index),
                    AddressSet::Only(set) => {
                        set.iter().for_each(|address| by_contract.entry(*address).or_default().push(index));
                    }
                }
            }
        }
        Self { all, by_contract, of_all_contracts }
    }

    /// The sources that may have events of these contracts, in the order of the stored records.
    pub(super) fn of(&self, events: &[FollowedEvent]) -> impl Iterator<Item = &Holder<'a>> {
        let contracts = events.iter().filter_map(|(_, addresses)| match addresses {
            AddressSet::Any => None,
            AddressSet::Only(set) => Some(set),
        });
        let found: BTreeSet<usize> = match events.iter().any(|(_, set)| *set == AddressSet::Any) {
            true => (0..self.all.len()).collect(),
            false => contracts
                .flatten()
                .filter_map(|address| self.by_contract.get(address))
                .flatten()
                .chain(&self.of_all_contracts)
                .copied()
                .collect(),
        };
        found.into_iter().map(|index| &self.all[index])
    }
}
