use std::collections::BTreeMap;

use chainflume_core::domain::{BlockId, BlockRef, LogBlock, Logs};

/// The block times that the logs of a range contain, by block, if all of them are plausible: they never decrease, and
/// lie between the times of the first and the last header. If one is missing, 0, in milliseconds or in the future,
/// none is used. Block 0 may have any time, so that a range from block 0 on has no plausible times.
pub(super) fn times_of_logs(logs: &Logs, first: &BlockRef, last: &BlockRef) -> Option<BTreeMap<u64, u64>> {
    let (mut times, mut newest) = (BTreeMap::new(), first.timestamp);
    for LogBlock { id: BlockId { number, .. }, timestamp } in logs.blocks() {
        let time = timestamp?;
        let again = times.insert(number, time);
        let agrees = again.is_none_or(|again| again == time);
        if first.number == 0 || !(newest..=last.timestamp).contains(&time) || !agrees {
            return None;
        }
        newest = time;
    }
    Some(times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainflume_core::domain::{Address, B256, Bytes, Log, Place, Topics};

    fn block(number: u64, timestamp: u64) -> BlockRef {
        BlockRef { number, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp }
    }

    /// Logs of blocks with these times.
    fn logs(times: &[(u64, Option<u64>)]) -> Logs {
        let log = |(block_number, block_timestamp): &(u64, Option<u64>)| Log {
            place: Place { block_number: *block_number, tx_index: 0, log_index: 0 },
            block_hash: B256::ZERO,
            tx_hash: B256::ZERO,
            block_timestamp: *block_timestamp,
            address: Address::ZERO,
            topics: Topics::default(),
            data: Bytes::new(),
        };
        times.iter().map(log).collect()
    }

    #[test]
    fn log_times_are_used_between_those_of_nearby_headers() {
        let ends = (block(10, 1_000), block(20, 1_010));
        let known_times = |times: &[(u64, Option<u64>)]| times_of_logs(&logs(times), &ends.0, &ends.1);
        let honest =
            [(10, Some(1_000)), (12, Some(1_002)), (12, Some(1_002)), (13, Some(1_002)), (20, Some(1_010))];
        let all = [(10, 1_000), (12, 1_002), (13, 1_002), (20, 1_010)];
        assert_eq!(known_times(&honest), Some(all.into()));
        for odd in [None, Some(0), Some(999), Some(1_011), Some(1_002_000), Some(u64::MAX)] {
            assert_eq!(known_times(&[(12, Some(1_002)), (13, odd)]), None, "{odd:?}");
            assert_eq!(known_times(&[(12, odd), (13, Some(1_002))]), None, "{odd:?}");
        }
        assert_eq!(known_times(&[(12, Some(1_005)), (13, Some(1_004))]), None);
        assert_eq!(known_times(&[(12, Some(1_002)), (12, Some(1_003))]), None);
        // Genesis may be of 1970.
        let from_genesis = times_of_logs(&logs(&[(1, Some(0))]), &block(0, 0), &block(20, 1_010));
        assert_eq!(from_genesis, None);
    }
}
