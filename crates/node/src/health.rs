use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::error::ChainError;
use super::limits::RefusalKind;
use super::settings::Work;
use chainflume_core::domain::BlockRange;

/// The health of an endpoint, method by method: an endpoint that returns headers and no logs is as useless as one that is away, so an
/// answer to one method does not excuse failures of another. The contents of answers, and the work done with them, are counted
/// separately: a working transport does not excuse wrong contents.
pub(super) struct HealthTracker {
    inner: Mutex<HealthState>,
    alarm: Arc<Notify>,
}

struct HealthState {
    streaks: BTreeMap<HealthSubject, FailureStreak>,
    latency: Option<Duration>,
    failures: u64,
    last_error: Option<String>,
    /// The chain id or genesis is another; until it is checked again and right.
    wrong: bool,
    well_since: Instant,
    answered_at: Instant,
    /// A question has been waiting for an answer for longer than a probe would.
    overdue: bool,
    /// A probe found nothing wrong at this moment.
    cleared_at: Option<Instant>,
}

/// A subject of failures. Only a success of the same subject ends its failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HealthSubject {
    /// A method was answered.
    Answer(&'static str),
    /// The contents of an answer passed the checks.
    Contents(&'static str),
    /// Work was done with what was answered.
    Work(Work),
}

/// Failures of one subject without a success in between.
struct FailureStreak {
    weight: u32,
    count: u32,
    since: Instant,
    last: Instant,
    /// The lowest block of the work that failed; only work on that block ends the streak.
    at: Option<u64>,
}

/// A [`HealthTracker`] at one moment.
#[derive(Clone, Debug)]
pub(super) struct HealthSnapshot {
    /// Answers fail, whatever they are for.
    pub failing: bool,
    /// The work on new blocks fails.
    pub failing_live: bool,
    /// The work on old blocks fails.
    pub failing_history: bool,
    /// Something is wrong that may pass: a probe decides.
    pub suspected: bool,
    /// The last failure is so long ago that no task can be waiting for it.
    pub stale: bool,
    pub wrong: bool,
    pub latency: Option<Duration>,
    pub failures: u64,
    pub last_error: Option<String>,
    pub well_for: Duration,
    /// How long nothing was answered.
    pub quiet_for: Duration,
}

/// A failure is three parts of what it takes, "too many requests" one of twelve: being throttled now and then is
/// how an endpoint with a limit works. Of questions that were not answered in time two are enough: they took long.
const FAILURE: u32 = 4;
const TIMED_OUT: u32 = 6;
const THROTTLED: u32 = 1;
const ENOUGH: u32 = 12;
/// Questions that were on their way together fail together; only failures over this time count.
const LONG_ENOUGH: Duration = Duration::from_millis(500);
/// Failures of any kind are enough when there were so many over so long and nothing else: a limit lets something through
/// every second, a backend that lags by a block or two has it by then.
const MANY: u32 = 3;
const LASTING: Duration = Duration::from_secs(3);
/// From so many on a probe looks what is wrong; one failure is nothing.
const SUSPICIOUS: u32 = 2;
/// A probe that passed answers for so long for questions that take their time: wide ranges do.
const CLEARED_FOR: Duration = Duration::from_secs(5);
const DO_NOT_FIT: &str = "its answers do not fit together";
/// A reader tries again within this; what has failed longer ago was given up.
const STALE: Duration = Duration::from_secs(60);

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
        // An average that has forgotten half after five answers.
        inner.latency = Some(inner.latency.map_or(took, |latency| (latency * 7 + took) / 8));
        inner.answered_at = Instant::now();
        inner.end(HealthSubject::Answer(method));
    }

    /// Counts a request that failed. A refusal that a node may give is not a failure.
    pub(super) fn failed(&self, method: &'static str, error: &ChainError) {
        self.note(HealthSubject::Answer(method), (weight(error), None), Some(error));
    }

    /// Records a request that was not sent, because the node asked for a pause or is not used. It does not count as a failure, only as a
    /// sign that the failures continue.
    pub(super) fn not_asked(&self, method: &'static str, error: &ChainError) {
        if error.is_rate() {
            self.note(HealthSubject::Answer(method), (Some(0), None), Some(error));
        }
    }

    /// Records contents that a right answer proved wrong: this alone is enough to use another provider.
    pub(super) fn proven_wrong(&self, what: &'static str, error: &ChainError) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.failures += 1;
        inner.last_error = Some(error.to_string());
        inner.well_since = now;
        let since = now.checked_sub(LONG_ENOUGH).unwrap_or(now);
        let streak = FailureStreak { weight: ENOUGH, count: MANY, since, last: now, at: None };
        inner.streaks.insert(HealthSubject::Contents(what), streak);
        self.alarm.notify_one();
    }

    /// Records contents that failed a check. A later answer does not make up for them.
    pub(super) fn rejected(&self, what: &'static str, error: &ChainError) {
        self.note(HealthSubject::Contents(what), (weight(error), None), Some(error));
    }

    /// Records contents that passed a check.
    pub(super) fn passed(&self, what: &'static str) {
        self.lock().end(HealthSubject::Contents(what));
    }

    /// Counts a failure of work with its reason, also a refusal that a node may give. `None` where the answers do not fit together,
    /// which a reorg explains for a moment. `at` is where the work has to go on.
    pub(super) fn work_failed(&self, work: Work, at: Option<u64>, error: Option<&ChainError>) {
        // Another chain is a matter of its own.
        if !error.is_some_and(ChainError::is_wrong_chain) {
            self.note(HealthSubject::Work(work), (Some(error.map_or(THROTTLED, work_weight)), at), error);
        }
    }

    /// Records that work on these blocks was done; without blocks, all work. Returns whether that ends the failures of the work: several
    /// ranges are read at once, and the success of others says nothing about a range that cannot be read.
    pub(super) fn worked(&self, work: Work, on: Option<BlockRange>) -> bool {
        let mut inner = self.lock();
        let stuck = inner.streaks.get(&HealthSubject::Work(work)).and_then(|streak| streak.at);
        let ends = stuck.zip(on).is_none_or(|(at, on)| on.contains(at));
        if ends {
            inner.end(HealthSubject::Work(work));
        }
        ends
    }

    /// A question waits for its answer for longer than a probe would.
    pub(super) fn overdue(&self) {
        let mut inner = self.lock();
        if inner.cleared_at.is_none_or(|at| at.elapsed() >= CLEARED_FOR) {
            inner.overdue = true;
            self.alarm.notify_one();
        }
    }

    /// A probe was answered well: whatever is overdue takes its time.
    pub(super) fn cleared(&self) {
        let mut inner = self.lock();
        (inner.overdue, inner.cleared_at) = (false, Some(Instant::now()));
    }

    /// The chain is the right one.
    pub(super) fn on_chain(&self) {
        self.lock().wrong = false;
    }

    /// Clears all failures: a probe of everything that is asked went well.
    pub(super) fn reset(&self) {
        self.lock().streaks.clear();
    }

    /// Something else is wrong with it just now.
    pub(super) fn unwell(&self) {
        self.lock().well_since = Instant::now();
    }

    pub(super) fn snapshot(&self) -> HealthSnapshot {
        let inner = self.lock();
        let fails = |of: fn(&HealthSubject) -> bool| {
            inner.streaks.iter().any(|(matter, streak)| of(matter) && streak.is_failing())
        };
        let recent = |streak: &FailureStreak| streak.last.elapsed() < STALE;
        HealthSnapshot {
            failing: fails(|matter| !matches!(matter, HealthSubject::Work(work) if *work != Work::Probe)),
            failing_live: fails(|matter| matches!(matter, HealthSubject::Work(Work::Live | Work::Pending))),
            failing_history: fails(|matter| matches!(matter, HealthSubject::Work(Work::History))),
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

    /// Adds a failure; a weight of `None` is no failure of the node.
    fn note(
        &self,
        matter: HealthSubject,
        (weight, at): (Option<u32>, Option<u64>),
        error: Option<&ChainError>,
    ) {
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
        let streak = inner.streaks.entry(matter).or_insert(new);
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
    fn end(&mut self, matter: HealthSubject) {
        self.streaks.remove(&matter);
        if self.streaks.is_empty() && !self.wrong {
            self.last_error = None;
        }
    }
}

impl FailureStreak {
    fn is_failing(&self) -> bool {
        let lasted = self.last.duration_since(self.since);
        (self.weight >= ENOUGH && lasted >= LONG_ENOUGH) || (self.count >= MANY && lasted >= LASTING)
    }

    /// Whether it is worth a probe. A limit refuses in handfuls, and lets something through a second later.
    fn is_suspicious(&self) -> bool {
        let lasted = self.last.duration_since(self.since);
        let only_throttled = self.weight <= self.count * THROTTLED;
        (self.weight >= TIMED_OUT && !only_throttled) || (self.count >= SUSPICIOUS && lasted >= LONG_ENOUGH)
    }
}

/// Of an answer. What depends on the question is no failure of the node: another question may be answered. Where no other
/// can be asked the work comes to nothing, and that counts.
fn weight(error: &ChainError) -> Option<u32> {
    match error {
        ChainError::Refused { refusal, .. } => match refusal {
            RefusalKind::Rate { .. } => Some(THROTTLED),
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
            | RefusalKind::Unknown => Some(FAILURE),
        },
        // A narrower question may be answered.
        ChainError::TooLarge { .. } => None,
        // We went away, and did not wait for the end.
        ChainError::Left { .. } => None,
        ChainError::Unreachable { .. }
        | ChainError::Timeout { .. }
        | ChainError::BadAnswer { .. }
        | ChainError::NoTag { .. }
        | ChainError::WrongChain { .. }
        | ChainError::WrongGenesis { .. }
        | ChainError::GenesisDiffers { .. } => Some(FAILURE),
    }
}

/// Of work. What a limit or a backend that lags refuses is there a moment later; that it is not counts by its time.
fn work_weight(error: &ChainError) -> u32 {
    match error {
        ChainError::Refused {
            refusal: RefusalKind::Rate { .. } | RefusalKind::BeyondHead | RefusalKind::UnknownBlock,
            ..
        }
        | ChainError::Left { .. } => THROTTLED,
        ChainError::Timeout { .. } => TIMED_OUT,
        _ => FAILURE,
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

    /// As if every streak had lasted.
    fn age(health: &HealthTracker) {
        for streak in health.lock().streaks.values_mut() {
            streak.since = streak.last.checked_sub(LONG_ENOUGH).expect("the machine runs for a second");
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
            let signs = health.snapshot();
            assert_eq!((signs.failing, signs.failing_live, signs.failing_history), (false, false, true));
            // Other ranges do not make it good, and the one that failed does.
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
