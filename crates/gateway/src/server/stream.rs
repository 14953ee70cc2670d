use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::accept::Seat;
use super::problem::Problem;
use super::query::{self, Query};
use super::session::Session;
use super::{Shared, now, random};
use crate::feed::{Arrival, write_position};
use chainflume_ops::metrics;

/// A comment keeps proxies from closing a quiet stream; the position with it keeps a client of quiet rooms near the end.
const QUIET: Duration = Duration::from_secs(15);
/// Messages are gathered up to so many bytes into one write.
const GATHER: usize = 64 << 10;

/// `GET /v1/stream`: server-sent events, as the HTML standard defines them.
pub(super) async fn stream(
    State(shared): State<Shared>,
    Extension(seat): Extension<Seat>,
    RawQuery(text): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let principal = shared.settings.auth.of_headers(&headers, now())?;
    let query = Query::parse(text.as_deref(), &["rooms", "since"])?;
    let names = query.get("rooms").unwrap_or_default().split(',').filter(|name| !name.is_empty());
    let rooms = query::rooms(names, &principal, &shared.settings.public_rooms)?;
    // A browser that comes again sends this beside the address it began with.
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).filter(|id| !id.is_empty());
    let since = last.map(query::position).transpose()?.or(query.since()?);
    let mut session = Session::new(&shared.feed, seat.cut());
    let (resumes, joined) = (since.is_some(), session.join(rooms, since).await?);
    let mut first = format!("retry: {}\n", 1_000 + random() % 4_000);
    if !resumes {
        let _infallible = writeln!(first, "id: {}", write_position(&joined.position));
    }
    first.push('\n');
    let (expires_at, first) = (principal.expires_at(), Some(first));
    let events = Events { shared, session, expires_at, first, _open: Open::new() };
    let body = Body::from_stream(futures_util::stream::unfold(Some(events), Events::next));
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], body).into_response())
}

/// Counts a stream while it is open.
struct Open;

impl Open {
    fn new() -> Self {
        metrics::push_connected("sse", 1.0);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::push_connected("sse", -1.0);
    }
}

struct Events {
    shared: Shared,
    session: Session,
    expires_at: Option<u64>,
    first: Option<String>,
    _open: Open,
}

type Chunk = Result<Bytes, std::convert::Infallible>;

impl Events {
    /// The next bytes; asked for only when the client has read enough of those before.
    async fn next(this: Option<Self>) -> Option<(Chunk, Option<Self>)> {
        let mut this = this?;
        if let Some(first) = this.first.take() {
            return Some((Ok(first.into()), Some(this)));
        }
        loop {
            if this.expires_at.is_some_and(|at| now() >= at) {
                metrics::push_dropped("expired");
                return Some((Ok("event: expired\ndata: {\"code\":\"token_expired\"}\n\n".into()), None));
            }
            let mut text = String::new();
            while text.len() < GATHER
                && let Some(arrival) = this.session.ready()
            {
                write(&mut text, arrival)?;
            }
            if !text.is_empty() {
                return Some((Ok(text.into()), Some(this)));
            }
            if this.session.is_resuming() {
                this.session.resume().await.ok()?;
                continue;
            }
            let stop = this.shared.stop.clone();
            let expiry = tokio::time::sleep(until(this.expires_at).min(QUIET));
            tokio::select! {
                arrival = this.session.live() => write(&mut text, arrival)?,
                () = stop.cancelled() => return None,
                () = expiry => {
                    let id = this.session.settled().map(|id| format!("id: {id}\n")).unwrap_or_default();
                    let _infallible = write!(text, ":\n{id}\n");
                }
            }
            return Some((Ok(text.into()), Some(this)));
        }
    }
}

/// How long until this second since 1970; an hour where there is none.
pub(super) fn until(expires_at: Option<u64>) -> Duration {
    let left = |at| {
        let end = UNIX_EPOCH.checked_add(Duration::from_secs(at))?;
        Some(end.duration_since(SystemTime::now()).unwrap_or_default())
    };
    expires_at.and_then(left).unwrap_or(Duration::from_hours(1))
}

/// An arrival as events: one for each room, and the position on the last, so that a client that comes again has all or none of
/// them. `None` where the stream has to end.
fn write(text: &mut String, arrival: Arrival) -> Option<()> {
    match arrival {
        Arrival::TooSlow => {
            metrics::push_dropped("slow");
            return None;
        }
        Arrival::Gap(gap) => {
            write!(text, "id: {}\nevent: gap\ndata: {}\n\n", write_position(&gap.to), gap.to_json()).ok()?;
        }
        Arrival::Message(delivery) => {
            let entry = &delivery.entry;
            for (index, room) in delivery.rooms.iter().enumerate() {
                if index + 1 == delivery.rooms.len() {
                    writeln!(text, "id: {}", entry.position()).ok()?;
                }
                let frame = entry.frame(*room);
                let frame = String::from_utf8_lossy(&frame);
                write!(text, "event: {}\ndata: {frame}\n\n", entry.event(*room)).ok()?;
            }
            metrics::push_delivered("sse", delivery.rooms.len());
        }
    }
    Some(())
}
