use super::heads::{AgeBoundary, Heads};
use super::policy::DepthPolicy;

/// A block by height and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockTime {
    /// Height.
    pub number: u64,
    /// Timestamp of the header, in seconds.
    pub time: u64,
}

/// What is known about the age of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgeVerdict {
    /// Blocks at and below this height are old.
    Old(u64),
    /// Unknown: fetch the header at this height, then judge again.
    Look(u64),
}

/// No chain makes a block more often than every 10 ms, the shortest `block_time`. This bounds how long a chain whose
/// header times do not advance is read block by block.
const MOST_BLOCKS_A_SECOND: u64 = 100;

impl DepthPolicy {
    /// Whether a source that reads block `next` needs the age of blocks. It does if the block is far enough below the
    /// head in blocks and the last result is from a much lower head.
    pub fn wants_age(&self, heads: &Heads, next: u64) -> bool {
        let stale = |aged: &AgeBoundary| heads.latest.saturating_sub(aged.under) > self.least_depth() / 4;
        let matters = !self.backend_lag.is_zero() && next <= self.near(heads.latest);
        matters && heads.aged.as_ref().is_none_or(stale)
    }

    /// The height at and below which blocks are older than `backend_lag` under this head, in blocks and by their times.
    /// `seen` is the lowest header fetched for this so far. Each step goes at least a quarter further down: a dozen
    /// steps are enough for any chain, one for a chain with a block every few seconds.
    pub fn age(&self, head: BlockTime, seen: Option<BlockTime>) -> AgeVerdict {
        let near = self.near(head.number);
        let wanted = self.backend_lag.as_secs() + u64::from(self.backend_lag.subsec_nanos() > 0);
        // Every backend has block 0.
        if wanted == 0 || near == 0 {
            return AgeVerdict::Old(near);
        }
        let Some(seen) = seen else { return AgeVerdict::Look(near) };
        let (depth, passed) = (head.number.saturating_sub(seen.number), head.time.saturating_sub(seen.time));
        let deepest = wanted.saturating_mul(MOST_BLOCKS_A_SECOND);
        if passed >= wanted || depth >= deepest || seen.number == 0 {
            return AgeVerdict::Old(seen.number.min(near));
        }
        // Continue at the measured block time, and a little further: block times are whole seconds and uneven.
        let likely = depth.saturating_mul(wanted).checked_div(passed).unwrap_or(u64::MAX);
        let further = likely.saturating_add(likely / 8);
        let (least, most) = (depth.saturating_add(depth / 4).saturating_add(1), depth.saturating_mul(8));
        AgeVerdict::Look(head.number.saturating_sub(further.min(most).min(deepest).max(least)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::canon::{Confirmations, PublishMode};

    fn policy(backend_lag: Duration) -> DepthPolicy {
        let (confirmations, publish) = (Confirmations::Blocks(2), PublishMode::Confirmed);
        DepthPolicy { confirmations, reorg_window: 64, backend_lag, backend_lag_blocks: 128, publish }
    }

    /// The old height on a chain with this many milliseconds between blocks, and the number of steps.
    fn found(backend_lag: Duration, head: u64, block_time: u64) -> (u64, u32) {
        let moment = |number: u64| BlockTime { number, time: 1_700_000_000 + number * block_time / 1000 };
        let mut seen = None;
        for looks in 0.. {
            match policy(backend_lag).age(moment(head), seen) {
                AgeVerdict::Old(number) => return (number, looks),
                AgeVerdict::Look(number) => seen = Some(moment(number)),
            }
        }
        unreachable!("the loop has no end")
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_slow_chain_is_old_by_blocks_after_one_look() {
        assert_eq!(found(MINUTE, 10_000, 12_000), (10_000 - 128, 1));
        assert_eq!(found(MINUTE, 10_000, 500), (10_000 - 128, 1));
    }

    #[test]
    fn a_fast_chain_is_old_where_its_block_times_show_it() {
        for block_time in [10, 20, 50, 100, 250, 400] {
            let (old, looks) = found(MINUTE, 100_000, block_time);
            let exact = 60_000 / block_time;
            assert!((exact..=exact + exact / 4 + 8).contains(&(100_000 - old)), "{block_time} ms: {old}");
            assert!(looks <= 4, "{block_time} ms: {looks} looks");
        }
    }

    #[test]
    fn a_chain_whose_headers_show_no_time_is_bounded_in_blocks() {
        let (old, looks) = found(MINUTE, 100_000, 0);
        assert_eq!(100_000 - old, 6_000);
        assert!(looks <= 4, "{looks} looks");
    }

    #[test]
    fn age_is_checked_far_behind_and_again_when_the_chain_went_on() {
        let heads = |aged| Heads { latest: 1000, safe: None, finalized: Some(1000), aged };
        let wants = |aged, next| policy(MINUTE).wants_age(&heads(aged), next);
        let under = |under| Some(AgeBoundary { number: 700, under });
        assert!(wants(None, 5) && wants(None, 872) && !wants(None, 873));
        assert!(!policy(Duration::ZERO).wants_age(&heads(None), 5));
        assert!(wants(under(967), 800) && !wants(under(968), 5) && !wants(under(1010), 5));
    }

    #[test]
    fn no_age_check_without_a_time_span_or_enough_blocks() {
        assert_eq!(found(Duration::ZERO, 10_000, 250), (10_000 - 128, 0));
        assert_eq!(found(MINUTE, 128, 250), (0, 0));
        assert_eq!(found(MINUTE, 200, 250).0, 0);
    }
}
