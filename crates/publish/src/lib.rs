//! The application's side: facts that its back ends publish over HTTP, and facts that the daemon publishes by itself ([`trigger`]).
//! Each is stored and numbered in one transaction, in the stream in which the chain's messages are.

/// Activities: what a change makes of one, and how it is stored.
mod activities;
/// Application events: what they must look like, and how many callers share a commit.
mod events;
/// Ids of facts.
mod ids;
/// Facts that are published again.
mod replay;
/// Old events.
mod retention;
/// The routes of this crate.
mod routes;
/// What caused what.
mod trace;
/// Facts by the clock, by balances, and from the answers of URLs.
pub mod trigger;
/// People.
mod users;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use sqlx::postgres::PgPool;

pub use activities::{
    Activity, ActivityChange, ActivityError, ActivityStatus, ActivityTemplate, ActivityText,
    ActivityTransaction, ChangeKind, ChangeRefused, Changed, ChangedBy, ClosedBy, NewActivity,
};
use events::CommitQueue;
pub(crate) use events::user_id as check_user_id;
pub use events::{
    ApplicationEvent, Defaults as EventDefaults, EventSchemas, PublishError, PublishReceipt, Published,
    SchemaFileError,
};
pub(crate) use events::{OwnFact, record};
pub use events::{aggregate as check_aggregate, event_type as check_event_type};
pub(crate) use ids::derived as derived_id;
pub use replay::{FactQuery, FactQueryError, FactReplay};
pub use retention::trim_events;
pub use users::{UserChanges, UserDevice, UserError, WrittenUser};
pub(crate) use users::{may_read_record, may_write_record};

use chainflume_core::settings::{KIB, MIB};
use chainflume_db::Database;
use chainflume_ops::telemetry::LogLimiter;
use chainflume_outbox::Outbox;

/// How facts are taken.
#[derive(Debug)]
pub struct Settings {
    /// Schemas of payloads, by type.
    pub schemas: EventSchemas,
    /// Types that activities may have.
    pub activity_types: Vec<String>,
    /// Titles and descriptions by type and status.
    pub activity_texts: Vec<ActivityText>,
    /// Ids (EIP-155) of the chains on which activities may follow transactions.
    pub chains: Vec<u64>,
    /// How large and of how many kinds facts are, and how they share commits.
    pub limits: FactLimits,
}

/// How large and of how many kinds facts are, and how they share commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FactLimits {
    /// Bytes of one payload at most. A body of a request has at most 1 MiB.
    #[serde(deserialize_with = "chainflume_core::settings::size::<KIB, MIB, _>")]
    pub payload_bytes: usize,
    /// Kinds of things that events may be about: each has a stream in Redis.
    #[serde(deserialize_with = "chainflume_core::settings::number::<5, 10_000, _, _>")]
    pub max_aggregate_types: usize,
    /// How long publishers that share commits pause after each at most.
    #[serde(deserialize_with = "chainflume_core::settings::duration::<0, 1_000, _>")]
    pub max_commit_pause: Duration,
}

impl Default for FactLimits {
    fn default() -> Self {
        Self {
            payload_bytes: 256 << 10,
            max_aggregate_types: 100,
            // Larger commits are worth a delay that a caller does not notice; a pause after a slow commit would be one.
            max_commit_pause: Duration::from_millis(20),
        }
    }
}

/// Types of activities that need no configuration.
pub const ACTIVITY_TYPES: [&str; 7] =
    ["account_creation", "device_added", "device_removed", "top_up", "deposit", "send", "withdraw"];

/// Writes facts of the application. Clones are of the same.
#[derive(Clone)]
pub struct Publisher(Arc<PublisherParts>);

struct PublisherParts {
    pool: PgPool,
    outbox: Outbox,
    settings: Settings,
    queue: CommitQueue,
    /// Aggregate types that messages have already.
    aggregate_types: Mutex<BTreeSet<String>>,
    lines: LogLimiter,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl Publisher {
    /// Nothing is read or written yet.
    pub fn new(database: &Database, settings: Settings) -> Self {
        let (pool, outbox) = (database.pool().clone(), Outbox::of(database));
        Self(Arc::new(PublisherParts {
            pool,
            outbox,
            settings,
            queue: CommitQueue::default(),
            aggregate_types: Mutex::default(),
            lines: LogLimiter::default(),
        }))
    }
}

#[cfg(test)]
mod tests;
