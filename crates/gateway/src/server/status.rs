use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::forwarded::Client;
use super::problem::Problem;
use super::{Open, Shared, now};
use chainflume_access::{Principal, Scope};

/// However many pages look, the daemon is asked once a second.
const FRESH: Duration = Duration::from_secs(1);
/// A comment after so many seconds without a change, as for other streams.
const QUIET: u32 = 15;

/// What the daemon knows of itself, as JSON. The server does not know what is in it.
pub type StatusSource = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Value> + Send>> + Send + Sync>;

/// The state of the daemon for all that ask.
pub(super) struct StatusCache {
    source: StatusSource,
    last: Mutex<Option<(Instant, Arc<str>)>>,
}

impl StatusCache {
    pub fn new(source: StatusSource) -> Self {
        Self { source, last: Mutex::new(None) }
    }

    /// JSON that is at most a second old.
    async fn text(&self) -> Arc<str> {
        // Held while it is asked, so that all who wait get one answer.
        let mut last = self.last.lock().await;
        if let Some((_, text)) = last.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return text.clone();
        }
        let text: Arc<str> = (self.source)().await.to_string().into();
        *last = Some((Instant::now(), text.clone()));
        text
    }
}

/// `GET /v1/status`
pub(super) async fn status(State(shared): State<Shared>, headers: HeaderMap) -> Result<Response, Problem> {
    admin(&shared, &headers)?;
    let text = shared.status.text().await.to_string();
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// `GET /v1/status/stream`: the same as server-sent events, one whenever it differs.
pub(super) async fn stream(
    State(shared): State<Shared>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let principal = admin(&shared, &headers)?;
    let open = Open::new("sse", shared.enter(client, &principal)?);
    let looks = Looks { shared, principal, last: None, quiet: 0, _open: open };
    let body = Body::from_stream(futures_util::stream::unfold(looks, Looks::next));
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], body).into_response())
}

struct Looks {
    shared: Shared,
    principal: Principal,
    last: Option<Arc<str>>,
    quiet: u32,
    _open: Open,
}

impl Looks {
    async fn next(mut self) -> Option<(Result<Bytes, std::convert::Infallible>, Self)> {
        let mut text = String::new();
        while text.is_empty() {
            if self.last.is_some() {
                self.shared.stop.run_until_cancelled(tokio::time::sleep(FRESH)).await?;
            }
            let is_expired = self.principal.expires_at().is_some_and(|at| now() >= at);
            if is_expired || self.shared.settings.auth.is_revoked(&self.principal) {
                return None;
            }
            let stop = self.shared.stop.clone();
            let newest = stop.run_until_cancelled(self.shared.status.text()).await?;
            self.quiet += 1;
            if self.last.as_ref() != Some(&newest) {
                let _infallible = write!(text, "event: status\ndata: {newest}\n\n");
                (self.last, self.quiet) = (Some(newest), 0);
            } else if self.quiet >= QUIET {
                (text, self.quiet) = (":\n\n".to_owned(), 0);
            }
        }
        Some((Ok(text.into()), self))
    }
}

fn admin(shared: &Shared, headers: &HeaderMap) -> Result<Principal, Problem> {
    let principal = shared.settings.auth.of_headers(headers, now())?;
    if principal.has(Scope::Admin) { Ok(principal) } else { Err(Problem::forbidden()) }
}
