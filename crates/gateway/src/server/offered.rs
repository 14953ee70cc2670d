//! Routes of other crates: the server checks the credential, reads the body and repeats answers; the crate answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, MethodRouter, any, on};

use super::post::{PostAnswer, Write, body, once, respond, written};
use super::problem::HttpProblem;
use super::query::Query;
use super::{Shared, fresh, now};
use chainflume_api::access::Principal;
use chainflume_api::routes::{Api, ApiAnswer, ApiMethod, ApiRequest, OfferedRoute, RouteAccess};

/// A read waits for this position; every route that reads takes it.
const MIN_POSITION: &str = "min_position";

/// The places of a path. One of a stranger that is no text is empty, which names nothing.
fn placed(
    places: Result<RawPathParams, RawPathParamsRejection>,
    access: RouteAccess,
) -> Result<BTreeMap<String, String>, HttpProblem> {
    match places {
        Ok(places) => Ok(places.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()),
        Err(_) if access == RouteAccess::Open => Ok(BTreeMap::new()),
        Err(_) => Err(HttpProblem::new(400, "malformed", "the path is not UTF-8")),
    }
}

/// The routes of all crates.
pub(super) fn routes(offered: &[Api]) -> Router<Arc<Shared>> {
    let all = offered.iter().flat_map(|api| &api.routes);
    all.fold(Router::new(), |router, route| router.route(route.path, method_router(route)))
}

fn method_router(route: &OfferedRoute) -> MethodRouter<Arc<Shared>> {
    let filter = match route.method {
        ApiMethod::Get => Some(MethodFilter::GET),
        ApiMethod::Post => Some(MethodFilter::POST),
        ApiMethod::Put => Some(MethodFilter::PUT),
        ApiMethod::Patch => Some(MethodFilter::PATCH),
        ApiMethod::Delete => Some(MethodFilter::DELETE),
        ApiMethod::Any => None,
    };
    let route = Arc::new(route.clone());
    let act = move |State(shared): State<Arc<Shared>>,
                    places: Result<RawPathParams, RawPathParamsRejection>,
                    request: Request| {
        let route = route.clone();
        async move {
            let answered = match placed(places, route.access) {
                Ok(places) => answer(&shared, &route, places, request).await,
                Err(problem) => Err(problem),
            };
            let mut response = answered.unwrap_or_else(HttpProblem::into_response);
            if response.status() == StatusCode::METHOD_NOT_ALLOWED {
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            response
        }
    };
    match filter {
        Some(filter) => on(filter, act),
        None => any(act),
    }
}

async fn answer(
    shared: &Shared,
    route: &OfferedRoute,
    parameters: BTreeMap<String, String>,
    request: Request,
) -> Result<Response, HttpProblem> {
    let (parts, sent) = request.into_parts();
    let received_at = now();
    let caller = match route.access {
        RouteAccess::Caller => Some(shared.settings.auth.of_headers(&parts.headers, received_at)?),
        RouteAccess::Open => None,
    };
    let is_read = matches!(parts.method, Method::GET | Method::HEAD);
    let mut query = match route.access {
        RouteAccess::Caller => {
            let parameters = route.query.iter().map(|parameter| parameter.name);
            let known: Vec<&str> = parameters.chain(is_read.then_some(MIN_POSITION)).collect();
            query(shared, parts.uri.query(), &known).await?
        }
        // Of a stranger's address nothing is refused: its owner adds to it what it likes.
        RouteAccess::Open => BTreeMap::new(),
    };
    query.remove(MIN_POSITION);
    // Before the read, so that the answer is no older than its position.
    let newest = shared.feed.newest();
    let body = match route.access {
        _ if is_read => Vec::new(),
        RouteAccess::Caller => written(shared, &parts.headers, sent).await?,
        // As it was sent: its signature is of these bytes.
        RouteAccess::Open => match body(shared, sent).await {
            Ok(body) => body,
            Err(problem) => return Ok(problem.into_plain()),
        },
    };
    let request = ApiRequest {
        method: parts.method.to_string(),
        parameters,
        query,
        headers: headers(&parts.headers),
        body,
        caller,
        received_at,
        is_repeat: false,
    };
    let Some(owner) = request.caller.as_ref().map(Principal::owner).filter(|_| !is_read) else {
        return Ok(respond(&newest, post_answer((route.handler)(request).await?)));
    };
    let (sent, line) = (request.body.clone(), format!("{} {}", parts.method, parts.uri.path()));
    let write = Write { headers: &parts.headers, owner: &owner, route: &line, body: &sent };
    let act = async |is_repeat| Ok(post_answer((route.handler)(ApiRequest { is_repeat, ..request }).await?));
    once(shared, write, act).await
}

/// The parameters of a request, which has only known ones. With `min_position`, waits until this server is there.
async fn query(
    shared: &Shared,
    text: Option<&str>,
    known: &[&str],
) -> Result<BTreeMap<String, String>, HttpProblem> {
    let query = Query::parse(text, known)?;
    fresh::reached(shared, &query).await?;
    query.into_values()
}

fn headers(sent: &HeaderMap) -> BTreeMap<String, Vec<u8>> {
    let mut headers: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (name, value) in sent {
        let held = headers.entry(name.as_str().to_owned()).or_default();
        if !held.is_empty() {
            held.extend_from_slice(b", ");
        }
        held.extend_from_slice(value.as_bytes());
    }
    headers
}

fn post_answer(ApiAnswer { status, json, position }: ApiAnswer) -> PostAnswer {
    PostAnswer { status, json, position }
}
