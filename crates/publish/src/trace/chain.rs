//! Events of chains that caused facts of the application. Their ids have their places, by which the tables find them.

use std::collections::BTreeSet;

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::TraceNode;
use crate::Publisher;
use chainflume_core::domain::{EventId, MessageState};
use chainflume_db::StoreError;

/// The events of these ids, each as it is now: one that a reorg took away and brought back is confirmed.
const EVENTS: &str = r#"
    select distinct on (found.id) found.id, k.type, k.layout ->> 'aggregate' as aggregate_type,
        '0x' || encode(case when k.layout ->> 'aggregate' = 'user' then coalesce(found.account, found.address)
            else found.address end, 'hex') as aggregate_id,
        '0x' || encode(found.tx_hash, 'hex') as correlation_id, k.source, found.state,
        to_char(found.block_time at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as timestamp
    from unnest($2::bigint[], $3::bigint[], $4::bigint[]) as p (block_number, tx_index, log_index)
    cross join chains c
    cross join lateral (
        select event_id(e.chain_id, e.block_number, e.block_hash, e.tx_index, e.log_index) as id, e.*
        from (
            select chain_id, block_number, tx_index, log_index, block_hash, tx_hash, block_time, kind_id, address, account,
                'confirmed' as state
            from events
            union all
            select chain_id, block_number, tx_index, log_index, block_hash, tx_hash, block_time, kind_id, address, account,
                'pending'
            from pending_events
            union all
            select o.chain_id, o.block_number, o.tx_index, o.log_index, o.block_hash, o.tx_hash, o.block_time, o.kind_id,
                o.address, o.account, 'retracted'
            from reorgs r join orphaned_events o on o.reorg_id = r.id
            where r.chain_id = c.chain_id and r.ancestor_number < p.block_number
        ) e
        where e.chain_id = c.chain_id and e.block_number = p.block_number and e.tx_index = p.tx_index
            and e.log_index = p.log_index
    ) found
    join event_kinds k on k.id = found.kind_id
    where found.id = any($1::uuid[])
    order by found.id, found.state
"#;

impl Publisher {
    /// Those of these messages that are about an event of a chain.
    pub(super) async fn chain_events(&self, ids: &BTreeSet<Uuid>) -> Result<Vec<TraceNode>, StoreError> {
        let places: Vec<_> = ids.iter().map(|id| EventId::from(*id).parts()).collect();
        // A height has 40 bits.
        let blocks: Vec<i64> = places.iter().map(|place| place.block_number.cast_signed()).collect();
        let rows = sqlx::query(EVENTS)
            .bind(ids.iter().copied().collect::<Vec<_>>())
            .bind(blocks)
            .bind(places.iter().map(|place| i64::from(place.tx_index)).collect::<Vec<_>>())
            .bind(places.iter().map(|place| i64::from(place.log_index)).collect::<Vec<_>>())
            .fetch_all(&self.0.pool)
            .await?;
        rows.iter().map(node).collect()
    }
}

fn node(row: &PgRow) -> Result<TraceNode, StoreError> {
    let state = MessageState::try_from(row.try_get::<String, _>("state")?);
    Ok(TraceNode {
        id: row.try_get::<Uuid, _>("id")?.to_string(),
        message_type: row.try_get("type")?,
        aggregate: (row.try_get("aggregate_type")?, row.try_get("aggregate_id")?),
        user_id: None,
        correlation_id: row.try_get("correlation_id")?,
        causation_id: None,
        source: row.try_get("source")?,
        timestamp: row.try_get("timestamp")?,
        seq: None,
        state: state.map_err(|error| StoreError::invalid(error.to_string()))?,
    })
}
