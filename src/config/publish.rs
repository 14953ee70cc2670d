use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::problem::Fault;
use super::section::Section;
use super::settings::{DAY, YEAR};
use super::words::name;
use chainflume_core::domain::TemplateError;
use chainflume_publish::{ACTIVITY_TYPES, ActivityStatus, ActivityTemplate, ActivityText, FactLimits};

/// `[publish]` and `[activity]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationFacts {
    /// `[publish]`
    pub events: EventConfig,
    /// How large and of how many kinds they are.
    pub limits: FactLimits,
    /// Types of activities.
    pub activity_types: Vec<String>,
    /// Their titles and descriptions by status.
    pub activity_texts: Vec<ActivityText>,
    /// `[activity]`
    pub activities: ActivityConfig,
}

/// Where schemas are, and how long events are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EventConfig {
    /// Folder with a JSON Schema for each type of events; `None` for none.
    #[serde(deserialize_with = "chainflume_core::settings::path")]
    pub schemas: Option<PathBuf>,
    /// How long events are kept; `None` for ever.
    #[serde(deserialize_with = "kept")]
    pub retention: Option<Duration>,
}

/// How activities follow transactions.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ActivityConfig {
    /// How long no node may know the transaction of an activity.
    #[serde(deserialize_with = "chainflume_core::settings::duration::<1_000, { 30 * DAY }, _>")]
    pub transaction_timeout: Duration,
}

impl Default for ActivityConfig {
    fn default() -> Self {
        Self { transaction_timeout: Duration::from_hours(1) }
    }
}

impl Default for ApplicationFacts {
    fn default() -> Self {
        Self {
            events: EventConfig::default(),
            limits: FactLimits::default(),
            activity_types: ACTIVITY_TYPES.map(str::to_owned).to_vec(),
            activity_texts: Vec::new(),
            activities: ActivityConfig::default(),
        }
    }
}

fn kept<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    chainflume_core::settings::duration::<DAY, { 100 * YEAR }, _>(deserializer).map(Some)
}

pub(super) fn publish(section: &Section<'_>, activity: &Section<'_>) -> ApplicationFacts {
    let activity_types = activity_types(activity, ApplicationFacts::default().activity_types);
    let read = ApplicationFacts {
        events: section.fill(),
        limits: section.fill(),
        activity_texts: activity_texts(activity, &activity_types),
        activity_types,
        activities: activity.fill(),
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
        match name(&text.value) {
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
