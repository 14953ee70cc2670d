use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use super::ApplicationEvent;
use super::write::insert;
use chainflume_core::domain::{MessageState, OffChainMessage};
use chainflume_db::StoreError;
use chainflume_db::convert::int8;
use chainflume_db::transaction::Tx;
use chainflume_outbox::{append_off_chain, off_chain_drafts};

/// A fact that the daemon itself publishes.
#[derive(Clone, Debug, PartialEq)]
pub enum OwnFact {
    /// The event happened. An id that is stored already is a repeat and publishes nothing.
    Published(Box<ApplicationEvent>),
    /// A reorg undid the fact of the event with this id, which was published.
    Withdrawn(Uuid),
}

/// Stores facts with their messages in a transaction of the caller, in their order. Returns how many messages they are. It must come
/// last in the transaction.
///
/// # Errors
/// A database error.
pub async fn record(tx: &mut Tx, facts: &[OwnFact]) -> Result<usize, StoreError> {
    let ids: Vec<Uuid> = facts.iter().map(OwnFact::id).collect();
    let mut known = stored(tx, &ids).await?;
    let messages: Vec<OffChainMessage> = facts.iter().filter_map(|fact| known.message_of(fact)).collect();
    let count = messages.len();
    let position = append_off_chain(tx, off_chain_drafts(messages)?).await?;
    let first = position.map_or(0, |last| last.seq + 1 - count as u64);
    known.write(tx, first).await?;
    Ok(count)
}

/// Events that facts are about.
struct OwnEvents {
    by_id: BTreeMap<Uuid, OwnEvent>,
    /// Messages so far.
    messages: u64,
}

struct OwnEvent {
    event: ApplicationEvent,
    /// Whether it holds: it was published, and not withdrawn since.
    holds: bool,
    is_stored: bool,
    /// Which of the messages published it last.
    published: Option<u64>,
    changed: bool,
}

impl OwnEvents {
    /// The message of a fact; `None` for one that changes nothing.
    fn message_of(&mut self, fact: &OwnFact) -> Option<OffChainMessage> {
        let known = match fact {
            OwnFact::Published(event) => self.by_id.entry(event.id).or_insert_with(|| OwnEvent {
                event: (**event).clone(),
                holds: false,
                is_stored: false,
                published: None,
                changed: false,
            }),
            OwnFact::Withdrawn(id) => self.by_id.get_mut(id)?,
        };
        let holds = matches!(fact, OwnFact::Published(_));
        if known.holds == holds {
            return None;
        }
        (known.holds, known.changed) = (holds, true);
        let state = if holds { MessageState::Confirmed } else { MessageState::Retracted };
        if holds {
            known.published = Some(self.messages);
        }
        self.messages += 1;
        Some(OffChainMessage { state, ..known.event.message() })
    }

    async fn write(&self, tx: &mut Tx, first: u64) -> Result<(), StoreError> {
        let fresh: Vec<(u64, &ApplicationEvent)> = self
            .by_id
            .values()
            .filter(|known| !known.is_stored)
            .filter_map(|known| Some((first + known.published?, &known.event)))
            .collect();
        insert(tx, &fresh).await?;
        let published_before = |known: &&OwnEvent| known.changed && (known.is_stored || !known.holds);
        for known in self.by_id.values().filter(published_before) {
            let seq = known.published.map(|index| int8("sequence", first + index)).transpose()?;
            sqlx::query(
                "update domain_events set withdrawn_at = case when $2 then null else now() end, seq = coalesce($3, seq) where id = $1",
            )
            .bind(known.event.id)
            .bind(known.holds)
            .bind(seq)
            .execute(&mut **tx)
            .await?;
        }
        Ok(())
    }
}

impl OwnFact {
    fn id(&self) -> Uuid {
        match self {
            Self::Published(event) => event.id,
            Self::Withdrawn(id) => *id,
        }
    }
}

#[derive(sqlx::FromRow)]
struct OwnEventRow {
    id: Uuid,
    #[sqlx(rename = "type")]
    event_type: String,
    aggregate_type: String,
    aggregate_id: String,
    payload: Value,
    user_id: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    source: String,
    timestamp: String,
    is_withdrawn: bool,
}

/// Those of these events that are stored.
async fn stored(tx: &mut Tx, ids: &[Uuid]) -> Result<OwnEvents, StoreError> {
    let rows: Vec<OwnEventRow> = sqlx::query_as(
        r#"
        select id, type, aggregate_type, aggregate_id, payload, user_id, correlation_id, causation_id, source,
            to_char(happened_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as timestamp, withdrawn_at is not null as is_withdrawn
        from domain_events where id = any($1)
        "#,
    )
    .bind(ids)
    // Planned each time, as in `Publisher::write`.
    .persistent(false)
    .fetch_all(&mut **tx)
    .await?;
    let event = |row: OwnEventRow| {
        let payload = match row.payload {
            Value::Object(fields) => fields,
            _ => serde_json::Map::new(),
        };
        let event = ApplicationEvent {
            id: row.id,
            event_type: row.event_type,
            aggregate_type: row.aggregate_type,
            aggregate_id: row.aggregate_id,
            payload,
            user_id: row.user_id,
            correlation_id: row.correlation_id,
            causation_id: row.causation_id,
            source: row.source,
            timestamp: row.timestamp,
        };
        let holds = !row.is_withdrawn;
        (event.id, OwnEvent { event, holds, is_stored: true, published: None, changed: false })
    };
    Ok(OwnEvents { by_id: rows.into_iter().map(event).collect(), messages: 0 })
}
