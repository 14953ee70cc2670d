//! The outbox: stores messages from the transaction that writes them until every sink has them.
//!
//! A writer of events ends its transaction with [`append`]. A reader wakes up by [`Outbox::listen`], reads the messages after a
//! [`Position`] ([`Outbox::read_after`]), and moves its cursor. Old messages that every sink has are trimmed. [`Lineage`] has the
//! epochs of sequence numbers.

mod append;
mod deliveries;
mod draft;
mod epochs;
mod keys;
mod lineage;
mod reader;
mod replay;
mod rooms;
mod sinks;
mod unnumbered;

use std::fmt;

use sqlx::postgres::PgPool;

use chainflume_db::Database;

pub use append::{append, append_off_chain};
pub use deliveries::{DueDelivery, HeldMessage, RoundOutcome, SinkPacing, SinkState};
pub use draft::{Draft, drafts, off_chain_drafts};
pub use epochs::{Adopted, Lineage, OutboxEpoch, Position};
pub use keys::{addresses, room_key};
pub use reader::{OutboxListener, OutboxRow, OutboxState, PageSize};
pub use replay::{ReplayLock, ReplayPage, ReplaySource};
pub use rooms::{INDEX_ROOMS, ROOM_PAGE, RoomPage, RoomRead};
pub use sinks::{AdoptedHistory, SinkContents, SinkStart};
pub use unnumbered::Unnumbered;

/// The channel of `NOTIFY` for commits with messages.
const CHANNEL: &str = "chainflume_outbox";

/// The tables of messages, sinks and deliveries. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    database: Database,
    pool: PgPool,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("database", &self.database).finish_non_exhaustive()
    }
}

impl Outbox {
    /// The outbox of a database.
    pub fn of(database: &Database) -> Self {
        Self { pool: database.pool().clone(), database: database.clone() }
    }

    /// Whether [`Self::listen`] works: not behind a pooler that gives each transaction another session.
    pub fn can_listen(&self) -> bool {
        self.database.has_sessions()
    }
}
