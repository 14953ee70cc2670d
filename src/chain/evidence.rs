//! What a header says of its logs, held against the logs a node answers. A header is chained by its hash to all others;
//! a node's index of logs is chained to nothing, lags behind, and has been lost and rebuilt.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use alloy_primitives::{B256, Bloom, BloomInput};
use serde_json::json;

use super::ask_logs::RECEIPTS;
use super::error::ChainError;
use super::logs::{Blocks, checked};
use super::node::{BlockWithLogs, Node};
use super::rpc::Question;
use super::wire::WireReceipt;
use crate::domain::{BlockRef, Log, LogFilter, receipts_root};
use crate::metrics;

/// How the logs of new blocks are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// By their own shape alone.
    Off,
    /// Against the bloom filter of the header: it never leaves out a log there is.
    Bloom,
    /// Against the root of the receipts in the header: nothing can be missing or changed.
    Receipts,
}

/// What of a header can be held against logs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal {
    pub hash: B256,
    pub bloom: Option<Bloom>,
    pub receipts_root: Option<B256>,
}

/// Headers of late, by height. A step asks for the logs of a few blocks whose headers it has just read.
#[derive(Default)]
pub(super) struct Seals(Mutex<BTreeMap<u64, Seal>>);

/// More than a step reads at once, twice.
const KEPT: usize = 64;

impl Seals {
    pub(super) fn keep(&self, number: u64, seal: Seal) {
        let mut seals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seals.insert(number, seal);
        if seals.len() > KEPT {
            // History is read from below, the head from above: what is furthest from this one goes.
            let far = seals.keys().copied().max_by_key(|other| other.abs_diff(number));
            far.and_then(|far| seals.remove(&far));
        }
    }

    fn of(&self, block: &BlockRef) -> Option<Seal> {
        let seals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seals.get(&block.number).copied().filter(|seal| seal.hash == block.hash)
    }
}

/// What a chain's providers have shown of its headers: a check that no answer passes says something of the chain, or of
/// the check, and is given up with a warning.
#[derive(Default)]
pub(super) struct Trust {
    bloom: Check,
    receipts: Check,
}

#[derive(Default)]
struct Check {
    failures: AtomicU32,
    off: AtomicBool,
}

/// Failures in a row, of all providers, before a check is given up: three for each of two providers.
const GIVEN_UP: u32 = 6;

impl Check {
    fn is_on(&self) -> bool {
        !self.off.load(Ordering::Relaxed)
    }

    fn passed(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// Whether that was one failure too many.
    fn failed(&self) -> bool {
        self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= GIVEN_UP && self.give_up()
    }

    /// Whether it was on.
    fn give_up(&self) -> bool {
        !self.off.swap(true, Ordering::Relaxed)
    }
}

/// Logs, and whether their header leaves a doubt about them.
pub(super) struct Weighed {
    pub block: BlockWithLogs,
    pub doubtful: bool,
}

impl Node {
    /// The logs of a block that is near the head, as far as its header bears them out.
    pub(super) async fn weighed(&self, filter: &LogFilter, block: BlockRef) -> Result<Weighed, ChainError> {
        let seal = self.seals.of(&block);
        if self.verify == Verify::Receipts
            && self.trust.receipts.is_on()
            && let Some(root) = seal.and_then(|seal| seal.receipts_root)
            && let Some(logs) = self.logs_by_root(filter, block, root).await?
        {
            return Ok(Weighed { block: BlockWithLogs { block, logs }, doubtful: false });
        }
        let answered = self.with_logs(filter, block).await?;
        let bloom = seal.and_then(|seal| seal.bloom).filter(|_| self.verify != Verify::Off);
        let Some(bloom) = bloom.filter(|_| self.trust.bloom.is_on()) else {
            return Ok(Weighed { block: answered, doubtful: false });
        };
        if let Some(log) = answered.logs.iter().find(|log| !holds_log(&bloom, log)) {
            let reason =
                format!("a log of {} at {} that the header's bloom excludes", log.address, log.place);
            if self.trust.bloom.failed() {
                self.give_up("bloom", &reason);
            }
            return Err(self.disbelieved(super::logs::LOGS, reason));
        }
        if !answered.logs.is_empty() {
            self.trust.bloom.passed();
            self.rpc.vitals.proven(EVIDENCE);
        }
        let doubtful = answered.logs.is_empty() && speaks_of(&bloom, filter);
        Ok(Weighed { block: answered, doubtful })
    }

    /// The logs out of all receipts of the block, which must have the root of its header. `None` where this chain's
    /// receipts cannot be checked.
    async fn logs_by_root(
        &self,
        filter: &LogFilter,
        block: BlockRef,
        root: B256,
    ) -> Result<Option<Vec<Log>>, ChainError> {
        let question = Question::new(RECEIPTS, json!([block.hash]));
        let wire: Vec<WireReceipt> = match self.rpc.demand(&question).await {
            Err(error) if error.has_other_ways() => {
                if self.trust.receipts.failed() {
                    self.give_up("receipts", &error.to_string());
                }
                return Ok(None);
            }
            answer => answer?,
        };
        let receipts: Result<Vec<_>, String> = wire.iter().map(WireReceipt::consensus).collect();
        let receipts = match receipts {
            Ok(receipts) => receipts,
            Err(reason) => {
                if self.trust.receipts.give_up() {
                    self.give_up("receipts", &reason);
                }
                return Ok(None);
            }
        };
        if receipts_root(&receipts) != root {
            let reason = format!("the receipts of block {} are not those of its header", block.number);
            if self.trust.receipts.failed() {
                self.give_up("receipts", &reason);
            }
            return Err(self.disbelieved(RECEIPTS, reason));
        }
        self.trust.receipts.passed();
        self.rpc.vitals.proven(EVIDENCE);
        let logs = wire.into_iter().flat_map(|receipt| receipt.logs);
        let ours = logs.filter(|log| filter.admits(&log.0.address, log.0.topics.as_slice().first()));
        let blocks = Blocks::Hash { number: block.number, hash: block.hash };
        self.believed(RECEIPTS, checked(ours, filter, blocks)).map(Some)
    }

    fn give_up(&self, check: &'static str, reason: &str) {
        metrics::evidence_off(self.chain_name(), check);
        tracing::warn!(
            chain = %self.chain_name(), check, reason,
            "headers of this chain cannot be held against its logs; the check is off until the next start"
        );
    }

    /// The other answer to a doubtful question was not empty: this node's index lacks logs.
    pub(super) fn contradicted(&self, block: &BlockRef) -> ChainError {
        let reason =
            format!("no logs in block {}, where the header and another answer have some", block.number);
        self.disbelieved(super::logs::LOGS, reason)
    }

    /// An answer of the right shape that the header contradicts. Only one that a header bears out makes good for it: an
    /// index that lacks logs answers rightly wherever there are none.
    fn disbelieved(&self, method: &'static str, reason: String) -> ChainError {
        let error = self.rpc.bad(method, reason);
        self.rpc.vitals.failed(EVIDENCE, &error);
        error
    }
}

/// What such failures are counted under.
const EVIDENCE: &str = "logs that their header bears out";

fn holds(bloom: &Bloom, item: &[u8]) -> bool {
    bloom.contains_input(BloomInput::Raw(item))
}

fn holds_log(bloom: &Bloom, log: &Log) -> bool {
    holds(bloom, log.address.as_slice())
        && log.topics.as_slice().iter().all(|topic| holds(bloom, topic.as_slice()))
}

/// Whether the bloom gives reason to expect logs of this filter: it says so, and would hardly say so by chance. In a
/// crowded block any bloom speaks of anything.
fn speaks_of(bloom: &Bloom, filter: &LogFilter) -> bool {
    let ones: u32 = bloom.as_slice().iter().map(|byte| byte.count_ones()).sum();
    // Each item sets three of 2048 bits.
    let by_chance = (f64::from(ones) / 2048.0).powi(3);
    let mut doubt = 1.0;
    if let Some(addresses) = &filter.addresses {
        if !addresses.iter().any(|address| holds(bloom, address.as_slice())) {
            return false;
        }
        doubt *= any_by_chance(by_chance, addresses.len());
    }
    if let Some(topics) = &filter.topic0 {
        if !topics.iter().any(|topic| holds(bloom, topic.as_slice())) {
            return false;
        }
        // What is common on the chain, like transfers, is there anyhow: only addresses say something if there are any.
        if filter.addresses.is_none() {
            doubt *= any_by_chance(by_chance, topics.len());
        }
    }
    ones > 0 && doubt < MOST_DOUBT
}

/// A second question costs as much as the first: it is asked when it is likelier than not to be worth it three times over.
const MOST_DOUBT: f64 = 0.25;

fn any_by_chance(one: f64, items: usize) -> f64 {
    1.0 - (1.0 - one).powi(i32::try_from(items).unwrap_or(i32::MAX))
}

/// What this chain's headers cannot be held against, whatever is configured. What is not listed and fails all the same is
/// found out and given up.
pub(super) fn allowed(chain_id: u64, wanted: Verify) -> Verify {
    match chain_id {
        // zkSync Era and its test network: a bloom that is no block's own (zksync-era issue 4580), no root at all.
        // Polygon and its test network: logs of state syncs are answered and in no header (bor pull request 90).
        324 | 300 | 137 | 80_002 => Verify::Off,
        // Arbitrum One, Nova and their test network have receipts of their own kinds; Celo's CIP-64 adds a field to one.
        42_161 | 42_170 | 421_614 | 42_220 if wanted == Verify::Receipts => Verify::Bloom,
        _ => wanted,
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Address;

    use super::*;

    fn filter(addresses: &[Address], topics: &[B256]) -> LogFilter {
        let addresses = Some(addresses.iter().copied().collect()).filter(|_| !addresses.is_empty());
        let topic0 = Some(topics.iter().copied().collect()).filter(|_| !topics.is_empty());
        LogFilter { addresses, topic0 }
    }

    #[test]
    fn a_bloom_speaks_of_what_is_in_it_and_a_crowded_one_of_nothing() {
        let (ours, other) = (Address::repeat_byte(7), Address::repeat_byte(9));
        let (transfer, approval) = (B256::repeat_byte(1), B256::repeat_byte(2));
        let mut bloom = Bloom::default();
        assert!(!speaks_of(&bloom, &filter(&[ours], &[transfer])));
        bloom.accrue_raw_log(ours, &[transfer]);
        assert!(speaks_of(&bloom, &filter(&[ours, other], &[transfer, approval])));
        assert!(!speaks_of(&bloom, &filter(&[other], &[transfer])));
        assert!(!speaks_of(&bloom, &filter(&[ours], &[approval])));
        assert!(!speaks_of(&Bloom::repeat_byte(0xff), &filter(&[ours], &[transfer])));
    }

    #[test]
    fn a_check_is_given_up_once_after_six_failures_in_a_row() {
        let check = Check::default();
        let fails = |times: u32| (0..times).map(|_| check.failed()).collect::<Vec<_>>();
        assert_eq!(fails(5), [false; 5]);
        check.passed();
        assert_eq!(fails(7), [false, false, false, false, false, true, false]);
        assert!(!check.is_on());
    }
}
