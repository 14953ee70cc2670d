use std::time::Duration;

use chainflume_db::transaction::begin_brief;
use chainflume_db::{Database, StoreError};

/// Deletes events that were stored longer ago than `kept`, `most` at most. Returns how many. Their messages go by the outbox's own
/// retention, and an id that is gone may be published anew.
///
/// # Errors
/// A database error.
pub async fn trim_events(database: &Database, kept: Duration, most: u32) -> Result<u64, StoreError> {
    let mut tx = begin_brief(database.pool()).await?;
    let deleted = sqlx::query(
        r"
        delete from domain_events where id in (
            select id from domain_events where stored_at < now() - make_interval(secs => $1) order by stored_at limit $2
        )
        ",
    )
    .bind(kept.as_secs_f64())
    .bind(i64::from(most))
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(deleted.rows_affected())
}
