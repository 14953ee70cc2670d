use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{RunPlan, ScheduleStore, ScheduledEvent};
use chainflume_core::domain::causes;
use chainflume_db::StoreError;
use chainflume_ops::health::Heartbeat;
use chainflume_ops::metrics;
use chainflume_ops::telemetry::LogLimiter;

/// The longest pause between two looks at the clock, which may be set.
const LONGEST: Duration = Duration::from_secs(10);
/// The pause after an error.
const RETRY: Duration = Duration::from_secs(1);

/// Publishes by the clock, for as long as its instance leads.
pub struct ScheduleLoop<S, C> {
    schedules: Vec<ScheduledEvent>,
    store: S,
    now: C,
    lines: LogLimiter,
}

impl<S: ScheduleStore, C: Fn() -> Timestamp + Send + Sync> ScheduleLoop<S, C> {
    /// A loop for these schedules with this clock.
    pub fn new(schedules: Vec<ScheduledEvent>, store: S, now: C) -> Self {
        Self { schedules, store, now, lines: LogLimiter::default() }
    }

    /// Publishes what is due until `stop`. An error of the database is logged and tried again.
    pub async fn run(&self, stop: CancellationToken, heartbeat: Heartbeat) {
        let mut since = None;
        while !stop.is_cancelled() {
            let pause = match heartbeat.wait(self.turn(&mut since)).await {
                Ok(pause) => pause,
                Err(error) => {
                    self.failed(&error);
                    since = None;
                    RETRY
                }
            };
            if !heartbeat.pause(pause, &stop).await {
                return;
            }
        }
    }

    /// One look at the clock; returns the pause until the next. `since` is how far each schedule has run, `None` where that is not known.
    async fn turn(&self, since: &mut Option<Vec<Timestamp>>) -> Result<Duration, StoreError> {
        let mut ran = match since.take() {
            Some(ran) => ran,
            None => self.store.begin(&self.schedules, (self.now)()).await?,
        };
        for (schedule, since) in self.schedules.iter().zip(&mut ran) {
            let plan = RunPlan::of(&schedule.times, schedule.missed, *since, (self.now)());
            let Some(upto) = plan.upto else { continue };
            if !self.store.run(schedule, *since, &plan).await? {
                // Another instance has run it: what is known of the others may be old too.
                return Ok(RETRY);
            }
            *since = upto;
            self.note(schedule, &plan);
        }
        let pause = self.pause(&ran);
        *since = Some(ran);
        Ok(pause)
    }

    /// Until the next time of any schedule.
    fn pause(&self, ran: &[Timestamp]) -> Duration {
        let now = (self.now)();
        let next =
            self.schedules.iter().zip(ran).filter_map(|(schedule, since)| schedule.times.after(*since));
        let until = next.min().map(|next| next.duration_since(now));
        until.map_or(LONGEST, |until| Duration::try_from(until).unwrap_or_default().min(LONGEST))
    }

    fn note(&self, schedule: &ScheduledEvent, plan: &RunPlan) {
        metrics::schedule_runs(&schedule.name, "published", plan.runs.len() as u64);
        metrics::schedule_runs(&schedule.name, "missed", plan.missed);
        if plan.missed > 0 {
            let (schedule, missed) = (&schedule.name, plan.missed);
            tracing::warn!(schedule, missed, "runs of a schedule were missed and are left out");
        }
    }

    fn failed(&self, error: &StoreError) {
        if let Some(suppressed) = self.lines.admit("schedule") {
            let suppressed = suppressed.field();
            tracing::warn!(error = %causes(error), suppressed, "schedules cannot run; they are tried again in a moment");
        }
    }
}
