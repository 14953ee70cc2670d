use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::caller::{NewId as _, source, unavailable};
use crate::events::Defaults;
use crate::{ApplicationEvent, PublishError, PublishReceipt, Publisher};
use chainflume_api::access::{Principal, Scope};
use chainflume_api::routes::{ApiAnswer, ApiMethod, ApiRequest, OfferedRoute, Refusal, RouteAccess, handler};

/// Ids that name rooms, as a pattern of ECMAScript: printable ASCII without `*`, `,`, `"` and `\`.
pub(super) const ROOM_ID: &str = r"^[!#-)+\-.-\[\]-~]+$";
/// Events of one request at most: one commit holds two such requests.
const MAX_EVENTS: usize = 500;

pub(super) fn routes(publisher: &Publisher) -> Vec<OfferedRoute> {
    let trace = OfferedRoute {
        method: ApiMethod::Get,
        path: "/v1/messages/{id}/trace",
        summary: "Read what caused a fact of the application and what it caused, as a tree; scope read of a service, or admin",
        query: &[],
        answers: &[(200, "Trace")],
        body: None,
        errors: &[404],
        access: RouteAccess::Caller,
        handler: handler(publisher, trace),
    };
    vec![publish_route(publisher), trace]
}

/// Over HTTP, and as the op `emit` of a WebSocket.
pub(super) fn publish_route(publisher: &Publisher) -> OfferedRoute {
    OfferedRoute {
        method: ApiMethod::Post,
        path: "/v1/domain-events",
        summary: "Publish an event of the application, or an array of at most 500 in one transaction; scope publish",
        query: &[],
        answers: &[(201, "PublishedEvents")],
        body: Some("DomainEvents"),
        errors: &[],
        access: RouteAccess::Caller,
        handler: handler(publisher, publish),
    }
}

/// A tree may be about several users, so those read it who may read all of them.
async fn trace(publisher: Publisher, request: ApiRequest) -> Result<ApiAnswer, Refusal> {
    let caller = request.caller()?;
    let is_reader = matches!(caller, Principal::Service(service) if service.scopes.has(Scope::Read));
    if !is_reader && !caller.may_read_all() {
        return Err(Refusal::forbidden());
    }
    let none = || Refusal::not_found("message");
    let id = uuid::Uuid::try_parse(request.parameter("id")).map_err(|_| none())?;
    let tree = publisher.trace(id).await.map_err(unavailable)?;
    Ok(ApiAnswer::new(200, &tree.ok_or_else(none)?))
}

async fn publish(publisher: Publisher, request: ApiRequest) -> Result<ApiAnswer, Refusal> {
    let caller = request.caller_with(Scope::Publish)?;
    let (source, sent) = (source(caller), request.json()?);
    let (values, is_one) = match sent {
        Value::Array(values) => (values, false),
        value => (vec![value], true),
    };
    if values.is_empty() || values.len() > MAX_EVENTS {
        let detail = format!("send one event, or an array of 1 to {MAX_EVENTS}");
        return Err(Refusal::new(400, "too_many_events", detail));
    }
    let now = SystemTime::now();
    let mut events = Vec::with_capacity(values.len());
    for (index, value) in values.into_iter().enumerate() {
        let id = request.new_id(caller, index);
        let defaults = Defaults { id, source: source.clone(), now };
        let read = ApplicationEvent::read(value, &publisher.0.settings, defaults);
        events.push(read.map_err(|refusal| if is_one { refusal } else { inside(refusal, index) })?);
    }
    Ok(answer(publisher.publish(events).await.map_err(refused)?))
}

fn inside(refusal: Refusal, index: usize) -> Refusal {
    let place = refusal.pointer.clone().unwrap_or_default();
    refusal.at(format!("/{index}{place}"))
}

pub(super) fn refused(error: PublishError) -> Refusal {
    match error {
        PublishError::Unavailable => Refusal::unavailable(),
        PublishError::Busy => {
            Refusal::new(503, "busy", "too many events wait to be stored; send the request again")
        }
        PublishError::TooManyAggregateTypes => {
            let detail = "messages are about as many aggregate types as [publish] max_aggregate_types allows; use one that is there";
            Refusal::new(422, "too_many_aggregate_types", detail)
        }
    }
}

fn answer(PublishReceipt { events, position }: PublishReceipt) -> ApiAnswer {
    let event = |event: &crate::Published| json!({ "id": event.id.to_string(), "seq": event.seq, "duplicate": event.duplicate });
    let events: Vec<Value> = events.iter().map(event).collect();
    ApiAnswer::new(201, &json!({ "events": events })).at(position)
}

pub(super) fn schemas() -> Map<String, Value> {
    let text =
        json!({ "type": ["string", "null"], "maxLength": 255, "pattern": r"^[^\x00-\x1f\x7f-\x9f]+$" });
    let id = json!({ "type": "string", "format": "uuid" });
    let event = json!({
        "type": "object", "required": ["type", "aggregateType", "aggregateId"], "additionalProperties": false,
        "properties": {
            "id": { "type": ["string", "null"], "format": "uuid" },
            "type": { "type": "string", "maxLength": 200, "pattern": r"^[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z][A-Za-z0-9_-]*)+$" },
            "aggregateType": { "type": "string", "maxLength": 64, "pattern": "^[a-z][a-z0-9_]*$" },
            "aggregateId": { "type": "string", "maxLength": 253, "pattern": ROOM_ID },
            "payload": { "type": "object" },
            "timestamp": { "type": ["string", "null"], "format": "date-time", "description": "kept in UTC" },
            "metadata": { "type": ["object", "null"], "additionalProperties": false, "properties": {
                "userId": { "type": ["string", "null"], "maxLength": 250, "pattern": ROOM_ID },
                "correlationId": text, "causationId": text, "source": text } },
        },
    });
    let published = json!({
        "type": "object", "required": ["id", "seq", "duplicate"],
        "properties": { "id": id, "seq": { "type": "integer" }, "duplicate": { "type": "boolean" } },
    });
    let trace = json!({
        "type": "object", "required": ["id", "roots", "messages", "isCut"],
        "properties": { "id": id, "messages": { "type": "integer" }, "isCut": { "type": "boolean" },
            "roots": { "type": "array", "items": { "type": "object", "description": "a message; `caused` are those it caused" } } },
    });
    let schemas = [
        ("Trace", trace),
        ("DomainEvent", event),
        (
            "DomainEvents",
            json!({ "oneOf": [
                { "$ref": "#/components/schemas/DomainEvent" },
                { "type": "array", "minItems": 1, "maxItems": MAX_EVENTS, "items": { "$ref": "#/components/schemas/DomainEvent" } },
            ] }),
        ),
        (
            "PublishedEvents",
            json!({ "type": "object", "required": ["events"], "properties": { "events": { "type": "array", "items": published } } }),
        ),
    ];
    schemas.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}
