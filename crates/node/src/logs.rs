//! Checks an answer of `eth_getLogs` against its request.

use alloy_primitives::B256;

use super::wire::ReadLog;
use chainflume_core::domain::{BlockRange, Log, LogFilter, Logs, Place};

/// The method for logs.
pub(super) const LOGS: &str = "eth_getLogs";
/// The method for all receipts of a block.
pub(crate) const RECEIPTS: &str = "eth_getBlockReceipts";

/// The blocks of a request for logs.
#[derive(Clone, Copy, Debug)]
pub(super) enum BlockSelector {
    /// All blocks of a range.
    Range(BlockRange),
    /// The block with this hash, at this height.
    Hash { number: u64, hash: B256 },
}

impl BlockSelector {
    /// Whether it is one block, so that no narrower request exists.
    pub(super) fn is_one(&self) -> bool {
        self.width().is_none_or(|width| width == 1)
    }

    /// Number of blocks; `None` for a block by hash.
    pub(super) fn width(&self) -> Option<u64> {
        match self {
            Self::Range(range) => Some(range.width()),
            Self::Hash { .. } => None,
        }
    }
}

/// The logs of an answer, checked while they arrive: each was requested, no block has two hashes, and no two logs
/// have the same place. A node that breaks one of these rules may also have left logs out.
pub(super) struct CheckedLogs<'a> {
    filter: &'a LogFilter,
    blocks: BlockSelector,
    logs: Logs,
    /// Place and block hash of the last log.
    last: Option<(Place, B256)>,
    /// Whether all logs so far came in chain order.
    sorted: bool,
    /// The first rule that was broken.
    wrong: Option<String>,
}

impl<'a> CheckedLogs<'a> {
    /// None yet.
    pub(super) fn new(filter: &'a LogFilter, blocks: BlockSelector) -> Self {
        Self { filter, blocks, logs: Logs::default(), last: None, sorted: true, wrong: None }
    }

    /// Adds the next one.
    pub(super) fn push(&mut self, log: &Log) {
        if self.wrong.is_none() {
            self.wrong = self.check(log).err();
            // A node that ignores topics returns more logs than requested.
            if self.filter.wants(&log.address, log.topics.as_slice()) {
                self.logs.push(log);
            }
        }
    }

    fn check(&mut self, log: &Log) -> Result<(), String> {
        check_one(log, self.filter, self.blocks)?;
        let this = (log.place, log.block_hash);
        let before = self.last.replace(this);
        self.sorted &= before.is_none_or(|before| before.0 <= this.0);
        match before {
            Some(before) if self.sorted => check_next(before, this),
            _ => Ok(()),
        }
    }

    /// All logs in chain order, or the rule that was broken.
    pub(super) fn finish(self) -> Result<Logs, String> {
        let Self { mut logs, sorted, wrong, .. } = self;
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        if sorted {
            logs.shrink();
            return Ok(logs);
        }
        let mut unsorted: Vec<Log> = logs.iter().collect();
        unsorted.sort_unstable_by_key(|log| log.place);
        let of = |log: &Log| (log.place, log.block_hash);
        unsorted.windows(2).try_for_each(|pair| check_next(of(&pair[0]), of(&pair[1])))?;
        Ok(unsorted.into_iter().collect())
    }
}

/// Checks an answer that is complete.
pub(super) fn checked(
    wire: impl IntoIterator<Item = ReadLog>,
    filter: &LogFilter,
    blocks: BlockSelector,
) -> Result<Logs, String> {
    let mut checked = CheckedLogs::new(filter, blocks);
    wire.into_iter().for_each(|read| checked.push(&read.0));
    checked.finish()
}

/// Checks two successive logs, each by its place and block hash.
fn check_next(before: (Place, B256), this: (Place, B256)) -> Result<(), String> {
    if before.0 == this.0 {
        return Err(format!("two logs at {}", this.0));
    }
    if before.0.block_number == this.0.block_number && before.1 != this.1 {
        return Err(format!("block {} has two hashes", this.0.block_number));
    }
    Ok(())
}

fn check_one(log: &Log, filter: &LogFilter, blocks: BlockSelector) -> Result<(), String> {
    let number = log.place.block_number;
    match blocks {
        BlockSelector::Range(range) if !range.contains(number) => {
            return Err(format!("a log of block {number}, requested was {range}"));
        }
        BlockSelector::Hash { number: asked, hash } if (number, log.block_hash) != (asked, hash) => {
            return Err(format!(
                "a log of block {number} ({}), requested was {asked} ({hash})",
                log.block_hash
            ));
        }
        _ => {}
    }
    if filter.admits(&log.address, log.topics.as_slice().first()) {
        Ok(())
    } else {
        Err(format!("a log of {} that was not requested", log.address))
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Address;

    use super::*;
    use chainflume_core::domain::{TopicValues, Topics};

    /// A log of block `number` at this place, by the block's hash.
    fn log(number: u64, log_index: u32, hash: u8) -> Log {
        Log {
            place: Place { block_number: number, tx_index: 0, log_index },
            block_hash: B256::repeat_byte(hash),
            tx_hash: B256::ZERO,
            block_timestamp: None,
            address: Address::ZERO,
            topics: Topics::default(),
            data: vec![hash].into(),
        }
    }

    fn checked(logs: &[Log]) -> Result<Vec<Log>, String> {
        let filter = LogFilter {
            addresses: Some([Address::ZERO].into()),
            topic0: None,
            values: TopicValues::default(),
        };
        let range = BlockRange::new(5, 9).expect("in order");
        let mut checked = CheckedLogs::new(&filter, BlockSelector::Range(range));
        logs.iter().for_each(|log| checked.push(log));
        checked.finish().map(|logs| logs.iter().collect())
    }

    #[test]
    fn what_comes_in_any_order_is_put_in_the_order_of_the_chain() {
        let logs = [log(5, 0, 1), log(5, 1, 1), log(7, 0, 2), log(9, 0, 3)];
        assert_eq!(checked(&logs), Ok(logs.to_vec()));
        let [a, b, c, d] = logs.clone();
        assert_eq!(checked(&[c, a, d, b]), Ok(logs.to_vec()));
        assert_eq!(checked(&[]), Ok(vec![]));
    }

    #[test]
    fn a_contradictory_answer_is_refused_in_any_order() {
        let stranger = Log { address: Address::repeat_byte(1), ..log(6, 0, 1) };
        for (pair, why) in [
            ([log(6, 0, 1), log(6, 0, 1)], "two logs at"),
            ([log(6, 0, 1), log(6, 1, 2)], "block 6 has two hashes"),
            ([log(6, 0, 1), log(10, 0, 2)], "a log of block 10, requested was 5..=9"),
            ([log(6, 0, 1), stranger], "that was not requested"),
        ] {
            let [a, b] = pair;
            for logs in
                [[log(5, 0, 9), a.clone(), b.clone(), log(9, 0, 8)], [log(9, 0, 8), b, log(5, 0, 9), a]]
            {
                let error = checked(&logs).expect_err(why);
                assert!(error.contains(why), "{error}");
            }
        }
    }
}
