//! Typed views: one for each ABI event, one column an argument. Typed SQL without a second copy of the data.
//!
//! A view says of itself, in its comment, that it is ours and what it shows. A table of views beside them
//! would be a second truth, and would not notice when an operator drops a view and makes another of that name.

use std::collections::BTreeMap;

use alloy_primitives::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection};

use crate::domain::EventKind;

use super::error::sqlstate;
use super::transaction::{self, Tx};
use super::{Store, StoreError};

mod definition;

/// A typed view as it is in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewInfo {
    /// Name of the view, as in SQL without quotes.
    pub name: String,
    /// The source whose events it shows.
    pub source: String,
    /// Name of the ABI event.
    pub event: String,
    /// Canonical signature.
    pub signature: String,
    /// Name and SQL type of each column.
    pub columns: Vec<(String, String)>,
}

/// What a view's comment says, after a beginning for people.
#[derive(Deserialize, PartialEq, Serialize)]
struct Label {
    source: String,
    event: String,
    signature: String,
    /// Digest of the query, to see whether it changed: PostgreSQL gives back its own wording, and the whole of
    /// it would bury the rest wherever comments are shown.
    query: String,
}

/// A view as it is to be.
struct View {
    label: Label,
    query: String,
}

/// How a comment of ours begins.
const MARK: &str = "chainflume: ";

impl Store {
    /// Every typed view there is, by name.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn views(&self) -> Result<Vec<ViewInfo>, StoreError> {
        let mut tx = transaction::begin_look(&self.pool).await?;
        let rows: Vec<(String, String, Vec<String>, Vec<String>)> = sqlx::query_as(
            "select c.relname::text, d.description, array_agg(a.attname::text order by a.attnum), \
                 array_agg(format_type(a.atttypid, a.atttypmod) order by a.attnum) \
             from pg_class c \
             join pg_namespace n on n.oid = c.relnamespace and n.nspname = current_schema() \
             join pg_description d on d.objoid = c.oid and d.classoid = 'pg_class'::regclass and d.objsubid = 0 \
             join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped \
             where c.relkind = 'v' and starts_with(d.description, $1) \
             group by c.relname, d.description order by c.relname",
        )
        .bind(MARK)
        .fetch_all(&mut *tx)
        .await?;
        let info = |(name, comment, names, types): (String, String, Vec<String>, Vec<String>)| {
            let Label { source, event, signature, .. } = label(&comment)?;
            Some(ViewInfo { name, source, event, signature, columns: names.into_iter().zip(types).collect() })
        };
        Ok(rows.into_iter().filter_map(info).collect())
    }

    /// Drops the typed views of one source, or of all; returns their names. The data stays, and the next
    /// start creates the configured ones again.
    ///
    /// # Errors
    /// [`StoreError::View`] when something was built on one of them; none is dropped then.
    pub async fn drop_views(&self, source: Option<&str>) -> Result<Vec<String>, StoreError> {
        let views = self.views().await?;
        let names: Vec<String> = views
            .into_iter()
            .filter(|view| source.is_none_or(|source| view.source == source))
            .map(|view| view.name)
            .collect();
        let mut tx = transaction::begin_bounded(&self.pool).await?;
        transaction::lock(&mut tx, transaction::REGISTRATION).await?;
        for name in &names {
            drop_view(&mut tx, name).await?;
        }
        tx.commit().await?;
        Ok(names)
    }
}

/// Creates what is missing and replaces what changed. Views of sources that are no longer configured stay:
/// their events do too.
pub(super) async fn refresh(tx: &mut Tx, chain_id: i64, kinds: &[EventKind]) -> Result<(), StoreError> {
    let mut by_view: BTreeMap<&str, Vec<&EventKind>> = BTreeMap::new();
    for kind in kinds {
        by_view.entry(&kind.view).or_default().push(kind);
    }
    for (name, kinds) in by_view {
        let first = definition::agree(name, &kinds)?;
        let stored = stored_kinds(tx, chain_id, first).await?;
        let query = definition::query(chain_id, first, &stored);
        let label = Label {
            source: first.source.clone(),
            event: first.event.clone(),
            signature: first.signature.clone(),
            query: hex::encode(&Sha256::digest(&query)[..8]),
        };
        ensure(tx, name, &View { label, query }).await?;
    }
    Ok(())
}

/// Ids and types of every kind of an ABI event, also of those an earlier configuration knew: events of theirs
/// are shown too.
async fn stored_kinds(
    tx: &mut Tx,
    chain_id: i64,
    kind: &EventKind,
) -> Result<Vec<(i32, String)>, StoreError> {
    Ok(sqlx::query_as(
        "select id, type from event_kinds where chain_id = $1 and source = $2 and event = $3 and signature = $4 \
         order by id",
    )
    .bind(chain_id)
    .bind(&kind.source)
    .bind(&kind.event)
    .bind(&kind.signature)
    .fetch_all(&mut **tx)
    .await?)
}

async fn ensure(tx: &mut Tx, name: &str, view: &View) -> Result<(), StoreError> {
    let there: Option<(bool, Option<String>)> = sqlx::query_as(
        "select c.relkind = 'v', obj_description(c.oid, 'pg_class') from pg_class c \
         join pg_namespace n on n.oid = c.relnamespace and n.nspname = current_schema() \
         where c.relname = $1",
    )
    .bind(name)
    .fetch_optional(&mut **tx)
    .await?;
    let Some((is_view, comment)) = there else {
        return create(tx, name, view).await;
    };
    let wanted = &view.label;
    let Some(held) = comment.as_deref().filter(|_| is_view).and_then(label) else {
        return Err(error(
            name,
            "a table, index or view of that name is there and is not ours; rename the source",
        ));
    };
    if held == *wanted {
        return Ok(());
    }
    if held.source != wanted.source || held.signature != wanted.signature {
        let reason = format!(
            "it shows {} of `{}` and would have to show {} of `{}`; rename the source, or drop the view",
            held.signature, held.source, wanted.signature, wanted.source
        );
        return Err(error(name, &reason));
    }
    // Replacing keeps grants and what was built on the view, and works while columns are only added.
    let mut attempt = tx.begin().await?;
    match sqlx::query(AssertSqlSafe(create_sql("create or replace view", name, view)))
        .execute(&mut *attempt)
        .await
    {
        Ok(_) => {
            attempt.commit().await?;
            comment_on(tx, name, wanted).await
        }
        Err(cause) if sqlstate(&cause).is_some_and(|code| code == INVALID_TABLE_DEFINITION) => {
            attempt.rollback().await?;
            drop_view(tx, name).await?;
            create(tx, name, view).await
        }
        Err(cause) => Err(cause.into()),
    }
}

async fn create(tx: &mut Tx, name: &str, view: &View) -> Result<(), StoreError> {
    sqlx::query(AssertSqlSafe(create_sql("create view", name, view))).execute(&mut **tx).await?;
    comment_on(tx, name, &view.label).await
}

/// Names and texts in these statements are quoted by [`definition`]; DDL takes no parameters.
fn create_sql(verb: &str, name: &str, view: &View) -> String {
    format!("{verb} {} as {}", definition::identifier(name), view.query)
}

async fn comment_on(tx: &mut Tx, name: &str, label: &Label) -> Result<(), StoreError> {
    let json = serde_json::to_string(label).map_err(|cause| error(name, &cause.to_string()))?;
    let text = format!("{MARK}{} of source {} {json}", label.signature, label.source);
    let sql = format!("comment on view {} is {}", definition::identifier(name), definition::literal(&text));
    sqlx::query(AssertSqlSafe(sql)).execute(&mut **tx).await?;
    Ok(())
}

async fn drop_view(tx: &mut Tx, name: &str) -> Result<(), StoreError> {
    let sql = format!("drop view if exists {}", definition::identifier(name));
    match sqlx::query(AssertSqlSafe(sql)).execute(&mut **tx).await {
        Ok(_) => Ok(()),
        Err(cause) if sqlstate(&cause).is_some_and(|code| code == DEPENDENT_OBJECTS) => Err(error(
            name,
            "its columns changed and something was built on it; drop what was built, and start again",
        )),
        Err(cause) => Err(cause.into()),
    }
}

fn label(comment: &str) -> Option<Label> {
    // No signature and no name of a source has a brace.
    let json = comment.strip_prefix(MARK)?.find('{')? + MARK.len();
    serde_json::from_str(&comment[json..]).ok()
}

fn error(view: &str, reason: &str) -> StoreError {
    StoreError::View { view: view.to_owned(), reason: reason.to_owned() }
}

/// SQLSTATE of `create or replace view` that would drop or change a column.
const INVALID_TABLE_DEFINITION: &str = "42P16";
/// SQLSTATE of dropping what others depend on.
const DEPENDENT_OBJECTS: &str = "2BP01";
