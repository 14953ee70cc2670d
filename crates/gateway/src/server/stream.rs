use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use tokio::time::timeout;

use super::accept::Seat;
use super::forwarded::Client;
use super::frames::delivered;
use super::messages::POSITION;
use super::problem::HttpProblem;
use super::query::{self, Query};
use super::session::{Known, Session};
use super::sse::{EVENT_STREAM, EventResponse, EventText, retry};
use super::tickets::{Redeemed, redeem};
use super::{Open, Shared, now};
use crate::feed::Arrival;
use crate::grants::TicketUse;
use chainflume_ops::metrics::{self, DeliveryMeter};

/// A comment keeps proxies from closing a quiet stream; the position with it keeps a client of quiet rooms near the end.
const QUIET: Duration = Duration::from_secs(15);
/// Messages are gathered up to so many bytes into one write.
const GATHER: usize = 64 << 10;

/// `GET /v1/stream`: server-sent events, as the HTML standard defines them.
pub(super) async fn stream(
    State(shared): State<Arc<Shared>>,
    Extension(seat): Extension<Seat>,
    Extension(client): Extension<Client>,
    RawQuery(text): RawQuery,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    let Redeemed { principal, rooms, since } =
        asked(&shared, text.as_deref(), &headers, TicketUse::Spend).await?;
    let open = Open::new("sse", shared.enter(client, &principal)?);
    // A browser that comes again sends this beside the address it began with.
    // One that is no text is no position: to count it as absent would begin now, and skip what the client missed.
    let last =
        headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?")).filter(|id| !id.is_empty());
    let since = last.map(query::position).transpose()?.or(since);
    // The position of an event is on the last frame of its message, so `Last-Event-ID` is of a whole message. One that is sent as
    // `since` may be of a frame.
    let known = if last.is_some() { Known::Whole } else { Known::ByRoom };
    let mut session = Session::new(&shared.feed, known, seat.cut());
    let (resumes, joined) = (since.is_some(), session.join(rooms, since).await?);
    let (mut first, position) = (retry(), joined.position.to_string());
    if !resumes {
        let _infallible = writeln!(first, "id: {position}");
    }
    first.push('\n');
    let text = Messages { session, first: Some(first), meter: DeliveryMeter::new("sse") };
    let position = HeaderValue::try_from(position).ok().map(|position| (POSITION, position));
    Ok(EventResponse { shared, principal, text, _open: open }.respond(position))
}

/// `HEAD /v1/stream`: whether the stream would be opened. It opens none, and a ticket stays for the one that does.
pub(super) async fn look(
    State(shared): State<Arc<Shared>>,
    RawQuery(text): RawQuery,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    asked(&shared, text.as_deref(), &headers, TicketUse::Look).await?;
    let position = shared.feed.newest().to_string();
    Ok(([(header::CONTENT_TYPE, EVENT_STREAM), (POSITION, &position)], ()).into_response())
}

/// What a client asks for: by a ticket, or by a credential and rooms.
async fn asked(
    shared: &Shared,
    text: Option<&str>,
    headers: &HeaderMap,
    ticket_use: TicketUse,
) -> Result<Redeemed, HttpProblem> {
    let query = Query::parse(text, &["rooms", "since", "ticket"])?;
    if let Some(ticket) = query.get("ticket") {
        if query.get("rooms").is_some() || query.get("since").is_some() {
            let detail = "a ticket has its rooms and its position; send it alone";
            return Err(HttpProblem::new(400, "bad_query", detail));
        }
        return redeem(shared, ticket, ticket_use).await;
    }
    let principal = shared.settings.auth.of_headers(headers, now())?;
    let names = query.get("rooms").unwrap_or_default().split(',').filter(|name| !name.is_empty());
    let rooms = query::rooms(names, &principal, &shared.settings.listener.public_rooms)?;
    Ok(Redeemed { principal, rooms, since: query.since()? })
}

/// The messages of a session.
struct Messages {
    session: Session,
    first: Option<String>,
    meter: DeliveryMeter,
}

impl EventText for Messages {
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let mut text = String::new();
        loop {
            while text.len() < GATHER
                && let Some(arrival) = self.session.ready()
            {
                write(&mut text, arrival, &self.meter)?;
            }
            if !text.is_empty() {
                return Some(text);
            }
            if !self.session.is_resuming() {
                break;
            }
            self.session.resume().await.ok()?;
        }
        match timeout(QUIET, self.session.live()).await {
            Ok(arrival) => write(&mut text, arrival, &self.meter)?,
            Err(_) => {
                let id = self.session.settled().map(|id| format!("id: {id}\n")).unwrap_or_default();
                write!(text, ":\n{id}\n").ok()?;
            }
        }
        Some(text)
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
fn write(text: &mut String, arrival: Arrival, meter: &DeliveryMeter) -> Option<()> {
    match arrival {
        Arrival::TooSlow => {
            metrics::push_dropped("slow");
            return None;
        }
        // Nothing else writes to a client.
        Arrival::Unflushed => {}
        Arrival::Gap(gap) => {
            write!(text, "id: {}\nevent: gap\ndata: {}\n\n", gap.to, gap.to_json()).ok()?;
        }
        Arrival::Message(delivery) => {
            let (entry, before) = (&delivery.entry, text.len());
            for (index, room) in delivery.rooms.iter().enumerate() {
                if index + 1 == delivery.rooms.len() {
                    writeln!(text, "id: {}", entry.position()).ok()?;
                }
                let frame = entry.frame(*room);
                let frame = String::from_utf8_lossy(&frame);
                write!(text, "event: {}\ndata: {frame}\n\n", entry.event(*room)).ok()?;
            }
            delivered(meter, &delivery, delivery.rooms.len(), text.len() - before);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::FedStream;
    use super::*;
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn a_quiet_stream_has_a_comment_every_fifteen_seconds() {
        let stream = FedStream::new(0).await;
        stream.publish(&["a"]).await;
        let mut session = Session::new(&stream.feed, Known::ByRoom, CancellationToken::new());
        let rooms = vec![chainflume_api::access::Room::parse("order-b").expect("a room")];
        session.join(rooms, None).await.expect("joins");
        let mut messages = Messages { session, first: None, meter: DeliveryMeter::new("sse") };
        let began = Instant::now();
        tokio::time::pause();
        for turn in 1..=2u32 {
            let text = messages.next().await.expect("it goes on");
            assert_eq!(text, format!(":\nid: {}\n\n", stream.at(1)));
            let elapsed = began.elapsed();
            assert!(
                elapsed >= turn * QUIET && elapsed < turn * QUIET + Duration::from_secs(5),
                "{elapsed:?}"
            );
        }
    }
}
