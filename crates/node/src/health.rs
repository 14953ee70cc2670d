use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::error::ChainError;
use super::limits::RefusalKind;
use super::settings::Work;
use chainflume_core::domain::BlockRange;

/// The health of an endpoint, counted by method. An endpoint that returns headers and no logs is as useless as one
/// that cannot be reached, so an answer to one method does not end the failures of another. Contents of answers, and
/// work that is done with them, are counted by themselves: wrong contents remain a failure while the transport works.
pub(super) struct HealthTracker {
    inner: Mutex<HealthState>,
    alarm: Arc<Notify>,
}

struct HealthState {
    streaks: BTreeMap<HealthSubject, FailureStreak>,
    latency: Option<Duration>,
    failures: u64,
    last_error: Option<String>,
    /// The chain id or block 0 was another, and no check has found the right one since.
    wrong: bool,
    well_since: Instant,
    answered_at: Instant,
    /// A request has waited for longer than the timeout of a probe.
    overdue: bool,
    /// When a probe last passed after such a request.
    cleared_at: Option<Instant>,
}

/// What failures are counted for. Only a success of the same subject ends its failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HealthSubject {
    /// A method was answered.
    Answer(&'static str),
    /// The contents of an answer, which a check accepts or rejects.
    Contents(&'static str),
    /// Work that is done with answers.
    Work(Work),
}

/// Failures of one subject without a success in between.
struct FailureStreak {
    weight: u32,
    count: u32,
    since: Instant,
    last: Instant,
    /// The lowest block that the failed work needs. Only work on that block ends the streak.
    at: Option<u64>,
}

/// A [`HealthTracker`] at one moment.
#[derive(Clone, Debug)]
pub(super) struct HealthSnapshot {
    /// Requests fail, for whatever work.
    pub failing: bool,
    /// The work on new blocks fails.
    pub failing_live: bool,
    /// The work on old blocks fails.
    pub failing_history: bool,
    /// There are health_now of a failure; a probe has to confirm it.
    pub suspected: bool,
    /// The last failure is so long ago that no task still retries.
    pub stale: bool,
    pub wrong: bool,
    pub latency: Option<Duration>,
    pub failures: u64,
    pub last_error: Option<String>,
    pub well_for: Duration,
    /// Time since the last answer.
    pub quiet_for: Duration,
}

/// Weights of failures, and the sum at which an endpoint fails. Three failures are enough, or two timeouts of work,
/// or twelve answers "too many requests": an endpoint with a rate limit refuses some requests in normal operation.
const FAILURE_WEIGHT: u32 = 4;
const TIMEOUT_WEIGHT: u32 = 6;
const THROTTLED_WEIGHT: u32 = 1;
const FAILING_WEIGHT: u32 = 12;
/// Concurrent requests fail together. So a streak counts only if it lasts for this time.
const MIN_STREAK: Duration = Duration::from_millis(500);
/// This number of failures of any kind is enough if they lasted for [`FAILING_TIME`] without a success. A rate limit lets
/// some requests through every second, and a backend that lags by a block has the block by then.
const FAILING_COUNT: u32 = 3;
const FAILING_TIME: Duration = Duration::from_secs(3);
/// From this number of failures on, a probe is made. One failure means nothing.
const SUSPICIOUS_COUNT: u32 = 2;
/// After a probe that passed, a request that waits is no sign of a failure for this time: wide ranges take long.
const CLEARED_FOR: Duration = Duration::from_secs(5);
const DO_NOT_FIT: &str = "its answers do not fit together";
/// A reader retries within this time. A request that failed longer ago was given up.
const STALE_AFTER: Duration = Duration::from_secs(60);

impl HealthTracker {
    pub(super) fn new(alarm: Arc<Notify>) -> Self {
        let now = Instant::now();
        let inner = HealthState {
            streaks: BTreeMap::new(),
            latency: None,
            failures: 0,
            last_error: None,
            wrong: false,
            well_since: now,
            answered_at: now,
            overdue: false,
            cleared_at: None,
        };
        Self { inner: Mutex::new(inner), alarm }
    }

    /// A method was answered.
    pub(super) fn answered(&self, method: &'static str, took: Duration) {
        let mut inner = self.lock();
        // A moving average: after five answers half of the older value is gone.
        inner.latency = Some(inner.latency.map_or(took, |latency| (latency * 7 + took) / 8));
        inner.answered_at = Instant::now();
        inner.end(HealthSubject::Answer(method));
    }

    /// Counts a request that failed. A refusal of one request, as for its range, is no failure of the node.
    pub(super) fn failed(&self, method: &'static str, error: &ChainError) {
        self.note(HealthSubject::Answer(method), weight(error), None, Some(error));
    }

    /// Records a request that was not sent, because the node asked for a pause. It has no weight, and only shows that
    /// the failures last.
    pub(super) fn not_asked(&self, method: &'static str, error: &ChainError) {
        if error.is_rate() {
            self.note(HealthSubject::Answer(method), Some(0), None, Some(error));
        }
    }

    /// Records contents that another answer proved wrong. Once is enough to use another provider.
    pub(super) fn proven_wrong(&self, what: &'static str, error: &ChainError) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.failures += 1;
        inner.last_error = Some(error.to_string());
        inner.well_since = now;
        let since = now.checked_sub(MIN_STREAK).unwrap_or(now);
        let streak =
            FailureStreak { weight: FAILING_WEIGHT, count: FAILING_COUNT, since, last: now, at: None };
        inner.streaks.insert(HealthSubject::Contents(what), streak);
        self.alarm.notify_one();
    }

    /// Records contents that failed a check. Only contents that pass end this failure.
    pub(super) fn rejected(&self, what: &'static str, error: &ChainError) {
        self.note(HealthSubject::Contents(what), weight(error), None, Some(error));
    }

    /// Records contents that passed a check.
    pub(super) fn passed(&self, what: &'static str) {
        self.lock().end(HealthSubject::Contents(what));
    }

    /// Counts a failure of work, with its reason. Here a refusal of one request counts too. `None` as reason: the
    /// answers do not fit together, which a reorg explains for a moment. `at` is the block that the work needs next.
    pub(super) fn work_failed(&self, work: Work, at: Option<u64>, error: Option<&ChainError>) {
        // A provider on another chain is recorded in `wrong`.
        if !error.is_some_and(ChainError::is_wrong_chain) {
            self.note(
                HealthSubject::Work(work),
                Some(error.map_or(THROTTLED_WEIGHT, work_weight)),
                at,
                error,
            );
        }
    }

    /// Records work that was done on these blocks; `None`: all work. Returns whether this ends the failures of the
    /// work. Several ranges are read at once, and a range that was read proves nothing about a range that cannot be
    /// read.
    pub(super) fn worked(&self, work: Work, on: Option<BlockRange>) -> bool {
        let mut inner = self.lock();
        let stuck = inner.streaks.get(&HealthSubject::Work(work)).and_then(|streak| streak.at);
        let ends = stuck.zip(on).is_none_or(|(at, on)| on.contains(at));
        if ends {
            inner.end(HealthSubject::Work(work));
        }
        ends
    }

    /// Records a request that has waited for longer than the timeout of a probe.
    pub(super) fn overdue(&self) {
        let mut inner = self.lock();
        if inner.cleared_at.is_none_or(|at| at.elapsed() >= CLEARED_FOR) {
            inner.overdue = true;
            self.alarm.notify_one();
        }
    }

    /// Records a probe that passed: a request that still waits is slow, and the node works.
    pub(super) fn cleared(&self) {
        let mut inner = self.lock();
        (inner.overdue, inner.cleared_at) = (false, Some(Instant::now()));
    }

    /// Records that a check found the right chain.
    pub(super) fn on_chain(&self) {
        self.lock().wrong = false;
    }

    /// Clears all failures, after a probe of everything that the work needs has passed.
    pub(super) fn reset(&self) {
        self.lock().streaks.clear();
    }

    /// Records that the endpoint is unfit for another reason now.
    pub(super) fn unwell(&self) {
        self.lock().well_since = Instant::now();
    }

    pub(super) fn snapshot(&self) -> HealthSnapshot {
        let inner = self.lock();
        let fails = |of: fn(&HealthSubject) -> bool| {
            inner.streaks.iter().any(|(subject, streak)| of(subject) && streak.is_failing())
        };
        let recent = |streak: &FailureStreak| streak.last.elapsed() < STALE_AFTER;
        HealthSnapshot {
            failing: fails(|subject| !matches!(subject, HealthSubject::Work(work) if *work != Work::Probe)),
            failing_live: fails(|subject| matches!(subject, HealthSubject::Work(Work::Live | Work::Pending))),
            failing_history: fails(|subject| matches!(subject, HealthSubject::Work(Work::History))),
            suspected: inner.overdue
                || inner.streaks.values().any(|streak| streak.is_suspicious() && recent(streak)),
            stale: !inner.streaks.values().any(recent),
            wrong: inner.wrong,
            latency: inner.latency,
            failures: inner.failures,
            last_error: inner.last_error.clone(),
            well_for: inner.well_since.elapsed(),
            quiet_for: inner.answered_at.elapsed(),
        }
    }

    /// Counts a failure. With a weight of `None` the error is no failure of the node.
    fn note(&self, subject: HealthSubject, weight: Option<u32>, at: Option<u64>, error: Option<&ChainError>) {
        let mut inner = self.lock();
        if error.is_some_and(ChainError::is_wrong_chain) {
            inner.wrong = true;
            self.alarm.notify_one();
        }
        let Some(weight) = weight else { return };
        let now = Instant::now();
        inner.failures += 1;
        inner.last_error = Some(error.map_or_else(|| DO_NOT_FIT.to_owned(), ToString::to_string));
        inner.well_since = now;
        let new = FailureStreak { weight: 0, count: 0, since: now, last: now, at: None };
        let streak = inner.streaks.entry(subject).or_insert(new);
        streak.weight = streak.weight.saturating_add(weight);
        streak.count = streak.count.saturating_add(1);
        streak.last = now;
        streak.at = streak.at.into_iter().chain(at).min();
        if streak.is_suspicious() {
            self.alarm.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HealthState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HealthState {
    fn end(&mut self, subject: HealthSubject) {
        self.streaks.remove(&subject);
        if self.streaks.is_empty() && !self.wrong {
            self.last_error = None;
        }
    }
}

impl FailureStreak {
    fn is_failing(&self) -> bool {
        let lasted = self.last.duration_since(self.since);
        (self.weight >= FAILING_WEIGHT && lasted >= MIN_STREAK)
            || (self.count >= FAILING_COUNT && lasted >= FAILING_TIME)
    }

    /// Whether a probe is to be made. A rate limit refuses several requests at once, and lets some through a second
    /// later.
    fn is_suspicious(&self) -> bool {
        let lasted = self.last.duration_since(self.since);
        let only_throttled = self.weight <= self.count * THROTTLED_WEIGHT;
        (self.weight >= TIMEOUT_WEIGHT && !only_throttled)
            || (self.count >= SUSPICIOUS_COUNT && lasted >= MIN_STREAK)
    }
}

/// The weight of a request that failed. `None` for a refusal of this request alone: the node may answer another one.
/// If no other request can be made, the work fails, and that counts.
fn weight(error: &ChainError) -> Option<u32> {
    match error {
        ChainError::Refused { refusal, .. } => match refusal {
            RefusalKind::Rate { .. } => Some(THROTTLED_WEIGHT),
            RefusalKind::Range(_)
            | RefusalKind::Size(_)
            | RefusalKind::Addresses
            | RefusalKind::Time
            | RefusalKind::Batch(_)
            | RefusalKind::BeyondHead
            | RefusalKind::UnknownBlock
            | RefusalKind::Pruned => None,
            RefusalKind::Quota
            | RefusalKind::Denied
            | RefusalKind::WrongChain
            | RefusalKind::MethodOff
            | RefusalKind::Unknown => Some(FAILURE_WEIGHT),
        },
        // A narrower request may be answered.
        ChainError::TooLarge { .. } => None,
        // The request was cancelled here.
        ChainError::Cancelled { .. } => None,
        ChainError::Unreachable { .. }
        | ChainError::Timeout { .. }
        | ChainError::BadAnswer { .. }
        | ChainError::NoTag { .. }
        | ChainError::WrongChain { .. }
        | ChainError::WrongGenesis { .. }
        | ChainError::GenesisDiffers { .. } => Some(FAILURE_WEIGHT),
    }
}

/// The weight of work that failed. A refusal by a rate limit or by a backend that lags ends within a moment; it
/// counts by the time that it lasts.
fn work_weight(error: &ChainError) -> u32 {
    match error {
        ChainError::Refused {
            refusal: RefusalKind::Rate { .. } | RefusalKind::BeyondHead | RefusalKind::UnknownBlock,
            ..
        }
        | ChainError::Cancelled { .. } => THROTTLED_WEIGHT,
        ChainError::Timeout { .. } => TIMEOUT_WEIGHT,
        _ => FAILURE_WEIGHT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> ChainError {
        ChainError::Unreachable { host: "node".to_owned(), reason: "connection refused".to_owned() }
    }

    fn refused(refusal: RefusalKind) -> ChainError {
        let (host, message) = ("node".to_owned(), "no".to_owned());
        ChainError::Refused { host, method: "eth_getLogs", code: None, message, refusal }
    }

    /// Makes every streak older than it is.
    fn age(health: &HealthTracker) {
        for streak in health.lock().streaks.values_mut() {
            streak.since = streak.last.checked_sub(MIN_STREAK).expect("the machine runs for a second");
        }
    }

    fn fails_after(method: &'static str, error: &ChainError, times: u32) -> bool {
        let health = HealthTracker::new(Arc::default());
        (0..times).for_each(|_| health.failed(method, error));
        age(&health);
        health.snapshot().failing
    }

    #[test]
    fn three_failures_of_one_method_or_a_dozen_429_are_enough() {
        assert_eq!([2, 3].map(|times| fails_after("eth_getLogs", &away(), times)), [false, true]);
        let rate = refused(RefusalKind::Rate { retry_after: None });
        assert_eq!([11, 12].map(|times| fails_after("eth_getLogs", &rate, times)), [false, true]);
        assert!(!fails_after("eth_getLogs", &refused(RefusalKind::Range(None)), 100));
    }

    #[test]
    fn an_answer_to_one_method_is_no_excuse_for_another() {
        let health = HealthTracker::new(Arc::default());
        for _ in 0..3 {
            health.failed("eth_getLogs", &refused(RefusalKind::MethodOff));
            health.answered("eth_getBlockByNumber", Duration::from_millis(5));
        }
        age(&health);
        assert!(health.snapshot().failing);
        health.answered("eth_getLogs", Duration::from_millis(5));
        assert!(!health.snapshot().failing);
    }

    #[test]
    fn an_answer_is_no_excuse_for_what_it_holds() {
        let health = HealthTracker::new(Arc::default());
        for _ in 0..3 {
            health.rejected("logs", &refused(RefusalKind::Unknown));
            health.answered("logs", Duration::from_millis(5));
        }
        age(&health);
        assert!(health.snapshot().failing);
        health.passed("logs");
        assert!(!health.snapshot().failing);
    }

    #[test]
    fn one_wrong_answer_is_enough_until_a_right_one_clears_it() {
        let health = HealthTracker::new(Arc::default());
        health.rejected("logs", &refused(RefusalKind::Unknown));
        assert!(!health.snapshot().failing, "a node with one bad answer is not failing");
        health.proven_wrong("logs", &refused(RefusalKind::Unknown));
        health.answered("logs", Duration::from_millis(5));
        assert!(health.snapshot().failing);
        health.passed("logs");
        assert!(!health.snapshot().failing);
    }

    #[test]
    fn refused_work_counts_whatever_its_word_for_that_work_alone() {
        for refusal in
            [RefusalKind::Range(None), RefusalKind::Pruned, RefusalKind::Addresses, RefusalKind::Time]
        {
            let health = HealthTracker::new(Arc::default());
            for at in [20, 10, 30] {
                health.work_failed(Work::History, Some(at), Some(&refused(refusal)));
            }
            age(&health);
            let health_now = health.snapshot();
            assert_eq!(
                (health_now.failing, health_now.failing_live, health_now.failing_history),
                (false, false, true)
            );
            // Other ranges do not end the failure, and the range that failed does.
            assert!(!health.worked(Work::History, BlockRange::new(20, 40)));
            assert!(health.snapshot().failing_history);
            assert!(health.worked(Work::History, BlockRange::new(5, 10)));
            assert!(!health.snapshot().failing_history);
        }
    }

    #[test]
    fn failures_at_one_moment_are_one_trouble() {
        let health = HealthTracker::new(Arc::default());
        (0..9).for_each(|_| health.failed("eth_getLogs", &away()));
        assert!(!health.snapshot().failing);
    }
}
