use std::collections::BTreeMap;

use sqlx::PgConnection;

use crate::epochs::{adopted, epochs};
use crate::{Lineage, Outbox, OutboxState};
use chainflume_db::convert::unsigned;
use chainflume_db::{StoreError, transaction};

impl Outbox {
    /// The history of the outbox, for a sink that is at `cursor` and whose streams end with messages of these numbers.
    ///
    /// # Errors
    /// A database error.
    pub async fn lineage(&self, sink: &str, cursor: u64, tops: &[u64]) -> Result<Lineage, StoreError> {
        let mut tx = transaction::begin_snapshot(&self.pool).await?;
        let OutboxState { last, first, .. } = crate::reader::state(&mut tx).await?;
        Ok(Lineage {
            last,
            first,
            epochs: epochs(&mut tx).await?,
            ends: crate::reader::ends(&mut tx, cursor).await?,
            kept: kept(&mut tx, tops).await?,
            adopted: adopted(&mut tx, sink).await?,
        })
    }
}

async fn kept(
    connection: &mut PgConnection,
    tops: &[u64],
) -> Result<BTreeMap<u64, (String, String)>, StoreError> {
    // A number of another history may be too large for the column.
    let tops: Vec<i64> = tops.iter().filter_map(|top| i64::try_from(*top).ok()).collect();
    let rows: Vec<(i64, String, String)> =
        sqlx::query_as("select seq, aggregate_type, message from outbox where seq = any($1)")
            .bind(tops)
            .fetch_all(connection)
            .await?;
    rows.into_iter().map(|(seq, name, message)| Ok((unsigned("sequence", seq)?, (name, message)))).collect()
}
