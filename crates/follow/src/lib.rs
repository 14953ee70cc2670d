//! Follows transactions on a chain. [`watch`] adds a transaction, in the database transaction of the record that refers to it. [`Follower`]
//! fetches a bounded batch of receipts for each block, [`judge`] decides from the node's answers, and the [`Subject`] gets each change in the
//! database transaction that stores it. Nothing is kept in memory between two rounds, so a restart or a takeover changes nothing.

mod follower;
mod judge;
mod watches;

pub use follower::{AfterCommit, ChainView, FollowSettings, Follower, Subject, Taken};
pub use judge::{
    ChainDepths, SeenReceipt, SeenSender, TransactionChange, TransactionSighting, TransactionWatch,
    WatchLimits, WatchState, WatchVerdict, judge,
};
pub use watches::{NewWatch, WatchOutcome, unwatch, watch};
