//! Follows transactions on a chain. [`watch`] begins in the transaction of what it is about; [`Follower`] asks the node for a bounded
//! batch of receipts a block, [`judge`] decides from the answers of the node, and each change reaches its [`Subject`] in the transaction
//! that stores it. Nothing is kept in memory between two rounds, so a restart and a takeover change nothing.

mod follower;
mod judge;
mod watches;

pub use follower::{AfterCommit, ChainView, FollowSettings, Follower, Subject, Taken};
pub use judge::{
    ChainDepths, SeenReceipt, SeenSender, TransactionChange, TransactionSighting, TransactionWatch,
    WatchLimits, WatchState, WatchVerdict, judge,
};
pub use watches::{NewWatch, WatchOutcome, unwatch, watch};
