use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::post::{BodyShape, PostAnswer, Write, json, once, written};
use super::problem::HttpProblem;
use super::query::Query;
use super::{Auth, Shared, now};
use chainflume_api::access::{Revocation, Scope};

/// Bytes of a user's id or a token's: what a token may hold too.
const MAX_BYTES: usize = 250;
const BODY: BodyShape = BodyShape {
    fields: &["sub", "jti"],
    example: "{\"sub\": \"7\"} for all tokens of a user up to now, or {\"jti\": \"…\"} for one token; \
                    1 to 250 bytes without control characters",
};

#[derive(Deserialize)]
struct RevocationRequest {
    sub: Option<String>,
    jti: Option<String>,
}

/// `POST /v1/revocations`
pub(super) async fn revoke(
    State(shared): State<Arc<Shared>>,
    RawQuery(text): RawQuery,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, HttpProblem> {
    let principal = shared.settings.auth.of_headers(&headers, now())?;
    if !principal.has(Scope::Admin) {
        return Err(HttpProblem::forbidden());
    }
    Query::parse(text.as_deref(), &[])?;
    let bytes = written(&shared, &headers, request).await?;
    let asked: RevocationRequest = json(&headers, &bytes, &BODY)?;
    let what = match (asked.sub, asked.jti) {
        (Some(sub), None) => Revocation::Subject(sub),
        (None, Some(jti)) => Revocation::Token(jti),
        _ => return Err(BODY.problem()),
    };
    let name = what.name();
    if name.is_empty() || name.len() > MAX_BYTES || name.contains(char::is_control) {
        return Err(BODY.problem());
    }
    let owner = principal.owner();
    let act = async |_is_repeat| {
        let (at, all) = shared.grants.revoke(&what).await.map_err(|error| HttpProblem::of_store(&error))?;
        // Here at once; every other server reads it within a second.
        if let Auth::Required(access) = &shared.settings.auth {
            access.revoked.add(all.iter().map(|one| (one.clone(), at)));
        }
        let (kind, name, names) = (what.kind(), what.name(), all.len());
        tracing::info!(by = ?owner, kind, ?name, names, "credentials were revoked");
        let json = json!({ what.kind(): what.name(), "revokedAt": at }).to_string();
        Ok(PostAnswer { status: 201, json, position: None })
    };
    let write = Write { headers: &headers, owner: &owner, route: "POST /v1/revocations", body: &bytes };
    once(&shared, write, act).await
}
