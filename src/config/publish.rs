use std::path::PathBuf;
use std::time::Duration;

use super::problem::Fault;
use super::section::Section;
use super::units::{KIB, MIB};
use super::words::name;
use chainflume_core::domain::TemplateError;
use chainflume_publish::{ActivityStatus, ActivityTemplate, ActivityText};

/// `[publish]` and `[activity]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationFacts {
    /// Folder with a JSON Schema for each type of events; `None` for none.
    pub schemas: Option<PathBuf>,
    /// Bytes of one payload at most.
    pub payload_bytes: usize,
    /// Kinds of things that events may be about.
    pub max_aggregate_types: usize,
    /// How long events are kept; `None` for ever.
    pub retention: Option<Duration>,
    /// Types of activities.
    pub activity_types: Vec<String>,
    /// Their titles and descriptions by status.
    pub activity_texts: Vec<ActivityText>,
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
            retention: None,
            activity_texts: Vec::new(),
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
    let retention =
        section.duration("retention", Duration::from_hours(24)..=Duration::from_hours(100 * 365 * 24));
    let activity_types = activity_types(activity, default.activity_types);
    let read = ApplicationFacts {
        retention: retention.map(|retention| retention.value),
        activity_texts: activity_texts(activity, &activity_types),
        schemas: section.path_value("schemas"),
        // A body of a request has at most 1 MiB.
        payload_bytes: section.size("payload_bytes", KIB..=MIB).unwrap_or(default.payload_bytes),
        max_aggregate_types: types.unwrap_or(default.max_aggregate_types),
        activity_types,
        transaction_timeout: timeout.map_or(default.transaction_timeout, |timeout| timeout.value),
    };
    section.finish();
    activity.finish();
    read
}

/// The tables `[[activity.text]]`; those that cannot be used are reported.
fn activity_texts(section: &Section<'_>, types: &[String]) -> Vec<ActivityText> {
    let mut texts: Vec<ActivityText> = Vec::new();
    for table in section.tables("text") {
        table.require(&[
            ("type", "add type = \"…\", a type of activities"),
            ("status", "add status = \"…\": pending, in_progress, completed or failed"),
        ]);
        let activity_type = table.parsed("type", |text| {
            let known = types.iter().any(|name| name == text);
            let other =
                || Fault::new("is no type of activities", format!("name one of {}", types.join(", ")));
            known.then(|| text.to_owned()).ok_or_else(other)
        });
        let status = table.parsed("status", |text| {
            let words = "name one of pending, in_progress, completed and failed";
            ActivityStatus::from_word(text).ok_or_else(|| Fault::new("is no status", words))
        });
        let template = |key| {
            let wrong =
                |error: TemplateError| Fault::new(error.to_string(), "docs/APPLICATION.md shows texts");
            Some(table.parsed(key, |text| ActivityTemplate::parse(text).map_err(wrong))?.value)
        };
        let (title, description) = (template("title"), template("description"));
        table.finish();
        let Some((activity_type, status)) = activity_type.zip(status) else { continue };
        let text =
            ActivityText { activity_type: activity_type.value, status: status.value, title, description };
        if texts
            .iter()
            .any(|other| (&other.activity_type, other.status) == (&text.activity_type, text.status))
        {
            table.report(
                "status",
                Fault::new("has a text already for this type", "keep one table for each type and status"),
            );
        }
        texts.push(text);
    }
    texts
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
