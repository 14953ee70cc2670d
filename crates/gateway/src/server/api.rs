//! The routes and what they are for, in one table: the router and the OpenAPI document are made from it, so that neither has what the
//! other lacks.

mod document;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};

use super::sse::EVENT_STREAM;
use super::{Shared, messages, report, revocations, socket, status, stream, tickets};
use chainflume_api::routes::{ParameterValues, QueryParameter};
use document::{HTML, JSON, MIN_POSITION, openapi};

/// A route.
struct ApiRoute {
    path: &'static str,
    method: &'static str,
    handler: fn() -> MethodRouter<Arc<Shared>>,
    summary: &'static str,
    /// Its parameters in the address.
    query: &'static [QueryParameter],
    /// The answer when all is well: status, media type, and the name of its schema.
    answer: (u16, Option<&'static str>, Option<&'static str>),
    /// Name of the schema of its body.
    body: Option<&'static str>,
    /// Statuses of its errors.
    errors: &'static [u16],
    /// Whether it needs a credential.
    is_guarded: bool,
}

const SINCE: QueryParameter =
    QueryParameter::new("since", "a position, `<epoch>.<seq>`: begin after it", ParameterValues::Position);

/// Errors of every route: a wrong `Host`, a page of another origin, too many requests, and a head that is too large.
const OPEN: &[u16] = &[400, 403, 429, 431];
/// Those of a route that reads for a caller. The keys that a credential is checked with may be away.
const READ: &[u16] = &[400, 401, 403, 429, 431, 503];
/// Those of a route that waits for a position.
const READ_AT: &[u16] = &[400, 401, 403, 409, 429, 431, 503];
/// Those of a write ([`super::post::once`]).
const WRITE: &[u16] = &[400, 401, 403, 408, 413, 415, 422, 429, 431, 503];
const ROUTES: &[ApiRoute] = &[
    ApiRoute {
        query: &[
            SINCE,
            QueryParameter::text(
                "room",
                "only messages of this room; without it all, which needs the scope admin",
            ),
            QueryParameter::text("type", "only messages of this type, or of a prefix like `erc20.*`"),
            QueryParameter::text(
                "aggregate",
                "only messages about this kind of thing, `order`, or about one, `order-7`",
            ),
            QueryParameter::text("user", "only messages in the room of this user"),
            QueryParameter::new("limit", "messages of a page; 100 by default", ParameterValues::UpTo(500)),
            MIN_POSITION,
        ],
        answer: (200, Some(JSON), Some("Page")),
        errors: READ_AT,
        ..read("/v1/messages", || get(messages::messages), "Read stored messages in order, page by page")
    },
    ApiRoute {
        query: &[
            QueryParameter::text("rooms", "names of rooms, separated by commas"),
            SINCE,
            QueryParameter::text(
                "ticket",
                "a ticket of POST /v1/tickets in place of rooms, since and a credential",
            ),
        ],
        answer: (200, Some(EVENT_STREAM), None),
        ..read(
            "/v1/stream",
            || get(stream::stream).head(stream::look),
            "Follow rooms by server-sent events; `id:` is the position, so `Last-Event-ID` resumes",
        )
    },
    ApiRoute {
        answer: (101, None, None),
        ..read(
            "/v1/ws",
            || get(socket::upgrade),
            "Open a WebSocket with the subprotocol chainflume.v1; in a browser the token is offered beside it as bearer.<token>",
        )
    },
    ApiRoute {
        summary: "Get a ticket that opens one stream once within 60 s, for clients that can send no header",
        ..write("/v1/tickets", || post(tickets::issue), "TicketRequest", "Ticket")
    },
    ApiRoute {
        summary: "Revoke a token, or all tokens of a user issued up to now, on every server within 2 s; scope admin",
        ..write("/v1/revocations", || post(revocations::revoke), "Revocation", "Revoked")
    },
    ApiRoute {
        query: &[MIN_POSITION],
        errors: READ_AT,
        ..read(
            "/v1/status",
            || get(status::status),
            "Read the state of chains, sinks, sources, leases and the outbox; scope admin",
        )
    },
    ApiRoute {
        query: &[MIN_POSITION],
        answer: (200, Some(JSON), Some("Report")),
        errors: READ_AT,
        ..read(
            "/v1/report",
            || get(report::report),
            "Read means of the last 100 webhooks and deliveries of this process; scope admin",
        )
    },
    ApiRoute {
        answer: (200, Some(EVENT_STREAM), None),
        ..read(
            "/v1/status/stream",
            || get(status::stream),
            "Follow the state by server-sent events, one whenever it differs; scope admin",
        )
    },
    ApiRoute { errors: OPEN, is_guarded: false, ..read("/openapi.json", || get(document), "This document") },
    ApiRoute {
        answer: (200, Some(HTML), None),
        errors: OPEN,
        is_guarded: false,
        ..read("/docs", || get(docs), "This document as a page")
    },
];

/// A route that reads: needs a credential, takes no parameters, and answers 200 with JSON that has no schema here.
const fn read(
    path: &'static str,
    handler: fn() -> MethodRouter<Arc<Shared>>,
    summary: &'static str,
) -> ApiRoute {
    ApiRoute {
        path,
        method: "get",
        handler,
        summary,
        query: &[],
        answer: (200, Some(JSON), None),
        body: None,
        errors: READ,
        is_guarded: true,
    }
}

/// A route that creates: needs a credential, takes a body and answers 201. `body` and `answer` name their schemas.
const fn write(
    path: &'static str,
    handler: fn() -> MethodRouter<Arc<Shared>>,
    body: &'static str,
    answer: &'static str,
) -> ApiRoute {
    ApiRoute {
        method: "post",
        answer: (201, Some(JSON), Some(answer)),
        body: Some(body),
        errors: WRITE,
        ..read(path, handler, "")
    }
}

/// The routes of the table.
pub(super) fn routes() -> Router<Arc<Shared>> {
    ROUTES.iter().fold(Router::new(), |router, route| router.route(route.path, (route.handler)()))
}

async fn document(State(shared): State<Arc<Shared>>) -> Response {
    ([(header::CONTENT_TYPE, JSON)], openapi(&shared.offered).to_string()).into_response()
}

/// Shows the document without any file of others. The policy lets the page ask this server alone.
async fn docs() -> Response {
    let policy = "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                  base-uri 'none'; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(include_str!("docs.html"))).into_response()
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
