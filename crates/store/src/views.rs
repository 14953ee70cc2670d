//! Typed views: one for each ABI event, one column an argument. Typed SQL without a second copy of the data.
//!
//! A view says of itself, in its comment, that it is ours and what it shows. A table of views beside them
//! would be a second truth, and would not notice when an operator drops a view and makes another of that name.
//!
//! Views are made apart from everything else ([`make`]): one that cannot be made stops neither the chain nor another view.

use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;

use super::Store;
use chainflume_db::StoreError;
use chainflume_db::sqlstate;
use chainflume_db::transaction::{self, Tx};

mod definition;
mod make;

use make::StoredView;
pub use make::ViewTrouble;

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
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct ViewLabel {
    source: String,
    event: String,
    signature: String,
    /// Digest of the query, to see whether it changed: PostgreSQL gives back its own wording, and the whole of
    /// it would bury the rest wherever comments are shown.
    query: String,
    /// The name it was made under: a person may have renamed it since, and then it is theirs.
    #[serde(default)]
    name: Option<String>,
    /// Positions of arguments it shows by their hash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    hashed: Vec<usize>,
}

/// How a comment of ours begins.
const MARK: &str = "chainflume: ";

impl Store {
    /// Every typed view there is, by name.
    ///
    /// # Errors
    /// A database error.
    pub async fn views(&self) -> Result<Vec<ViewInfo>, StoreError> {
        let mut tx = transaction::begin_look(&self.pool).await?;
        let info = |StoredView {
                        name,
                        label: ViewLabel { source, event, signature, .. },
                        columns,
                        types,
                    }: StoredView| {
            ViewInfo { name, source, event, signature, columns: columns.into_iter().zip(types).collect() }
        };
        Ok(make::held(&mut tx).await?.into_iter().map(info).collect())
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

async fn drop_view(tx: &mut Tx, name: &str) -> Result<(), StoreError> {
    let sql = format!("drop view if exists {}", definition::identifier(name));
    match sqlx::query(AssertSqlSafe(sql)).execute(&mut **tx).await {
        Ok(_) => Ok(()),
        Err(cause) if sqlstate(&cause).is_some_and(|code| code == DEPENDENT_OBJECTS) => {
            let reason = "something was built on it; drop what was built first".to_owned();
            Err(StoreError::View { view: name.to_owned(), reason })
        }
        Err(cause) => Err(cause.into()),
    }
}

fn label(comment: &str) -> Option<ViewLabel> {
    // No signature and no name of a source has a brace.
    let json = comment.strip_prefix(MARK)?.find('{')? + MARK.len();
    serde_json::from_str(&comment[json..]).ok()
}

/// Marks a view as one of ours.
async fn comment_on(tx: &mut Tx, label: &ViewLabel) -> Result<(), StoreError> {
    let json = serde_json::to_string(label).map_err(|cause| StoreError::invalid(cause.to_string()))?;
    let text = format!("{MARK}{} of source {} {json}", label.signature, label.source);
    let name = label.name.as_deref().unwrap_or_default();
    let sql = format!("comment on view {} is {}", definition::identifier(name), definition::literal(&text));
    sqlx::query(AssertSqlSafe(sql)).execute(&mut **tx).await?;
    Ok(())
}

/// SQLSTATE of dropping what others depend on.
const DEPENDENT_OBJECTS: &str = "2BP01";
/// SQLSTATE of `create or replace view` that would drop or change a column.
const INVALID_TABLE_DEFINITION: &str = "42P16";
/// SQLSTATE of what the user may not do.
const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// SQLSTATE of a lock that was not given in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";
