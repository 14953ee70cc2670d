use std::time::Duration;

use tokio::time::Instant;

/// Other places where a loop shows that it turns, besides its [`super::Heartbeat`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnSource {
    /// None.
    Heartbeat,
    /// The state of the chain of this name.
    Chain(String),
    /// The state of the sink of this name.
    Sink(String),
}

/// A loop of the daemon, as its supervisor last reported it. Its times are of the clock of Tokio, which tests can pause.
#[derive(Clone, Debug)]
pub struct LoopHealth {
    /// When it last turned, also while it waits.
    pub alive_at: Instant,
    /// Other places where it shows that it turns.
    pub clock: TurnSource,
    /// The loop hangs if it has not turned for this long.
    pub hung_after: Duration,
    /// How its last run failed; `None` after a run that is long enough.
    pub failed: Option<String>,
    /// When it was started again, and how long that run must last to count as well.
    pub again: Option<(Instant, Duration)>,
    /// Number of failures in this process.
    pub failures: u64,
}

impl LoopHealth {
    pub(super) fn new(clock: TurnSource, hung_after: Duration) -> Self {
        Self { alive_at: Instant::now(), clock, hung_after, failed: None, again: None, failures: 0 }
    }

    /// Whether it has not turned for `times` its limit.
    pub fn hangs(&self, times: u32) -> bool {
        self.alive_at.elapsed() > self.hung_after * times
    }

    /// All problems of the loop, one reason a line; empty while all is well.
    pub fn troubles(&self) -> Vec<String> {
        let is_well_again = self.again.is_some_and(|(at, long)| at.elapsed() >= long);
        let failed = self.failed.clone().filter(|_| !is_well_again);
        // A loop that is down cannot turn.
        let waits_to_run = failed.is_some() && self.again.is_none();
        let hangs = (!waits_to_run && self.hangs(1))
            .then(|| format!("its loop has not turned for {} s", self.alive_at.elapsed().as_secs()));
        failed.into_iter().chain(hangs).collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_a_trouble_until_the_loop_has_run_well_for_long() {
        let mut health = LoopHealth::new(TurnSource::Heartbeat, Duration::from_secs(10));
        assert_eq!(health.troubles(), [""; 0]);
        advance(Duration::from_secs(11)).await;
        assert_eq!(health.troubles(), ["its loop has not turned for 11 s"]);
        assert!(health.hangs(1) && !health.hangs(2));
        // Down, it cannot turn: the failure alone is the trouble.
        health.failed = Some("panicked".to_owned());
        assert_eq!(health.troubles(), ["panicked"]);
        (health.again, health.alive_at) = (Some((Instant::now(), Duration::from_secs(5))), Instant::now());
        advance(Duration::from_secs(4)).await;
        assert_eq!(health.troubles(), ["panicked"]);
        advance(Duration::from_secs(1)).await;
        assert_eq!(health.troubles(), [""; 0]);
        advance(Duration::from_secs(6)).await;
        assert_eq!(health.troubles(), ["its loop has not turned for 11 s"]);
    }
}
