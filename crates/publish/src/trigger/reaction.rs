//! Answers of URLs that are called about messages: events that the messages caused.

use std::fmt;
use std::time::SystemTime;

use serde_json::{Value, json};
use sqlx::postgres::PgPool;

use crate::{ApplicationEvent, EventDefaults, PublishError, Publisher, check_aggregate, derived_id};
use chainflume_api::routes::{Refusal, parse};
use chainflume_core::domain::causes;
use chainflume_db::{Database, StoreError, transaction};
use chainflume_ops::metrics;

/// Causes above a message at most about which a URL is called. Chains of reactions that an application means are three or four long;
/// two reactions that answer each other would never end.
pub const MAX_DEPTH: u32 = 8;
/// Events of one answer at most, as in a request to publish.
const MAX_EVENTS: usize = 500;

/// A `[[reaction]]`: what becomes of the answers of its URL.
#[derive(Clone)]
pub struct Reaction {
    name: String,
    /// Type of the event whose payload an answer is; `None` where answers are events.
    event_type: Option<String>,
    publisher: Publisher,
    pool: PgPool,
}

/// Why an answer is not published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReactionError {
    /// The answer is wrong.
    Unusable(String),
    /// The events cannot be stored now.
    Unavailable(String),
}

/// What of a message goes on into the events that it caused.
struct MessageCause {
    id: String,
    state: String,
    causation_id: Option<String>,
    correlation_id: String,
    user_id: Option<String>,
    aggregate: (String, String),
}

impl fmt::Debug for Reaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reaction").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Reaction {
    /// Publishes answers under this name.
    pub fn new(database: &Database, publisher: Publisher, name: String, event_type: Option<String>) -> Self {
        Self { name, event_type, publisher, pool: database.pool().clone() }
    }

    /// Whether its URL is called about a message: not where eight others caused it, one after the other.
    ///
    /// # Errors
    /// A database error.
    pub async fn wants(&self, message: &str) -> Result<bool, StoreError> {
        let Some(cause) = MessageCause::read(message) else { return Ok(true) };
        let Some(above) = &cause.causation_id else { return Ok(true) };
        let depth = self.depth(above).await?;
        if depth < MAX_DEPTH {
            return Ok(true);
        }
        metrics::reaction(&self.name, "cut");
        let (reaction, id) = (&self.name, &cause.id);
        tracing::warn!(
            reaction,
            message = id,
            depth,
            "a reaction is not called: reactions caused each other in a loop"
        );
        Ok(false)
    }

    /// How many messages caused one whose cause is `above`, one after the other, up to the limit.
    async fn depth(&self, above: &str) -> Result<u32, StoreError> {
        let mut tx = transaction::begin_look(&self.pool).await?;
        let depth: i32 = sqlx::query_scalar(
            r"
            with recursive causes (id, depth) as (
                select $1::text, 1
                union all
                select d.causation_id, c.depth + 1 from causes c join domain_events d on d.id = case
                    when c.id ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then c.id::uuid end
                where d.causation_id is not null and c.depth < $2
            )
            select max(depth) from causes
            ",
        )
        .bind(above)
        .bind(i32::try_from(MAX_DEPTH).unwrap_or(i32::MAX))
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(u32::try_from(depth).unwrap_or(MAX_DEPTH))
    }

    /// Publishes what the URL answered. The same answer to the same message again is the same events.
    ///
    /// # Errors
    /// [`ReactionError`]
    pub async fn take(&self, message: &str, answer: &[u8]) -> Result<usize, ReactionError> {
        let events = self.read(message, answer)?;
        let count = events.len();
        if events.is_empty() {
            metrics::reaction(&self.name, "empty");
            return Ok(0);
        }
        self.publisher.publish(events).await.map_err(|error| match error {
            PublishError::TooManyAggregateTypes => ReactionError::Unusable(causes(&error)),
            _ => ReactionError::Unavailable(causes(&error)),
        })?;
        metrics::reaction(&self.name, "published");
        Ok(count)
    }

    /// The events of an answer: none of an empty one.
    fn read(&self, message: &str, answer: &[u8]) -> Result<Vec<ApplicationEvent>, ReactionError> {
        if answer.trim_ascii().is_empty() {
            return Ok(Vec::new());
        }
        let cause = MessageCause::read(message)
            .ok_or_else(|| ReactionError::Unusable("the message has no id".to_owned()))?;
        let refused = |refusal: Refusal| {
            let place = refusal.pointer.map(|pointer| format!(" at {pointer}")).unwrap_or_default();
            ReactionError::Unusable(format!("{}{place}", refusal.detail))
        };
        let values = match (parse(answer).map_err(refused)?, &self.event_type) {
            (Value::Null, _) => Vec::new(),
            (payload, Some(event_type)) => vec![self.about(&cause, event_type, payload)],
            (Value::Array(events), None) => events,
            (event, None) => vec![event],
        };
        if values.len() > MAX_EVENTS {
            return Err(ReactionError::Unusable(format!("it has more than {MAX_EVENTS} events")));
        }
        let event = |(index, value): (usize, Value)| {
            let index = index.to_string();
            let parts = ["reaction", &self.name, &cause.id, &cause.state, &index];
            let defaults = EventDefaults {
                id: derived_id(&parts.map(str::as_bytes)),
                source: format!("reaction:{}", self.name),
                now: SystemTime::now(),
            };
            let mut event = self.publisher.read_event(value, defaults).map_err(refused)?;
            event.causation_id = Some(cause.id.clone());
            event.correlation_id.get_or_insert_with(|| cause.correlation_id.clone());
            Ok(event)
        };
        values.into_iter().enumerate().map(event).collect()
    }

    /// An event about what the message is about, where an application may publish about that.
    fn about(&self, cause: &MessageCause, event_type: &str, payload: Value) -> Value {
        let (kind, id) = &cause.aggregate;
        let (kind, id) = match check_aggregate(kind, id) {
            Ok(()) => (kind.as_str(), id.as_str()),
            Err(_) => ("reaction", self.name.as_str()),
        };
        json!({ "type": event_type, "aggregateType": kind, "aggregateId": id, "payload": payload,
            "metadata": { "userId": cause.user_id } })
    }
}

impl MessageCause {
    fn read(message: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(message).ok()?;
        let (text, metadata) = (|value: &Value| value.as_str().map(str::to_owned), &message["metadata"]);
        let id = text(&message["id"])?;
        Some(Self {
            state: text(&message["state"])?,
            causation_id: text(&metadata["causationId"]),
            correlation_id: text(&metadata["correlationId"]).unwrap_or_else(|| id.clone()),
            user_id: text(&metadata["userId"]),
            aggregate: (text(&message["aggregateType"])?, text(&message["aggregateId"])?),
            id,
        })
    }
}

#[cfg(test)]
mod tests;
