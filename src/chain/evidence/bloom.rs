//! What a bloom filter says of logs: what it leaves out is not there, what it holds may be.

use alloy_primitives::{Bloom, BloomInput};

use crate::domain::{Log, LogFilter};

fn holds(bloom: &Bloom, item: &[u8]) -> bool {
    bloom.contains_input(BloomInput::Raw(item))
}

/// Whether the bloom admits this log: its address and each of its topics.
pub(super) fn holds_log(bloom: &Bloom, log: &Log) -> bool {
    holds(bloom, log.address.as_slice())
        && log.topics.as_slice().iter().all(|topic| holds(bloom, topic.as_slice()))
}

/// Whether the bloom gives reason to expect logs of this filter: it says so, and would hardly say so by chance. In a
/// crowded block any bloom speaks of anything.
pub(super) fn speaks_of(bloom: &Bloom, filter: &LogFilter) -> bool {
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

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, B256};

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
}
