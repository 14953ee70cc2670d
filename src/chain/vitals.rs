use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::error::{ChainError, Refusal};

/// How well an endpoint answers, method by method: one whose headers come and whose logs do not is as useless as one
/// that is away, and an answer to the first is no excuse for the second.
pub(super) struct Vitals {
    inner: Mutex<Inner>,
    alarm: Arc<Notify>,
}

struct Inner {
    streaks: BTreeMap<&'static str, Streak>,
    latency: Option<Duration>,
    failures: u64,
    last_error: Option<String>,
    /// The chain id or genesis is another; until it is checked again and right.
    wrong: bool,
    well_since: Instant,
}

/// Failures of one method without an answer in between.
struct Streak {
    weight: u32,
    since: Instant,
    last: Instant,
}

/// What [`Vitals`] say at one moment.
#[derive(Clone, Debug)]
pub(super) struct Signs {
    pub failing: bool,
    pub wrong: bool,
    pub latency: Option<Duration>,
    pub failures: u64,
    pub last_error: Option<String>,
    pub well_for: Duration,
}

/// A failure is three parts of what it takes, "too many requests" one of twelve: being throttled now and then is
/// how an endpoint with a limit works.
const FAILURE: u32 = 4;
const THROTTLED: u32 = 1;
const ENOUGH: u32 = 12;
/// Questions that were on their way together fail together; only failures over so long say something.
const LONG_ENOUGH: Duration = Duration::from_millis(500);

impl Vitals {
    pub(super) fn new(alarm: Arc<Notify>) -> Self {
        let inner = Inner {
            streaks: BTreeMap::new(),
            latency: None,
            failures: 0,
            last_error: None,
            wrong: false,
            well_since: Instant::now(),
        };
        Self { inner: Mutex::new(inner), alarm }
    }

    /// A method was answered.
    pub(super) fn answered(&self, method: &'static str, took: Duration) {
        let mut inner = self.lock();
        inner.streaks.remove(method);
        // An average that has forgotten half after five answers.
        inner.latency = Some(inner.latency.map_or(took, |latency| (latency * 7 + took) / 8));
        if inner.streaks.is_empty() && !inner.wrong {
            inner.last_error = None;
        }
    }

    /// A question was not answered as it should be. What a node may rightly refuse is no failure.
    pub(super) fn failed(&self, method: &'static str, error: &ChainError) {
        let weight = weight(error);
        let mut inner = self.lock();
        if error.is_wrong_chain() {
            inner.wrong = true;
        }
        if weight == 0 {
            return;
        }
        let now = Instant::now();
        inner.failures += 1;
        inner.last_error = Some(error.to_string());
        inner.well_since = now;
        let streak = inner.streaks.entry(method).or_insert(Streak { weight: 0, since: now, last: now });
        streak.weight = streak.weight.saturating_add(weight);
        streak.last = now;
        if inner.is_failing() || inner.wrong {
            self.alarm.notify_one();
        }
    }

    /// What was answered to this is known to be wrong, by an answer that is right: no more failures are needed to turn to
    /// another one.
    pub(super) fn convicted(&self, what: &'static str, error: &ChainError) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.failures += 1;
        inner.last_error = Some(error.to_string());
        inner.well_since = now;
        let since = now.checked_sub(LONG_ENOUGH).unwrap_or(now);
        inner.streaks.insert(what, Streak { weight: ENOUGH, since, last: now });
        self.alarm.notify_one();
    }

    /// What was answered to this has proven good, where that takes more than an answer.
    pub(super) fn proven(&self, what: &'static str) {
        self.lock().streaks.remove(what);
    }

    /// The chain is the right one.
    pub(super) fn on_chain(&self) {
        self.lock().wrong = false;
    }

    /// A probe of everything that is asked went well: what failed is forgiven.
    pub(super) fn forgive(&self) {
        self.lock().streaks.clear();
    }

    /// Something else is wrong with it just now.
    pub(super) fn unwell(&self) {
        self.lock().well_since = Instant::now();
    }

    pub(super) fn signs(&self) -> Signs {
        let inner = self.lock();
        Signs {
            failing: inner.is_failing(),
            wrong: inner.wrong,
            latency: inner.latency,
            failures: inner.failures,
            last_error: inner.last_error.clone(),
            well_for: inner.well_since.elapsed(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn is_failing(&self) -> bool {
        let fails = |streak: &Streak| {
            streak.weight >= ENOUGH && streak.last.duration_since(streak.since) >= LONG_ENOUGH
        };
        self.streaks.values().any(fails)
    }
}

fn weight(error: &ChainError) -> u32 {
    match error {
        ChainError::Refused { refusal, .. } => match refusal {
            Refusal::Rate { .. } => THROTTLED,
            Refusal::Range(_)
            | Refusal::Size(_)
            | Refusal::Addresses
            | Refusal::Time
            | Refusal::Batch(_)
            | Refusal::BeyondHead
            | Refusal::UnknownBlock => 0,
            Refusal::Quota
            | Refusal::Denied
            | Refusal::Pruned
            | Refusal::WrongChain
            | Refusal::MethodOff
            | Refusal::Other => FAILURE,
        },
        // A narrower question may be answered.
        ChainError::TooLarge { .. } => 0,
        _ => FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> ChainError {
        ChainError::Unreachable { host: "node".to_owned(), reason: "connection refused".to_owned() }
    }

    fn refused(refusal: Refusal) -> ChainError {
        let (host, message) = ("node".to_owned(), "no".to_owned());
        ChainError::Refused { host, method: "eth_getLogs", code: None, message, refusal }
    }

    /// As if every streak had lasted.
    fn age(vitals: &Vitals) {
        for streak in vitals.lock().streaks.values_mut() {
            streak.since = streak.last.checked_sub(LONG_ENOUGH).expect("the machine runs for a second");
        }
    }

    fn fails_after(method: &'static str, error: &ChainError, times: u32) -> bool {
        let vitals = Vitals::new(Arc::default());
        (0..times).for_each(|_| vitals.failed(method, error));
        age(&vitals);
        vitals.signs().failing
    }

    #[test]
    fn three_failures_of_one_method_are_enough_and_a_dozen_times_too_many_requests() {
        assert_eq!([2, 3].map(|times| fails_after("eth_getLogs", &away(), times)), [false, true]);
        let rate = refused(Refusal::Rate { retry_after: None });
        assert_eq!([11, 12].map(|times| fails_after("eth_getLogs", &rate, times)), [false, true]);
        assert!(!fails_after("eth_getLogs", &refused(Refusal::Range(None)), 100));
    }

    #[test]
    fn an_answer_to_one_method_is_no_excuse_for_another() {
        let vitals = Vitals::new(Arc::default());
        for _ in 0..3 {
            vitals.failed("eth_getLogs", &refused(Refusal::MethodOff));
            vitals.answered("eth_getBlockByNumber", Duration::from_millis(5));
        }
        age(&vitals);
        assert!(vitals.signs().failing);
        vitals.answered("eth_getLogs", Duration::from_millis(5));
        assert!(!vitals.signs().failing);
    }

    #[test]
    fn failures_at_one_moment_are_one_trouble() {
        let vitals = Vitals::new(Arc::default());
        (0..9).for_each(|_| vitals.failed("eth_getLogs", &away()));
        assert!(!vitals.signs().failing);
    }
}
