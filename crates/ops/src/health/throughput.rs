use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The speed of a source, from its positions during the last minute.
#[derive(Clone, Debug, Default)]
pub struct Throughput {
    /// Oldest first, [`STEP`] apart; only the newest mark moves until it is that far from the one before.
    marks: VecDeque<ThroughputMark>,
    events: u64,
}

#[derive(Clone, Copy, Debug)]
struct ThroughputMark {
    at: Instant,
    next: u64,
    events: u64,
}

/// Blocks and events a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Blocks stored a second.
    pub blocks: f64,
    /// Events stored a second.
    pub events: f64,
}

/// The time window: long enough to smooth single commits, short enough to show a change.
const WINDOW: Duration = Duration::from_secs(60);
/// Marks closer together than this are joined, so that their number does not depend on the rate of commits.
const STEP: Duration = Duration::from_secs(2);
/// Minimum time for a rate; over a shorter time it would be noise.
const SHORTEST: Duration = Duration::from_secs(1);

impl Throughput {
    /// Records that the next block of the source is `next`, and that `events` more events are stored since the last
    /// call.
    pub fn mark(&mut self, next: u64, events: u64) {
        self.mark_at(Instant::now(), next, events);
    }

    /// As [`Self::mark`], at a given time.
    pub fn mark_at(&mut self, at: Instant, next: u64, events: u64) {
        self.events = self.events.saturating_add(events);
        if self.marks.back().is_some_and(|last| next < last.next) {
            // A rewind: count anew.
            self.marks.clear();
        }
        let mark = ThroughputMark { at, next, events: self.events };
        let before_last = self.marks.len().checked_sub(2).map(|index| self.marks[index].at);
        match (before_last, self.marks.back_mut()) {
            (Some(before), Some(last)) if last.at.saturating_duration_since(before) < STEP => *last = mark,
            _ => self.marks.push_back(mark),
        }
        // One mark from before the window stays, so that a source with rare commits has a rate too.
        while self.marks.get(1).is_some_and(|second| at.saturating_duration_since(second.at) >= WINDOW) {
            self.marks.pop_front();
        }
    }

    /// The rate over the last minute or so; `None` until there are two observations. Falls while nothing is stored.
    pub fn rate(&self) -> Option<Rate> {
        self.rate_at(Instant::now())
    }

    #[expect(clippy::cast_precision_loss, reason = "a pace is for people; its counts are far below 2^53")]
    fn rate_at(&self, now: Instant) -> Option<Rate> {
        let (first, last) = (self.marks.front()?, self.marks.back()?);
        let took = now.saturating_duration_since(first.at);
        if self.marks.len() < 2 || took < SHORTEST {
            return None;
        }
        let seconds = took.as_secs_f64();
        Some(Rate {
            blocks: (last.next - first.next) as f64 / seconds,
            events: (last.events - first.events) as f64 / seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_that_of_the_last_minute_and_falls_during_a_stall() {
        let (mut pace, start) = (Throughput::default(), Instant::now());
        let second = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(pace.rate_at(second(0)), None);
        for at in 0..=300 {
            pace.mark_at(second(at), at * 10, 3);
        }
        let rate = pace.rate_at(second(300)).unwrap();
        assert!((rate.blocks - 10.0).abs() < 0.2 && (rate.events - 3.0).abs() < 0.2, "{rate:?}");
        assert!(pace.marks.len() < 35, "{}", pace.marks.len());
        let stalled = pace.rate_at(second(360)).unwrap();
        assert!(stalled.blocks < 6.0, "{stalled:?}");
        pace.mark_at(second(400), 5, 0);
        assert_eq!(pace.rate_at(second(401)), None);
    }

    #[test]
    fn blocks_that_do_not_move_count_and_a_moment_is_no_rate() {
        let (mut pace, start) = (Throughput::default(), Instant::now());
        pace.mark_at(start, 10, 0);
        pace.mark_at(start + Duration::from_millis(100), 10, 40);
        assert_eq!(pace.rate_at(start + Duration::from_millis(999)), None);
        let rate = pace.rate_at(start + Duration::from_secs(4)).expect("two marks");
        assert_eq!(rate, Rate { blocks: 0.0, events: 10.0 });
    }

    #[test]
    fn many_commits_a_second_are_few_marks() {
        let (mut pace, start) = (Throughput::default(), Instant::now());
        for at in 0..10_000 {
            pace.mark_at(start + Duration::from_millis(at), at, 1);
        }
        assert!(pace.marks.len() <= 7, "{}", pace.marks.len());
        let rate = pace.rate_at(start + Duration::from_secs(10)).unwrap();
        assert!((rate.blocks - 1000.0).abs() < 2.0, "{rate:?}");
    }
}
