//! The OpenAPI document, from the routes.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::super::problem::CODES;
use super::{ApiRoute, OPEN, READ_AT, ROUTES, WRITE};
use chainflume_api::routes::{Api, ApiMethod, OfferedRoute, ParameterValues, QueryParameter, RouteAccess};

pub(super) const JSON: &str = "application/json";
pub(super) const HTML: &str = "text/html";
const PROBLEM: &str = "application/problem+json";

/// What ids and names in a path are made of, as rooms are ([`chainflume_api::access::Room`]).
const PLACE: &str = r"^[!#-)+\-.-\[\]-~]+$";

pub(super) const MIN_POSITION: QueryParameter = QueryParameter::new(
    "min_position",
    "wait up to 2 s until the answer is at least as new as this position",
    ParameterValues::Position,
);

/// OpenAPI 3.1.
pub(super) fn openapi(offered: &[Api]) -> Value {
    let mut paths = Map::new();
    let offers = offered.iter().flat_map(|api| api.routes.iter().map(DescribedRoute::offered));
    for route in ROUTES.iter().map(DescribedRoute::from).chain(offers) {
        let entry = paths.entry(route.path).or_insert_with(|| json!({}));
        entry[route.method] = operation(&route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Chainflume",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Stored messages of EVM chains, by page, by server-sent events and by WebSocket",
        },
        "paths": paths,
        "components": {
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer", "description": "a token of a user or a service key" } },
            "schemas": schemas(offered),
        },
    })
}

/// A route in the document.
struct DescribedRoute {
    path: &'static str,
    method: &'static str,
    summary: &'static str,
    query: Vec<QueryParameter>,
    /// Statuses, media types and names of schemas.
    answers: Vec<(u16, Option<&'static str>, Option<&'static str>)>,
    body: Option<&'static str>,
    errors: BTreeSet<u16>,
    is_guarded: bool,
}

impl From<&ApiRoute> for DescribedRoute {
    fn from(route: &ApiRoute) -> Self {
        let ApiRoute { path, method, summary, body, is_guarded, .. } = *route;
        let (query, answers) = (route.query.to_vec(), vec![route.answer]);
        let errors = route.errors.iter().copied().collect();
        Self { path, method, summary, query, answers, body, errors, is_guarded }
    }
}

impl DescribedRoute {
    /// A route of another crate, with what the server does before it.
    fn offered(route: &OfferedRoute) -> Self {
        let OfferedRoute { path, summary, body, method, .. } = *route;
        let is_guarded = route.access == RouteAccess::Caller;
        let is_read = is_guarded && method == ApiMethod::Get;
        let before = match (is_guarded, is_read) {
            (false, _) => OPEN,
            (true, true) => READ_AT,
            (true, false) => WRITE,
        };
        let mut query = route.query.to_vec();
        query.extend(is_read.then_some(MIN_POSITION));
        let answers =
            route.answers.iter().map(|(status, schema)| (*status, Some(JSON), Some(*schema))).collect();
        let errors = before.iter().chain(route.errors).copied().collect();
        Self { path, method: method.as_str(), summary, query, answers, body, errors, is_guarded }
    }
}

fn operation(route: &DescribedRoute) -> Value {
    let mut parameters: Vec<Value> = route.query.iter().map(parameter).collect();
    let places = route.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    parameters.extend(places.map(|name| {
        let schema = json!({ "type": "string", "minLength": 1, "maxLength": 250, "pattern": PLACE });
        json!({ "name": name, "in": "path", "required": true, "schema": schema })
    }));
    if route.method != "get" && route.is_guarded {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": false,
            "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x20-\\x7e]+$" },
            "description": "the same key and body get the first answer again for 24 h",
        }));
    }
    let mut operation =
        json!({ "summary": route.summary, "parameters": parameters, "responses": answers(route) });
    if let Some(name) = route.body {
        operation["requestBody"] = json!({ "required": true, "content": content(JSON, Some(name)) });
    }
    if route.is_guarded {
        operation["security"] = json!([{ "bearer": [] }]);
    }
    operation
}

fn parameter(QueryParameter { name, meaning, values }: &QueryParameter) -> Value {
    let schema = match values {
        ParameterValues::Text => json!({ "type": "string" }),
        ParameterValues::UpTo(most) => json!({ "type": "integer", "minimum": 1, "maximum": most }),
        ParameterValues::Words(words) => json!({ "type": "string", "enum": words }),
        ParameterValues::Uuid => json!({ "type": "string", "format": "uuid" }),
        // Empty is as good as left out.
        ParameterValues::Position => {
            json!({ "type": "string", "pattern": "^([0-9A-Za-z]{1,32}\\.[0-9]{1,18})?$" })
        }
    };
    json!({ "name": name, "in": "query", "required": false, "description": meaning, "schema": schema })
}

fn content(media: &str, schema: Option<&str>) -> Value {
    let schema = schema.map(|name| json!({ "schema": { "$ref": format!("#/components/schemas/{name}") } }));
    json!({ media: schema.unwrap_or_else(|| json!({})) })
}

/// By status. Two kinds of answers with one status have a media type each.
fn answers(route: &DescribedRoute) -> Map<String, Value> {
    let mut answers = Map::new();
    for (status, media, schema) in &route.answers {
        let mut answer = json!({ "description": if *status < 400 { "well" } else { "an error" } });
        if let Some(media) = media {
            answer["content"] = content(media, *schema);
        }
        answers.insert(status.to_string(), answer);
    }
    for status in &route.errors {
        let answer = answers
            .entry(status.to_string())
            .or_insert_with(|| json!({ "description": "an error", "content": {} }));
        answer["content"][PROBLEM] = content(PROBLEM, Some("Problem"))[PROBLEM].take();
    }
    answers
}

/// Those of the server and those of other crates.
fn schemas(offered: &[Api]) -> Value {
    let mut schemas = own_schemas();
    for (name, schema) in offered.iter().flat_map(|api| &api.schemas) {
        schemas[name.as_str()] = schema.clone();
    }
    let codes = CODES.iter().chain(offered.iter().flat_map(|api| api.codes));
    let codes: std::collections::BTreeSet<&str> = codes.copied().collect();
    schemas["Problem"]["properties"]["code"]["enum"] = codes.into_iter().collect();
    schemas
}

fn position() -> Value {
    json!({ "type": "string", "pattern": "^[0-9A-Za-z]{1,32}\\.[0-9]{1,18}$" })
}

fn own_schemas() -> Value {
    let position = position();
    let room = json!({ "type": "string", "maxLength": 255, "pattern": r"^(all|[a-z][a-z0-9_]*-[!#-)+\-.-\[\]-~]+)$" });
    let rooms = json!({ "type": "array", "items": room, "minItems": 1, "maxItems": 128 });
    let object = |properties: Value, required: &[&str]| json!({ "type": "object", "properties": properties, "required": required });
    let sent = |properties: Value, required: &[&str]| json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
    let text =
        json!({ "type": "string", "minLength": 1, "maxLength": 250, "pattern": r"^[^\x00-\x1f\x7f-\x9f]+$" });
    let millis = json!({ "type": ["number", "null"], "description": "milliseconds" });
    json!({
        "Page": object(
            json!({ "messages": { "type": "array", "items": { "type": "object", "description": "`chainflume schema` prints its schema" } },
                "next": position, "position": position, "gap": { "type": "object" } }),
            &["messages", "next", "position"],
        ),
        "TicketRequest": sent(json!({ "rooms": rooms, "since": { "anyOf": [position, { "type": "null" }] } }), &["rooms"]),
        "Ticket": object(json!({ "ticket": { "type": "string" }, "expiresIn": { "type": "integer" } }), &["ticket", "expiresIn"]),
        "Revocation": json!({ "oneOf": [sent(json!({ "sub": text }), &["sub"]), sent(json!({ "jti": text }), &["jti"])] }),
        "Revoked": object(
            json!({ "sub": text, "jti": text, "revokedAt": { "type": "integer", "description": "seconds since 1970" } }),
            &["revokedAt"],
        ),
        "Report": object(
            json!({ "webhookProcessingTime": millis, "websocketLatency": millis, "queryResponseTime": millis,
                "cacheHitRate": { "type": ["number", "null"], "minimum": 0, "maximum": 1 } }),
            &["webhookProcessingTime", "websocketLatency", "queryResponseTime", "cacheHitRate"],
        ),
        "Problem": object(
            json!({ "title": { "type": "string" }, "status": { "type": "integer" }, "detail": { "type": "string" },
                "code": { "type": "string" },
                "pointer": { "type": "string", "description": "the place in the body, RFC 6901" } }),
            &["title", "status", "code", "detail"],
        ),
    })
}
