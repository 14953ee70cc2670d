use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Passes one line per minute for each cause, and counts the suppressed ones. Otherwise a node that fails every second
/// request, or a contract that emits malformed logs, would fill the disk.
///
/// The count is a field of the next line of the same cause, so no line disappears unnoticed. Metrics count every
/// occurrence.
#[derive(Debug)]
pub struct LogLimiter {
    every: Duration,
    causes: Mutex<HashMap<String, CauseState>>,
}

#[derive(Debug)]
struct CauseState {
    logged_at: Instant,
    suppressed: u64,
}

/// Minimum time between two lines of the same cause. One minute: an outage is logged when it begins, and a night of it
/// fits on a few screens.
const EVERY: Duration = Duration::from_secs(60);
/// Maximum number of remembered causes. Causes are words of the program and names of the configuration, so they are
/// few. Beyond the limit the oldest is forgotten and may be logged early.
const CAUSES: usize = 256;

impl Default for LogLimiter {
    fn default() -> Self {
        Self { every: EVERY, causes: Mutex::default() }
    }
}

impl LogLimiter {
    /// `None` if a line of this `cause` passed less than a minute ago. Otherwise the number of lines suppressed since
    /// then, as a field that is absent for zero.
    pub fn admit(&self, cause: &str) -> Option<Suppressed> {
        self.admit_at(cause, Instant::now())
    }

    fn admit_at(&self, cause: &str, now: Instant) -> Option<Suppressed> {
        let mut causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = causes.get_mut(cause) {
            if now.saturating_duration_since(known.logged_at) < self.every {
                known.suppressed += 1;
                return None;
            }
            known.logged_at = now;
            return Some(Suppressed(std::mem::take(&mut known.suppressed)));
        }
        if causes.len() >= CAUSES
            && let Some(oldest) =
                causes.iter().min_by_key(|(_, known)| known.logged_at).map(|(key, _)| key.clone())
        {
            causes.remove(&oldest);
        }
        causes.insert(cause.to_owned(), CauseState { logged_at: now, suppressed: 0 });
        Some(Suppressed(0))
    }
}

/// Number of suppressed lines of a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suppressed(u64);

impl Suppressed {
    /// As a field of a line: absent for zero.
    pub fn field(self) -> Option<u64> {
        (self.0 > 0).then_some(self.0)
    }
}

/// The text of an error, compared with the last error of its series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorText {
    /// It differs, or there was no error before.
    New,
    /// It is the same, or is not compared.
    Same,
}

impl ErrorText {
    /// Compares `text` with the text of the last error.
    pub fn after(last: Option<&str>, text: &str) -> Self {
        if last == Some(text) { Self::Same } else { Self::New }
    }
}

/// Log lines for a fault that repeats and ends. A series of errors is logged when it begins, rarely while it lasts, and
/// when it ends if its beginning was logged.
#[derive(Debug, Default)]
pub struct ErrorStreak {
    lines: LogLimiter,
    logged: AtomicBool,
    /// Whether a new text was not logged yet, because a line of its cause had just passed.
    owed: AtomicBool,
}

impl ErrorStreak {
    /// Error number `errors` of a series. A node that is unreachable for a night causes a dozen lines, not ten
    /// thousand. A node that fails every second request, or words each error anew, causes one line per minute for each
    /// `cause`. A text that is new while the line of its cause is suppressed is logged with the next error after that minute.
    pub fn failed(&self, cause: &str, errors: u64, text: ErrorText) -> Option<Suppressed> {
        self.failed_at(cause, errors, text, Instant::now())
    }

    fn failed_at(&self, cause: &str, errors: u64, text: ErrorText, now: Instant) -> Option<Suppressed> {
        let is_new = text == ErrorText::New;
        if !errors.is_power_of_two() && !is_new && !self.owed.load(Ordering::Relaxed) {
            return None;
        }
        let admitted = self.lines.admit_at(cause, now);
        if admitted.is_some() || is_new {
            self.owed.store(admitted.is_none(), Ordering::Relaxed);
        }
        self.logged.fetch_or(admitted.is_some(), Ordering::Relaxed);
        admitted
    }

    /// Whether to log the end of the series.
    pub fn ended(&self) -> bool {
        self.owed.store(false, Ordering::Relaxed);
        self.logged.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_ends_in_the_log_where_its_beginning_is() {
        let troubles = ErrorStreak::default();
        assert_eq!(troubles.failed("timeout", 1, ErrorText::New), Some(Suppressed(0)));
        let next: Vec<_> =
            (2..=9).map(|errors| troubles.failed("timeout", errors, ErrorText::Same)).collect();
        assert_eq!(next, [None; 8]);
        assert_eq!(
            (troubles.failed("rate", 3, ErrorText::Same), troubles.failed("rate", 4, ErrorText::Same)),
            (None, Some(Suppressed(0)))
        );
        assert_eq!([troubles.ended(), troubles.ended()], [true, false]);
        assert_eq!((troubles.failed("timeout", 1, ErrorText::New), troubles.ended()), (None, false));
    }

    #[test]
    fn a_new_text_is_logged_although_its_cause_just_was() {
        let (streak, start) = (ErrorStreak::default(), Instant::now());
        let at = |seconds, errors, text| {
            let logged = streak.failed_at("refused", errors, text, start + Duration::from_secs(seconds));
            logged.map(Suppressed::field)
        };
        assert_eq!(at(0, 1, ErrorText::New), Some(None), "the password");
        assert_eq!(at(40, 9, ErrorText::New), None, "the type of a key");
        assert_eq!(at(50, 10, ErrorText::Same), None);
        assert_eq!(at(61, 11, ErrorText::Same), Some(Some(2)));
        assert_eq!([at(130, 12, ErrorText::Same), at(200, 13, ErrorText::Same)], [None; 2]);
        // The end of a series ends what was owed.
        assert_eq!((at(201, 14, ErrorText::New), at(202, 15, ErrorText::New)), (Some(None), None));
        assert!(streak.ended());
        assert_eq!(at(300, 3, ErrorText::Same), None);
    }

    #[test]
    fn a_cause_is_logged_once_a_minute_with_its_suppressed_lines() {
        let (limiter, start) = (LogLimiter::default(), Instant::now());
        let at = |seconds, cause: &str| {
            limiter.admit_at(cause, start + Duration::from_secs(seconds)).map(Suppressed::field)
        };
        assert_eq!(
            [at(0, "rate"), at(1, "rate"), at(59, "rate"), at(59, "timeout")],
            [Some(None), None, None, Some(None)]
        );
        assert_eq!([at(60, "rate"), at(61, "rate"), at(200, "rate")], [Some(Some(2)), None, Some(Some(1))]);
    }

    #[test]
    fn it_remembers_so_many_causes_and_no_more() {
        let (limiter, start) = (LogLimiter::default(), Instant::now());
        for cause in 0..2 * CAUSES as u64 {
            let admitted = limiter.admit_at(&cause.to_string(), start + Duration::from_millis(cause));
            assert_eq!(admitted, Some(Suppressed(0)));
        }
        assert_eq!(limiter.causes.lock().unwrap().len(), CAUSES);
        let at_once = start + Duration::from_secs(1);
        // The newest are remembered. The last may be logged early, and takes the place of the oldest.
        assert_eq!(["511", "256"].map(|cause| limiter.admit_at(cause, at_once)), [None; 2]);
        assert_eq!(limiter.admit_at("255", at_once), Some(Suppressed(0)));
        assert_eq!(limiter.admit_at("256", at_once), Some(Suppressed(0)));
    }
}
