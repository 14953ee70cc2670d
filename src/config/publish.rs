use std::path::PathBuf;
use std::time::Duration;

use super::problem::Fault;
use super::section::Section;
use super::units::{KIB, MIB};
use super::words::name;

/// `[publish]` and `[activity]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationFacts {
    /// Folder with a JSON Schema for each type of events; `None` for none.
    pub schemas: Option<PathBuf>,
    /// Bytes of one payload at most.
    pub payload_bytes: usize,
    /// Kinds of things that events may be about.
    pub max_aggregate_types: usize,
    /// Types of activities.
    pub activity_types: Vec<String>,
    /// How long no node may know the transaction of an activity.
    pub transaction_timeout: Duration,
}

/// Types of activities that need no configuration.
const ACTIVITY_TYPES: [&str; 7] =
    ["account_creation", "device_added", "device_removed", "top_up", "deposit", "send", "withdraw"];

impl Default for ApplicationFacts {
    fn default() -> Self {
        Self {
            schemas: None,
            payload_bytes: 256 << 10,
            max_aggregate_types: 100,
            activity_types: ACTIVITY_TYPES.map(str::to_owned).to_vec(),
            transaction_timeout: Duration::from_hours(1),
        }
    }
}

pub(super) fn publish(section: &Section<'_>, activity: &Section<'_>) -> ApplicationFacts {
    let default = ApplicationFacts::default();
    let types = section.number("max_aggregate_types", 5..=10_000).and_then(|n| usize::try_from(n.value).ok());
    let timeout =
        activity.duration("transaction_timeout", Duration::from_secs(1)..=Duration::from_hours(30 * 24));
    let read = ApplicationFacts {
        schemas: section.path_value("schemas"),
        // A body of a request has at most 1 MiB.
        payload_bytes: section.size("payload_bytes", KIB..=MIB).unwrap_or(default.payload_bytes),
        max_aggregate_types: types.unwrap_or(default.max_aggregate_types),
        activity_types: activity_types(activity, default.activity_types),
        transaction_timeout: timeout.map_or(default.transaction_timeout, |timeout| timeout.value),
    };
    section.finish();
    activity.finish();
    read
}

/// The built-in types and those of the configuration.
fn activity_types(section: &Section<'_>, mut types: Vec<String>) -> Vec<String> {
    for text in section.texts("types").unwrap_or_default() {
        match name(&text.value, false) {
            Ok(name) if types.contains(&name) => {}
            Ok(name) => types.push(name),
            Err(Fault { .. }) => {
                section.report(
                    "types",
                    Fault::new(
                        format!("has `{}`, which is no type", text.value),
                        "write at most 40 of a-z, 0-9 and `_`, a letter first",
                    ),
                );
            }
        }
    }
    types
}
