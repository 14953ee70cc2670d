//! The tables of chains.
//!
//! [`ChainStore::advance`] stores a range, [`ChainStore::rewind`] is its inverse, [`ChainStore::backfill`] adds missing events
//! to stored blocks, and [`ChainStore::publish_pending`] publishes events that are not confirmed yet. Each is one transaction. It
//! first locks the chain's row, so a chain has one writer at a time. It moves checkpoints by compare-and-set, so a writer with an
//! outdated view commits nothing. It ends with its messages, which it appends to the outbox.
//!
//! Four families of files: *write* (`advance`, `rewind`, `backfill`, `fill`, `audit`, `pending`, `stage`, `undo`, `emptying`), *tables*
//! (`events`, `projections`, `blocks`, `checkpoint`, `dead_letters`, `kinds`, `followed`, `sources`, `endpoints`, `indexes`),
//! *messages*, and *read* (`query`, `dump`, `chains`, `snapshot`, `views`). `register` opens the [`ChainStore`] (type in `open`) that they
//! share. `reread` has the types for blocks that are read again and compared.

mod advance;
mod audit;
mod backfill;
mod blocks;
mod chains;
mod checkpoint;
mod dead_letters;
mod dump;
mod emptying;
mod endpoints;
mod events;
mod fill;
mod followed;
mod indexes;
mod kinds;
mod known;
mod messages;
mod open;
mod pending;
mod projections;
mod query;
mod register;
mod reread;
mod retention;
mod rewind;
mod snapshot;
mod sources;
mod stage;
mod undo;
mod views;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use sqlx::postgres::PgPool;
use tokio::sync::Semaphore;

use chainflume_db::{Database, Settings, StoreError};
use chainflume_outbox::Outbox;

pub use advance::{Advance, Advanced};
pub use audit::DisputedEvent;
pub use chains::StoredChain;
pub use checkpoint::{AwaitedHead, Checkpoint};
pub use dead_letters::{DeadLetterQuery, DeadLetterSubject, FailedRetry, LogRef, StoredDeadLetter};
pub use dump::{ProjectionRow, StoredEvent};
pub use emptying::{DeletedRows, PAGE, SourceDeletion};
pub use events::ReplayQuery;
pub use fill::Read;
pub use known::KnownBlocks;
pub use messages::ChainReplay;
pub use open::{ChainRecord, ChainStore, PublishFrom, SourceRecord};
pub use pending::{Pending, PendingBlock};
pub use query::{EventCount, ReorgRecord, SourceStatus};
pub use reread::{Backfill, Compared, ProvenBlocks};
pub use retention::{HistoryRetention, TrimmedHistory};
pub use rewind::{Rewind, Rewound, UndoReason};
pub use snapshot::StoreSnapshot;
pub use stage::Staged;
pub use views::{ViewInfo, ViewProblem};

/// The tables of chains in a database. Cheap to clone. [`Database`] does what concerns no table.
#[derive(Clone)]
pub struct Store {
    database: Database,
    pool: PgPool,
    /// Connections that staged events may use: few enough that no step and no status waits for a connection.
    spare: Arc<Semaphore>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("database", &self.database).finish_non_exhaustive()
    }
}

impl Store {
    /// Connects; no table is touched.
    ///
    /// # Errors
    /// As [`Database::connect`].
    pub async fn connect(settings: &Settings) -> Result<Self, StoreError> {
        let database = Database::connect(settings).await?;
        let pool = database.pool().clone();
        let spare = Semaphore::new((settings.max_connections as usize / 2).saturating_sub(1));
        Ok(Self { database, pool, spare: Arc::new(spare) })
    }

    /// The outbox of the same database.
    pub fn outbox(&self) -> Outbox {
        Outbox::of(&self.database)
    }
}

impl Deref for Store {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.database
    }
}
