use std::time::{Duration, Instant};

/// Where a loop shows that it turns, besides its [`super::Heartbeat`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnSource {
    /// Nowhere.
    Heartbeat,
    /// Where the chain of this name does.
    Chain(String),
    /// Where the sink of this name does.
    Sink(String),
}

/// A loop of the daemon, as its supervisor last left it.
#[derive(Clone, Debug)]
pub struct LoopHealth {
    /// When it last turned, also while it waits.
    pub alive_at: Instant,
    /// Where it shows that it turns, too.
    pub clock: TurnSource,
    /// One that has not turned for so long hangs.
    pub hung_after: Duration,
    /// How its last run failed, until it has run well since.
    pub failed: Option<String>,
    /// When it was started again after that, and how long it has to run to count as well.
    pub again: Option<(Instant, Duration)>,
    /// Times it failed in this process.
    pub failures: u64,
}

impl LoopHealth {
    pub(super) fn new(clock: TurnSource, hung_after: Duration) -> Self {
        Self { alive_at: Instant::now(), clock, hung_after, failed: None, again: None, failures: 0 }
    }

    /// Whether it has not turned for `times` as long as it may.
    pub fn hangs(&self, times: u32) -> bool {
        self.alive_at.elapsed() > self.hung_after * times
    }

    /// What is wrong with it, one reason a line; empty while all is well.
    pub fn troubles(&self) -> Vec<String> {
        let is_well_again = self.again.is_some_and(|(at, long)| at.elapsed() >= long);
        let failed = self.failed.clone().filter(|_| !is_well_again);
        // One that does not run cannot turn.
        let waits_to_run = failed.is_some() && self.again.is_none();
        let hangs = (!waits_to_run && self.hangs(1))
            .then(|| format!("its loop has not turned for {} s", self.alive_at.elapsed().as_secs()));
        failed.into_iter().chain(hangs).collect()
    }
}
