//! Makes the typed views, each in a transaction of its own.
//!
//! A view keeps its name as long as its event is followed: consumers depend on it. Where another event has the name already, an
//! older one of a contract that was upgraded for instance, the newer event gets the name it would have beside it.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use alloy_primitives::hex;
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection};

use chainflume_core::domain::{Column, EventKind};

use super::super::Store;
use super::super::kinds::Kinds;
use super::definition;
use super::held::{StoredView, held_like};
use super::label::{
    DEPENDENT_OBJECTS, INSUFFICIENT_PRIVILEGE, INVALID_TABLE_DEFINITION, LOCK_NOT_AVAILABLE, ViewLabel,
    comment_on,
};
use chainflume_db::StoreError;
use chainflume_db::convert::int8;
use chainflume_db::sqlstate;
use chainflume_db::transaction::{self, Tx};

/// A typed view that could not be created or updated. Nothing else depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewProblem {
    /// Name of the view.
    pub view: String,
    /// The source whose events it shows.
    pub source: String,
    /// Why, and the remedy.
    pub reason: String,
}

impl fmt::Display for ViewProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { view, source, reason } = self;
        write!(f, "view `{view}` of source `{source}` is missing or out of date: {reason}")
    }
}

/// A view that is to be created or updated.
struct PlannedView {
    name: String,
    /// Its name if a view of another event has `name`.
    other_name: String,
    source: String,
    query: String,
    label: ViewLabel,
    columns: Vec<String>,
}

/// Whether the transaction that makes a view is committed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Make,
    /// Rolled back: a dry run, because only the database knows what it would refuse.
    Try,
}

/// The place for a view: a free name, or a view to replace.
enum ViewSpot {
    Free(String),
    StoredView(StoredView),
}

/// Why one view cannot be made.
enum ViewRefusal {
    /// For the operator.
    Reason(String),
    Store(StoreError),
    /// Another session kept the lock of the registration, so that no view can be made.
    Registration(StoreError),
}

impl<E: Into<StoreError>> From<E> for ViewRefusal {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// Creates the missing views of these kinds and replaces those that changed. Returns the views for which this failed, by
    /// name. A kind that is not registered gets no view yet. Views of sources and events that are no longer configured stay,
    /// as their events do.
    ///
    /// # Errors
    /// When the kinds cannot be read, or another session keeps the lock of the registration for more than 30 s.
    pub async fn make_views(
        &self,
        chain_id: u64,
        kinds: &[EventKind],
    ) -> Result<Vec<ViewProblem>, StoreError> {
        self.each_view(chain_id, kinds, Mode::Make).await
    }

    /// What [`Self::make_views`] would return. Nothing is changed.
    ///
    /// # Errors
    /// As [`Self::make_views`].
    pub async fn try_views(
        &self,
        chain_id: u64,
        kinds: &[EventKind],
    ) -> Result<Vec<ViewProblem>, StoreError> {
        self.each_view(chain_id, kinds, Mode::Try).await
    }

    async fn each_view(
        &self,
        chain_id: u64,
        kinds: &[EventKind],
        mode: Mode,
    ) -> Result<Vec<ViewProblem>, StoreError> {
        let chain_id = int8("chain id", chain_id)?;
        let mut tx = transaction::begin_look(&self.pool).await?;
        let stored = Kinds::read(&mut tx, chain_id).await?;
        tx.commit().await?;
        let all = wanted(chain_id, &stored, kinds, mode);
        let names: Vec<&str> = all.iter().map(|wanted| wanted.name.as_str()).collect();
        let mut problems = Vec::new();
        for (index, wanted) in all.iter().enumerate() {
            let others = names.iter().enumerate().filter(|(other, _)| *other != index);
            let others: BTreeSet<&str> = others.map(|(_, name)| *name).collect();
            match self.with_retries(wanted, &others, mode).await {
                Ok(()) => {}
                Err(ViewRefusal::Registration(error)) => return Err(error),
                Err(refusal) => {
                    let (view, source) = (wanted.name.clone(), wanted.source.clone());
                    problems.push(ViewProblem { view, source, reason: reason(refusal) });
                }
            }
        }
        Ok(problems)
    }

    /// Makes a view, with retries: a lock may be held for a moment, and a connection may break.
    async fn with_retries(
        &self,
        wanted: &PlannedView,
        others: &BTreeSet<&str>,
        mode: Mode,
    ) -> Result<(), ViewRefusal> {
        for pause in PAUSES {
            match self.one_view(wanted, others, mode).await {
                Err(ViewRefusal::Store(error)) if error.is_transient() => tokio::time::sleep(pause).await,
                done => return done,
            }
        }
        self.one_view(wanted, others, mode).await
    }

    async fn one_view(
        &self,
        wanted: &PlannedView,
        others: &BTreeSet<&str>,
        mode: Mode,
    ) -> Result<(), ViewRefusal> {
        let mut tx = transaction::begin(&self.pool).await?;
        // Another session may hold this lock for long, while it registers thousands of sources or builds an index. The locks of views
        // are held for a moment, so that the limits after it are short.
        transaction::lock(&mut tx, transaction::REGISTRATION).await.map_err(ViewRefusal::Registration)?;
        transaction::set_brief_limits(&mut tx).await?;
        match spot(&mut tx, wanted, others).await? {
            ViewSpot::Free(name) => create(&mut tx, &name, wanted).await?,
            ViewSpot::StoredView(held) => replace(&mut tx, &held, wanted).await?,
        }
        match mode {
            Mode::Make => tx.commit().await?,
            Mode::Try => tx.rollback().await?,
        }
        Ok(())
    }
}

/// Pauses before the retries.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// The views, one for each event and name, in the order of the kinds.
fn wanted(chain_id: i64, stored: &Kinds, kinds: &[EventKind], mode: Mode) -> Vec<PlannedView> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for kind in stored.keep(kinds) {
        if !seen.insert((kind.view.clone(), kind.source.clone(), kind.signature.clone())) {
            continue;
        }
        let ids = stored.of_event(&kind);
        if ids.is_empty() && mode == Mode::Make {
            continue;
        }
        let definition::Definition { query, columns } = definition::define(chain_id, &kind, &ids);
        all.push(PlannedView {
            label: ViewLabel {
                source: kind.source.clone(),
                event: kind.event.clone(),
                signature: kind.signature.clone(),
                query: hex::encode(&Sha256::digest(&query)[..8]),
                name: None,
                hashed: hashed(&kind),
            },
            name: kind.view,
            other_name: kind.other_view,
            source: kind.source,
            query,
            columns,
        });
    }
    all
}

fn hashed(kind: &EventKind) -> Vec<usize> {
    let columns = kind.columns.iter().enumerate();
    let by_hash =
        columns.filter(|(_, column)| matches!(column.column, Column::Arg { hashed: Some(true), .. }));
    by_hash.map(|(position, _)| position).collect()
}

/// The place for the view. `others` are the names that other events of the configuration should have.
async fn spot(tx: &mut Tx, wanted: &PlannedView, others: &BTreeSet<&str>) -> Result<ViewSpot, ViewRefusal> {
    let mut held = held_like(tx, &wanted.label, [&wanted.name, &wanted.other_name]).await?;
    let same_event = |held: &StoredView| {
        (&held.label.source, &held.label.signature) == (&wanted.label.source, &wanted.label.signature)
    };
    let right_name = |held: &StoredView| held.name == wanted.name && same_event(held);
    // A view that a person renamed is not changed any more.
    let another_name = |held: &StoredView| {
        let ours = held.label.name.as_ref().is_none_or(|name| *name == held.name);
        same_event(held)
            && ours
            && held.label.hashed == wanted.label.hashed
            && !others.contains(held.name.as_str())
    };
    let found = held.iter().position(right_name).or_else(|| held.iter().position(another_name));
    if let Some(found) = found {
        return Ok(ViewSpot::StoredView(held.swap_remove(found)));
    }
    for name in [&wanted.name, &wanted.other_name] {
        match occupant(tx, name).await? {
            None => return Ok(ViewSpot::Free(name.clone())),
            Some(_) if held.iter().any(|held| held.name == *name) => {}
            Some(what) => {
                return Err(ViewRefusal::Reason(format!(
                    "{what} `{name}` is there, which this program did not make; rename or drop it, then run \
                     `chainflume views`"
                )));
            }
        }
    }
    Err(ViewRefusal::Reason(format!(
        "the views `{}` and `{}` show other events; rename or drop one of them, then run `chainflume views`",
        wanted.name, wanted.other_name
    )))
}

/// Describes what has the name now.
async fn occupant(tx: &mut Tx, name: &str) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar(
        r"
        select case c.relkind when 'r' then 'a table' when 'p' then 'a table' when 'f' then 'a foreign table'
            when 'v' then 'a view' when 'm' then 'a materialized view' when 'i' then 'an index'
            when 'I' then 'an index' when 'S' then 'a sequence' when 'c' then 'a type' else 'something' end
        from pg_class c join pg_namespace n on n.oid = c.relnamespace and n.nspname = current_schema()
        where c.relname = $1
        ",
    )
    .bind(name)
    .fetch_optional(&mut **tx)
    .await?)
}

async fn create(tx: &mut Tx, name: &str, wanted: &PlannedView) -> Result<(), StoreError> {
    define(tx, "create view", name, wanted).await?;
    comment_on(tx, &wanted.labelled(name)).await
}

/// Names and texts in these statements are quoted by [`definition`]; DDL takes no parameters.
async fn define(tx: &mut Tx, verb: &str, name: &str, wanted: &PlannedView) -> Result<(), sqlx::Error> {
    let sql = format!("{verb} {} as {}", definition::identifier(name), wanted.query);
    sqlx::query(AssertSqlSafe(sql)).execute(&mut **tx).await?;
    Ok(())
}

async fn replace(tx: &mut Tx, held: &StoredView, wanted: &PlannedView) -> Result<(), ViewRefusal> {
    let label = wanted.labelled(&held.name);
    if held.label == label {
        return Ok(());
    }
    // Renaming columns and replacing the query keep grants and what was built on the view, and work while types stay.
    let mut attempt = tx.begin().await?;
    match follow(&mut attempt, held, wanted).await {
        Ok(()) => attempt.commit().await?,
        Err(cause) if sqlstate(&cause).is_some_and(|code| code == INVALID_TABLE_DEFINITION) => {
            attempt.rollback().await?;
            anew(tx, held, wanted).await?;
        }
        Err(cause) => return Err(cause.into()),
    }
    Ok(comment_on(tx, &label).await?)
}

/// Gives the columns their names by position, and the view its query.
async fn follow(
    attempt: &mut Savepoint<'_>,
    held: &StoredView,
    wanted: &PlannedView,
) -> Result<(), sqlx::Error> {
    let view = definition::identifier(&held.name);
    let pairs: Vec<_> = held.columns.iter().zip(&wanted.columns).filter(|(old, new)| old != new).collect();
    // By way of names that no column has, since two may swap theirs.
    let between: Vec<String> = (0..pairs.len()).map(|n| format!("chainflume renames {n}")).collect();
    let first = pairs.iter().zip(&between).map(|((old, _), between)| (old.as_str(), between.as_str()));
    let second = pairs.iter().zip(&between).map(|((_, new), between)| (between.as_str(), new.as_str()));
    for (old, new) in first.chain(second) {
        let (old, new) = (definition::identifier(old), definition::identifier(new));
        let sql = format!("alter view {view} rename column {old} to {new}");
        sqlx::query(AssertSqlSafe(sql)).execute(&mut **attempt).await?;
    }
    let sql = format!("create or replace view {view} as {}", wanted.query);
    sqlx::query(AssertSqlSafe(sql)).execute(&mut **attempt).await?;
    Ok(())
}

/// Drops the view and creates it again: its columns have other types than before.
async fn anew(tx: &mut Tx, held: &StoredView, wanted: &PlannedView) -> Result<(), ViewRefusal> {
    let sql = format!("drop view {}", definition::identifier(&held.name));
    match sqlx::query(AssertSqlSafe(sql)).execute(&mut **tx).await {
        Ok(_) => Ok(define(tx, "create view", &held.name, wanted).await?),
        Err(cause) if sqlstate(&cause).is_some_and(|code| code == DEPENDENT_OBJECTS) => {
            Err(ViewRefusal::Reason(format!(
                "its columns have other types now, and something was built on `{}`, which stays as it was; drop what was \
                 built on it, run `chainflume views`, and build it again",
                held.name
            )))
        }
        Err(cause) => Err(cause.into()),
    }
}

impl PlannedView {
    fn labelled(&self, name: &str) -> ViewLabel {
        ViewLabel { name: Some(name.to_owned()), ..self.label.clone() }
    }
}

/// The text for the operator, with the remedy.
fn reason(refusal: ViewRefusal) -> String {
    let error = match refusal {
        ViewRefusal::Reason(reason) => return reason,
        ViewRefusal::Store(error) | ViewRefusal::Registration(error) => error,
    };
    let state = match &error {
        StoreError::Database(cause) => sqlstate(cause),
        _ => None,
    };
    let remedy = match state.as_deref() {
        Some(INSUFFICIENT_PRIVILEGE) => {
            "let the daemon's user create views in this schema, and own this one if it exists; then run `chainflume views`"
        }
        Some(LOCK_NOT_AVAILABLE) => {
            "another session holds it for long; run `chainflume views` when it is released"
        }
        _ => "when that is mended, run `chainflume views`",
    };
    format!("{error}; {remedy}")
}

type Savepoint<'a> = sqlx::Transaction<'a, sqlx::Postgres>;
