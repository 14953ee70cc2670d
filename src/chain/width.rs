use std::time::Duration;

use super::settings::HistorySettings;

/// An answer this quick leaves room for a wider question.
const QUICK: Duration = Duration::from_secs(2);

/// How many blocks the next question spans: wider while answers are small and quick, narrower when the
/// node refuses. A cap on the number of blocks is closed in on from both sides, so that it is met a few
/// times at the beginning and then no more. A width no answer has proven yet is tried by one question at
/// a time: all of those in flight would be refused with it.
#[derive(Debug)]
pub(super) struct Width {
    now: u64,
    max: u64,
    /// Widest answered, 0 at first.
    proven: u64,
    /// Width of the question on its way that is wider than that.
    probe: Option<u64>,
    /// Smallest width refused for its number of blocks.
    refused: Option<u64>,
    /// An answer larger than this does not call for a wider question: a fair share of the buffer.
    large: usize,
}

impl Width {
    pub(super) fn new(settings: &HistorySettings) -> Self {
        let max = settings.max_range.max(1);
        let large = settings.buffer_bytes / settings.ranges_in_flight.max(1);
        Self { now: settings.initial_range.clamp(1, max), max, proven: 0, probe: None, refused: None, large }
    }

    /// Where the next question aims.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// A new reader; what the last one had on its way is gone. What was learnt stays.
    pub(super) fn begin(&mut self) {
        self.probe = None;
    }

    /// Blocks the next question may span where `left` are left to ask for; `None` while the very first
    /// question is on its way. It is owed an answer or a refusal of the same width.
    pub(super) fn grant(&mut self, left: u64) -> Option<u64> {
        let wanted = self.now.min(left);
        if wanted <= self.proven {
            return Some(wanted);
        }
        if self.probe.is_none() {
            self.probe = Some(wanted);
            return Some(wanted);
        }
        (self.proven > 0).then_some(self.proven)
    }

    /// A question of `width` blocks was answered with about `bytes` bytes. Others in flight may have moved the
    /// width since: only an answer as wide as the present one widens it.
    pub(super) fn answered(&mut self, width: u64, bytes: usize, took: Duration) {
        self.proven = self.proven.max(width);
        self.probe = self.probe.filter(|probe| *probe != width);
        if bytes > self.large {
            self.now = (width / 2).clamp(1, self.now);
        } else if width >= self.now && took < QUICK {
            let wider = self.now.saturating_mul(2).min(self.max);
            self.now = match self.refused {
                Some(refused) if wider >= refused => self.between(refused),
                _ => wider,
            };
        }
    }

    /// A question of `width` blocks was refused; `hint` is what the node would accept.
    pub(super) fn refused(&mut self, width: u64, hint: Option<u64>, is_cap: bool) {
        let narrower = hint.filter(|hint| (1..width).contains(hint)).unwrap_or(width / 2).max(1);
        self.probe = self.probe.filter(|probe| *probe != width);
        if width <= self.proven {
            self.proven = narrower;
        }
        self.now = self.now.min(narrower);
        if is_cap {
            // A hint is the cap itself: nothing above it needs to be tried.
            let bound = hint.map_or(width, |hint| hint.saturating_add(1).min(width));
            self.refused = Some(self.refused.map_or(bound, |refused| refused.min(bound)));
        }
    }

    /// Half way to the width that is refused, or no step where an eighth is all there is to gain.
    fn between(&self, refused: u64) -> u64 {
        let gap = refused.saturating_sub(self.now);
        if gap > self.now / 8 + 1 { self.now + gap / 2 } else { self.now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(initial_range: u64, max_range: u64) -> HistorySettings {
        HistorySettings {
            ranges_in_flight: 4,
            initial_range,
            max_range,
            buffer_bytes: 32 << 20,
            commit_logs: 0,
        }
    }

    /// Asks a node with a cap 300 times, four questions at once; tells the refusals and the width in the end.
    fn against_cap(cap: u64, hint: Option<u64>) -> (usize, u64) {
        let mut width = Width::new(&settings(1000, 1_000_000));
        let mut refusals = 0;
        for _ in 0..300 {
            let in_flight: Vec<u64> = (0..4).filter_map(|_| width.grant(u64::MAX)).collect();
            for asked in in_flight {
                if asked > cap {
                    refusals += 1;
                    width.refused(asked, hint.filter(|h| *h < asked), true);
                } else {
                    width.answered(asked, 100, Duration::from_millis(10));
                }
            }
        }
        (refusals, width.now())
    }

    #[test]
    fn one_question_at_a_time_tries_what_is_not_proven() {
        let mut width = Width::new(&settings(1000, 10_000));
        assert_eq!((width.grant(u64::MAX), width.grant(u64::MAX)), (Some(1000), None));
        width.answered(1000, 100, Duration::from_millis(10));
        let granted = [width.grant(u64::MAX), width.grant(u64::MAX), width.grant(7)];
        assert_eq!(granted, [Some(2000), Some(1000), Some(7)]);
        width.refused(2000, None, true);
        assert_eq!((width.grant(u64::MAX), width.grant(u64::MAX)), (Some(1000), Some(1000)));
        width.answered(1000, 100, Duration::from_millis(10));
        assert_eq!((width.grant(u64::MAX), width.grant(u64::MAX)), (Some(1500), Some(1000)));
        width.begin();
        assert_eq!((width.grant(1200), width.grant(u64::MAX)), (Some(1200), Some(1000)));
    }

    #[test]
    fn any_cap_is_found_in_at_most_twelve_refusals() {
        for cap in [1, 2, 9, 10, 100, 500, 800, 1000, 1001, 2000, 2048, 3000, 10_000, 50_000, 999_999] {
            let (refusals, found) = against_cap(cap, None);
            assert!(refusals <= 12, "cap {cap}: {refusals} refusals");
            assert!(found <= cap && found >= cap - cap / 4, "cap {cap}: settled at {found}");
        }
    }

    #[test]
    fn a_hint_is_taken_at_once() {
        assert_eq!(against_cap(2048, Some(2048)), (1, 2048));
    }

    #[test]
    fn too_many_logs_narrow_here_and_not_for_ever() {
        let mut width = Width::new(&settings(1000, 10_000));
        width.refused(1000, None, false);
        assert_eq!(width.now(), 500);
        width.answered(500, 100, Duration::from_millis(10));
        width.answered(1000, 100, Duration::from_millis(10));
        assert_eq!(width.now(), 2000);
    }

    #[test]
    fn large_or_slow_answers_do_not_widen() {
        let mut width = Width::new(&settings(1000, 10_000));
        width.answered(1000, 100, Duration::from_secs(3));
        assert_eq!(width.now(), 1000);
        width.answered(1000, 9 << 20, Duration::from_millis(10));
        assert_eq!(width.now(), 500);
    }
}
