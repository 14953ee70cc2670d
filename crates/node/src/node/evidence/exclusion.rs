//! Skips the request for logs of a block whose bloom excludes every wanted log, as it does for most blocks of most
//! contracts. Two facts must be proven first. The bloom is the chain's: the block's hash is computed from it. And the
//! chain puts all logs into blooms: on some chains system logs are in none. To prove the second, all logs of such
//! blocks are read as samples: at first of every such block, and then more and more seldom, down to one in 64. The
//! first log that its bloom excludes ends the skipping for the chain until the next start.

use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::Bloom;

use super::bloom::{AnsweredItems, excludes};
use crate::node::headers_with_logs::HeaderWithLogs;
use crate::node::{BlockWithLogs, Node};
use crate::settings::LogVerification;
use chainflume_core::domain::{LogFilter, Logs, TopicValues};
use chainflume_ops::metrics;

/// How far the blooms of a chain are trusted. All providers of the chain share this.
#[derive(Default)]
pub(crate) struct ExclusionTrust(Mutex<ExclusionState>);

#[derive(Default)]
struct ExclusionState {
    /// Samples with at least one log whose logs the bloom all holds, up to [`PROVING_SAMPLES`].
    proven: u32,
    /// Samples after these, up to [`MAX_RARITY`].
    samples: u32,
    /// Blocks without a request for logs since the last sample.
    skipped: u32,
    /// Blocks whose logs are still requested as usual, after a sample that failed.
    paused: u32,
    /// A bloom excluded a log of its block.
    disproved: bool,
    /// The last 16 blocks as bits: whether each needed a request for logs.
    needed: u16,
}

/// What to do about a block whose bloom excludes every wanted log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExclusionStep {
    /// Request its logs as of any other block.
    Ask,
    /// Read all of its logs, of all contracts.
    Sample,
    /// Request no logs.
    Skip,
}

/// Samples before the first request is skipped.
const PROVING_SAMPLES: u32 = 4;
/// In the end one block of 2^6 is a sample.
const MAX_RARITY: u32 = 6;
/// Blocks whose logs are requested as usual after a sample that failed: a node may refuse all logs of a crowded
/// block.
const PAUSED_BLOCKS: u32 = 64;
/// Headers are fetched without logs while no more than this number of the last 16 blocks needed a request for logs.
/// Such a request then costs another round trip.
const MAX_NEEDED: u32 = 4;

impl ExclusionTrust {
    /// Whether the next block is expected to need no request for logs.
    pub(crate) fn expects_none(&self) -> bool {
        let state = self.lock();
        !state.disproved
            && state.paused == 0
            && state.proven >= PROVING_SAMPLES
            && state.needed.count_ones() <= MAX_NEEDED
    }

    /// Records that a bloom excluded a log of its block. Returns whether it is the first.
    fn disprove(&self) -> bool {
        !std::mem::replace(&mut self.lock().disproved, true)
    }

    /// Records whether a block needed a request for its logs.
    fn note_needed(&self, needed: bool) {
        let mut state = self.lock();
        state.needed = state.needed << 1 | u16::from(needed);
    }

    fn step(&self) -> ExclusionStep {
        let mut state = self.lock();
        if state.disproved || state.paused > 0 {
            state.paused = state.paused.saturating_sub(1);
            return ExclusionStep::Ask;
        }
        let seldom = (state.samples + 1).min(MAX_RARITY);
        if state.proven < PROVING_SAMPLES || state.skipped + 1 >= 1 << seldom {
            return ExclusionStep::Sample;
        }
        state.skipped += 1;
        ExclusionStep::Skip
    }

    /// Records a sample whose logs the bloom all holds. At first a block without logs proves nothing: a chain may
    /// leave all blooms empty.
    fn confirmed(&self, logs: &Logs) {
        let mut state = self.lock();
        state.skipped = 0;
        if state.proven >= PROVING_SAMPLES {
            state.samples = state.samples.saturating_add(1).min(MAX_RARITY);
        } else if !logs.is_empty() {
            state.proven += 1;
        }
    }

    /// Records a sample that could not be read.
    fn failed(&self) {
        self.lock().paused = PAUSED_BLOCKS;
    }

    fn lock(&self) -> MutexGuard<'_, ExclusionState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// The block without logs, if its header proves that it has no wanted log. `None` if its logs are to be
    /// requested, or came with the header.
    pub(crate) async fn proven_empty(
        &self,
        filter: &LogFilter,
        near: &HeaderWithLogs,
    ) -> Option<BlockWithLogs> {
        let seal = near.seal;
        let trusted = self.verify == LogVerification::Bloom && self.trust.bloom.is_on() && seal.is_hashed;
        let bloom = seal.bloom.filter(|_| trusted)?;
        let excluded = excludes(&bloom, filter);
        self.exclusion.note_needed(!excluded);
        if !excluded || near.logs.as_ref().is_some_and(|logs| !logs.is_empty()) {
            return None;
        }
        let none = BlockWithLogs { block: seal.block, logs: Logs::default() };
        match self.exclusion.step() {
            ExclusionStep::Ask => None,
            ExclusionStep::Skip => near.logs.is_none().then(|| {
                metrics::block_excluded(self.rpc.chain());
                none
            }),
            ExclusionStep::Sample => self.sample(&bloom, none).await,
        }
    }

    /// The block without logs, after a read of all its logs. `None` if the bloom excludes one of them, or they cannot
    /// be read.
    async fn sample(&self, bloom: &Bloom, none: BlockWithLogs) -> Option<BlockWithLogs> {
        let all = LogFilter { addresses: None, topic0: None, values: TopicValues::default() };
        let Ok(BlockWithLogs { block, logs }) = self.with_logs(&all, none.block).await else {
            self.exclusion.failed();
            return None;
        };
        if AnsweredItems::of(&logs).is_within(bloom) {
            self.exclusion.confirmed(&logs);
            return Some(none);
        }
        self.contradicts_bloom(block.number);
        None
    }

    /// Records that the bloom of this block excludes one of its logs: from now on the logs of every block are
    /// requested.
    pub(super) fn contradicts_bloom(&self, block: u64) {
        let (chain, host) = (self.rpc.chain(), self.host());
        metrics::bloom_contradicted(chain);
        if self.exclusion.disprove() {
            tracing::warn!(
                chain,
                host,
                block,
                "the bloom filter of a header excludes a log of its block; logs are requested for every block until the next start"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainflume_core::domain::{Address, B256, Bytes, Log, Place, Topics};

    fn logs() -> Logs {
        let log = Log {
            place: Place { block_number: 1, tx_index: 0, log_index: 0 },
            block_hash: B256::ZERO,
            tx_hash: B256::ZERO,
            block_timestamp: None,
            address: Address::ZERO,
            topics: Topics::default(),
            data: Bytes::new(),
        };
        [log].into_iter().collect()
    }

    /// What is done about so many blocks, all samples of which agree.
    fn steps(trust: &ExclusionTrust, blocks: usize) -> Vec<ExclusionStep> {
        let step = |_| {
            let step = trust.step();
            if step == ExclusionStep::Sample {
                trust.confirmed(&logs());
            }
            step
        };
        (0..blocks).map(step).collect()
    }

    #[test]
    fn trust_is_earned_by_samples_that_never_end() {
        let trust = ExclusionTrust::default();
        trust.confirmed(&Logs::default());
        assert_eq!(steps(&trust, 4), [ExclusionStep::Sample; 4], "an empty block proves nothing");
        assert!(trust.expects_none());
        let later = steps(&trust, 2_000);
        assert!(later[..200].iter().filter(|step| **step == ExclusionStep::Sample).count() >= 7);
        let runs = later.split(|step| *step == ExclusionStep::Sample).map(<[_]>::len);
        assert_eq!(runs.max(), Some(63));
        assert!(!later.contains(&ExclusionStep::Ask));
    }

    #[test]
    fn one_contradiction_ends_trust_and_a_failed_sample_pauses_it() {
        let trust = ExclusionTrust::default();
        steps(&trust, 100);
        trust.failed();
        assert!(!trust.expects_none());
        assert_eq!(steps(&trust, 64), [ExclusionStep::Ask; 64]);
        assert!(trust.expects_none() && !steps(&trust, 10).contains(&ExclusionStep::Ask));
        assert!(trust.disprove() && !trust.disprove(), "the first is reported");
        assert!(!trust.expects_none());
        assert_eq!(steps(&trust, 1_000), [ExclusionStep::Ask; 1_000]);
    }
}
