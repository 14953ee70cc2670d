use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use uuid::Uuid;

use super::ApplicationEvent;
use super::queue::{PublishError, PublishReceipt, Published};
use crate::Publisher;
use chainflume_db::convert::{int8, unsigned};
use chainflume_db::{StoreError, transaction};
use chainflume_outbox::{Position, append_off_chain, off_chain_drafts};

/// Times a commit is tried again because another server stored one of the same events meanwhile.
const RACES: usize = 3;

impl Publisher {
    /// Allows new aggregate types while there are not too many: each has a stream in Redis, which is looked at
    /// every few seconds.
    pub(super) async fn admit_aggregate_types(
        &self,
        events: &[ApplicationEvent],
    ) -> Result<(), PublishError> {
        let named: BTreeSet<&str> = events.iter().map(|event| event.aggregate_type.as_str()).collect();
        let known = || self.0.aggregate_types.lock().unwrap_or_else(PoisonError::into_inner);
        if named.iter().all(|name| known().contains(*name)) {
            return Ok(());
        }
        let stored = self.0.outbox.aggregate_types().await.map_err(|_| PublishError::Unavailable)?;
        let mut known = known();
        known.extend(stored);
        let new: Vec<&str> = named.into_iter().filter(|name| !known.contains(*name)).collect();
        if known.len() + new.len() > self.0.settings.limits.max_aggregate_types {
            return Err(PublishError::TooManyAggregateTypes);
        }
        known.extend(new.into_iter().map(str::to_owned));
        Ok(())
    }

    /// Stores the events of all calls and their messages in one transaction.
    pub(super) async fn write(
        &self,
        calls: &[Vec<ApplicationEvent>],
    ) -> Result<Vec<PublishReceipt>, StoreError> {
        for _ in 0..RACES {
            match self.write_once(calls).await {
                Err(error) if error.constraint() == Some("domain_events_pkey") => {}
                written => return written,
            }
        }
        self.write_once(calls).await
    }

    async fn write_once(&self, calls: &[Vec<ApplicationEvent>]) -> Result<Vec<PublishReceipt>, StoreError> {
        let mut tx = transaction::begin_bounded(&self.0.pool).await?;
        let ids: Vec<Uuid> = calls.iter().flatten().map(|event| event.id).collect();
        let stored: Vec<(Uuid, i64)> = sqlx::query_as("select id, seq from domain_events where id = any($1)")
            .bind(&ids)
            // Planned at each commit: a plan from when the table was small reads all of it, until the server analyzes the table.
            .persistent(false)
            .fetch_all(&mut *tx)
            .await?;
        let mut numbers = BTreeMap::new();
        for (id, seq) in stored {
            numbers.insert(id, unsigned("sequence", seq)?);
        }
        let mut fresh: Vec<&ApplicationEvent> = Vec::new();
        let mut taken: BTreeSet<Uuid> = numbers.keys().copied().collect();
        fresh.extend(calls.iter().flatten().filter(|event| taken.insert(event.id)));
        let drafts = off_chain_drafts(fresh.iter().map(|event| event.message()).collect())?;
        let position = append_off_chain(&mut tx, drafts).await?;
        let before = position.as_ref().map_or(0, |last| last.seq - fresh.len() as u64);
        let numbered: Vec<(u64, &ApplicationEvent)> = (before + 1..).zip(fresh).collect();
        insert(&mut tx, &numbered).await?;
        tx.commit().await?;
        let new: BTreeMap<Uuid, u64> = numbered.iter().map(|(seq, event)| (event.id, *seq)).collect();
        Ok(receipts(calls, &numbers, new, position))
    }
}

pub(super) async fn insert(
    tx: &mut transaction::Tx,
    numbered: &[(u64, &ApplicationEvent)],
) -> Result<(), StoreError> {
    if numbered.is_empty() {
        return Ok(());
    }
    let seqs = numbered.iter().map(|(seq, _)| int8("sequence", *seq)).collect::<Result<Vec<_>, _>>()?;
    let events = || numbered.iter().map(|(_, event)| *event);
    let payload = |event: &ApplicationEvent| serde_json::to_string(&event.payload).unwrap_or_default();
    sqlx::query(
        r"
        insert into domain_events (seq, id, type, aggregate_type, aggregate_id, payload, user_id, correlation_id,
            causation_id, source, happened_at)
        select seq, id, type, aggregate_type, aggregate_id, payload::jsonb, user_id, correlation_id, causation_id, source,
            happened_at::timestamptz
        from unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::text[], $10::text[], $11::text[]) as e (seq, id, type, aggregate_type, aggregate_id, payload, user_id,
            correlation_id, causation_id, source, happened_at)
        ",
    )
    .bind(seqs)
    .bind(events().map(|event| event.id).collect::<Vec<_>>())
    .bind(events().map(|event| event.event_type.as_str()).collect::<Vec<_>>())
    .bind(events().map(|event| event.aggregate_type.as_str()).collect::<Vec<_>>())
    .bind(events().map(|event| event.aggregate_id.as_str()).collect::<Vec<_>>())
    .bind(events().map(payload).collect::<Vec<_>>())
    .bind(events().map(|event| event.user_id.as_deref()).collect::<Vec<_>>())
    .bind(events().map(|event| event.correlation_id.as_deref()).collect::<Vec<_>>())
    .bind(events().map(|event| event.causation_id.as_deref()).collect::<Vec<_>>())
    .bind(events().map(|event| event.source.as_str()).collect::<Vec<_>>())
    .bind(events().map(|event| event.timestamp.as_str()).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// An event is new the first time that its id comes, and a duplicate at every other.
fn receipts(
    calls: &[Vec<ApplicationEvent>],
    stored: &BTreeMap<Uuid, u64>,
    mut new: BTreeMap<Uuid, u64>,
    position: Option<Position>,
) -> Vec<PublishReceipt> {
    let mut seen: BTreeMap<Uuid, u64> = stored.clone();
    let text = position.map(|at| at.to_string());
    let mut receipt = |call: &Vec<ApplicationEvent>| {
        let mut published = |event: &ApplicationEvent| match new.remove(&event.id) {
            Some(seq) => {
                seen.insert(event.id, seq);
                Published { id: event.id, seq, duplicate: false }
            }
            None => {
                Published { id: event.id, seq: seen.get(&event.id).copied().unwrap_or(0), duplicate: true }
            }
        };
        let events: Vec<Published> = call.iter().map(&mut published).collect();
        let is_new = events.iter().any(|event| !event.duplicate);
        PublishReceipt { events, position: text.clone().filter(|_| is_new) }
    };
    calls.iter().map(&mut receipt).collect()
}
