use std::time::Duration;

use serde::{Deserialize, Serialize};

use chainflume_ops::health::{HUNG_AFTER, SinkHealth};

/// A sink in a [`Report`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkReport {
    /// Why it is not ready, one reason a line; empty if it is.
    pub not_ready: Vec<String>,
    /// Everything up to this number is delivered.
    pub delivered: Option<u64>,
    /// Number of messages that it does not have yet.
    pub lag: u64,
    /// Number of earlier messages that wait for another try, or behind a message that does.
    #[serde(default)]
    pub held: u64,
    /// How long the oldest of them has waited.
    #[serde(default)]
    pub held_oldest_seconds: f64,
    /// Why it is disabled until an operator enables it.
    #[serde(default)]
    pub disabled: Option<String>,
    /// The messages in it that this database never sent, and the remedy. Delivery is stopped until an operator decides.
    #[serde(default)]
    pub foreign: Option<String>,
    /// How long messages have waited without a delivery.
    pub seconds_stuck: f64,
    /// Errors since the last success.
    pub consecutive_errors: u64,
    /// The last error, until a delivery succeeds.
    pub last_error: Option<String>,
}

/// Messages that have waited this long make the sink not ready.
const STUCK_AFTER: Duration = Duration::from_secs(30);

impl SinkReport {
    pub(super) fn of(sink: SinkHealth, last: u64) -> Self {
        let stuck = stuck(&sink);
        let mut not_ready = Vec::new();
        if let Some(foreign) = &sink.foreign {
            not_ready.push(format!("delivery stopped: operator action required: {foreign}"));
        }
        if sink.consecutive_errors > 1 {
            not_ready.push(format!("{} errors in a row", sink.consecutive_errors));
        }
        if sink.held_full {
            let held = sink.held;
            not_ready.push(format!("{held} messages wait for a retry, and no new ones are read (max_held)"));
        }
        if stuck > STUCK_AFTER {
            not_ready.push(format!("messages have waited for {} s", stuck.as_secs()));
        }
        if sink.alive_at.elapsed() > HUNG_AFTER {
            not_ready.push(format!("its loop has not turned for {} s", sink.alive_at.elapsed().as_secs()));
        }
        Self {
            not_ready,
            delivered: sink.delivered,
            lag: sink.delivered.map_or(0, |delivered| last.saturating_sub(delivered)),
            held: sink.held,
            held_oldest_seconds: held_for(&sink).as_secs_f64(),
            disabled: sink.disabled,
            foreign: sink.foreign,
            seconds_stuck: stuck.as_secs_f64(),
            consecutive_errors: sink.consecutive_errors,
            last_error: sink.last_error,
        }
    }
}

/// How long the oldest message that waits for a retry has waited.
pub(super) fn held_for(sink: &SinkHealth) -> Duration {
    sink.held_since.map_or(Duration::ZERO, |since| since.elapsed())
}

/// How long messages have waited without a delivery.
pub(super) fn stuck(sink: &SinkHealth) -> Duration {
    sink.waiting_since.map_or(Duration::ZERO, |since| since.elapsed())
}
