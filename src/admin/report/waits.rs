//! Explains waits for blocks that the chain does not have yet.

use std::time::Duration;

use chainflume_ops::health::{ChainHealth, SourceHealth, SourceIdle};

/// The usual speed of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainPace {
    /// Usual time from one block to the next.
    pub block_time: Duration,
    /// Number of blocks above a confirmed one; `None` if a tag of the node decides.
    pub confirmations: Option<u64>,
}

impl ChainPace {
    /// Blocks per second of the chain.
    pub(super) fn blocks_per_second(&self) -> f64 {
        1.0 / self.block_time.as_secs_f64().max(0.001)
    }
}

/// Why a source that is more than `max_lag` behind comes no nearer: it stores fewer blocks than the chain makes.
pub(super) fn falls_behind(
    source: &SourceHealth,
    chain: &ChainHealth,
    max_lag: u64,
    pace: Option<&ChainPace>,
) -> Option<String> {
    let (stored, made) = (source.pace.rate()?.blocks, pace?.blocks_per_second());
    (source.lag(chain.heads.confirmed) > max_lag && stored <= made)
        .then(|| format!("falls behind: {stored:.1} blocks/s are stored and the chain makes {made:.1}"))
}

/// `waits for block 99,999, about 27 h`, for a source that starts above the head.
pub(super) fn source(source: &SourceHealth, chain: &ChainHealth, pace: Option<&ChainPace>) -> Option<String> {
    match (source.idle, source.end) {
        (Some(SourceIdle::AwaitsHead), _) => {
            let text = "waits for the first head of a node that has synced: start_block = \"latest\"";
            return Some(text.to_owned());
        }
        (Some(SourceIdle::Complete { block }), _) => return Some(format!("complete at block {block}")),
        (None, Some(end)) if source.next > end && !source.is_blocked => {
            return Some(format!("has stored up to its end_block {end}, which is not final yet"));
        }
        _ => {}
    }
    let head = chain
        .heads
        .latest
        .filter(|head| source.tip.is_none() && source.next > *head && !source.is_blocked)?;
    let left = pace.map(|pace| format!(", {}", about(source.next - head, pace.block_time)));
    Some(format!("waits for block {}{}", thousands(source.next), left.unwrap_or_default()))
}

/// Why a chain with a known head has no confirmed block.
pub(super) fn confirmation(head: u64, pace: Option<&ChainPace>) -> String {
    let Some(ChainPace { block_time, confirmations: Some(depth) }) = pace else {
        return "no block is confirmed: the node lacks the tag by which `confirmations` says that blocks are \
                confirmed, or tags nothing yet"
            .to_owned();
    };
    let left = about(depth.saturating_sub(head), *block_time);
    format!(
        "no block is confirmed: `confirmations` is {} and the head is block {}: {left}",
        thousands(*depth),
        thousands(head)
    )
}

/// The time that this many blocks take, in words.
pub fn about(blocks: u64, block_time: Duration) -> String {
    let seconds = block_time.as_secs_f64() * u32::try_from(blocks).map_or(f64::from(u32::MAX), f64::from);
    let (number, unit) = match seconds {
        seconds if seconds < 120.0 => (seconds, "s"),
        seconds if seconds < 7_200.0 => (seconds / 60.0, "min"),
        seconds if seconds < 172_800.0 => (seconds / 3_600.0, "h"),
        seconds => (seconds / 86_400.0, "days"),
    };
    format!("about {number:.0} {unit}")
}

/// `99,999`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_source_slower_than_its_chain_falls_behind() {
        let mut source = SourceHealth { tip: Some(10), next: 11, ..SourceHealth::default() };
        let board = chainflume_ops::health::Board::default();
        board.chain("dev", |chain| (chain.heads.latest, chain.heads.confirmed) = (Some(1_000), Some(1_000)));
        let chain = board.chains().remove("dev").expect("it is on the board");
        let pace = ChainPace { block_time: Duration::from_millis(500), confirmations: Some(0) };
        assert_eq!(falls_behind(&source, &chain, 100, Some(&pace)), None, "nothing is known yet");
        let now = Instant::now();
        source.pace.mark_at(now - Duration::from_secs(1), 10, 0);
        source.pace.mark_at(now, 11, 0);
        let text = falls_behind(&source, &chain, 100, Some(&pace)).expect("a block a second");
        assert!(text.ends_with(" blocks/s are stored and the chain makes 2.0"), "{text}");
        assert_eq!(falls_behind(&source, &chain, 1_000, Some(&pace)), None, "it is not far behind");
        let fast = ChainPace { block_time: Duration::from_hours(1), ..pace };
        assert_eq!(falls_behind(&source, &chain, 100, Some(&fast)), None, "the chain is slower");
    }

    #[test]
    fn times_and_numbers_are_as_a_person_says_them() {
        let second = Duration::from_secs(1);
        let text = [0, 60, 600, 7_199, 97_200, 1_000_000].map(|blocks| about(blocks, second));
        assert_eq!(
            text,
            ["about 0 s", "about 60 s", "about 10 min", "about 120 min", "about 27 h", "about 12 days"]
        );
        assert_eq!(
            [0, 999, 1_000, 99_999, 1_234_567].map(thousands),
            ["0", "999", "1,000", "99,999", "1,234,567"]
        );
    }
}
