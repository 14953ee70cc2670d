use std::collections::BTreeMap;

use super::chain::ChainDraft;
use super::inbound::InboundDraft;
use super::meaning;
use super::problem::{Fault, Spot};
use super::reader::{Found, Reader, Text};
use super::schedule::ScheduleDraft;
use super::source::SourceDraft;
use super::suggest::nearest;
use super::threshold::ThresholdDraft;
use super::webhook::WebhookDraft;

/// What only several tables together show: names twice, names of nothing, sources that contradict each other.
pub(super) fn crosscheck(reader: &Reader<'_>, chains: &[ChainDraft], sources: &[SourceDraft<'_>]) {
    unique(reader, chains.iter().filter_map(|chain| chain.name.as_ref()), "another chain");
    unique(reader, chains.iter().filter_map(|chain| chain.chain_id.as_ref()), "another chain");
    unique(reader, sources.iter().filter_map(|source| source.name.as_ref()), "another source");
    if chains_exist(reader, chains, sources) {
        chains_are_used(reader, chains, sources);
    }
    decimals_agree(reader, sources);
    meaning::meanings(reader, sources);
    // A source that is wrong by itself overlaps with anything.
    if reader.is_clean() {
        meaning::overlaps(reader, chains, sources);
    }
}

/// Webhooks are distinguished by their names.
pub(super) fn webhooks(reader: &Reader<'_>, webhooks: &[WebhookDraft]) {
    unique(reader, webhooks.iter().filter_map(|webhook| webhook.name.as_ref()), "another webhook");
}

/// Schedules are distinguished by their names.
pub(super) fn schedules(reader: &Reader<'_>, schedules: &[ScheduleDraft]) {
    unique(reader, schedules.iter().filter_map(|schedule| schedule.name.as_ref()), "another schedule");
}

/// Thresholds are distinguished by their names, and are about chains that are there.
pub(super) fn thresholds(reader: &Reader<'_>, thresholds: &[ThresholdDraft], chains: &[ChainDraft]) {
    unique(reader, thresholds.iter().filter_map(|threshold| threshold.name.as_ref()), "another threshold");
    if chains.iter().all(|chain| chain.name.is_some()) {
        known_chains(reader, chains, thresholds.iter().filter_map(|threshold| threshold.chain.as_ref()));
    }
}

/// Webhooks of providers are distinguished by their names, and are about chains that are there.
pub(super) fn inbound(reader: &Reader<'_>, inbound: &[InboundDraft], chains: &[ChainDraft]) {
    unique(reader, inbound.iter().filter_map(|inbound| inbound.name.as_ref()), "another [[inbound]]");
    if chains.iter().all(|chain| chain.name.is_some()) {
        known_chains(reader, chains, inbound.iter().filter_map(|inbound| inbound.chain.as_ref()));
    }
}

fn unique<'a, T: Ord + 'a>(reader: &Reader<'_>, found: impl Iterator<Item = &'a Found<T>>, whose: &str) {
    let mut first: BTreeMap<&T, &Spot> = BTreeMap::new();
    for found in found {
        if let Some(earlier) = first.get(&found.value) {
            let line = earlier.at.map_or(0, |at| reader.line(at));
            let what = format!("is that of {whose} too, on line {line}");
            reader.report(&found.spot, Fault::new(what, "give each its own"));
        } else {
            first.insert(&found.value, &found.spot);
        }
    }
}

/// Whether every source has named a chain that is there.
fn chains_exist(reader: &Reader<'_>, chains: &[ChainDraft], sources: &[SourceDraft<'_>]) -> bool {
    // A name that could not be read is reported as such, and may be the one that is looked for.
    if chains.iter().any(|chain| chain.name.is_none()) || sources.iter().any(|source| source.chain.is_none())
    {
        return false;
    }
    known_chains(reader, chains, sources.iter().filter_map(|source| source.chain.as_ref()))
}

/// Whether there are chains of these names.
fn known_chains<'a>(
    reader: &Reader<'_>,
    chains: &[ChainDraft],
    wanted: impl Iterator<Item = &'a Text>,
) -> bool {
    let names: Vec<_> = chains.iter().filter_map(|chain| chain.name.as_ref()).collect();
    let shown: Vec<_> = names.iter().filter(|name| !name.hidden).map(|name| name.value.as_str()).collect();
    let mut all = true;
    for chain in wanted {
        if names.iter().any(|name| name.value == chain.value) {
            continue;
        }
        all = false;
        let remedy = match nearest(&chain.value, shown.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if shown.is_empty() => "add a [[chain]] of this name".to_owned(),
            None => format!("add a [[chain]] of this name, or write one of {}", shown.join(", ")),
        };
        reader.report(&chain.spot, Fault::new(format!("{} is no chain of this file", chain.shown()), remedy));
    }
    all
}

fn chains_are_used(reader: &Reader<'_>, chains: &[ChainDraft], sources: &[SourceDraft<'_>]) {
    let used = |name: &str| {
        sources.iter().any(|source| source.chain.as_ref().is_some_and(|chain| chain.value == name))
    };
    for name in chains.iter().filter_map(|chain| chain.name.as_ref()).filter(|name| !used(&name.value)) {
        let what = format!("{} is a chain no source reads", name.shown());
        reader.report(&name.spot, Fault::new(what, "add a [[source]] with this chain, or remove the chain"));
    }
}

/// A user's stake is one sum over all vaults, so all of them count in the same unit.
fn decimals_agree(reader: &Reader<'_>, sources: &[SourceDraft<'_>]) {
    let mut stakes = sources.iter().filter(|source| source.decimals.is_some());
    let Some(first) = stakes.next() else { return };
    for other in stakes.filter(|other| other.decimals != first.decimals) {
        let line = first.section.place("decimals").at.map_or(0, |at| reader.line(at));
        let what = format!("differ from those of the stake source on line {line}");
        let remedy = "give all stake sources the same: their amounts are summed for each user";
        other.section.report("decimals", Fault::new(what, remedy));
    }
}
