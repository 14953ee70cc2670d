use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Database, StoreError, transaction};

/// A slower answer is not used: the server may have read its clock at any time in between.
const SLOWEST: Duration = Duration::from_secs(2);

impl Database {
    /// Seconds by which the clock of the database is ahead of this machine's; negative if it is behind. Exact to half the time of
    /// the query. `None` if the query took more than two seconds.
    ///
    /// # Errors
    /// A database error.
    pub async fn clock_ahead(&self) -> Result<Option<f64>, StoreError> {
        let mut tx = transaction::begin_look(&self.pool).await?;
        let before = SystemTime::now();
        let sql = "select extract(epoch from clock_timestamp())::float8";
        let theirs: f64 = sqlx::query_scalar(sql).fetch_one(&mut *tx).await?;
        let took = before.elapsed().unwrap_or_default();
        let ours = before.duration_since(UNIX_EPOCH).unwrap_or_default() + took / 2;
        Ok((took < SLOWEST).then_some(theirs - ours.as_secs_f64()))
    }
}
