//! Decides the state of a watched transaction from its stored state and the answers of the node. Pure.

use std::time::Duration;

use alloy_primitives::{Address, B256};
use uuid::Uuid;

use chainflume_core::domain::BlockId;

/// The state of a watched transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WatchState {
    /// In no block.
    Waiting,
    /// In a block that is not confirmed.
    Mined,
    /// In a confirmed block, with a receipt of success.
    Succeeded,
    /// In a confirmed block, with a receipt of failure.
    Reverted,
    /// Another transaction of the same sender and nonce is in a confirmed block.
    Replaced,
    /// The node has not known it for too long.
    TimedOut,
}

impl WatchState {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Mined, Self::Succeeded, Self::Reverted, Self::Replaced, Self::TimedOut];

    /// The word in the table and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Mined => "mined",
            Self::Succeeded => "succeeded",
            Self::Reverted => "reverted",
            Self::Replaced => "replaced",
            Self::TimedOut => "timed_out",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// The sender of a transaction, and its nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenSender {
    /// The account.
    pub account: Address,
    /// Its nonce.
    pub nonce: u64,
}

/// A receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenReceipt {
    /// The block with the transaction.
    pub block: BlockId,
    /// Whether it succeeded.
    pub succeeded: bool,
}

/// A watched transaction, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionWatch {
    /// Its row.
    pub id: i64,
    /// The record that it is watched for.
    pub subject: Uuid,
    /// The transaction.
    pub transaction: B256,
    /// The state after the last round.
    pub state: WatchState,
    /// Its block, for the states that have one.
    pub block: Option<BlockId>,
    /// Its sender, once the node has returned it.
    pub sender: Option<SeenSender>,
    /// The head when it was replaced.
    pub replaced_at: Option<u64>,
    /// Whether the last round found its nonce used by another transaction.
    pub is_doubted: bool,
    /// Time since the node last knew it, or since the watch began.
    pub unknown_for: Duration,
}

/// The answers of the node about a watched transaction. What was not requested is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransactionSighting {
    /// Its receipt, where a canonical block has it.
    pub receipt: Option<SeenReceipt>,
    /// The hash of the canonical block at the height where it was.
    pub canonical: Option<B256>,
    /// The sender, where the node knows the transaction.
    pub known: Option<SeenSender>,
    /// The nonce that the sender uses next after the newest confirmed block.
    pub next_nonce: Option<u64>,
}

/// The heights of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainDepths {
    /// The newest block.
    pub head: u64,
    /// The highest confirmed block, where there is one.
    pub confirmed: Option<u64>,
    /// The highest block that no reorg undoes.
    pub final_number: u64,
}

/// How long a transaction may be unknown to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchLimits {
    /// Time until it has timed out.
    pub timeout: Duration,
    /// How long it is checked after that, since it may still be mined.
    pub late: Duration,
}

/// The new state to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchVerdict {
    /// The new state.
    pub state: WatchState,
    /// The block with it.
    pub block: Option<BlockId>,
    /// Its sender.
    pub sender: Option<SeenSender>,
    /// The head when it was replaced.
    pub replaced_at: Option<u64>,
    /// Whether its nonce was found used by another transaction.
    pub is_doubted: bool,
    /// Whether the node knows it.
    pub is_known: bool,
    /// Whether the watch ends, because nothing can change any more.
    pub is_over: bool,
}

/// A change of a watched transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionChange {
    /// The record that it is watched for.
    pub subject: Uuid,
    /// EIP-155.
    pub chain_id: u64,
    /// The transaction.
    pub transaction: B256,
    /// The state before. A transaction that goes back to [`WatchState::Waiting`], or from confirmed to
    /// [`WatchState::Mined`], was moved by a reorg.
    pub from: WatchState,
    /// The new state.
    pub to: WatchState,
    /// The block with it now.
    pub block: Option<BlockId>,
}

/// Decides the new state. A receipt is accepted, because it names its block. A missing receipt alone proves nothing: a provider has several
/// nodes, and one may be behind. A transaction has left its block only when another block is at that height. It was replaced only when two
/// rounds in a row find its nonce used.
pub fn judge(
    watch: &TransactionWatch,
    sighting: &TransactionSighting,
    depths: &ChainDepths,
    limits: &WatchLimits,
) -> WatchVerdict {
    let kept = WatchVerdict {
        state: watch.state,
        block: watch.block,
        sender: sighting.known.or(watch.sender),
        replaced_at: watch.replaced_at,
        is_doubted: false,
        is_known: sighting.known.is_some() || sighting.receipt.is_some(),
        is_over: false,
    };
    if let Some(receipt) = sighting.receipt {
        return mined(kept, receipt, depths);
    }
    if let Some(block) = watch.block {
        let has_left = sighting.canonical.is_some_and(|hash| hash != block.hash);
        let left = WatchVerdict { state: WatchState::Waiting, block: None, is_known: true, ..kept };
        return if has_left { left } else { kept };
    }
    absent(kept, watch, sighting, depths, limits)
}

fn mined(kept: WatchVerdict, receipt: SeenReceipt, depths: &ChainDepths) -> WatchVerdict {
    let is_confirmed = depths.confirmed.is_some_and(|confirmed| receipt.block.number <= confirmed);
    let state = match (is_confirmed, receipt.succeeded) {
        (false, _) => WatchState::Mined,
        (true, true) => WatchState::Succeeded,
        (true, false) => WatchState::Reverted,
    };
    let is_over = is_confirmed && receipt.block.number <= depths.final_number;
    WatchVerdict { state, block: Some(receipt.block), replaced_at: None, is_over, ..kept }
}

/// The verdict about a transaction that is in no block.
fn absent(
    kept: WatchVerdict,
    watch: &TransactionWatch,
    sighting: &TransactionSighting,
    depths: &ChainDepths,
    limits: &WatchLimits,
) -> WatchVerdict {
    let is_used = watch.sender.zip(sighting.next_nonce).is_some_and(|(sender, next)| next > sender.nonce);
    if sighting.known.is_none() && is_used {
        return match watch.state {
            WatchState::Replaced => {
                let is_over = watch.replaced_at.is_some_and(|at| at <= depths.final_number);
                WatchVerdict { is_doubted: true, is_over, ..kept }
            }
            _ if watch.is_doubted => WatchVerdict {
                state: WatchState::Replaced,
                replaced_at: Some(depths.head),
                is_doubted: true,
                ..kept
            },
            _ => WatchVerdict { is_doubted: true, ..kept },
        };
    }
    let state = match watch.state {
        // The block with the other transaction is gone.
        WatchState::Replaced if sighting.next_nonce.is_some() || sighting.known.is_some() => {
            WatchState::Waiting
        }
        WatchState::Waiting if !kept.is_known && watch.unknown_for >= limits.timeout => WatchState::TimedOut,
        state => state,
    };
    let is_late = watch.unknown_for >= limits.timeout + limits.late;
    let is_over = state == WatchState::TimedOut && !kept.is_known && is_late;
    let replaced_at = kept.replaced_at.filter(|_| state == WatchState::Replaced);
    WatchVerdict { state, replaced_at, is_over, ..kept }
}

#[cfg(test)]
mod tests;
