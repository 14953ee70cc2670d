//! Blocks whose bloom excludes all that is asked for have no log of ours, and most blocks of most contracts are such. They
//! need no question for logs where two things are proven. That the bloom is the chain's: the block's hash is computed from it. And
//! that the chain puts all logs into blooms: on some chains logs of the system are in none. Reads of all logs of such a block show
//! that, at first of each such block and then ever more seldom, down to one in 64. The first log that its bloom excludes
//! ends it for the chain until the next start.

use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy_primitives::Bloom;

use super::bloom::{AnsweredItems, excludes};
use crate::node::headers_with_logs::HeaderWithLogs;
use crate::node::{BlockWithLogs, Node};
use crate::settings::LogVerification;
use chainflume_core::domain::{LogFilter, Logs, TopicValues};
use chainflume_ops::metrics;

/// What a chain has shown of blocks whose bloom excludes all that is asked for. All of its providers share it.
#[derive(Default)]
pub(crate) struct ExclusionTrust(Mutex<ExclusionState>);

#[derive(Default)]
struct ExclusionState {
    /// Samples with a log at least, all of which the bloom holds.
    proven: u32,
    /// Samples after these.
    samples: u32,
    /// Blocks since the last sample that needed no question.
    skipped: u32,
    /// Blocks that are still asked for as any other, after a sample that failed.
    paused: u32,
    /// A bloom excluded a log of its block.
    disproved: bool,
    /// Whether each of the last blocks needed a question, as bits.
    needed: u16,
}

/// What to do about a block whose bloom excludes all that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExclusionStep {
    /// Ask for its logs as of any other block.
    Ask,
    /// Read all of its logs, of all contracts.
    Sample,
    /// Nothing is to be asked.
    Skip,
}

/// Samples before the first block that needs no question.
const PROVEN: u32 = 4;
/// At last one block of 2^6 is a sample.
const MOST_SELDOM: u32 = 6;
/// Blocks that are asked for as any other after a sample that failed: a node may refuse all logs of a crowded block.
const PAUSE: u32 = 64;
/// Of the last 16 blocks so many needed a question at most where headers are fetched without logs: a block that needs one then
/// takes another round trip.
const FEW: u32 = 4;

impl ExclusionTrust {
    /// Whether the next block will rather need no question for its logs.
    pub(crate) fn expects_none(&self) -> bool {
        let state = self.lock();
        !state.disproved && state.paused == 0 && state.proven >= PROVEN && state.needed.count_ones() <= FEW
    }

    /// A bloom excluded a log of its block. Whether this is the first.
    fn disprove(&self) -> bool {
        !std::mem::replace(&mut self.lock().disproved, true)
    }

    fn note(&self, needed: bool) {
        let mut state = self.lock();
        state.needed = state.needed << 1 | u16::from(needed);
    }

    fn step(&self) -> ExclusionStep {
        let mut state = self.lock();
        if state.disproved || state.paused > 0 {
            state.paused = state.paused.saturating_sub(1);
            return ExclusionStep::Ask;
        }
        let seldom = (state.samples + 1).min(MOST_SELDOM);
        if state.proven < PROVEN || state.skipped + 1 >= 1 << seldom {
            return ExclusionStep::Sample;
        }
        state.skipped += 1;
        ExclusionStep::Skip
    }

    /// The bloom holds all logs of a sample. A block without any log shows nothing at first: its bloom is empty on a chain
    /// whose blooms all are.
    fn confirmed(&self, logs: &Logs) {
        let mut state = self.lock();
        state.skipped = 0;
        if state.proven >= PROVEN {
            state.samples = state.samples.saturating_add(1).min(MOST_SELDOM);
        } else if !logs.is_empty() {
            state.proven += 1;
        }
    }

    /// A sample could not be read.
    fn failed(&self) {
        self.lock().paused = PAUSE;
    }

    fn lock(&self) -> MutexGuard<'_, ExclusionState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// The block without logs, where its header proves that it has none of those. `None` where they are to be asked for, or have
    /// come along.
    pub(crate) async fn without_ours(
        &self,
        filter: &LogFilter,
        near: &HeaderWithLogs,
    ) -> Option<BlockWithLogs> {
        let seal = near.seal;
        let trusted = self.verify == LogVerification::Bloom && self.trust.bloom.is_on() && seal.is_hashed;
        let bloom = seal.bloom.filter(|_| trusted)?;
        let excluded = excludes(&bloom, filter);
        self.exclusion.note(!excluded);
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

    /// The same after a read of all logs of the block. `None` where the bloom excludes one, or they cannot be read.
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

    /// A log of this block is outside its bloom: from now on each block of the chain is asked for its logs.
    pub(super) fn contradicts_bloom(&self, block: u64) {
        let (chain, host) = (self.rpc.chain(), self.host());
        metrics::bloom_contradicted(chain);
        if self.exclusion.disprove() {
            tracing::warn!(
                chain,
                host,
                block,
                "the bloom filter of a header excludes a log of its block; each block is asked for its logs until the next start"
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
