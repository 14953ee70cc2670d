use std::net::IpAddr;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::auth::Auth;
use super::problem::Problem;
use super::{Settings, Shared, random};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Before and after every request: where the page comes from, an id for it, and a line in the log without its parameters.
pub(super) async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let (method, path) =
        (request.method().clone(), request.uri().path().chars().take(200).collect::<String>());
    let origin = request.headers().get(header::ORIGIN).cloned();
    let is_foreign = is_foreign(&shared.settings, request.headers());
    let mut response = if is_foreign {
        Problem::new(
            403,
            "origin_forbidden",
            "pages of this origin may not ask; add it to server.cors_origins",
        )
        .into_response()
    } else if method == Method::OPTIONS && origin.is_some() {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    if let Some(origin) = origin.filter(|_| !is_foreign) {
        allow(headers, origin);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let id = format!("{:016x}", random());
    headers.insert(REQUEST_ID, HeaderValue::try_from(&id).unwrap_or(HeaderValue::from_static("")));
    let (status, took) = (response.status().as_u16(), started.elapsed());
    tracing::debug!(%method, path, status, ?took, request = id, "request answered");
    response
}

/// Whether a page of another origin asks, or a page that had a name of its own point at the loopback (DNS rebinding).
fn is_foreign(settings: &Settings, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    let host = text(header::HOST);
    if matches!(settings.auth, Auth::Open) && !host.is_some_and(is_loopback) {
        return true;
    }
    let Some(origin) = text(header::ORIGIN) else { return false };
    let is_own = host.is_some_and(|host| origin.split_once("://").is_some_and(|(_, name)| name == host));
    let is_listed = settings.cors_origins.iter().any(|known| known == origin || known == "*");
    !is_own && !is_listed
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_matches(['[', ']']).parse::<IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    let set = |headers: &mut HeaderMap, name: HeaderName, value| {
        headers.insert(name, HeaderValue::from_static(value))
    };
    set(headers, header::ACCESS_CONTROL_ALLOW_METHODS, "GET");
    set(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, last-event-id");
    set(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, "chainflume-position, x-request-id");
    set(headers, header::ACCESS_CONTROL_MAX_AGE, "600");
}
