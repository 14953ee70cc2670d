use super::json;
use super::problem::Fault;
use super::reader::Text;
use super::section::Section;
use super::words::{dashed_name, word};
use chainflume_publish::trigger::{CronFault, CronTimes, MissedRuns, ScheduledEvent};
use chainflume_publish::{check_aggregate, check_event_type};

/// What is known of a `[[schedule]]`, whole or not.
pub(super) struct ScheduleDraft {
    pub name: Option<Text>,
    pub schedule: Option<ScheduledEvent>,
}

const REQUIRED: [(&str, &str); 3] = [
    ("name", "add name = \"…\", part of the ids of its events and the name in metrics"),
    ("cron", "add cron = \"*/5 * * * *\": minute, hour, day of the month, month, day of the week"),
    ("type", "add type = \"…\", the type of its events, like \"service.balance.sync.started\""),
];

const MISSED: [(&str, MissedRuns); 3] =
    [("latest", MissedRuns::Latest), ("skip", MissedRuns::Skip), ("all", MissedRuns::All)];

pub(super) fn read(section: &Section<'_>) -> ScheduleDraft {
    section.require(&REQUIRED);
    let name = section.parsed("name", dashed_name);
    let zone = section.text("zone").map_or_else(|| "UTC".to_owned(), |zone| zone.value);
    let times = section.parsed("cron", |text| match CronTimes::read(text, &zone) {
        Err(CronFault::Zone) => Ok(None),
        Ok(times) => Ok(Some(times)),
        Err(CronFault::Pattern(what)) => Err(Fault::new(
            format!("is no cron expression: {what}"),
            "write five fields: minute, hour, day of the month, month, day of the week",
        )),
        Err(CronFault::Never) => Err(Fault::new("is never", "name a day that there is")),
    });
    if times.as_ref().is_some_and(|times| times.value.is_none()) {
        section.report(
            "zone",
            Fault::new(format!("`{zone}` is no zone"), "write an IANA name, like \"Europe/Berlin\""),
        );
    }
    let event_type = section.parsed("type", event_type);
    let missed = section.parsed("missed", |text| word(text, &MISSED));
    let aggregate_type =
        section.text("aggregate_type").map_or_else(|| "schedule".to_owned(), |text| text.value);
    let aggregate_id = section.text("aggregate_id").map(|text| text.value);
    let aggregate_id = aggregate_id.or_else(|| name.as_ref().map(|name| name.value.clone()));
    if let Some(id) = &aggregate_id
        && let Err(refusal) = check_aggregate(&aggregate_type, id)
    {
        let remedy = "write what the events are about, as POST /v1/domain-events takes it";
        section.report("aggregate_type", Fault::new(format!("cannot be used: {}", refusal.detail), remedy));
    }
    let payload = json::object(section, "payload");
    section.finish();
    let whole = || {
        Some(ScheduledEvent {
            name: name.as_ref()?.value.clone(),
            times: times?.value?,
            missed: missed.map_or(MissedRuns::Latest, |missed| missed.value),
            event_type: event_type?.value,
            aggregate_type,
            aggregate_id: aggregate_id?,
            payload: payload?,
        })
    };
    let schedule = whole();
    ScheduleDraft { name, schedule }
}

/// A type of events that an application may publish.
pub(super) fn event_type(text: &str) -> Result<String, Fault> {
    let fault = |refusal: chainflume_api::routes::Refusal| {
        Fault::new(format!("cannot be used: {}", refusal.detail), "write a type like \"report.due\"")
    };
    check_event_type(text).map(|()| text.to_owned()).map_err(fault)
}
