use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use uuid::Uuid;

use super::names::{aggregate, bad_name, event_type, user_id};
use crate::Settings;
use chainflume_api::routes::{Refusal, object};
use chainflume_core::domain::{OffChainMessage, OffChainMetadata, rfc3339_millis};

/// An event of the application, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ApplicationEvent {
    /// Its id. A second event with the same id is a repeat.
    pub id: Uuid,
    /// `order.shipped`
    pub event_type: String,
    /// Kind of its subject, `order` for instance.
    pub aggregate_type: String,
    /// Id of its subject.
    pub aggregate_id: String,
    /// The fact.
    pub payload: Map<String, Value>,
    /// The application's own id of the user it is about.
    pub user_id: Option<String>,
    /// Id that is shared by facts which belong together.
    pub correlation_id: Option<String>,
    /// Id of the message that caused it.
    pub causation_id: Option<String>,
    /// Name of the publisher.
    pub source: String,
    /// When it happened, RFC 3339 in UTC.
    pub timestamp: String,
}

const FIELDS: [&str; 7] = ["id", "type", "aggregateType", "aggregateId", "payload", "metadata", "timestamp"];
const METADATA: [&str; 4] = ["userId", "correlationId", "causationId", "source"];

/// Values for fields that the caller left out.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// Its id.
    pub id: Uuid,
    /// Name of the publisher.
    pub source: String,
    /// When it happened.
    pub now: SystemTime,
}

impl crate::Publisher {
    /// Reads and checks an event, as `POST /v1/domain-events` takes it.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place in the event.
    pub fn read_event(&self, value: Value, defaults: Defaults) -> Result<ApplicationEvent, Refusal> {
        ApplicationEvent::read(value, &self.0.settings, defaults)
    }
}

impl ApplicationEvent {
    /// Reads and checks what a caller sent.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place in the event.
    pub(crate) fn read(value: Value, settings: &Settings, defaults: Defaults) -> Result<Self, Refusal> {
        let mut fields = object(value, &FIELDS, "")?;
        let mut metadata = match fields.remove("metadata") {
            None | Some(Value::Null) => Map::new(),
            Some(metadata) => object(metadata, &METADATA, "/metadata")?,
        };
        let id = optional(&mut fields, "id", "")?.map(|id| {
            let wrong =
                "an id is a UUID, like 5d0b9c4e-7c1a-4d52-9d62-3f1f7a1e2b3c; leave it out to get a new one";
            Uuid::try_parse(&id).map_err(|_| Refusal::new(400, "bad_event_id", wrong).at("/id"))
        });
        let name = required(&mut fields, "type")?;
        event_type(&name).map_err(|refusal| refusal.at("/type"))?;
        let (kind, of) = (required(&mut fields, "aggregateType")?, required(&mut fields, "aggregateId")?);
        aggregate(&kind, &of)?;
        let payload = payload(fields.remove("payload"), &name, settings)?;
        let user = optional(&mut metadata, "userId", "/metadata")?;
        user.as_deref().map(user_id).transpose().map_err(|refusal| refusal.at("/metadata/userId"))?;
        Ok(Self {
            id: id.transpose()?.unwrap_or(defaults.id),
            event_type: name,
            aggregate_type: kind,
            aggregate_id: of,
            payload,
            user_id: user,
            correlation_id: optional(&mut metadata, "correlationId", "/metadata")?,
            causation_id: optional(&mut metadata, "causationId", "/metadata")?.map(message_id),
            source: optional(&mut metadata, "source", "/metadata")?.unwrap_or(defaults.source),
            timestamp: timestamp(optional(&mut fields, "timestamp", "")?, defaults.now)?,
        })
    }

    /// Checks the payload against the schema of the type.
    ///
    /// # Errors
    /// That it does not fit.
    pub fn check(&self, schemas: &crate::EventSchemas) -> Result<(), Refusal> {
        schemas.check(&self.event_type, &Value::Object(self.payload.clone()))
    }

    /// Its message, without a number.
    pub(crate) fn message(&self) -> OffChainMessage {
        let about = (self.aggregate_type.as_str(), self.aggregate_id.as_str());
        OffChainMessage {
            payload: self.payload.clone(),
            metadata: OffChainMetadata {
                user_id: self.user_id.clone(),
                correlation_id: self.correlation_id.clone(),
                causation_id: self.causation_id.clone(),
                source: self.source.clone(),
                ..OffChainMetadata::default()
            },
            ..OffChainMessage::new((self.id, &self.event_type), about, self.timestamp.clone())
        }
    }
}

fn payload(
    value: Option<Value>,
    event_type: &str,
    settings: &Settings,
) -> Result<Map<String, Value>, Refusal> {
    let value = value.unwrap_or_else(|| Value::Object(Map::new()));
    if !value.is_object() {
        return Err(Refusal::bad_body("a payload is an object").at("/payload"));
    }
    let bytes = value.to_string().len();
    if bytes > settings.limits.payload_bytes {
        let detail = format!(
            "a payload has at most {} bytes of JSON, this one has {bytes}",
            settings.limits.payload_bytes
        );
        return Err(Refusal::new(413, "payload_too_large", detail).at("/payload"));
    }
    settings.schemas.check(event_type, &value)?;
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Map::new()),
    }
}

fn required(fields: &mut Map<String, Value>, name: &str) -> Result<String, Refusal> {
    let missing = || Refusal::bad_body(format!("{name} is missing")).at(format!("/{name}"));
    optional(fields, name, "")?.ok_or_else(missing)
}

/// A text of 1 to 255 characters; `None` where there is none or null.
fn optional(fields: &mut Map<String, Value>, name: &str, place: &str) -> Result<Option<String>, Refusal> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !bad_name(&text) => Ok(Some(text)),
        Some(_) => {
            let detail = format!("{name} is a text of 1 to 255 characters without control characters");
            Err(Refusal::bad_body(detail).at(format!("{place}/{name}")))
        }
    }
}

/// The id of a message as messages have it: a UUID is the same in capital letters, and what caused what is found by the text.
fn message_id(text: String) -> String {
    let id = Uuid::try_parse(&text).map(|id| id.to_string()).ok();
    id.filter(|id| id.eq_ignore_ascii_case(&text)).unwrap_or(text)
}

fn timestamp(given: Option<String>, now: SystemTime) -> Result<String, Refusal> {
    let at = match given {
        None => now,
        Some(text) => instant(&text).ok_or_else(|| {
            let detail = "a timestamp is RFC 3339 from 1970 on, like 2026-01-31T12:00:00Z or 2026-01-31T13:00:00+01:00";
            Refusal::new(400, "bad_timestamp", detail).at("/timestamp")
        })?,
    };
    Ok(rfc3339_millis(at))
}

/// Seconds from 1970 to the year 10000, which RFC 3339 does not write.
const YEAR_10000: u64 = 253_402_300_800;

/// A time of RFC 3339, in UTC or beside it.
fn instant(text: &str) -> Option<SystemTime> {
    let (local, east) = match text.split_at_checked(text.len().saturating_sub(6)) {
        Some((local, zone)) if zone.starts_with(['+', '-']) && !local.ends_with('Z') => {
            (format!("{local}Z"), seconds_east(zone)?)
        }
        _ => (text.to_owned(), 0),
    };
    let local = humantime::parse_rfc3339(&local).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let seconds = local.as_secs().checked_add_signed(-east).filter(|seconds| *seconds < YEAR_10000)?;
    Some(UNIX_EPOCH + Duration::new(seconds, local.subsec_nanos()))
}

/// `+01:00`: how far a zone is ahead of UTC.
fn seconds_east(zone: &str) -> Option<i64> {
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let part = |text: &str, below: i64| -> Option<i64> {
        let number = text.parse().ok().filter(|number| *number < below)?;
        (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(number)
    };
    let ahead: i64 = 3_600 * part(hours, 24)? + 60 * part(minutes, 60)?;
    Some(if zone.starts_with('-') { -ahead } else { ahead })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventSchemas;
    use crate::FactLimits;
    use serde_json::json;

    fn read(value: Value) -> Result<ApplicationEvent, Refusal> {
        let settings = Settings {
            schemas: EventSchemas::default(),
            activity_types: Vec::new(),
            activity_texts: Vec::new(),
            chains: Vec::new(),
            limits: FactLimits { payload_bytes: 64, max_aggregate_types: 8 },
        };
        let defaults =
            Defaults { id: Uuid::nil(), source: "backend".to_owned(), now: SystemTime::UNIX_EPOCH };
        ApplicationEvent::read(value, &settings, defaults)
    }

    fn event() -> Value {
        json!({ "type": "order.shipped", "aggregateType": "order", "aggregateId": "7" })
    }

    #[test]
    fn an_event_gets_what_the_caller_leaves_out() {
        let read = read(event()).expect("an event");
        assert_eq!((read.id, read.source.as_str()), (Uuid::nil(), "backend"));
        assert_eq!((read.timestamp.as_str(), read.payload.len()), ("1970-01-01T00:00:00.000Z", 0));
        let json = serde_json::to_value(read.message()).expect("JSON");
        assert_eq!((&json["type"], &json["metadata"]["chainId"]), (&json!("order.shipped"), &Value::Null));
    }

    #[test]
    fn a_time_is_taken_in_any_zone_and_kept_in_utc() {
        let kept = |sent: &str| {
            let mut event = event();
            event["timestamp"] = sent.into();
            read(event).map(|read| read.timestamp).map_err(|refusal| refusal.code)
        };
        for (sent, utc) in [
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000Z"),
            ("2026-01-31T12:00:00.1239+00:00", "2026-01-31T12:00:00.123Z"),
            ("2026-01-31T00:30:00+05:45", "2026-01-30T18:45:00.000Z"),
            ("2026-01-31T23:30:00-09:30", "2026-02-01T09:00:00.000Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000Z"),
            ("1970-01-01T01:00:00+01:00", "1970-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(kept(sent), Ok(utc.to_owned()), "{sent}");
        }
        for wrong in [
            "9999-12-31T23:59:59-00:01",
            "1970-01-01T00:59:59+01:00",
            "2026-01-31T12:00:00",
            "2026-01-31T12:00:00Z+01:00",
            "2026-01-31T12:00:00+24:00",
            "2026-01-31T12:00:00+01:60",
            "2026-01-31T12:00:00+0100",
            "2026-01-31T12:00:00+1:000",
            "2026-01-31T12:00:00++1:00",
            "2026-02-30T12:00:00+01:00",
            "2026-01-31",
            "+01:00",
            "a\u{e4}\u{e4}\u{e4}",
        ] {
            assert_eq!(kept(wrong), Err("bad_timestamp"), "{wrong}");
        }
    }

    #[test]
    fn the_id_of_a_cause_is_written_as_messages_write_it() {
        let cause = |sent: &str| {
            let mut event = event();
            event["metadata"] = json!({ "causationId": sent, "correlationId": sent });
            let read = read(event).expect("an event");
            (read.causation_id.expect("a cause"), read.correlation_id.expect("a group"))
        };
        let id = "5d0b9c4e-7c1a-4d52-9d62-3f1f7a1e2b3c";
        assert_eq!(cause(&id.to_uppercase()), (id.to_owned(), id.to_uppercase()));
        assert_eq!(cause("Order-9"), ("Order-9".to_owned(), "Order-9".to_owned()));
    }

    #[test]
    fn each_fault_of_an_event_has_a_code_and_a_place() {
        let cases = [
            ("/id", json!("7"), "bad_event_id"),
            ("/id", json!(7), "bad_body"),
            ("/type", json!("order"), "bad_event_type"),
            ("/type", json!("erc20.transfer"), "reserved_type"),
            ("/type", Value::Null, "bad_body"),
            ("/aggregateType", json!("token"), "reserved_aggregate"),
            ("/aggregateId", json!("a b"), "bad_aggregate"),
            ("/payload", json!([1]), "bad_body"),
            ("/payload", json!({ "text": "x".repeat(64) }), "payload_too_large"),
            ("/timestamp", json!("yesterday"), "bad_timestamp"),
            ("/timestamp", json!("1969-12-31T23:59:59Z"), "bad_timestamp"),
            ("/metadata/userId", json!("a b"), "bad_user_id"),
            ("/metadata/causationId", json!("a\nb"), "bad_body"),
            ("/metadata/chainId", json!(1), "bad_body"),
            ("/surprise", json!(1), "bad_body"),
        ];
        for (pointer, value, code) in cases {
            let mut sent = event();
            sent["metadata"] = json!({});
            match pointer.strip_prefix("/metadata/") {
                Some(name) => sent["metadata"][name] = value,
                None => sent[&pointer[1..]] = value,
            }
            let refusal = read(sent).expect_err(pointer);
            assert_eq!((refusal.code, refusal.pointer.as_deref()), (code, Some(pointer)));
        }
    }
}
