//! The routes and what they are for, in one table: the router and the OpenAPI document are made from it, so that neither has what the
//! other lacks.

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use serde_json::{Map, Value, json};

use super::{Shared, messages, report, revocations, socket, status, stream, tickets};
use chainflume_api::{Api, OfferedRoute, RouteAccess};

/// A route.
struct ApiRoute {
    path: &'static str,
    method: &'static str,
    handler: fn() -> MethodRouter<Shared>,
    summary: &'static str,
    /// Names and meanings of its parameters in the address.
    query: &'static [(&'static str, &'static str)],
    /// The answer when all is well, and the name of its schema.
    answer: (&'static str, Option<&'static str>),
    /// Name of the schema of its body.
    body: Option<&'static str>,
    /// Statuses of its errors.
    errors: &'static [u16],
    /// Whether it needs a credential.
    is_guarded: bool,
}

const SINCE: (&str, &str) = ("since", "a position, `<epoch>.<seq>`: begin after it");

const MIN_POSITION: (&str, &str) =
    ("min_position", "wait up to 2 s until the answer is at least as new as this position");

const ROUTES: &[ApiRoute] = &[
    ApiRoute {
        query: &[
            SINCE,
            ("room", "only messages of this room; without it all, which needs the scope admin"),
            ("type", "only messages of this type, or of a prefix like `erc20.*`"),
            ("aggregate", "only messages about this kind of thing, `order`, or about one, `order-7`"),
            ("user", "only messages in the room of this user"),
            ("limit", "messages of a page, 1 to 500; 100 by default"),
            MIN_POSITION,
        ],
        answer: ("200", Some("Page")),
        errors: &[400, 401, 403, 409, 429, 503],
        ..read("/v1/messages", || get(messages::messages), "Read stored messages in order, page by page")
    },
    ApiRoute {
        query: &[
            ("rooms", "names of rooms, separated by commas"),
            SINCE,
            ("ticket", "a ticket of POST /v1/tickets in place of rooms, since and a credential"),
        ],
        errors: &[400, 401, 403, 429, 503],
        ..read(
            "/v1/stream",
            || get(stream::stream),
            "Follow rooms by server-sent events; `id:` is the position, so `Last-Event-ID` resumes",
        )
    },
    ApiRoute {
        answer: ("101", None),
        errors: &[400, 401, 403, 429, 503],
        ..read(
            "/v1/ws",
            || get(socket::upgrade),
            "Open a WebSocket with the subprotocol chainflume.v1; in a browser the token is offered beside it as bearer.<token>",
        )
    },
    ApiRoute {
        summary: "Get a ticket that opens one stream once within 60 s, for clients that can send no header",
        ..write("/v1/tickets", || post(tickets::issue), ("TicketRequest", "Ticket"))
    },
    ApiRoute {
        summary: "Revoke a token, or all tokens of a user issued up to now, on every server within 2 s; scope admin",
        ..write("/v1/revocations", || post(revocations::revoke), ("Revocation", "Revoked"))
    },
    ApiRoute {
        query: &[MIN_POSITION],
        errors: &[400, 401, 403, 409, 429, 503],
        ..read(
            "/v1/status",
            || get(status::status),
            "Read the state of chains, sinks, sources, leases and the outbox; scope admin",
        )
    },
    ApiRoute {
        query: &[MIN_POSITION],
        answer: ("200", Some("Report")),
        errors: &[400, 401, 403, 409, 429, 503],
        ..read(
            "/v1/report",
            || get(report::report),
            "Read means of the last 100 webhooks and deliveries of this process; scope admin",
        )
    },
    read(
        "/v1/status/stream",
        || get(status::stream),
        "Follow the state by server-sent events, one whenever it differs; scope admin",
    ),
    ApiRoute {
        errors: &[429],
        is_guarded: false,
        ..read("/openapi.json", || get(document), "This document")
    },
    ApiRoute { errors: &[429], is_guarded: false, ..read("/docs", || get(docs), "This document as a page") },
];

/// A route that reads: needs a credential, takes no parameters, and answers 200 with JSON that has no schema here.
const fn read(path: &'static str, handler: fn() -> MethodRouter<Shared>, summary: &'static str) -> ApiRoute {
    ApiRoute {
        path,
        method: "get",
        handler,
        summary,
        query: &[],
        answer: ("200", None),
        body: None,
        errors: &[401, 403, 429],
        is_guarded: true,
    }
}

/// A route that creates: needs a credential, takes a body and answers 201. `schemas` names those of the body and of the answer. Its
/// errors are those of every write ([`super::post::once`]).
const fn write(
    path: &'static str,
    handler: fn() -> MethodRouter<Shared>,
    (body, answer): (&'static str, &'static str),
) -> ApiRoute {
    ApiRoute {
        method: "post",
        answer: ("201", Some(answer)),
        body: Some(body),
        errors: &[400, 401, 403, 408, 409, 413, 415, 422, 429, 503],
        ..read(path, handler, "")
    }
}

/// The routes of the table.
pub(super) fn routes() -> Router<Shared> {
    ROUTES.iter().fold(Router::new(), |router, route| router.route(route.path, (route.handler)()))
}

async fn document(State(shared): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi(&shared.offered).to_string()).into_response()
}

/// Shows the document without any file of others. The policy lets the page ask this server alone.
async fn docs() -> Response {
    let policy = "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                  base-uri 'none'; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(include_str!("docs.html"))).into_response()
}

/// OpenAPI 3.1.
fn openapi(offered: &[Api]) -> Value {
    let mut paths = Map::new();
    let described = ROUTES.iter().map(DescribedRoute::from);
    for route in described.chain(offered.iter().flat_map(|api| &api.routes).map(DescribedRoute::from)) {
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
    query: &'static [(&'static str, &'static str)],
    answer: (String, Option<&'static str>),
    body: Option<&'static str>,
    errors: &'static [u16],
    is_guarded: bool,
}

impl From<&ApiRoute> for DescribedRoute {
    fn from(route: &ApiRoute) -> Self {
        let ApiRoute { path, method, summary, query, body, errors, is_guarded, .. } = *route;
        let answer = (route.answer.0.to_owned(), route.answer.1);
        Self { path, method, summary, query, answer, body, errors, is_guarded }
    }
}

impl From<&OfferedRoute> for DescribedRoute {
    fn from(route: &OfferedRoute) -> Self {
        let OfferedRoute { path, summary, query, body, errors, .. } = *route;
        let (method, answer) = (route.method.as_str(), (route.answer.0.to_string(), route.answer.1));
        let is_guarded = route.access == RouteAccess::Caller;
        Self { path, method, summary, query, answer, body, errors, is_guarded }
    }
}

fn operation(route: &DescribedRoute) -> Value {
    let parameter = |(name, meaning): &(&str, &str)| {
        let schema = match *name {
            "limit" => json!({ "type": "integer", "minimum": 1, "maximum": 500 }),
            _ => json!({ "type": "string" }),
        };
        json!({ "name": name, "in": "query", "required": false, "description": meaning, "schema": schema })
    };
    let mut parameters: Vec<Value> = route.query.iter().map(parameter).collect();
    let places = route.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    parameters.extend(
        places.map(
            |name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }),
        ),
    );
    if !matches!(route.method, "get" | "delete") && route.is_guarded {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": false, "schema": { "type": "string", "maxLength": 255 },
            "description": "the same key and body get the first answer again for 24 h",
        }));
    }
    let content = |media: &str, name: &str| json!({ media: { "schema": { "$ref": format!("#/components/schemas/{name}") } } });
    let mut answers = Map::new();
    let (status, schema) = &route.answer;
    let mut answer = json!({ "description": "well" });
    if let Some(name) = schema {
        answer["content"] = content("application/json", name);
    }
    answers.insert(status.clone(), answer);
    for status in route.errors {
        let problem =
            json!({ "description": "an error", "content": content("application/problem+json", "Problem") });
        answers.insert(status.to_string(), problem);
    }
    let mut operation = json!({ "summary": route.summary, "parameters": parameters, "responses": answers });
    if let Some(name) = route.body {
        operation["requestBody"] = json!({ "required": true, "content": content("application/json", name) });
    }
    if route.is_guarded {
        operation["security"] = json!([{ "bearer": [] }]);
    }
    operation
}

/// Those of the server and those of other crates.
fn schemas(offered: &[Api]) -> Value {
    let mut schemas = own_schemas();
    for (name, schema) in offered.iter().flat_map(|api| &api.schemas) {
        schemas[name.as_str()] = schema.clone();
    }
    let codes = super::problem::CODES.iter().chain(offered.iter().flat_map(|api| api.codes));
    let codes: std::collections::BTreeSet<&str> = codes.copied().collect();
    schemas["Problem"]["properties"]["code"]["enum"] = codes.into_iter().collect();
    schemas
}

fn own_schemas() -> Value {
    let position = json!({ "type": "string", "pattern": "^[0-9a-f]+\\.[0-9]+$" });
    let rooms = json!({ "type": "array", "items": { "type": "string", "maxLength": 255 }, "minItems": 1, "maxItems": 128 });
    let object = |properties: Value, required: &[&str]| json!({ "type": "object", "properties": properties, "required": required });
    let text = json!({ "type": "string", "minLength": 1, "maxLength": 250 });
    let millis = json!({ "type": ["number", "null"], "description": "milliseconds" });
    json!({
        "Page": object(
            json!({ "messages": { "type": "array", "items": { "type": "object", "description": "`chainflume schema` prints its schema" } },
                "next": position, "position": position, "gap": { "type": "object" } }),
            &["messages", "next", "position"],
        ),
        "TicketRequest": object(json!({ "rooms": rooms, "since": position }), &["rooms"]),
        "Ticket": object(json!({ "ticket": { "type": "string" }, "expiresIn": { "type": "integer" } }), &["ticket", "expiresIn"]),
        "Revocation": json!({ "oneOf": [object(json!({ "sub": text }), &["sub"]), object(json!({ "jti": text }), &["jti"])] }),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_every_route_and_schema() {
        let document = openapi(&[]);
        for route in ROUTES {
            let operation = &document["paths"][route.path][route.method];
            assert!(operation["summary"].is_string() && operation["responses"].is_object(), "{}", route.path);
        }
        let text = document.to_string();
        let mut references = 0;
        for rest in text.split("#/components/schemas/").skip(1) {
            let name = rest.split('"').next().expect("a name");
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
            references += 1;
        }
        assert!(references > 10);
    }

    #[test]
    fn the_page_loads_nothing_from_other_hosts() {
        let page = include_str!("docs.html");
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("innerHTML"));
    }
}
