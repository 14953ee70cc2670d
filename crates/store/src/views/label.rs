//! The comment of a view. It marks the view as one that Chainflume created.

use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;

use super::definition;
use chainflume_db::StoreError;
use chainflume_db::transaction::Tx;

/// The data in a view's comment, behind a text for people.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct ViewLabel {
    pub(super) source: String,
    pub(super) event: String,
    pub(super) signature: String,
    /// Digest of the query, which shows whether it changed. PostgreSQL returns a query in its own wording, and the whole query
    /// would make the comment unreadable.
    pub(super) query: String,
    /// The name it was created with. A person may have renamed it since; then it is not changed any more.
    #[serde(default)]
    pub(super) name: Option<String>,
    /// Positions of the arguments of which it shows the hash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) hashed: Vec<usize>,
}

/// How the comment of a view begins that Chainflume created.
pub(super) const MARK: &str = "chainflume: ";

pub(super) fn label(comment: &str) -> Option<ViewLabel> {
    // No signature and no name of a source has a brace.
    let json = comment.strip_prefix(MARK)?.find('{')? + MARK.len();
    serde_json::from_str(&comment[json..]).ok()
}

/// Marks a view as one that Chainflume created.
pub(super) async fn comment_on(tx: &mut Tx, label: &ViewLabel) -> Result<(), StoreError> {
    let json = serde_json::to_string(label).map_err(|cause| StoreError::invalid(cause.to_string()))?;
    let text = format!("{MARK}{} of source {} {json}", label.signature, label.source);
    let name = label.name.as_deref().unwrap_or_default();
    let sql = format!("comment on view {} is {}", definition::identifier(name), definition::literal(&text));
    sqlx::query(AssertSqlSafe(sql)).execute(&mut **tx).await?;
    Ok(())
}

/// SQLSTATE of dropping an object that others depend on.
pub(super) const DEPENDENT_OBJECTS: &str = "2BP01";
/// SQLSTATE of `create or replace view` that would drop or change a column.
pub(super) const INVALID_TABLE_DEFINITION: &str = "42P16";
/// SQLSTATE of a missing right.
pub(super) const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// SQLSTATE of a lock that was not granted in time.
pub(super) const LOCK_NOT_AVAILABLE: &str = "55P03";
