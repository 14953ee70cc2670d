use std::time::Duration;

use sqlx::AssertSqlSafe;

use chainflume_db::transaction::begin_brief;
use chainflume_db::{Database, StoreError};

/// Whether a reorg may still take away the fact of an event `e`: it is of a block that is not final. A condition in SQL.
pub(crate) const UNDECIDED: &str = "exists (select from limit_crossings l join chains h on h.chain_id = l.chain_id \
     where l.event_id = e.id and l.block_number > coalesce(h.final_number, -1))";

/// Deletes events that were stored longer ago than `kept`, `most` at most. Returns how many. Their messages go by the outbox's own
/// retention, and an id that is gone may be published anew. An event that a reorg may still take away stays until then: without it
/// no retraction would be published.
///
/// # Errors
/// A database error.
pub async fn trim_events(database: &Database, kept: Duration, most: u32) -> Result<u64, StoreError> {
    let mut tx = begin_brief(database.pool()).await?;
    let deleted = sqlx::query(AssertSqlSafe(format!(
        r"
        delete from domain_events where id in (
            select e.id from domain_events e where e.stored_at < now() - make_interval(secs => $1) and not {UNDECIDED}
            order by e.stored_at limit $2
        )
        "
    )))
    .bind(kept.as_secs_f64())
    .bind(i64::from(most))
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(deleted.rows_affected())
}
