//! The spine: one loop a chain, which carries each step from the chain to the store.
//!
//! [`spine`] is the loop, [`live`] and [`history`] are the two ways forward, [`pending`] looks ahead, [`reorg`] is the way
//! back; [`gaps`] reads what was left out; [`ahead`] saves a round trip; [`view`] is what we hold, [`translate`] turns logs into events, [`say`] tells how it goes.

mod age;
mod ahead;
mod audit;
mod error;
mod follow;
mod followed;
mod gaps;
mod history;
mod indexes;
mod live;
mod memory;
mod observe;
mod open;
mod pending;
mod pieces;
mod proof;
mod reorg;
mod reread;
mod retry;
mod say;
mod session;
mod spine;
mod translate;
mod view;
mod views;

pub use audit::{AuditSettings, Auditor};
pub use error::IndexerError;
pub use reread::{Places, Purpose, Reread, RereadReport, Rereader};
pub use retry::{Retried, Retrier};
pub use spine::{ChainIndexer, Parts};
pub use translate::{Source, Translator};
