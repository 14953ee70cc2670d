//! The outbox: messages from the transaction that writes them to the sink that has them.
//!
//! A writer of events ends its transaction with [`append`]. A reader asks for everything after a [`Position`]
//! ([`Outbox::read_after`]), wakes up by [`Outbox::listen`], and moves its cursor. Messages that every sink has
//! are trimmed. [`Lineage`] names the history a sequence number belongs to.

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
pub use reader::{OutboxListener, OutboxRow, OutboxState};
pub use replay::{ReplayLock, ReplayPage, ReplaySource};
pub use rooms::{ROOM_PAGE, RoomPage, RoomRead};
pub use sinks::{AdoptedHistory, SinkContents, SinkStart};
pub use unnumbered::Unnumbered;

/// The channel on which a commit with messages is announced.
const CHANNEL: &str = "chainflume_outbox";

/// The tables of messages and of what sinks have of them. Cheap to clone.
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

    /// Whether commits are announced: not through a pooler that hands sessions on, to whom `LISTEN` means nothing.
    pub fn announces(&self) -> bool {
        self.database.has_sessions()
    }
}
