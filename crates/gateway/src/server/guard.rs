use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::accept::Seat;
use super::auth::{Auth, credential};
use super::forwarded::Client;
use super::limits::counted;
use super::problem::{Code, HttpProblem};
use super::unread::UnreadBody;
use super::{Settings, Shared, now, random};
use chainflume_api::access::Principal;
use chainflume_ops::http::host_fault;
use chainflume_ops::metrics;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request, for the line in the log: nothing of its parameters, which hold tickets, nor of its headers, which hold tokens.
struct AccessLine {
    started: Instant,
    method: Method,
    path: String,
    id: String,
    client: IpAddr,
    caller: Option<String>,
}

/// Before and after every request: where the page comes from, how much its caller may ask, an id for it, and a line in the log.
pub(super) async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let mut request = UnreadBody::read_whole(request);
    let peer = request.extensions().get::<Seat>().map_or(Ipv4Addr::UNSPECIFIED.into(), Seat::peer);
    let client = Client::of(peer, request.headers(), &shared.settings.listener.trusted_proxies);
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut line = AccessLine {
        started: Instant::now(),
        method: request.method().clone(),
        path: request.uri().path().chars().take(200).collect(),
        id: request_id(request.headers()),
        client: client.address,
        caller: None,
    };
    let is_foreign = is_foreign(&shared.settings, request.headers());
    let admitted = match refused(&shared, &request, is_foreign) {
        Some(problem) => Err(problem),
        None => admit(&shared, request.headers(), client).await,
    };
    let mut response = match admitted {
        Err(problem) => problem.into_response(),
        Ok(_) if line.method == Method::OPTIONS && origin.is_some() => StatusCode::NO_CONTENT.into_response(),
        Ok(caller) => {
            line.caller = caller;
            request.extensions_mut().insert(client);
            next.run(request).await
        }
    };
    let headers = response.headers_mut();
    if let Some(origin) = origin.filter(|_| !is_foreign) {
        allow(headers, origin);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(REQUEST_ID, HeaderValue::try_from(&line.id).unwrap_or(HeaderValue::from_static("")));
    line.write(&shared, &response);
    response
}

/// What no caller may send, whoever it is.
fn refused(shared: &Shared, request: &Request, is_foreign: bool) -> Option<HttpProblem> {
    if let Some(fault) = host_fault(request.version(), request.headers()) {
        return Some(HttpProblem::new(400, "bad_host", fault));
    }
    if is_foreign {
        let detail = "pages of this origin may not ask; add it to server.cors_origins";
        return Some(HttpProblem::new(403, "origin_forbidden", detail));
    }
    let detail = "the head of the request is too large; send fewer cookies";
    let is_long = head_bytes(request) > shared.settings.limits.head_bytes;
    is_long.then(|| HttpProblem::new(431, "head_too_large", detail))
}

/// Bytes of the head of a request: its first line, its headers and the empty line. hyper bounds the buffer that it reads into, which
/// takes some heads that are longer.
fn head_bytes(request: &Request) -> usize {
    let (method, uri) = (request.method(), request.uri());
    let target = uri.path_and_query().map_or(1, |target| target.as_str().len());
    let authority = uri.authority().map_or(0, |authority| "http://".len() + authority.as_str().len());
    let line = method.as_str().len() + target + authority + "  HTTP/1.1\r\n".len();
    let header =
        |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + ": \r\n".len();
    line + request.headers().iter().map(header).sum::<usize>() + "\r\n".len()
}

/// The caller that a valid credential names, unless the caller or the address has asked too much. An invalid credential is for the
/// route to refuse: some need none.
async fn admit(shared: &Shared, headers: &HeaderMap, client: Client) -> Result<Option<String>, HttpProblem> {
    let auth = &shared.settings.auth;
    if matches!(auth, Auth::Open) {
        return Ok(None);
    }
    let known = credential(headers).and_then(|credential| auth.of_credential(Some(credential), now()).ok());
    let owner = known.as_ref().map(Principal::owner);
    match &owner {
        Some(owner) => shared.callers.take(owner.clone(), Instant::now()).map_err(too_fast)?,
        None => shared.take_stranger(client)?,
    }
    // After the count: a made-up key must not be looked for more often than a stranger may ask.
    if owner.is_none() {
        auth.learn(credential(headers), now()).await;
    }
    Ok(owner)
}

fn too_fast(wait: Duration) -> HttpProblem {
    let wait = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    HttpProblem::new(429, "too_many_requests", "requests come too fast; slow down").after(wait)
}

impl Shared {
    /// Takes one try of a caller that is not known yet, of those of its address.
    pub(super) fn take_stranger(&self, client: Client) -> Result<(), HttpProblem> {
        if matches!(self.settings.auth, Auth::Open) {
            return Ok(());
        }
        self.strangers.take(counted(client.address).to_string(), Instant::now()).map_err(too_fast)
    }
}

impl AccessLine {
    fn write(&self, shared: &Shared, response: &Response) {
        let Self { started, method, path, id, client, caller } = self;
        let (status, took) = (response.status().as_u16(), started.elapsed());
        let code = response.extensions().get::<Code>().map(|code| code.0);
        if let Some(code) = code {
            metrics::push_refused(code);
        }
        // Names of users are the application's own, whatever characters they have.
        let caller = caller.as_deref().unwrap_or("-");
        let code = code.unwrap_or("-");
        if shared.settings.listener.access_log {
            tracing::info!(%method, ?path, status, code, ?took, %client, ?caller, request = id, "request answered");
            return;
        }
        // A refusal is for an operator to see, at most one line a minute for each code; all are counted.
        if matches!(status, 401 | 403 | 429)
            && let Some(suppressed) = shared.lines.admit(code)
        {
            let suppressed = suppressed.field();
            tracing::info!(%method, ?path, status, code, %client, ?caller, request = id, suppressed, "request refused");
            return;
        }
        tracing::debug!(%method, ?path, status, code, ?took, %client, ?caller, request = id, "request answered");
    }
}

/// The id that a proxy or the caller gave, where it is short and plain, else one of ours.
fn request_id(headers: &HeaderMap) -> String {
    let is_plain = |id: &&str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        (1..=64).contains(&id.len()) && id.bytes().all(plain)
    };
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(is_plain);
    given.map_or_else(|| format!("{:016x}", random()), str::to_owned)
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
    let is_listed = settings.listener.cors_origins.iter().any(|known| known == origin || known == "*");
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
    set(headers, header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE");
    let asked = "authorization, content-type, idempotency-key, last-event-id, x-request-id";
    set(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, asked);
    let exposed = "chainflume-position, idempotency-replayed, retry-after, x-request-id";
    set(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    set(headers, header::ACCESS_CONTROL_MAX_AGE, "600");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_kept_where_it_is_short_and_plain() {
        let id = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(text).expect("a value"));
            request_id(&headers)
        };
        assert_eq!(id("4bf92f35-77b3.A_1"), "4bf92f35-77b3.A_1");
        for text in ["", "a b", "a\"", &"a".repeat(65)] {
            assert!(id(text) != text && id(text).len() == 16, "{text}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
