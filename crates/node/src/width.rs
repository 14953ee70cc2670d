use std::time::Duration;

use super::limits::NarrowReason;
use super::settings::HistorySettings;

#[cfg(test)]
mod tests;

/// An answer within this time allows a wider request.
pub(super) const QUICK: Duration = Duration::from_secs(2);
/// Answers in a row before a width is tried that may be refused, so that less than one call in a hundred is.
const ANSWERS_BEFORE_TRY: u64 = 128;
/// The maximum of that number: a limit that is lifted is noticed, and the tries cost little.
const MAX_ANSWERS_BEFORE_TRY: u64 = 16_384;
/// Failures without a reason before a narrower request, where no width was answered yet: an outage looks the same.
const FIRST_FAILURES: u32 = 2;
/// The same for a width that was answered before.
const PROVEN_FAILURES: u32 = 3;

/// How many blocks the next request spans: more while answers are small and quick, fewer when the node refuses. A
/// width that no answer has proven yet is tried by one request at a time, because all requests in flight would be
/// refused with it. Once a width works, a width that may be refused is tried seldom, and more and more seldom.
#[derive(Debug)]
pub(super) struct Width {
    now: u64,
    max: u64,
    /// The widest width that was answered; 0 at first.
    proven: u64,
    /// The width of the request in flight that is wider than `proven`.
    probe: Option<u64>,
    /// The smallest width that was refused for its number of blocks.
    ceiling: Option<u64>,
    /// Set by an answer that was too large: the highest density read since, in bytes per block.
    crowded: Option<u64>,
    /// A width above `proven` whose request failed without a reason.
    unexplained: Option<u64>,
    /// Refusals since the last answer.
    misses: u32,
    /// The last hint that was used.
    hinted: Option<u64>,
    /// Whether a hint was refused in turn: some nodes count from zero, some only repeat the request.
    misled: bool,
    /// Answers since the last refusal, or since the last try that could have been refused.
    calm: u64,
    /// The number of those answers that allows the next try.
    answers_before_try: u64,
    /// An answer larger than this many bytes is no reason for a wider request. The buffer has room for twice as many
    /// such answers as are requested at once, so that readers need not wait for a commit.
    large: usize,
}

impl Width {
    /// Begins with the limits that an earlier run found, if any: the widest width that was answered, and the
    /// narrowest that was refused.
    pub(super) fn new(settings: &HistorySettings, limits: Option<(u64, Option<u64>)>) -> Self {
        let max = settings.max_range.max(1);
        let (now, ceiling) = match limits {
            Some((proven, Some(ceiling))) => (proven, Some(ceiling)),
            // No width was refused: a narrow range that was read proves nothing about a wider one.
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

    /// The width that the next request aims at.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Whether this number of blocks, or fewer, was refused.
    pub(super) fn was_refused(&self, width: u64) -> bool {
        self.ceiling.is_some_and(|ceiling| ceiling <= width)
    }

    /// Whether this is the widest width that the node accepts: it has refused twice this width.
    pub(super) fn is_widest(&self, width: u64) -> bool {
        let refused = self.ceiling.is_some_and(|ceiling| ceiling <= width.saturating_mul(2));
        width == self.now && width <= self.proven && refused
    }

    /// Whether an answer twice as large as this would still be small.
    pub(super) fn leaves_room(&self, bytes: usize) -> bool {
        bytes <= self.large / 2
    }

    /// The limits to store: the widest width that was answered, and the narrowest that was refused for its blocks.
    /// `None` before the first answer.
    pub(super) fn limits(&self) -> Option<(u64, Option<u64>)> {
        (self.proven > 0).then_some((self.proven, self.ceiling))
    }

    /// Prepares for a new reader: requests of the last one are gone. The limits stay.
    pub(super) fn begin(&mut self) {
        self.probe = None;
    }

    /// The number of blocks of the next request, where `left` blocks remain; `None` while the very first request is
    /// in flight. The caller must report its answer or refusal with the same width.
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

    /// Records an answer of about `bytes` bytes to a request of `width` blocks. Other answers may have changed the
    /// width since: only an answer that is at least as wide as the present width widens it.
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

    /// Doubles the width where no refusal forbids it. Otherwise tries a step after enough answers without a refusal.
    /// Never exceeds `roomy`: the next answer would only narrow the width again.
    fn widen(&mut self, sparse: bool, roomy: u64) {
        let wider = self.now.saturating_mul(2).min(self.max).min(roomy.max(self.now));
        let capped = self.ceiling.filter(|ceiling| wider >= *ceiling);
        if capped.is_none() && sparse {
            self.now = wider;
        } else if wider > self.now && self.calm >= self.answers_before_try {
            self.calm = 0;
            // Close to the refused width there is little to gain, but the limit itself may be gone.
            self.now = capped.and_then(|ceiling| self.between(ceiling)).unwrap_or(wider);
        }
    }

    /// Records a refusal of `width` blocks; `hint` is the width that the node would accept.
    pub(super) fn refused(&mut self, width: u64, hint: Option<u64>, why: NarrowReason) {
        let tried = self.miss(width);
        self.misled |= self.hinted == Some(width);
        // After a wrong hint, a hint must halve the width at least, as a guess would. A hint below a width that was
        // answered is wrong.
        let plausible = |hint: &u64| {
            (1..width).contains(hint)
                && (!self.misled || *hint <= width / 2)
                && (!tried || *hint >= self.proven)
        };
        let hint = hint.filter(plausible);
        self.hinted = hint.or(self.hinted);
        let guess = match (tried, self.proven) {
            (true, proven) => proven,
            // In larger and larger steps: any width that works is a beginning.
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

    /// Records that a request of `width` blocks failed `times` in a row without a reason, as it may where the range
    /// is too wide. Returns whether the next request is to be narrower.
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

    /// Counts a width that was not answered. Returns whether it was a try above `proven`.
    fn miss(&mut self, width: u64) -> bool {
        let tried = self.proven > 0 && width > self.proven;
        let was_probe = self.probe == Some(width);
        self.probe = self.probe.filter(|probe| *probe != width);
        self.misses += 1;
        self.calm = 0;
        // Only one try doubles this. If every request in flight did when a limit came, the width would stay narrow
        // for a day after the limit is gone.
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

    /// Half way to the refused width; `None` where the gain would be an eighth at most.
    fn between(&self, refused: u64) -> Option<u64> {
        let gap = refused.saturating_sub(self.now);
        (gap > self.now / 8 + 1).then_some(self.now + gap / 2)
    }
}
