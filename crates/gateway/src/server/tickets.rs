use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::post::{BodyShape, PostAnswer, Write, json, once, written};
use super::problem::HttpProblem;
use super::query::{self, Query};
use super::{Auth, Shared, now};
use crate::grants::{Issue, TICKET_SECONDS, TicketUse};
use chainflume_api::access::{Principal, Room, Ticket, User};
use chainflume_outbox::Position;

const BODY: BodyShape = BodyShape {
    fields: &["rooms", "since"],
    example: "{\"rooms\": [\"user-7\"], \"since\": \"…\"}; since may be left out",
};

#[derive(Deserialize)]
struct TicketBody {
    rooms: Vec<String>,
    since: Option<String>,
}

/// What a ticket opens, as the database keeps it.
#[derive(Serialize, Deserialize)]
struct Content {
    caller: Caller,
    rooms: Vec<String>,
    since: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Caller {
    Local,
    /// Claims, JSON.
    User(String),
    /// Hash of a key.
    Service(String),
}

/// What a ticket opens now.
pub(super) struct Redeemed {
    pub principal: Principal,
    pub rooms: Vec<Room>,
    pub since: Option<Position>,
}

/// `POST /v1/tickets`
pub(super) async fn issue(
    State(shared): State<Arc<Shared>>,
    RawQuery(text): RawQuery,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, HttpProblem> {
    let principal = shared.settings.auth.of_headers(&headers, now())?;
    Query::parse(text.as_deref(), &[])?;
    let bytes = written(&shared, &headers, request).await?;
    let asked: TicketBody = json(&headers, &bytes, &BODY)?;
    let names = asked.rooms.iter().map(String::as_str);
    let rooms = query::rooms(names, &principal, &shared.settings.listener.public_rooms)?;
    asked.since.as_deref().map(query::position).transpose()?;
    let caller = match &principal {
        Principal::Local => Caller::Local,
        Principal::User(user) => Caller::User(user.to_claims()),
        Principal::Service(service) => Caller::Service(service.key.to_string()),
    };
    let rooms = rooms.iter().map(Room::to_string).collect();
    let content = Content { caller, rooms, since: asked.since };
    let owner = principal.owner();
    let write = Write { headers: &headers, owner: &owner, route: "POST /v1/tickets", body: &bytes };
    once(&shared, write, async |_is_repeat| give(&shared, &owner, &content).await).await
}

async fn give(shared: &Shared, owner: &str, content: &Content) -> Result<PostAnswer, HttpProblem> {
    let ticket =
        Ticket::generate().map_err(|error| HttpProblem::new(503, "unavailable", error.to_string()))?;
    let content = serde_json::to_string(content).unwrap_or_default();
    let issue = Issue { ticket: &ticket, owner, content: &content };
    if !shared.grants.issue(&issue).await.map_err(|error| HttpProblem::of_store(&error))? {
        let detail = "too many tickets of this caller are not spent; use one, or wait a minute";
        return Err(HttpProblem::new(429, "ticket_limit", detail).after(u64::from(TICKET_SECONDS)));
    }
    let json = json!({ "ticket": ticket.expose(), "expiresIn": TICKET_SECONDS }).to_string();
    Ok(PostAnswer { status: 201, json, position: None })
}

/// Reads a ticket. What it was given for is checked again: the caller may have been revoked since, and the token may have expired.
pub(super) async fn redeem(shared: &Shared, text: &str, how: TicketUse) -> Result<Redeemed, HttpProblem> {
    let invalid =
        || HttpProblem::new(401, "ticket_invalid", "the ticket is unknown, spent or expired; get a new one");
    let ticket = Ticket::parse(text).ok_or_else(invalid)?;
    let content = shared.grants.redeem(&ticket, how).await.map_err(|error| HttpProblem::of_store(&error))?;
    let content: Content = serde_json::from_str(&content.ok_or_else(invalid)?).map_err(|_| invalid())?;
    let auth = &shared.settings.auth;
    let principal = match content.caller {
        Caller::Local => matches!(auth, Auth::Open).then_some(Principal::Local),
        Caller::User(claims) => User::from_claims(&claims).map(Principal::User),
        Caller::Service(hash) => auth.of_key(&hash),
    };
    let principal = principal.ok_or_else(invalid)?;
    if auth.is_revoked(&principal) {
        return Err(HttpProblem::new(
            401,
            "credential_revoked",
            "this credential was revoked; get a new one",
        ));
    }
    if principal.expires_at().is_some_and(|at| now() >= at) {
        return Err(HttpProblem::new(401, "token_expired", "the token of this ticket has expired"));
    }
    let names = content.rooms.iter().map(String::as_str);
    let rooms = query::rooms(names, &principal, &shared.settings.listener.public_rooms)?;
    let since = content.since.as_deref().map(query::position).transpose()?;
    Ok(Redeemed { principal, rooms, since })
}
