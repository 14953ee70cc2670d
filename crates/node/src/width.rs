use std::time::Duration;

use super::limits::NarrowReason;
use super::settings::HistorySettings;

#[cfg(test)]
mod tests;

/// An answer this quick leaves room for a wider question.
pub(super) const QUICK: Duration = Duration::from_secs(2);
/// Answers in a row before a width is tried that may be refused: less than one call in a hundred is.
const ANSWERS_BEFORE_TRY: u64 = 128;
/// The maximum of these answers: a limit that is lifted is noticed, and the tries cost little.
const MAX_ANSWERS_BEFORE_TRY: u64 = 16_384;
/// Failures of a question before a narrower one is asked, where no width was answered yet: an outage looks the same.
const FIRST_FAILURES: u32 = 2;
/// The same of a width that was answered before.
const PROVEN_FAILURES: u32 = 3;

/// How many blocks the next question spans: wider while answers are small and quick, narrower when the
/// node refuses. A width no answer has proven yet is tried by one question at a time: all of those in flight
/// would be refused with it. Once something works, what may be refused is tried seldom, and ever more seldom.
#[derive(Debug)]
pub(super) struct Width {
    now: u64,
    max: u64,
    /// Widest answered, 0 at first.
    proven: u64,
    /// Width of the question on its way that is wider than that.
    probe: Option<u64>,
    /// Smallest width refused for its number of blocks.
    ceiling: Option<u64>,
    /// Set by an answer that was too large: the densest that was read since, in bytes a block.
    crowded: Option<u64>,
    /// Width wider than any proven whose question failed for no reason given.
    unexplained: Option<u64>,
    /// Refusals since the last answer.
    misses: u32,
    /// The hint that was followed last.
    hinted: Option<u64>,
    /// Whether a hint was refused in turn: some nodes count from zero, some only repeat what was asked.
    misled: bool,
    /// Answers since the last refusal, or since the last try that might have been refused.
    calm: u64,
    /// How many of those it takes to try again.
    answers_before_try: u64,
    /// An answer larger than this does not call for a wider question. Twice as many as are asked for at once fit the
    /// buffer: a commit's worth can wait there and readers need not.
    large: usize,
}

impl Width {
    /// Begins with the limits that an earlier run found, if any: a width that was answered and one that was refused.
    pub(super) fn new(settings: &HistorySettings, limits: Option<(u64, Option<u64>)>) -> Self {
        let max = settings.max_range.max(1);
        let (now, ceiling) = match limits {
            Some((proven, Some(ceiling))) => (proven, Some(ceiling)),
            // Nothing was refused: a narrow range that was read proves nothing about a wider one.
            Some((proven, None)) => (proven.max(settings.initial_range), None),
            None => (settings.initial_range, None),
        };
        Self {
            now: now.clamp(1, max),
            max,
            proven: 0,
            probe: None,
            ceiling,
            crowded: None,
            unexplained: None,
            misses: 0,
            hinted: None,
            misled: false,
            calm: 0,
            answers_before_try: ANSWERS_BEFORE_TRY,
            large: settings.buffer_bytes / (2 * settings.ranges_in_flight.max(1)),
        }
    }

    /// Where the next question aims.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Whether so many blocks, or fewer, were refused.
    pub(super) fn was_refused(&self, width: u64) -> bool {
        self.ceiling.is_some_and(|ceiling| ceiling <= width)
    }

    /// Whether this is what the node takes at most: it has refused what is twice as wide.
    pub(super) fn is_widest(&self, width: u64) -> bool {
        let refused = self.ceiling.is_some_and(|ceiling| ceiling <= width.saturating_mul(2));
        width == self.now && width <= self.proven && refused
    }

    /// Whether an answer twice as large as this would still be small.
    pub(super) fn leaves_room(&self, bytes: usize) -> bool {
        bytes <= self.large / 2
    }

    /// What is worth remembering: the widest answered and the narrowest refused for its blocks. `None` before
    /// any answer.
    pub(super) fn limits(&self) -> Option<(u64, Option<u64>)> {
        (self.proven > 0).then_some((self.proven, self.ceiling))
    }

    /// A new reader; what the last one had on its way is gone. The limits stay.
    pub(super) fn begin(&mut self) {
        self.probe = None;
    }

    /// Blocks the next question may span where `left` are left to ask for; `None` while the very first
    /// question is in flight. The caller must report its answer or refusal with the same width.
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
        self.unexplained = self.unexplained.filter(|unexplained| *unexplained > width);
        self.misses = 0;
        self.calm += 1;
        if self.ceiling.is_some_and(|ceiling| ceiling <= width) {
            (self.ceiling, self.answers_before_try) = (None, ANSWERS_BEFORE_TRY);
        }
        let density = bytes as u64 / width.max(1);
        let sparse = self.crowded.is_none_or(|crowded| density <= crowded / 2);
        self.crowded = self.crowded.map(|crowded| crowded.max(density));
        let roomy =
            (width as u128 * self.large as u128 / bytes.max(1) as u128).try_into().unwrap_or(u64::MAX);
        if roomy < width {
            self.now = roomy.clamp(1, self.now);
        } else if width >= self.now && took < QUICK {
            self.widen(sparse, roomy);
        }
    }

    /// Doubles where no refusal forbids it, and else tries a step after enough answers without a refusal. Never above
    /// what is roomy, or the next answer would only narrow it again.
    fn widen(&mut self, sparse: bool, roomy: u64) {
        let wider = self.now.saturating_mul(2).min(self.max).min(roomy.max(self.now));
        let capped = self.ceiling.filter(|ceiling| wider >= *ceiling);
        if capped.is_none() && sparse {
            self.now = wider;
        } else if wider > self.now && self.calm >= self.answers_before_try {
            self.calm = 0;
            // Close to what was refused there is little to gain, but the limit itself may be gone.
            self.now = capped.and_then(|ceiling| self.between(ceiling)).unwrap_or(wider);
        }
    }

    /// A question of `width` blocks was refused; `hint` is what the node would accept.
    pub(super) fn refused(&mut self, width: u64, hint: Option<u64>, why: NarrowReason) {
        let tried = self.miss(width);
        self.misled |= self.hinted == Some(width);
        // From then on a hint has to be worth at least as much as a guess.
        // And what was answered before disproves what is narrower.
        let plausible = |hint: &u64| {
            (1..width).contains(hint)
                && (!self.misled || *hint <= width / 2)
                && (!tried || *hint >= self.proven)
        };
        let hint = hint.filter(plausible);
        self.hinted = hint.or(self.hinted);
        let guess = match (tried, self.proven) {
            (true, proven) => proven,
            // By larger and larger steps: any width that works is a beginning.
            (false, 0) => width >> self.misses.saturating_sub(2).clamp(1, 63),
            (false, _) => width / 2,
        };
        self.narrow(width, hint.unwrap_or(guess).max(1));
        match why {
            NarrowReason::BlockSelector => {
                // A hint is the limit itself: nothing above it needs to be tried.
                let bound = hint.map_or(width, |hint| hint.saturating_add(1).min(width));
                self.ceiling = Some(self.ceiling.map_or(bound, |ceiling| ceiling.min(bound)));
            }
            NarrowReason::Size => self.crowded = Some(0),
            NarrowReason::Time => {}
        }
    }

    /// A question of `width` blocks failed `times` in a row without a reason: some nodes answer so where the
    /// range is too wide. Whether a narrower one is to be asked now.
    pub(super) fn failed(&mut self, width: u64, times: u32) -> bool {
        let tried = self.proven > 0 && width > self.proven;
        let answers_before_try = match (tried, self.proven) {
            (true, _) => 1,
            (false, 0) => FIRST_FAILURES,
            (false, _) => PROVEN_FAILURES,
        };
        if width <= 1 || times < answers_before_try {
            return false;
        }
        self.miss(width);
        let narrower = match (tried, self.proven) {
            (true, proven) => proven,
            // In larger and larger steps: each takes several calls, and any width that works is a beginning.
            (false, 0) => width >> (2 * self.misses).min(63),
            (false, _) => width / 2,
        };
        self.narrow(width, narrower.max(1));
        if tried && self.unexplained == Some(width) {
            self.ceiling = Some(self.ceiling.map_or(width, |ceiling| ceiling.min(width)));
        }
        self.unexplained = tried.then_some(width);
        true
    }

    /// Counts that `width` was not answered; returns whether it was a try above what is proven.
    fn miss(&mut self, width: u64) -> bool {
        let tried = self.proven > 0 && width > self.proven;
        let was_probe = self.probe == Some(width);
        self.probe = self.probe.filter(|probe| *probe != width);
        self.misses += 1;
        self.calm = 0;
        // Of one try alone: of questions that were on their way when a limit came each would double it, and the width would
        // stay narrow for a day after the limit is gone.
        if tried && was_probe {
            self.answers_before_try = (self.answers_before_try * 2).min(MAX_ANSWERS_BEFORE_TRY);
        }
        tried
    }

    fn narrow(&mut self, width: u64, narrower: u64) {
        if width <= self.proven {
            self.proven = narrower;
        }
        self.now = self.now.min(narrower);
    }

    /// Half way to the width that is refused; `None` where an eighth is all there is to gain.
    fn between(&self, refused: u64) -> Option<u64> {
        let gap = refused.saturating_sub(self.now);
        (gap > self.now / 8 + 1).then_some(self.now + gap / 2)
    }
}
