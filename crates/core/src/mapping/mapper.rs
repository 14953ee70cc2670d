use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decode::{AbiEvent, AbiType, Param, SourceIndex, TypedLog};
use crate::domain::{Column, EventKind, Fact, Projection, ViewColumn};

use super::family::{Family, FamilySettings};
use super::problem::{MapLogError, MappingError, MappingProblem};
use super::recipe::{ArgumentRole, Recipe};
use super::{args, columns, erc20, erc721, generic, stake, view_names};

/// A source and the meaning of its events.
#[derive(Clone, Debug)]
pub struct SourceMapping {
    /// Which source.
    pub source: SourceIndex,
    /// Its name.
    pub name: String,
    /// Its meaning.
    pub settings: FamilySettings,
    /// Its events. A lookup is fastest with the same `Arc`s that the decoder has.
    pub events: Vec<Arc<AbiEvent>>,
}

/// Makes facts from typed logs.
#[derive(Clone, Debug)]
pub struct Mapper {
    kinds: Vec<EventKind>,
    plans: BTreeMap<SourceIndex, Vec<EventPlan>>,
}

#[derive(Clone, Debug)]
struct EventPlan {
    event: Arc<AbiEvent>,
    /// Its roles have the keys under which arguments are stored.
    recipe: Recipe,
    /// As declared, but struct members have their stored names.
    params: Vec<Param>,
    first_kind: usize,
}

impl Mapper {
    /// Prepares a recipe for every event of the sources.
    ///
    /// # Errors
    /// Every problem of every source.
    pub fn new(sources: Vec<SourceMapping>) -> Result<Self, MappingError> {
        let mut problems: Vec<MappingProblem> = sources.iter().flat_map(check).collect();
        let mut mapper = Self { kinds: Vec::new(), plans: BTreeMap::new() };
        for source in &sources {
            mapper.add(source);
        }
        problems.extend(view_names::shared(&mapper.kinds));
        if problems.is_empty() { Ok(mapper) } else { Err(MappingError { problems }) }
    }

    /// Every possible kind of event; `Fact::kind` is a position in this list.
    pub fn kinds(&self) -> &[EventKind] {
        &self.kinds
    }

    /// Makes this mapper write arguments under their stored names: the names at the first registration of the kind.
    /// `kinds` is [`Self::kinds`] as the store registered it.
    pub fn keep_as(&mut self, kinds: &[EventKind]) {
        for plan in self.plans.values_mut().flatten() {
            let Some(kind) = kinds.get(plan.first_kind) else { continue };
            for ((role, param), column) in
                plan.recipe.roles.iter_mut().zip(&mut plan.params).zip(&kind.columns)
            {
                if let (ArgumentRole::Arg(kept), Column::Arg { key, members, .. }) = (role, &column.column) {
                    kept.clone_from(key);
                    if let Some(members) = members {
                        param.ty = columns::kept_type(&param.ty, members);
                    }
                }
            }
        }
        self.kinds = kinds.to_vec();
    }

    /// The meaning of the log.
    ///
    /// # Errors
    /// If the mapper does not know the source or the event of the log, or if its arguments are too large to be stored or counted.
    pub fn map(&self, log: &TypedLog) -> Result<Fact, MapLogError> {
        let plan =
            self.plan(log).ok_or_else(|| MapLogError::UnknownEvent { event: log.event.signature.clone() })?;
        let mut fact = plan.recipe.fact(plan.first_kind, &log.args)?;
        if plan.recipe.keeps_args() {
            fact.args = Some(args::to_json(&plan.params, &plan.recipe.roles, &log.args)?);
        }
        if plan.recipe.projection == Projection::OwnerRange {
            erc721::check_range(&fact)?;
        }
        Ok(fact)
    }

    fn plan(&self, log: &TypedLog) -> Option<&EventPlan> {
        let plans = self.plans.get(&log.source)?;
        let identical = plans.iter().find(|plan| Arc::ptr_eq(&plan.event, &log.event));
        identical.or_else(|| plans.iter().find(|plan| plan.event == log.event))
    }

    fn add(&mut self, source: &SourceMapping) {
        let own = self.kinds.len();
        let recipes: Vec<Recipe> = source.events.iter().map(|event| recipe(source, event)).collect();
        let events = || source.events.iter().zip(&recipes);
        let columns = shared_columns(events());
        let shapes: Vec<_> =
            source.events.iter().zip(&columns).map(|(event, columns)| (&**event, &columns[..])).collect();
        let names = view_names::names(&source.name, &shapes);
        for ((event, recipe), (columns, view)) in events().zip(columns.iter().zip(names)) {
            let other_view = view_names::other_name(&source.name, event);
            let kind = |event_type: String| EventKind {
                source: source.name.clone(),
                event_type,
                event: event.name.clone(),
                signature: event.signature.clone(),
                projection: recipe.projection,
                view: view.clone(),
                other_view: other_view.clone(),
                columns: columns.clone(),
                aggregate: recipe.aggregate(),
            };
            let first_kind = self.kinds_at(own, recipe.types.names().into_iter().map(kind).collect());
            let params = event.params.clone();
            let plan = EventPlan { event: Arc::clone(event), recipe: recipe.clone(), params, first_kind };
            self.plans.entry(source.source).or_default().push(plan);
        }
    }

    /// Positions of these kinds; two declarations of one signature may share them. The kinds of their source begin at `own`.
    fn kinds_at(&mut self, own: usize, kinds: Vec<EventKind>) -> usize {
        let known = self.kinds[own..].windows(kinds.len()).position(|window| window == kinds);
        known.map(|at| own + at).unwrap_or_else(|| {
            let first = self.kinds.len();
            self.kinds.extend(kinds);
            first
        })
    }
}

/// The columns of each event. If two declarations of one event have the same columns, the first one gives the names of
/// struct members.
fn shared_columns<'a>(events: impl Iterator<Item = (&'a Arc<AbiEvent>, &'a Recipe)>) -> Vec<Vec<ViewColumn>> {
    let mut known: Vec<(&str, Vec<ViewColumn>)> = Vec::new();
    for (event, recipe) in events {
        let columns = columns::columns(event, recipe);
        let first = known.iter().find(|(signature, first)| {
            *signature == event.signature && columns::same_columns(first, &columns)
        });
        let columns = first.map_or(columns, |(_, first)| first.clone());
        known.push((&event.signature, columns));
    }
    known.into_iter().map(|(_, columns)| columns).collect()
}

fn recipe(source: &SourceMapping, event: &AbiEvent) -> Recipe {
    known(source.settings.family, event).unwrap_or_else(|| {
        let user = source.settings.user.as_deref();
        generic::recipe(event, user.filter(|_| source.settings.family == Family::Generic))
    })
}

fn known(family: Family, event: &AbiEvent) -> Option<Recipe> {
    let types: Vec<&AbiType> = event.params.iter().map(|param| &param.ty).collect();
    match family {
        Family::Stake => stake::recipe(event, &types),
        Family::Erc20 => erc20::recipe(event, &types),
        Family::Erc721 => erc721::recipe(event, &types),
        Family::Generic => None,
    }
}

fn check(source: &SourceMapping) -> Vec<MappingProblem> {
    let (family, source_name) = (source.settings.family, source.name.clone());
    let wanted = match family {
        Family::Stake => stake::KNOWN,
        Family::Erc20 => erc20::KNOWN,
        Family::Erc721 => erc721::KNOWN,
        Family::Generic if source.events.is_empty() => return vec![MappingProblem::NoEvents { source_name }],
        Family::Generic => return check_user(source),
    };
    let mut problems = Vec::new();
    if !source.events.iter().any(|event| known(family, event).is_some()) {
        problems.push(MappingProblem::NoKnownEvent { source_name: source_name.clone(), family, wanted });
    }
    if source.settings.user.is_some() {
        problems.push(MappingProblem::UserNotGeneric { source_name, family });
    }
    problems
}

/// Events without the user argument are stored without an account. At least one event must have it, and it must be an
/// address in all events that have it.
fn check_user(source: &SourceMapping) -> Vec<MappingProblem> {
    let Some(user) = &source.settings.user else { return Vec::new() };
    let (source_name, user) = (source.name.clone(), user.clone());
    let params = || source.events.iter().flat_map(|event| event.params.iter().map(move |p| (event, p)));
    if !params().any(|(_, param)| param.name == user) {
        let mut known: Vec<String> = params()
            .filter(|(_, param)| param.ty == AbiType::Address)
            .map(|(_, param)| param.name.clone())
            .collect();
        known.sort();
        known.dedup();
        return vec![MappingProblem::UserAbsent { source_name, user, known }];
    }
    params()
        .filter(|(_, param)| param.name == user && param.ty != AbiType::Address)
        .map(|(event, param)| MappingProblem::UserNotAddress {
            source_name: source_name.clone(),
            event: event.signature.clone(),
            user: user.clone(),
            ty: param.ty.to_string(),
        })
        .collect()
}
