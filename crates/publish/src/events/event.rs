use std::time::SystemTime;

use jiff::SignedDuration;
use jiff::civil::{DateTime, date};
use jiff::fmt::temporal::Pieces;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::names::{aggregate, bad_name, event_type, user_id};
use crate::Settings;
use chainflume_api::routes::{Refusal, object};
use chainflume_core::domain::{AggregateRef, OffChainMessage, OffChainMetadata, rfc3339_millis};

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
        let about = AggregateRef { aggregate_type: &self.aggregate_type, id: &self.aggregate_id };
        OffChainMessage {
            payload: self.payload.clone(),
            metadata: OffChainMetadata {
                user_id: self.user_id.clone(),
                correlation_id: self.correlation_id.clone(),
                causation_id: self.causation_id.clone(),
                source: self.source.clone(),
                ..OffChainMetadata::default()
            },
            ..OffChainMessage::new(self.id, &self.event_type, about, self.timestamp.clone())
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
    let Some(text) = given else { return Ok(rfc3339_millis(now)) };
    instant(&text).map(|at| at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()).ok_or_else(|| {
        let detail =
            "a timestamp is RFC 3339 from 1970 on, like 2026-01-31T12:00:00Z or 2026-01-31T13:00:00+01:00";
        Refusal::new(400, "bad_timestamp", detail).at("/timestamp")
    })
}

/// Bytes of a fraction that are read: the point and nanoseconds.
const NANOSECONDS: usize = 10;

/// A time of RFC 3339 from 1970 on, in UTC.
///
/// The form is checked first, because jiff reads more than RFC 3339 has: a time without seconds, `+01`, a zone in brackets. It is read as a
/// civil time, because an instant of jiff ends some hours before the year 10000.
fn instant(text: &str) -> Option<DateTime> {
    let (seconds, rest) = text.split_at_checked("2026-01-31T12:00:00".len())?;
    let (fraction, zone) = rest.split_at(rest.find(|c: char| c != '.' && !c.is_ascii_digit())?);
    let is_fraction = match fraction.strip_prefix('.') {
        Some(digits) => !digits.is_empty() && !digits.contains('.'),
        None => fraction.is_empty(),
    };
    let is_zone = ["Z", "+00:00", "-00:00"].iter().any(|form| has_form(zone, form));
    if !has_form(seconds, "0000-00-00T00:00:00") || !is_fraction || !is_zone {
        return None;
    }
    let fraction = fraction.get(..NANOSECONDS).unwrap_or(fraction);
    let read = format!("{seconds}{fraction}{zone}");
    let pieces = Pieces::parse(&read).ok()?;
    let ahead = pieces.to_numeric_offset()?.seconds();
    let local = pieces.date().to_datetime(pieces.time()?);
    let utc = local.checked_sub(SignedDuration::from_secs(ahead.into())).ok()?;
    (ahead.abs() < DAY_SECONDS && utc >= date(1970, 1, 1).at(0, 0, 0, 0)).then_some(utc)
}

/// RFC 3339 has no zone that is a day from UTC.
const DAY_SECONDS: i32 = 24 * 60 * 60;

/// Whether a text has a digit where the form has `0`, and the same letters, large or small, elsewhere.
fn has_form(text: &str, form: &str) -> bool {
    let same = |(byte, of): (u8, u8)| {
        if of == b'0' { byte.is_ascii_digit() } else { byte.eq_ignore_ascii_case(&of) }
    };
    text.len() == form.len() && text.bytes().zip(form.bytes()).all(same)
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
            limits: FactLimits { payload_bytes: 64, ..FactLimits::default() },
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

    const NO_TIMES: &[&str] = &[
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
        "2026-02-29T12:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T12:60:00Z",
        "2026-01-31T12:00:61Z",
        "2026-01-31T12:00:00.Z",
        "2026-01-31T12:00:00.1.2Z",
        "2026-01-31T12:00:00,5Z",
        "2026-01-31 12:00:00Z",
        "2026-01-31T12:00Z",
        "2026-01-31T12Z",
        "20260131T120000Z",
        "+002026-01-31T12:00:00Z",
        "2026-01-31T12:00:00+01",
        "2026-01-31T12:00:00+01:00:00",
        "2026-01-31T12:00:00+01:00[Europe/Berlin]",
        "2026-01-31T12:00:00Z[UTC]",
        "2026-01-31T12:00:00UTC",
        " 2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00Z ",
        "0000-00-00T00:00:00Z",
        "2026-01-31",
        "+01:00",
        "a\u{e4}\u{e4}\u{e4}",
    ];

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
            ("2026-01-31T12:00:00-00:00", "2026-01-31T12:00:00.000Z"),
            ("2026-01-31T12:00:00+23:59", "2026-01-30T12:01:00.000Z"),
            // Small letters, and digits as many as a sender has.
            ("2026-01-31t12:00:00z", "2026-01-31T12:00:00.000Z"),
            ("2026-01-31T12:00:00.5Z", "2026-01-31T12:00:00.500Z"),
            ("2026-01-31T12:00:00.9999999999999999Z", "2026-01-31T12:00:00.999Z"),
            // A leap second is kept as the second before it.
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000Z"),
            ("2017-01-01T00:59:60.7+01:00", "2016-12-31T23:59:59.700Z"),
            ("2028-02-29T00:00:00Z", "2028-02-29T00:00:00.000Z"),
            ("1970-01-01T01:00:00+01:00", "1970-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(kept(sent), Ok(utc.to_owned()), "{sent}");
        }
        for wrong in NO_TIMES {
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
