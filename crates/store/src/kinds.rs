//! Kinds of events: their names, and the names under which their arguments are stored.
//!
//! A kind is registered once. Later it is found by its [`Identity`], of which the names of arguments are no part: an ABI may change
//! them. So the names of the first registration stay, by position, and a layout records where each present argument is stored.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::types::Json;

use chainflume_core::domain::{Column, EventKind, Projection, ViewColumn};
use chainflume_core::messages::{DescribedKind, Layout};
use chainflume_db::StoreError;
use chainflume_db::transaction::Tx;

/// The identity of a kind: two registrations with the same one are one kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    source: String,
    event_type: String,
    event: String,
    signature: String,
    projection: Projection,
}

impl Identity {
    fn of(kind: &EventKind) -> Self {
        Self {
            source: kind.source.clone(),
            event_type: kind.event_type.clone(),
            event: kind.event.clone(),
            signature: kind.signature.clone(),
            projection: kind.projection,
        }
    }
}

/// The stored kinds of a chain.
#[derive(Clone, Debug, Default)]
pub(super) struct Kinds {
    /// By id, those of sources that are no longer configured included.
    by_id: BTreeMap<i32, DescribedKind>,
}

impl Kinds {
    /// Reads every kind of the chain.
    pub(super) async fn read(tx: &mut Tx, chain_id: i64) -> Result<Self, StoreError> {
        type Row = (i32, String, String, String, String, String, Json<Layout>, Option<i16>);
        let rows: Vec<Row> = sqlx::query_as(
            r"
            select k.id, k.source, k.type, k.event, k.signature, k.projection, k.layout, s.decimals
            from event_kinds k join sources s on s.name = k.source where k.chain_id = $1
            ",
        )
        .bind(chain_id)
        .fetch_all(&mut **tx)
        .await?;
        let described = |(id, source, event_type, event, signature, projection, layout, decimals): Row| {
            let projection = Projection::from_word(&projection).ok_or_else(|| StoreError::Corrupt {
                table: "event_kinds",
                what: format!("projection `{projection}`"),
            })?;
            let decimals = decimals.and_then(|decimals| u8::try_from(decimals).ok());
            let layout = layout.0;
            Ok((id, DescribedKind { source, event_type, projection, layout, decimals, event, signature }))
        };
        Ok(Self { by_id: rows.into_iter().map(described).collect::<Result<_, StoreError>>()? })
    }

    pub(super) fn get(&self, id: i32) -> Option<&DescribedKind> {
        self.by_id.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (i32, &DescribedKind)> {
        self.by_id.iter().map(|(id, described)| (*id, described))
    }

    /// The kinds of an ABI event, those of earlier configurations included.
    pub(super) fn of_event(&self, kind: &EventKind) -> Vec<(i32, &DescribedKind)> {
        let same = |described: &DescribedKind| {
            (&described.source, &described.event, &described.signature)
                == (&kind.source, &kind.event, &kind.signature)
        };
        self.iter().filter(|(_, described)| same(described)).collect()
    }

    fn layouts(&self) -> BTreeMap<Identity, Layout> {
        let one = |described: &DescribedKind| {
            let DescribedKind { source, event_type, projection, layout, event, signature, .. } =
                described.clone();
            (Identity { source, event_type, event, signature, projection }, layout)
        };
        self.by_id.values().map(one).collect()
    }

    /// The kinds with the keys under which their arguments are stored.
    pub(super) fn keep(&self, kinds: &[EventKind]) -> Vec<EventKind> {
        keep(kinds, self.layouts()).0
    }
}

/// Registers the kinds. Returns them with their ids, in their order, with the keys under which their arguments are stored.
pub(super) async fn register(
    tx: &mut Tx,
    chain_id: i64,
    kinds: &[EventKind],
) -> Result<Vec<(i32, EventKind)>, StoreError> {
    let stored = Kinds::read(tx, chain_id).await?;
    let (kept, layouts) = keep(kinds, stored.layouts());
    // Two declarations of an event are one kind.
    let mut seen = BTreeSet::new();
    let each: Vec<(Identity, &Layout)> = kept
        .iter()
        .map(Identity::of)
        .filter(|identity| seen.insert(identity.clone()))
        .map(|identity| {
            let layout = layouts.get(&identity).expect("`keep` gives each kind a layout");
            (identity, layout)
        })
        .collect();
    let ids = upsert(tx, chain_id, &each).await?;
    let id = |kind: &EventKind| ids.get(&Identity::of(kind)).copied();
    let missing =
        || StoreError::Corrupt { table: "event_kinds", what: "a kind was not registered".to_owned() };
    kept.into_iter().map(|kind| Ok((id(&kind).ok_or_else(missing)?, kind))).collect()
}

/// One statement for all kinds: a round trip for each of thousands would hold the lock of the registration for long.
async fn upsert(
    tx: &mut Tx,
    chain_id: i64,
    kinds: &[(Identity, &Layout)],
) -> Result<BTreeMap<Identity, i32>, StoreError> {
    type Row = (i32, String, String, String, String, String);
    let each = kinds.iter().map(|(identity, _)| identity);
    let rows: Vec<Row> = sqlx::query_as(
        r"
        insert into event_kinds as k (source, chain_id, type, event, signature, projection, layout)
        select g.source, $1, g.type, g.event, g.signature, g.projection, g.layout
        from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::jsonb[]) with ordinality
            as g (source, type, event, signature, projection, layout, position)
        order by g.position
        on conflict on constraint event_kinds_identity_key do update set layout = excluded.layout
        returning k.id, k.source, k.type, k.event, k.signature, k.projection
        ",
    )
    .bind(chain_id)
    .bind(each.clone().map(|kind| kind.source.as_str()).collect::<Vec<_>>())
    .bind(each.clone().map(|kind| kind.event_type.as_str()).collect::<Vec<_>>())
    .bind(each.clone().map(|kind| kind.event.as_str()).collect::<Vec<_>>())
    .bind(each.clone().map(|kind| kind.signature.as_str()).collect::<Vec<_>>())
    .bind(each.map(|kind| kind.projection.as_str()).collect::<Vec<_>>())
    .bind(kinds.iter().map(|(_, layout)| Json(*layout)).collect::<Vec<_>>())
    .fetch_all(&mut **tx)
    .await?;
    let identified = |(id, source, event_type, event, signature, projection): Row| {
        let projection = Projection::from_word(&projection).ok_or_else(|| StoreError::Corrupt {
            table: "event_kinds",
            what: format!("projection `{projection}`"),
        })?;
        Ok((Identity { source, event_type, event, signature, projection }, id))
    };
    rows.into_iter().map(identified).collect()
}

/// Gives each argument the key under which it was first stored, whatever its present name. Also returns the layouts of these
/// kinds; if one kind has two declarations, the first names the arguments in messages.
fn keep(
    kinds: &[EventKind],
    stored: BTreeMap<Identity, Layout>,
) -> (Vec<EventKind>, BTreeMap<Identity, Layout>) {
    let mut layouts: BTreeMap<Identity, Layout> = BTreeMap::new();
    let mut kept_kinds = Vec::with_capacity(kinds.len());
    for kind in kinds {
        let identity = Identity::of(kind);
        let layout = layouts.get(&identity);
        let known: Vec<&Vec<ViewColumn>> =
            layout.into_iter().chain(stored.get(&identity)).flat_map(Layout::forms).collect();
        let columns = kept(&kind.columns, &known);
        let entry = layouts.entry(identity).or_insert_with(|| Layout {
            aggregate: kind.aggregate,
            columns: columns.clone(),
            others: Vec::new(),
        });
        remember(entry, &columns);
        kept_kinds.push(EventKind { columns, ..kind.clone() });
    }
    // Keeps the layouts of forms that are no longer configured: stored events have them.
    for (identity, layout) in &mut layouts {
        for form in stored.get(identity).into_iter().flat_map(Layout::forms) {
            remember(layout, form);
        }
    }
    (kept_kinds, layouts)
}

/// The columns with keys that no other argument of the kind uses.
fn kept(columns: &[ViewColumn], known: &[&Vec<ViewColumn>]) -> Vec<ViewColumn> {
    let mut taken: BTreeSet<String> =
        known.iter().flat_map(|form| form.iter()).filter_map(ViewColumn::key).cloned().collect();
    let mut kept = columns.to_vec();
    let mut fresh = Vec::new();
    for (position, column) in kept.iter_mut().enumerate() {
        let stored = known.iter().filter_map(|form| form.get(position));
        match stored.into_iter().find(|stored| column.is_kept_like(stored)) {
            Some(stored) => column.keep_as(stored),
            None => fresh.push(position),
        }
    }
    for position in fresh {
        if let Some(Column::Arg { key, .. }) = kept.get_mut(position).map(|kept| &mut kept.column) {
            *key = free(key, &taken);
            taken.insert(key.clone());
        }
    }
    kept
}

fn remember(layout: &mut Layout, form: &[ViewColumn]) {
    let same = |known: &Vec<ViewColumn>| {
        known.len() == form.len() && known.iter().zip(form).all(|(known, given)| given.is_kept_like(known))
    };
    if !form.is_empty() && !layout.forms().any(same) {
        layout.others.push(form.to_vec());
    }
}

fn free(key: &str, taken: &BTreeSet<String>) -> String {
    let numbered = (2u64..).map(|n| format!("{key}_{n}"));
    std::iter::once(key.to_owned())
        .chain(numbered)
        .find(|candidate| !taken.contains(candidate))
        .unwrap_or_default()
}
