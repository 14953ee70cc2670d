use alloy_primitives::{Address, B256, Bytes};

use super::block::BlockId;
use super::log::{Log, Place, Topics};

/// Many logs, in order, in little memory. Logs that wait for the database are most of what a history sync holds in
/// memory. A transfer takes 320 bytes as a [`Log`], with its data in a separate allocation, and 190 bytes here.
///
/// Stored as bytes in parts. Each log has its shape, its block if it differs from the block of the log before, and its
/// fields. One contiguous list would be copied whenever it grows or is joined, and exist twice meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    parts: Vec<Vec<u8>>,
    len: usize,
    /// The block of the last log.
    block: Option<LogBlock>,
}

/// The fields that the logs of a block share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBlock {
    /// The block.
    pub id: BlockId,
    /// Its time in seconds, if the node adds it to its logs.
    pub timestamp: Option<u64>,
}

/// Size of the fixed fields of a log before its topics: two indices, transaction hash, address.
const FIXED: usize = 4 + 4 + 32 + 20;
/// Size of a block: number, hash, time.
const OF_BLOCK: usize = 8 + 32 + 8;
/// Bits of a log's shape: number of topics.
const TOPICS: u8 = 0b0111;
/// Bit of a log's shape: the block follows.
const BLOCK: u8 = 0b1000;
/// Bit of a log's shape: the block's time follows too.
const TIMED: u8 = 0b1_0000;
/// Size of a part in bytes: about 290 transfers, so the last part wastes little. A log with more data gets a part of
/// its own.
const PART: usize = 56 << 10;

impl Logs {
    /// Number of logs.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no logs.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Memory use in bytes.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(Vec::capacity).sum()
    }

    /// Appends a log.
    ///
    /// # Panics
    /// If its data has 4 GiB or more; no answer of that size is accepted.
    pub fn push(&mut self, log: &Log) {
        let Place { block_number: number, tx_index, log_index } = log.place;
        let block = LogBlock { id: BlockId { number, hash: log.block_hash }, timestamp: log.block_timestamp };
        let topics = log.topics.as_slice();
        let data = u32::try_from(log.data.len()).expect("an answer is smaller than 4 GiB");
        let begins = self.block.replace(block) != Some(block);
        let part = self.room(1 + OF_BLOCK + FIXED + size_of_val(topics) + 4 + log.data.len());
        let mut shape = u8::try_from(topics.len()).expect("four topics at most");
        if begins {
            shape |= BLOCK | if block.timestamp.is_some() { TIMED } else { 0 };
        }
        part.push(shape);
        if begins {
            part.extend(number.to_le_bytes());
            part.extend(block.id.hash);
            part.extend(block.timestamp.into_iter().flat_map(u64::to_le_bytes));
        }
        part.extend(tx_index.to_le_bytes());
        part.extend(log_index.to_le_bytes());
        part.extend(log.tx_hash);
        part.extend(log.address);
        topics.iter().for_each(|topic| part.extend(topic));
        part.extend(data.to_le_bytes());
        part.extend(&log.data);
        self.len += 1;
    }

    /// The part for the next log, with room for this many bytes.
    fn room(&mut self, bytes: usize) -> &mut Vec<u8> {
        if self.parts.last().is_none_or(|part| part.capacity() - part.len() < bytes) {
            self.parts.push(Vec::with_capacity(bytes.max(PART)));
        }
        self.parts.last_mut().expect("it has just been made")
    }

    /// Appends all logs of the other list.
    pub fn append(&mut self, others: Self) {
        // They begin with their block.
        self.parts.extend(others.parts);
        self.len += others.len;
        self.block = others.block.or(self.block);
    }

    /// Merges two lists in chain order into one in chain order.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        let (mut these, mut those) = (self.iter().peekable(), other.iter().peekable());
        let next = move || match (these.peek(), those.peek()) {
            (Some(this), Some(that)) if that.place < this.place => those.next(),
            (Some(_), _) => these.next(),
            (None, _) => those.next(),
        };
        std::iter::from_fn(next).collect()
    }

    /// Releases memory that was reserved for more logs.
    pub fn shrink(&mut self) {
        self.parts.last_mut().into_iter().for_each(Vec::shrink_to_fit);
        self.parts.shrink_to_fit();
    }

    /// Iterates over the logs.
    pub fn iter(&self) -> LogsIter<'_> {
        LogsIter { parts: self.parts.iter(), rest: &[], left: self.len, block: None }
    }

    /// Iterates over the blocks that have logs, without unpacking the logs.
    pub fn blocks(&self) -> impl Iterator<Item = LogBlock> {
        let mut logs = self.iter();
        std::iter::from_fn(move || logs.next_block())
    }
}

impl FromIterator<Log> for Logs {
    fn from_iter<I: IntoIterator<Item = Log>>(logs: I) -> Self {
        let mut all = Self::default();
        logs.into_iter().for_each(|log| all.push(&log));
        all.shrink();
        all
    }
}

impl<'a> IntoIterator for &'a Logs {
    type Item = Log;
    type IntoIter = LogsIter<'a>;

    fn into_iter(self) -> LogsIter<'a> {
        self.iter()
    }
}

/// The same logs may be packed in one go or joined.
impl PartialEq for Logs {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other)
    }
}

impl Eq for Logs {}

/// An iterator that unpacks logs.
#[derive(Clone, Debug)]
pub struct LogsIter<'a> {
    parts: std::slice::Iter<'a, Vec<u8>>,
    /// Bytes left of the current part, the one before `parts`.
    rest: &'a [u8],
    left: usize,
    block: Option<LogBlock>,
}

impl LogsIter<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (bytes, rest) = self.rest.split_first_chunk().expect("written whole by `push`");
        self.rest = rest;
        *bytes
    }

    /// Shape and block of the next log.
    fn begin(&mut self) -> Option<(u8, LogBlock)> {
        self.left = self.left.checked_sub(1)?;
        while self.rest.is_empty() {
            self.rest = self.parts.next()?;
        }
        let [shape] = self.take();
        if shape & BLOCK != 0 {
            let id = BlockId { number: u64::from_le_bytes(self.take()), hash: B256::new(self.take()) };
            let timestamp = (shape & TIMED != 0).then(|| u64::from_le_bytes(self.take()));
            self.block = Some(LogBlock { id, timestamp });
        }
        Some((shape, self.block.expect("the first log has its block")))
    }

    fn data(&mut self) -> &[u8] {
        let length = u32::from_le_bytes(self.take());
        let (data, rest) = self.rest.split_at(length.try_into().expect("it was in memory before"));
        self.rest = rest;
        data
    }

    /// Skips logs up to and including the first one of the next block, and returns that block.
    fn next_block(&mut self) -> Option<LogBlock> {
        loop {
            let (shape, block) = self.begin()?;
            self.rest = &self.rest[FIXED + 32 * usize::from(shape & TOPICS)..];
            self.data();
            if shape & BLOCK != 0 {
                return Some(block);
            }
        }
    }
}

impl Iterator for LogsIter<'_> {
    type Item = Log;

    fn next(&mut self) -> Option<Log> {
        let (shape, LogBlock { id, timestamp }) = self.begin()?;
        let place = Place {
            block_number: id.number,
            tx_index: u32::from_le_bytes(self.take()),
            log_index: u32::from_le_bytes(self.take()),
        };
        let (tx_hash, address) = (B256::new(self.take()), Address::new(self.take()));
        let mut topics = [B256::ZERO; 4];
        let topics = &mut topics[..usize::from(shape & TOPICS)];
        topics.iter_mut().for_each(|topic| *topic = B256::new(self.take()));
        let topics = Topics::new(topics).expect("four topics at most");
        let data = Bytes::copy_from_slice(self.data());
        Some(Log { place, block_hash: id.hash, tx_hash, block_timestamp: timestamp, address, topics, data })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn log()(
            block_number in 0..3_u64,
            fork in 0..2_u8,
            indices in any::<(u32, u32)>(),
            words in proptest::collection::vec(any::<[u8; 32]>(), 0..=4),
            block_timestamp in proptest::option::of(0..2_u64),
            address in any::<[u8; 20]>(),
            data in proptest::collection::vec(any::<u8>(), 0..70),
        ) -> Log {
            let words: Vec<B256> = words.into_iter().map(B256::new).collect();
            Log {
                place: Place { block_number, tx_index: indices.0, log_index: indices.1 },
                block_hash: B256::repeat_byte(fork),
                tx_hash: B256::repeat_byte(fork ^ 7),
                block_timestamp,
                address: Address::new(address),
                topics: Topics::new(&words).expect("four at most"),
                data: data.into(),
            }
        }
    }

    proptest! {
        #[test]
        fn merged_they_are_in_order(
            mut these in proptest::collection::vec(log(), 0..9),
            mut those in proptest::collection::vec(log(), 0..9),
        ) {
            let packed = |logs: &mut Vec<Log>| {
                logs.sort_by_key(|log| log.place);
                logs.iter().cloned().collect::<Logs>()
            };
            let merged = packed(&mut these).merge(&packed(&mut those));
            let mut all = [these, those].concat();
            prop_assert_eq!(merged, packed(&mut all));
        }

        #[test]
        fn what_is_packed_comes_out_as_it_went_in(
            parts in proptest::collection::vec(proptest::collection::vec(log(), 0..6), 0..5),
        ) {
            let mut joined = Logs::default();
            for part in &parts {
                joined.append(part.iter().cloned().collect());
            }
            let all: Vec<Log> = parts.concat();
            prop_assert_eq!(joined.len(), all.len());
            prop_assert_eq!(joined.is_empty(), all.is_empty());
            prop_assert_eq!(joined.iter().collect::<Vec<_>>(), all.clone());
            let of = |log: &Log| LogBlock {
                id: BlockId { number: log.place.block_number, hash: log.block_hash },
                timestamp: log.block_timestamp,
            };
            let (mut blocks, mut listed): (Vec<_>, Vec<_>) = (all.iter().map(of).collect(), joined.blocks().collect());
            // Where lists were joined, a block may occur twice.
            blocks.dedup();
            listed.dedup();
            prop_assert_eq!(listed, blocks);
            prop_assert_eq!(joined, all.into_iter().collect::<Logs>());
        }
    }

    fn with_data(bytes: usize) -> Log {
        Log {
            place: Place { block_number: 1, tx_index: 0, log_index: 0 },
            block_hash: B256::ZERO,
            tx_hash: B256::ZERO,
            block_timestamp: Some(1),
            address: Address::ZERO,
            topics: Topics::new(&[B256::ZERO; 3]).expect("three"),
            data: vec![7; bytes].into(),
        }
    }

    #[test]
    fn many_parts_and_oversized_logs_come_out_as_they_went_in() {
        let logs: Vec<Log> = [0, 40_000, 40_000, 3, PART, 1, 5 * PART, 0].map(with_data).into();
        let packed: Logs = logs.iter().cloned().collect();
        assert!(packed.parts.len() > 3);
        assert_eq!(packed.iter().collect::<Vec<_>>(), logs);
        assert_eq!(packed.blocks().count(), 1);
    }

    #[test]
    fn the_logs_of_a_block_share_it() {
        let log = with_data(32);
        let one: Logs = [log.clone()].into_iter().collect();
        let two: Logs = [log.clone(), log].into_iter().collect();
        assert_eq!(two.bytes() - one.bytes(), one.bytes() - 48);
    }
}
