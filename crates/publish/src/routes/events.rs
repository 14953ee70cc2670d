use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::events::Defaults;
use crate::{ApplicationEvent, PublishError, PublishReceipt, Publisher, ids};
use chainflume_access::{Principal, Scope};
use chainflume_api::{ApiAnswer, ApiMethod, ApiRequest, OfferedRoute, Refusal, RouteAccess, handler};

/// Events of one request at most: one commit holds two such requests.
const MAX_EVENTS: usize = 500;

pub(super) fn routes(publisher: &Publisher) -> Vec<OfferedRoute> {
    let trace = OfferedRoute {
        method: ApiMethod::Get,
        path: "/v1/messages/{id}/trace",
        summary: "Read what caused a fact of the application and what it caused, as a tree; scope read of a service, or admin",
        query: &[],
        answer: (200, Some("Trace")),
        body: None,
        errors: &[400, 401, 403, 404, 409, 429, 503],
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
        answer: (201, Some("PublishedEvents")),
        body: Some("DomainEvents"),
        errors: &[400, 401, 403, 408, 409, 413, 415, 422, 429, 503],
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
    let tree = publisher.trace(id).await.map_err(super::activities::unavailable)?;
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

/// Ids of what a request makes.
pub(super) trait NewId {
    /// An id for the thing at `index`. With an `Idempotency-Key` it is the same at each repeat, also where the first answer was lost
    /// between the commit and the caller. Another body is another thing: a key is free again after a day, and what is sent with it
    /// then must not be taken for what was sent before.
    fn new_id(&self, caller: &Principal, index: usize) -> uuid::Uuid;
}

impl NewId for ApiRequest {
    fn new_id(&self, caller: &Principal, index: usize) -> uuid::Uuid {
        match self.header("idempotency-key") {
            None => ids::fresh(),
            Some(key) => {
                let (owner, index) = (caller.owner(), index.to_string());
                let parts = [owner.as_bytes(), self.method.as_bytes(), key.as_bytes(), index.as_bytes()];
                ids::derived(&[parts.as_slice(), &[self.body.as_slice()]].concat())
            }
        }
    }
}

/// The name under which a caller publishes.
pub(super) fn source(caller: &Principal) -> String {
    match caller {
        Principal::Local => "local".to_owned(),
        Principal::User(user) => user.id.clone(),
        Principal::Service(service) => service.name.clone(),
    }
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
    let text = json!({ "type": "string", "minLength": 1, "maxLength": 255 });
    let id = json!({ "type": "string", "format": "uuid" });
    let event = json!({
        "type": "object", "required": ["type", "aggregateType", "aggregateId"], "additionalProperties": false,
        "properties": {
            "id": id, "type": text, "aggregateType": text, "aggregateId": text,
            "payload": { "type": "object" }, "timestamp": { "type": "string", "format": "date-time" },
            "metadata": { "type": "object", "additionalProperties": false, "properties":
                { "userId": text, "correlationId": text, "causationId": text, "source": text } },
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
