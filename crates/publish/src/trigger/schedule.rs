//! Events by the clock. A schedule has times ([`CronTimes`]). One instance leads; at each time it stores the event and how far the
//! schedule has run in one transaction. The id of a run is made of the name and the time, so that no run is published twice, also
//! where two instances act as leader for a moment.

mod cron;
mod plan;
mod run;
mod store;

pub use cron::{CronFault, CronTimes};
pub use plan::{DueRun, MissedRuns, RunPlan};
pub use run::ScheduleLoop;
pub use store::{ScheduleStore, StoredSchedules};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{ApplicationEvent, EventSchemas, derived_id};

/// A `[[schedule]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledEvent {
    /// Its name, part of the ids of its events.
    pub name: String,
    /// Its times.
    pub times: CronTimes,
    /// What happens to runs that were missed because no instance ran.
    pub missed: MissedRuns,
    /// Type of the events.
    pub event_type: String,
    /// Their aggregate type.
    pub aggregate_type: String,
    /// Their aggregate id.
    pub aggregate_id: String,
    /// Their payload, to which the time of the run is added.
    pub payload: Map<String, Value>,
}

impl ScheduledEvent {
    /// Checks the payload against the schema of the type.
    ///
    /// # Errors
    /// What does not fit, and where.
    pub fn check(&self, schemas: &EventSchemas) -> Result<(), String> {
        let event = self.event(&DueRun { due: Timestamp::UNIX_EPOCH, missed: 0 });
        event.check(schemas).map_err(|refusal| refusal.detail)
    }

    /// The event of a run.
    pub fn event(&self, run: &DueRun) -> ApplicationEvent {
        let due = text(run.due);
        let mut payload = self.payload.clone();
        payload.insert("dueAt".to_owned(), json!(due));
        payload.insert("missedRuns".to_owned(), json!(run.missed));
        ApplicationEvent {
            id: derived_id(&[b"schedule", self.name.as_bytes(), due.as_bytes()]),
            event_type: self.event_type.clone(),
            aggregate_type: self.aggregate_type.clone(),
            aggregate_id: self.aggregate_id.clone(),
            payload,
            user_id: None,
            correlation_id: None,
            causation_id: None,
            source: format!("schedule:{}", self.name),
            timestamp: due,
        }
    }
}

/// RFC 3339 in UTC with milliseconds, as all timestamps of messages are.
fn text(at: Timestamp) -> String {
    format!("{at:.3}")
}

#[cfg(test)]
mod tests;
