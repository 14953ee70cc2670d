//! One loop per chain, the spine, which reads the chain and writes to the store.
//!
//! [`spine`] is the loop, [`wiring`] its parts, and [`session`] the state of one lease turn. [`live`] and [`history`]
//! read new and old blocks, [`pending`] reads blocks that are not confirmed, [`gaps`] reads blocks that a source left
//! out, and [`reorg`] undoes orphaned blocks. [`prefetch`] saves a round trip. [`contracts`] checks whether a source
//! can have events at all. [`stopped`] waits until a stop is over. [`first_head`] decides from which block new
//! sources publish. [`repair`] repairs differences that the second read ([`audit`], [`reread`]) found.
//! [`retry_limit`] ends a command whose node keeps failing, and [`omissions`] doubts an empty answer. [`snapshot`] is the copy in memory of what is stored,
//! [`translate`] turns logs into events, and [`report`] writes health, metrics and log lines.

mod age;
mod audit;
mod contracts;
mod error;
mod first_head;
mod followed;
mod gaps;
mod history;
mod indexes;
mod live;
mod observe;
mod omissions;
mod open;
mod pending;
mod pieces;
mod prefetch;
mod proof;
mod provider;
mod reorg;
mod repair;
mod report;
mod reread;
mod retry;
mod retry_limit;
mod saved_limits;
mod session;
mod snapshot;
mod spine;
mod stopped;
mod translate;
mod views;
mod wiring;

pub use audit::{AuditSettings, Auditor};
pub use contracts::{ContractFinding, ContractWatch, check_contracts};
pub use error::IndexerError;
pub use reread::{Places, Purpose, Reread, RereadReport, Rereader};
pub use retry::{Retried, Retrier};
pub use translate::{TranslatedSource, Translator};
pub use wiring::{ChainIndexer, IndexerParts};
