//! Names of typed views. They are decided here and not with the views in `store`: a name depends on all events of its source, as the ABI
//! declares them. Two sources that would share a view are a fault of the configuration, which is reported before there is a database.

use std::collections::BTreeMap;

use alloy_primitives::{B256, hex};

use crate::decode::AbiEvent;
use crate::domain::{EventKind, ViewColumn};

use super::columns::same_columns;
use super::problem::MappingProblem;
use super::sql_name::{shorten, snake_case};

/// Names of the views of one source, one for each of `events`. Events with the same arguments in the same columns (an
/// indexed and an unindexed `Transfer`) share a view. Other events of the same name all get the first topic in theirs,
/// so the names do not depend on the order of the ABI.
pub(super) fn names(source: &str, events: &[(&AbiEvent, &[ViewColumn])]) -> Vec<String> {
    let base = |event: &AbiEvent| base(source, event);
    let same = |a: &(&AbiEvent, &[ViewColumn]), b: &(&AbiEvent, &[ViewColumn])| {
        a.0.signature == b.0.signature && same_columns(a.1, b.1)
    };
    let name = |this: &(&AbiEvent, &[ViewColumn])| {
        let mut name = base(this.0);
        let mut rivals = events.iter().filter(|other| !same(this, other) && base(other.0) == name);
        if let Some(rival) = rivals.next() {
            let of_one_signature: Vec<_> =
                std::iter::once(rival).chain(rivals).filter(|r| r.0.topic0 == this.0.topic0).collect();
            name = overload(&name, this.0.topic0);
            if !of_one_signature.is_empty() {
                name = format!("{name}_{}", this.0.topic_count());
            }
            if this.0.anonymous && of_one_signature.iter().any(|r| r.0.topic_count() == this.0.topic_count())
            {
                name.push_str("_anonymous");
            }
        }
        shorten(name, &format!("{source}.{}", this.0.signature))
    };
    events.iter().map(name).collect()
}

/// The view of an overload: the plain name with the first bytes of the signature's hash.
fn overload(name: &str, topic0: B256) -> String {
    format!("{name}_{}", hex::encode(&topic0[..4]))
}

/// The view name of an event when another event has the plain name, for instance an older event of the same name. The
/// result is the same as if both were in the ABI.
pub(super) fn other_name(source: &str, event: &AbiEvent) -> String {
    let name = overload(&base(source, event), event.topic0);
    shorten(name, &format!("{source}.{}", event.signature))
}

fn base(source: &str, event: &AbiEvent) -> String {
    format!("{}_{}", snake_case(source), snake_case(&event.name))
}

/// The problems of sources that would share a view: source `a` with event `BC` and source `a_b` with event `C` both give `a_b_c`.
pub(super) fn shared(kinds: &[EventKind]) -> Vec<MappingProblem> {
    let mut first: BTreeMap<&str, &EventKind> = BTreeMap::new();
    let mut problems: Vec<MappingProblem> = kinds
        .iter()
        .filter_map(|kind| {
            let owner = *first.entry(&kind.view).or_insert(kind);
            let same = (&owner.source, &owner.columns) == (&kind.source, &kind.columns);
            (!same).then(|| MappingProblem::SameView {
                source_name: kind.source.clone(),
                other: owner.source.clone(),
                view: kind.view.clone(),
            })
        })
        .collect();
    problems.dedup();
    problems
}
