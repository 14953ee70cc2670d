//! Checks an answer of `eth_getLogs` against its question.

use alloy_primitives::B256;

use super::wire::ReadLog;
use crate::domain::{BlockRange, Log, LogFilter};

/// The method.
pub(super) const LOGS: &str = "eth_getLogs";

/// Which blocks' logs are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Blocks {
    /// All of a range.
    Range(BlockRange),
    /// Those of the block with this hash, at this height.
    Hash { number: u64, hash: B256 },
}

impl Blocks {
    /// Whether nothing narrower can be asked.
    pub(super) fn is_one(&self) -> bool {
        self.width().is_none_or(|width| width == 1)
    }

    /// Number of blocks, where they are asked for by number.
    pub(super) fn width(&self) -> Option<u64> {
        match self {
            Self::Range(range) => Some(range.width()),
            Self::Hash { .. } => None,
        }
    }
}

/// The logs in chain order, or what is wrong with them: a log that was not asked for, one block with two
/// hashes, the same place twice. A node that answers so may as well have left something out.
pub(super) fn checked(
    wire: impl IntoIterator<Item = ReadLog>,
    filter: &LogFilter,
    blocks: Blocks,
) -> Result<Vec<Log>, String> {
    let mut logs: Vec<Log> = wire.into_iter().map(|read| read.0).collect();
    for log in &logs {
        check_one(log, filter, blocks)?;
    }
    if !logs.is_sorted_by_key(|log| log.place) {
        logs.sort_unstable_by_key(|log| log.place);
    }
    for pair in logs.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        if a.place == b.place {
            return Err(format!("two logs at {}", a.place));
        }
        if a.place.block_number == b.place.block_number && a.block_hash != b.block_hash {
            return Err(format!("block {} has two hashes", a.place.block_number));
        }
    }
    Ok(logs)
}

fn check_one(log: &Log, filter: &LogFilter, blocks: Blocks) -> Result<(), String> {
    let number = log.place.block_number;
    match blocks {
        Blocks::Range(range) if !range.contains(number) => {
            return Err(format!("a log of block {number}, asked was {range}"));
        }
        Blocks::Hash { number: asked, hash } if (number, log.block_hash) != (asked, hash) => {
            return Err(format!("a log of block {number} ({}), asked was {asked} ({hash})", log.block_hash));
        }
        _ => {}
    }
    if filter.admits(&log.address, log.topics.as_slice().first()) {
        Ok(())
    } else {
        Err(format!("a log of {} that was not asked for", log.address))
    }
}
