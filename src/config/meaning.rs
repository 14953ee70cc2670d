//! What only all sources together show: events without a meaning, and logs that two sources would have.

use std::collections::BTreeSet;

use super::chain::ChainDraft;
use super::problem::{Fault, Spot};
use super::reader::Reader;
use super::source::{Source, SourceDraft};
use chainflume_core::decode::{self, SourceAbi, SourceIndex};
use chainflume_core::mapping::{FamilySettings, Mapper, MappingProblem, SourceMapping};

/// Whether the families can make sense of the events: asked of the room that will have to.
pub(super) fn meanings(reader: &Reader<'_>, sources: &[SourceDraft<'_>]) {
    let mut names = BTreeSet::new();
    let mapping = |(index, draft): (usize, &SourceDraft<'_>)| {
        let Source { name, family, user, events, .. } = draft.source.clone()?;
        // Of two with one name the second is reported as such, and would share every view with the first.
        if !names.insert(name.clone()) {
            return None;
        }
        let settings = FamilySettings { family, user };
        Some(SourceMapping { source: SourceIndex(index), name, settings, events })
    };
    let mappings = sources.iter().enumerate().filter_map(mapping).collect();
    let Err(error) = Mapper::new(mappings) else { return };
    for problem in error.problems {
        let named = |draft: &&SourceDraft<'_>| {
            draft.source.as_ref().is_some_and(|source| source.name == problem.source_name())
        };
        if let Some(draft) = sources.iter().find(named) {
            let (key, fault) = meaning(&problem);
            draft.section.report(key, fault);
        } else {
            reader.report(&Spot { key: "source".to_owned(), at: None }, meaning(&problem).1);
        }
    }
}

/// The key to look at, and what to do. Names of arguments and views are the ABI's, `user` is reported by its
/// key alone.
fn meaning(problem: &MappingProblem) -> (&'static str, Fault) {
    match problem {
        MappingProblem::NoKnownEvent { family, wanted, .. } => {
            let what = format!("is {family}, and the source has no {wanted}");
            (
                "family",
                Fault::new(what, "add the event to `events`, or use family = \"generic\" for other events"),
            )
        }
        MappingProblem::NoEvents { .. } => {
            ("abi", Fault::new("has no events", "name the ABI of a contract that emits some"))
        }
        MappingProblem::UserNotGeneric { family, .. } => {
            let what = format!("has no meaning for family = \"{family}\"");
            ("user", Fault::new(what, "remove it: this family knows whom its events are about"))
        }
        MappingProblem::UserAbsent { known, .. } => {
            let remedy = match known.is_empty() {
                true => "remove it: no event has an address among its arguments".to_owned(),
                false => format!("write one of {}", known.join(", ")),
            };
            ("user", Fault::new("is no argument of any event of the source", remedy))
        }
        MappingProblem::UserNotAddress { event, ty, .. } => {
            let what = format!("is of type {ty} in {event}, and a user is an address");
            (
                "user",
                Fault::new(what, "name an argument that is an address, or leave the event out of `events`"),
            )
        }
        MappingProblem::SameView { source_name, other, view } if source_name == other => {
            let what = format!("has two events that give the view {view}");
            ("events", Fault::new(what, "leave one of the two out, or give it a source of its own"))
        }
        MappingProblem::SameView { other, view, .. } => {
            let what = format!("gives the view {view}, which the source `{other}` has too");
            ("name", Fault::new(what, "rename one of the two sources"))
        }
    }
}

/// A log belongs to one source and one event, or the configuration is wrong.
pub(super) fn overlaps(reader: &Reader<'_>, chains: &[ChainDraft], sources: &[SourceDraft<'_>]) {
    for chain in chains.iter().filter_map(|chain| chain.name.as_ref()) {
        let listen = |(index, draft): (usize, &SourceDraft<'_>)| {
            let source = draft.source.as_ref().filter(|source| source.chain == chain.value)?;
            let (addresses, events) = (source.addresses.clone(), source.events.clone());
            Some(SourceAbi { source: SourceIndex(index), addresses, events })
        };
        let listening: Vec<_> = sources.iter().enumerate().filter_map(listen).collect();
        for overlap in decode::overlaps(&listening) {
            let (Some(a), Some(b)) = (sources.get(overlap.a.0), sources.get(overlap.b.0)) else { continue };
            let line = a.section.spot.at.map_or(0, |at| reader.line(at));
            let what = format!("the source of line {line} and this one: {overlap}");
            let remedy = "narrow `address` or `events` of one of the two: a log belongs to one source";
            b.section.report("address", Fault::new(what, remedy));
        }
    }
}
