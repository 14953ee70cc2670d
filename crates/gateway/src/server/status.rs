use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::forwarded::Client;
use super::messages::POSITION;
use super::problem::HttpProblem;
use super::query::Query;
use super::sse::{EventResponse, EventText};
use super::{Open, Shared, fresh, now};
use chainflume_api::access::{Principal, Scope};

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
pub(super) async fn status(
    State(shared): State<Arc<Shared>>,
    RawQuery(text): RawQuery,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    admin(&shared, &headers)?;
    fresh::reached(&shared, &Query::parse(text.as_deref(), &["min_position"])?).await?;
    let position = shared.feed.newest().to_string();
    let text = shared.status.text().await.to_string();
    Ok(([(header::CONTENT_TYPE, "application/json"), (POSITION, &position)], text).into_response())
}

/// `GET /v1/status/stream`: the same as server-sent events, one whenever it differs.
pub(super) async fn stream(
    State(shared): State<Arc<Shared>>,
    Extension(client): Extension<Client>,
    RawQuery(text): RawQuery,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    let principal = admin(&shared, &headers)?;
    Query::parse(text.as_deref(), &[])?;
    let open = Open::new("sse", shared.enter(client, &principal)?);
    let text = Looks { shared: shared.clone(), last: None, quiet: 0 };
    let position =
        HeaderValue::try_from(shared.feed.newest().to_string()).ok().map(|value| (POSITION, value));
    Ok(EventResponse { shared, principal, text, _open: open }.respond(position))
}

/// The state, whenever it differs.
struct Looks {
    shared: Arc<Shared>,
    last: Option<Arc<str>>,
    quiet: u32,
}

impl EventText for Looks {
    async fn next(&mut self) -> Option<String> {
        loop {
            if self.last.is_some() {
                tokio::time::sleep(FRESH).await;
            }
            let newest = self.shared.status.text().await;
            self.quiet += 1;
            if self.last.as_ref() != Some(&newest) {
                let text = format!("event: status\ndata: {newest}\n\n");
                (self.last, self.quiet) = (Some(newest), 0);
                return Some(text);
            }
            if self.quiet >= QUIET {
                self.quiet = 0;
                return Some(":\n\n".to_owned());
            }
        }
    }
}

fn admin(shared: &Shared, headers: &HeaderMap) -> Result<Principal, HttpProblem> {
    let principal = shared.settings.auth.of_headers(headers, now())?;
    if principal.has(Scope::Admin) { Ok(principal) } else { Err(HttpProblem::forbidden()) }
}
