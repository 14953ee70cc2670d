//! The spine: one loop a chain, which carries each step from the chain to the store.
//!
//! [`spine`] is the loop, [`live`] and [`history`] are the two ways forward, [`reorg`] is the way back;
//! [`view`] is what we hold, [`translate`] turns logs into events.

mod backfill;
mod error;
mod follow;
mod history;
mod live;
mod memory;
mod reorg;
mod retry;
mod spine;
mod translate;
mod view;

pub use backfill::{BackfillReport, Backfiller};
pub use error::IndexerError;
pub use retry::{Retried, Retrier};
pub use spine::{ChainIndexer, Parts};
pub use translate::{Source, Translator};
