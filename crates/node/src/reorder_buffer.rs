use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::batch::Batch;
use chainflume_core::domain::BlockRange;

/// The buffer between the tasks that read ranges and the caller: ranges that are still to be read, and batches that
/// wait to be taken in order.
pub(super) struct ReorderBuffer {
    state: Mutex<BufferState>,
    /// Bytes, in the buffer and expected, above which no range is given out.
    full: usize,
    /// Notified when a batch was put in: for the caller of `take`.
    came: Notify,
    /// Notified when a batch was put in or taken: for tasks that wait in `give`.
    changed: Notify,
}

struct BufferState {
    /// The blocks that are not given out yet.
    rest: Option<BlockRange>,
    /// First block of the batch that is taken next; `None` when all was taken.
    next: Option<u64>,
    /// The last block of the whole range.
    end: u64,
    /// Batches by their first block.
    waiting: BTreeMap<u64, Batch>,
    bytes: usize,
    /// Ranges that are given out and not done.
    asked: usize,
    /// Expected bytes of a batch: those of the last one.
    usual: usize,
}

impl ReorderBuffer {
    pub(super) fn new(range: BlockRange, full: usize) -> Self {
        let (rest, next, end) = (Some(range), Some(range.from()), range.to());
        let state = BufferState { rest, next, end, waiting: BTreeMap::new(), bytes: 0, asked: 0, usual: 0 };
        Self { state: Mutex::new(state), full, came: Notify::new(), changed: Notify::new() }
    }

    /// The next range to be read, and the value that `grant` returned for it. `grant` decides from the remaining
    /// blocks how wide the range is, and returns `None` to wait. Waits while the buffer is full. Returns `None` when
    /// all blocks were given out.
    ///
    /// This never waits for ever. Ranges are given out in order, so the batch that is taken next is in the buffer or
    /// is being read. If neither is so, the buffer is empty and one range is given out, even if its answer is larger
    /// than the buffer.
    pub(super) async fn give<T>(
        &self,
        grant: impl Fn(BlockRange) -> Option<(u64, T)>,
    ) -> Option<(BlockRange, T)> {
        loop {
            // Registers before the state is read, so that no change is missed.
            let changed = self.changed.notified();
            {
                let mut state = self.state();
                let rest = state.rest?;
                let expected = state.bytes + (state.asked + 1) * state.usual;
                if (expected <= self.full || state.asked == 0 && state.waiting.is_empty())
                    && let Some((width, how)) = grant(rest)
                {
                    let (range, rest) = rest.split_at_width(width);
                    (state.rest, state.asked) = (rest, state.asked + 1);
                    return Some((range, how));
                }
            }
            changed.await;
        }
    }

    /// Records that all of a range that was given out is in the buffer.
    pub(super) fn done(&self) {
        let mut state = self.state();
        state.asked = state.asked.saturating_sub(1);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Puts in a batch, which may be a part of a range that was given out.
    pub(super) fn put(&self, batch: Batch) {
        let mut state = self.state();
        (state.usual, state.bytes) = (batch.bytes(), state.bytes + batch.bytes());
        state.waiting.insert(batch.range.from(), batch);
        drop(state);
        self.came.notify_one();
        self.changed.notify_waiters();
    }

    /// Waits for the next batch, and returns it joined with those that follow, up to `logs` logs. `None` at the end
    /// of the range.
    pub(super) async fn take(&self, logs: usize) -> Option<Batch> {
        loop {
            {
                let mut state = self.state();
                let next = state.next?;
                if let Some(batch) = state.take(next, logs) {
                    drop(state);
                    self.changed.notify_waiters();
                    return Some(batch);
                }
            }
            self.came.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, BufferState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BufferState {
    fn take(&mut self, next: u64, logs: usize) -> Option<Batch> {
        let mut batch = self.remove(next)?;
        while let Some(after) = batch.range.to().checked_add(1).and_then(|after| self.waiting.get(&after))
            && batch.logs.len() + after.logs.len() < logs
            && batch.is_followed_by(after)
        {
            let after = self.remove(after.range.from())?;
            batch.join(after);
        }
        self.next = batch.range.to().checked_add(1).filter(|next| *next <= self.end);
        Some(batch)
    }

    fn remove(&mut self, first: u64) -> Option<Batch> {
        let batch = self.waiting.remove(&first)?;
        self.bytes = self.bytes.saturating_sub(batch.bytes());
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use alloy_primitives::{Address, B256, Bytes};
    use futures_util::FutureExt as _;

    use super::*;
    use chainflume_core::domain::{BlockRef, Log, Place, Topics};

    fn hash(number: u64) -> B256 {
        B256::left_padding_from(&number.to_be_bytes())
    }

    /// `from..=to` with a log in each block.
    fn batch(from: u64, to: u64) -> Batch {
        let log = |block_number| Log {
            place: Place { block_number, tx_index: 0, log_index: 0 },
            block_hash: hash(block_number),
            tx_hash: B256::ZERO,
            block_timestamp: None,
            address: Address::ZERO,
            topics: Topics::default(),
            data: Bytes::new(),
        };
        Batch {
            range: BlockRange::new(from, to).expect("in order"),
            parent_hash: hash(from - 1),
            last: BlockRef { number: to, hash: hash(to), parent_hash: hash(to - 1), timestamp: to },
            logs: (from..=to).map(log).collect(),
            times: (from..=to).map(|number| (number, number)).collect(),
        }
    }

    fn buffer(full: usize) -> ReorderBuffer {
        ReorderBuffer::new(BlockRange::new(1, 9).expect("in order"), full)
    }

    #[tokio::test]
    async fn what_was_read_out_of_order_is_taken_in_order_and_together() {
        let buffer = buffer(usize::MAX);
        buffer.put(batch(4, 6));
        buffer.put(batch(7, 9));
        buffer.put(batch(1, 3));
        assert_eq!(buffer.take(7).await, Some(batch(1, 6)));
        assert_eq!(buffer.take(7).await, Some(batch(7, 9)));
        assert_eq!(buffer.take(7).await, None);
    }

    #[tokio::test]
    async fn what_does_not_follow_is_taken_apart() {
        let buffer = buffer(usize::MAX);
        let stranger = Batch { parent_hash: hash(99), ..batch(4, 9) };
        buffer.put(batch(1, 3));
        buffer.put(stranger.clone());
        assert_eq!(buffer.take(100).await, Some(batch(1, 3)));
        assert_eq!(buffer.take(100).await, Some(stranger));
    }

    #[tokio::test]
    async fn a_full_buffer_gives_nothing_out_until_something_is_taken() {
        let buffer = buffer(2 * batch(1, 3).bytes() - 1);
        let give = || buffer.give(|_| Some((3, ())));
        assert_eq!(give().await, BlockRange::new(1, 3).map(|range| (range, ())));
        buffer.put(batch(1, 3));
        buffer.done();
        let mut waits = pin!(give());
        assert_eq!(waits.as_mut().now_or_never(), None);
        assert_eq!(buffer.take(3).await, Some(batch(1, 3)));
        assert_eq!(waits.await, BlockRange::new(4, 6).map(|range| (range, ())));
    }
}
