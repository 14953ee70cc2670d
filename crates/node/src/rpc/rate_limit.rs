//! Limits the rate of requests to an endpoint: by the configuration, and by the refusals of the endpoint.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::settings::RateLimitSettings;

/// A request does not wait for a longer pause: the caller may have other work, or another provider.
const MAX_QUEUE_WAIT: Duration = Duration::from_secs(2);
/// The pause after a refusal without a time: most providers count requests per second.
const DEFAULT_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that is granted to a node: a longer one would be an outage.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

pub(super) struct RateLimiter {
    /// Requests per second; `None` without a limit.
    requests: Option<f64>,
    units: Option<f64>,
    costs: BTreeMap<String, u64>,
    most: usize,
    state: Mutex<RateState>,
    freed: Notify,
}

struct RateState {
    in_flight: usize,
    /// Allowed concurrent requests. Grows by one for each round of answers, and is halved by a refusal (as in TCP).
    allowed: f64,
    /// Requests that may be made now. May be negative: a call that costs more than the budget of a second is paid
    /// afterwards.
    requests: f64,
    units: f64,
    filled: Instant,
    /// The end of the pause that the node asked for.
    closed_until: Option<Instant>,
    /// Time of the last refusal that lowered `allowed`. Refusals of requests that began before count as the same
    /// refusal.
    cut: Instant,
}

/// The right to have one request in flight, until it is dropped.
pub(super) struct Permit<'a> {
    pace: &'a RateLimiter,
    began: Instant,
}

impl RateLimiter {
    pub(super) fn new(settings: &RateLimitSettings) -> Self {
        let per_second = |limit: Option<u64>| limit.map(as_f64);
        let (requests, units) =
            (per_second(settings.requests_per_second), per_second(settings.compute_units_per_second));
        let state = RateState {
            in_flight: 0,
            allowed: as_f64(settings.max_concurrent.max(1) as u64),
            requests: requests.unwrap_or(0.0),
            units: units.unwrap_or(0.0),
            filled: Instant::now(),
            closed_until: None,
            cut: Instant::now(),
        };
        Self {
            requests,
            units,
            costs: settings.compute_units.clone(),
            most: settings.max_concurrent.max(1),
            state: Mutex::new(state),
            freed: Notify::new(),
        }
    }

    /// Compute units of a call.
    pub(super) fn cost(&self, method: &str) -> u64 {
        self.costs.get(method).or_else(|| self.costs.get("*")).copied().unwrap_or(0)
    }

    /// The configured number of concurrent requests.
    pub(super) fn max_concurrent(&self) -> usize {
        self.most
    }

    /// The number of concurrent requests that is allowed now.
    pub(super) fn allowed(&self) -> f64 {
        self.lock().allowed.floor()
    }

    /// Waits until `calls` requests and `units` compute units may be spent.
    ///
    /// # Errors
    /// The rest of the pause that the node asked for, if it is more than a moment.
    pub(super) async fn enter(&self, calls: u64, units: u64) -> Result<Permit<'_>, Duration> {
        loop {
            // Registers before the state is read, so that no permit that is freed is missed.
            let freed = self.freed.notified();
            let turn = self.lock().turn(self, as_f64(calls), as_f64(units), Instant::now());
            match turn {
                Admission::Go => return Ok(Permit { pace: self, began: Instant::now() }),
                Admission::Closed(wait) if wait > MAX_QUEUE_WAIT => return Err(wait),
                Admission::Closed(wait) | Admission::Short(wait) => sleep(wait).await,
                Admission::Full => freed.await,
            }
        }
    }

    /// Spends without a wait, for a probe: it checks what the queue waits for.
    ///
    /// # Errors
    /// The rest of the pause that the node asked for.
    pub(super) fn enter_now(&self, calls: u64, units: u64) -> Result<Permit<'_>, Duration> {
        let mut state = self.lock();
        let closed = state.closed_for(Instant::now());
        if !closed.is_zero() {
            return Err(closed);
        }
        state.take(as_f64(calls), as_f64(units));
        Ok(Permit { pace: self, began: Instant::now() })
    }

    /// The rest of the pause that the node asked for.
    pub(super) fn closed_for(&self) -> Duration {
        self.lock().closed_for(Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, RateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Admission {
    Go,
    /// Too many requests are in flight.
    Full,
    /// The budget is used up for this time.
    Short(Duration),
    /// The node asked for a pause.
    Closed(Duration),
}

impl RateState {
    fn turn(&mut self, pace: &RateLimiter, calls: f64, units: f64, now: Instant) -> Admission {
        let closed = self.closed_for(now);
        if !closed.is_zero() {
            return Admission::Closed(closed);
        }
        self.closed_until = None;
        if as_f64(self.in_flight as u64) >= self.allowed.floor() {
            return Admission::Full;
        }
        let passed = (now - self.filled).as_secs_f64();
        self.filled = now;
        let mut wait = 0.0_f64;
        for (held, flow) in [(&mut self.requests, pace.requests), (&mut self.units, pace.units)] {
            let Some(flow) = flow else { continue };
            // At most the budget of one second is saved up.
            *held = (*held + passed * flow).min(flow);
            if *held < 1.0 {
                wait = wait.max((1.0 - *held) / flow);
            }
        }
        if wait > 0.0 {
            return Admission::Short(Duration::from_secs_f64(wait.max(0.001)));
        }
        self.take(calls, units);
        Admission::Go
    }

    fn take(&mut self, calls: f64, units: f64) {
        self.requests -= calls;
        self.units -= units;
        self.in_flight += 1;
    }

    fn closed_for(&self, now: Instant) -> Duration {
        self.closed_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    fn answered(&mut self, pace: &RateLimiter) {
        self.allowed = (self.allowed + 1.0 / self.allowed).min(as_f64(pace.most as u64));
    }

    /// Records a refusal of a request that began at `began`.
    fn limited(&mut self, began: Instant, retry_after: Option<Duration>, now: Instant) {
        let until = now + retry_after.unwrap_or(DEFAULT_PAUSE).min(MAX_RETRY_AFTER);
        self.closed_until = self.closed_until.max(Some(until));
        if began >= self.cut {
            self.allowed = (self.allowed / 2.0).max(1.0);
            self.cut = now;
        }
    }
}

impl Permit<'_> {
    /// Records an answer.
    pub(super) fn answered(self) {
        self.pace.lock().answered(self.pace);
    }

    /// Records a refusal because of the rate.
    pub(super) fn limited(self, retry_after: Option<Duration>) {
        self.pace.lock().limited(self.began, retry_after, Instant::now());
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.pace.lock().in_flight -= 1;
        // Wakes all of them: the one that is woken may be dropped, and several may be allowed.
        self.pace.freed.notify_waiters();
    }
}

#[expect(clippy::cast_precision_loss, reason = "requests and units of a second are far below 2^53")]
fn as_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(requests: Option<u64>, units: Option<u64>, most: usize) -> RateLimiter {
        let compute_units = [("a".to_owned(), 10), ("*".to_owned(), 3)].into();
        RateLimiter::new(&RateLimitSettings {
            requests_per_second: requests,
            compute_units_per_second: units,
            compute_units,
            max_concurrent: most,
            max_bytes_in_flight: 128 << 20,
        })
    }

    /// The number of calls of `units` that are admitted within `seconds`, one after the other, by a simulated clock.
    fn calls(pace: &RateLimiter, units: f64, seconds: u64) -> u64 {
        let mut state = pace.lock();
        let (mut now, mut calls) = (state.filled, 0);
        let end = now + Duration::from_secs(seconds);
        while now < end {
            match state.turn(pace, 1.0, units, now) {
                Admission::Go => {
                    state.in_flight -= 1;
                    calls += 1;
                }
                Admission::Short(wait) | Admission::Closed(wait) => now += wait,
                Admission::Full => panic!("no request is in flight"),
            }
        }
        calls
    }

    #[test]
    fn requests_of_a_second_are_counted() {
        let made = calls(&pace(Some(15), None, 4), 0.0, 20);
        assert!((300..=316).contains(&made), "{made} in 20 s of 15 each");
        let made = calls(&pace(Some(1), None, 4), 0.0, 20);
        assert!((20..=22).contains(&made), "{made} in 20 s of 1 each");
    }

    #[test]
    fn compute_units_a_second_count_even_where_one_call_costs_more() {
        let made = calls(&pace(None, Some(300), 4), 75.0, 20);
        assert!((80..=86).contains(&made), "{made} calls of 75 in 20 s of 300 each");
        let made = calls(&pace(None, Some(50), 4), 75.0, 30);
        assert!((20..=22).contains(&made), "{made} calls of 75 in 30 s of 50 each");
    }

    #[test]
    fn a_cost_table_has_a_price_for_everything_else() {
        let pace = pace(None, None, 1);
        assert_eq!((pace.cost("a"), pace.cost("b")), (10, 3));
    }

    #[test]
    fn a_burst_of_refusals_halves_the_rate_and_answers_restore_it() {
        let pace = pace(None, None, 8);
        let mut state = pace.lock();
        let (began, now) = (Instant::now(), Instant::now() + Duration::from_millis(50));
        (0..8).for_each(|_| state.limited(began, None, now));
        assert_eq!(state.allowed.floor(), 4.0);
        state.limited(now, None, now + DEFAULT_PAUSE);
        assert_eq!(state.allowed.floor(), 2.0);
        (0..60).for_each(|_| state.answered(&pace));
        assert_eq!(state.allowed.floor(), 8.0);
        (0..20).for_each(|n| state.limited(now + DEFAULT_PAUSE * n, None, now + DEFAULT_PAUSE * n));
        assert_eq!(state.allowed.floor(), 1.0);
    }

    #[test]
    fn a_requested_pause_is_kept_for_at_most_five_minutes() {
        let pace = pace(None, None, 8);
        let now = Instant::now();
        let waits = [None, Some(1), Some(40), Some(7), Some(86_400)].map(|asked| {
            let mut state = pace.lock();
            state.limited(now, asked.map(Duration::from_secs), now);
            match state.turn(&pace, 1.0, 0.0, now) {
                Admission::Closed(wait) => wait.as_secs(),
                _ => 0,
            }
        });
        assert_eq!(waits, [1, 1, 40, 40, 300]);
    }

    #[tokio::test]
    async fn a_waiter_gets_its_place_and_a_long_wait_is_refused() {
        let pace = pace(None, None, 1);
        let Ok(first) = pace.enter(1, 0).await else { panic!("no request is in flight") };
        let second = pace.enter(1, 0);
        let third = async {
            tokio::task::yield_now().await;
            first.answered();
        };
        let (second, ()) = tokio::join!(second, third);
        let Ok(second) = second else { panic!("it is open") };
        second.limited(Some(Duration::from_secs(40)));
        assert!(pace.enter(1, 0).await.err().expect("closed") > Duration::from_secs(39));
    }
}
