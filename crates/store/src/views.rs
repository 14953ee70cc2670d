//! Typed views: one for each ABI event, one column an argument. Typed SQL without a second copy of the data.
//!
//! The comment of a view marks it as ours and records what it shows. A table of views would be a second record, and would be
//! wrong after an operator drops a view and creates another of that name.
//!
//! Each view is made in its own transaction ([`make`]): a view that cannot be made stops neither the chain nor another view.

use sqlx::AssertSqlSafe;

use super::Store;
use chainflume_db::StoreError;
use chainflume_db::sqlstate;
use chainflume_db::transaction::{self, Tx};

mod definition;
mod held;
mod label;
mod make;

use held::StoredView;
use label::{DEPENDENT_OBJECTS, ViewLabel};
pub use make::ViewProblem;

/// A typed view in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewInfo {
    /// Name of the view, without quotes.
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

/// Views that one transaction drops. Each needs several locks, and a server has some 6,400 for all sessions by default.
const DROPPED_AT_ONCE: usize = 500;

impl Store {
    /// Every typed view, by name.
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
        Ok(held::held(&mut tx).await?.into_iter().map(info).collect())
    }

    /// Drops the typed views of one source, or of all; returns their names. The data stays, and the next
    /// start creates the configured ones again.
    ///
    /// # Errors
    /// [`StoreError::View`] when another object depends on one of them. Then no view of its batch is dropped; earlier batches of
    /// [`DROPPED_AT_ONCE`] views are.
    pub async fn drop_views(&self, source: Option<&str>) -> Result<Vec<String>, StoreError> {
        let views = self.views().await?;
        let names: Vec<String> = views
            .into_iter()
            .filter(|view| source.is_none_or(|source| view.source == source))
            .map(|view| view.name)
            .collect();
        for batch in names.chunks(DROPPED_AT_ONCE) {
            let mut tx = transaction::begin_bounded(&self.pool).await?;
            transaction::lock(&mut tx, transaction::REGISTRATION).await?;
            for name in batch {
                drop_view(&mut tx, name).await?;
            }
            tx.commit().await?;
        }
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
