use std::time::Duration;

/// The state of a node when a new source publishes from the head on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstHead {
    /// Height of its newest block.
    pub number: u64,
    /// Age of that block by its timestamp.
    pub age: Duration,
    /// Height of the newest block when it was last too old, or when the node was syncing; `None` at the first check.
    pub before: Option<u64>,
    /// Whether the node is syncing (`eth_syncing`).
    pub is_syncing: bool,
}

/// After a long rest a chain continues with few blocks; a node that has synced returns with many.
const AT_ONCE: u64 = 128;

impl FirstHead {
    /// The block above which events are published, once it can be decided. The newest block of a syncing node is old,
    /// and everything above it would be published. `max_age` zero accepts any age.
    ///
    /// The newest block of a resting chain is old as well. Its next blocks show the difference, and they are published.
    pub fn publish_above(&self, max_age: Duration) -> Option<u64> {
        if self.is_syncing || (!max_age.is_zero() && self.age > max_age) {
            return None;
        }
        let rested = self.before.filter(|before| self.number.saturating_sub(*before) <= AT_ONCE);
        Some(rested.unwrap_or(self.number).min(self.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn above(number: u64, hours: u32, before: Option<u64>, is_syncing: bool) -> Option<u64> {
        FirstHead { number, age: HOUR * hours, before, is_syncing }.publish_above(HOUR)
    }

    #[test]
    fn a_young_head_of_a_synced_node_decides_at_once() {
        assert_eq!(above(1000, 0, None, false), Some(1000));
        assert_eq!(above(1000, 1, None, false), Some(1000));
    }

    #[test]
    fn a_node_that_syncs_or_shows_an_old_head_decides_nothing() {
        assert_eq!(above(0, 0, None, true), None);
        assert_eq!(above(0, 90_000, None, false), None);
        assert_eq!(above(900, 168, Some(0), false), None);
        assert_eq!(above(1_000_000, 0, Some(900), false), Some(1_000_000), "it has synced");
    }

    #[test]
    fn the_next_blocks_of_a_chain_that_rested_are_published() {
        assert_eq!(above(1001, 0, Some(1000), false), Some(1000));
        assert_eq!(above(1, 0, Some(0), false), Some(0), "the first blocks of a new chain");
        assert_eq!(above(990, 0, Some(1000), false), Some(990));
    }

    #[test]
    fn without_a_limit_any_head_of_a_synced_node_decides() {
        let head = |is_syncing| FirstHead { number: 7, age: HOUR * 999, before: None, is_syncing };
        assert_eq!(head(false).publish_above(Duration::ZERO), Some(7));
        assert_eq!(head(true).publish_above(Duration::ZERO), None);
    }
}
