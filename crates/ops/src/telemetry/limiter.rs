use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets a line through once a minute for each cause, and counts what it holds back: a node that fails every second
/// request, or a contract that emits what cannot be decoded, would else fill the disk.
///
/// The count rides along with the next line of its cause, so nothing is hidden; metrics count everything anyway.
#[derive(Debug)]
pub struct LogLimiter {
    every: Duration,
    causes: Mutex<HashMap<String, CauseState>>,
}

#[derive(Debug)]
struct CauseState {
    told_at: Instant,
    suppressed: u64,
}

/// From one line to the next of the same cause. A minute: an outage is logged when it begins, and a night of it fits on a
/// few screens.
const EVERY: Duration = Duration::from_secs(60);
/// Causes remembered. They are words of the program and names of the configuration, so there are few; should there
/// be more, the oldest is forgotten and may be logged early.
const CAUSES: usize = 256;

impl Default for LogLimiter {
    fn default() -> Self {
        Self { every: EVERY, causes: Mutex::default() }
    }
}

impl LogLimiter {
    /// `None` when a line of this `cause` was let through less than a minute ago. Else how many were held back since
    /// then, as a field that is left out where it would be zero.
    pub fn admit(&self, cause: &str) -> Option<Suppressed> {
        self.admit_at(cause, Instant::now())
    }

    fn admit_at(&self, cause: &str, now: Instant) -> Option<Suppressed> {
        let mut causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = causes.get_mut(cause) {
            if now.saturating_duration_since(known.told_at) < self.every {
                known.suppressed += 1;
                return None;
            }
            known.told_at = now;
            return Some(Suppressed(std::mem::take(&mut known.suppressed)));
        }
        if causes.len() >= CAUSES
            && let Some(oldest) =
                causes.iter().min_by_key(|(_, known)| known.told_at).map(|(key, _)| key.clone())
        {
            causes.remove(&oldest);
        }
        causes.insert(cause.to_owned(), CauseState { told_at: now, suppressed: 0 });
        Some(Suppressed(0))
    }
}

/// Lines of a cause that were not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suppressed(u64);

impl Suppressed {
    /// As a field of a line: absent where none was held back.
    pub fn field(self) -> Option<u64> {
        (self.0 > 0).then_some(self.0)
    }
}

/// The lines of what fails again and again and then works: each row of errors is logged when it begins, seldom while it
/// lasts, and its end where its beginning was.
#[derive(Debug, Default)]
pub struct ErrorStreak {
    lines: LogLimiter,
    told: AtomicBool,
}

impl ErrorStreak {
    /// The error number `errors` of a row. A node that is away for a night says so a dozen times, not ten thousand;
    /// and one that answers every second question, or words each error anew, once a minute for each `cause`.
    pub fn failed(&self, cause: &str, errors: u64, is_news: bool) -> Option<Suppressed> {
        if !errors.is_power_of_two() && !is_news {
            return None;
        }
        let admitted = self.lines.admit(cause)?;
        self.told.store(true, Ordering::Relaxed);
        Some(admitted)
    }

    /// Whether the end of the row is to be logged.
    pub fn ended(&self) -> bool {
        self.told.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_row_is_told_where_its_beginning_was() {
        let troubles = ErrorStreak::default();
        assert_eq!(troubles.failed("timeout", 1, true), Some(Suppressed(0)));
        let next: Vec<_> = (2..=9).map(|errors| troubles.failed("timeout", errors, false)).collect();
        assert_eq!(next, [None; 8]);
        assert_eq!(
            (troubles.failed("rate", 3, false), troubles.failed("rate", 4, false)),
            (None, Some(Suppressed(0)))
        );
        assert_eq!([troubles.ended(), troubles.ended()], [true, false]);
        assert_eq!((troubles.failed("timeout", 1, true), troubles.ended()), (None, false));
    }

    #[test]
    fn a_cause_is_told_once_a_minute_with_what_was_held_back() {
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
        assert_eq!(limiter.admit_at("511", start + Duration::from_secs(1)), None);
    }
}
