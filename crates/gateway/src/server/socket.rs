use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::FutureExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::accept::Seat;
use super::caller::Ending;
use super::forwarded::Client;
use super::problem::Problem;
use super::query;
use super::session::{Known, Session, gap_frame};
use super::{Open, Shared, now};
use crate::feed::{Arrival, write_position};
use chainflume_access::{Principal, Room};
use chainflume_ops::metrics;

/// What a client offers, and the server answers alone.
const PROTOCOL: &str = "chainflume.v1";
/// Bytes of one frame of a client: 128 rooms of 255 bytes, and a token.
const FRAME_BYTES: usize = 64 << 10;
/// Bytes of a frame that are read all the same, so that a client with a little more hears why the connection is closed. One with
/// more is cut off.
const READ_BYTES: usize = 4 * FRAME_BYTES;
/// How long a client that is too slow may take to read how its connection ends.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// How long one write may take: a socket that stays full for so long has no reader.
const FULL: Duration = Duration::from_secs(10);
/// How often a quiet client is asked whether it is there.
const PING: Duration = Duration::from_secs(30);
/// A client that has sent nothing for so long, not even an answer to a ping, is gone.
const SILENT: Duration = Duration::from_secs(75);

/// Why a connection ends, as its close frame says.
#[derive(Clone, Copy)]
enum End {
    /// By the server, whatever the client does.
    Ending(Ending),
    TooSlow,
    Oversize,
    NotText,
    Unavailable,
    /// It is gone, or was closed by the client.
    Gone,
}

impl End {
    fn frame(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Ending(Ending::Expired) => Some((4401, "token_expired")),
            Self::Ending(Ending::Revoked) => Some((4403, "credential_revoked")),
            Self::Ending(Ending::Stopping) => Some((1012, "restart")),
            Self::TooSlow => Some((4408, "too_slow")),
            Self::Oversize => Some((1009, "frame_too_large")),
            Self::NotText => Some((1007, "not_utf8")),
            Self::Unavailable => Some((1013, "unavailable")),
            Self::Gone => None,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Ending(ending) => ending.reason(),
            Self::TooSlow => "slow",
            Self::Oversize | Self::NotText => "malformed",
            Self::Unavailable => "unavailable",
            Self::Gone => "gone",
        }
    }
}

/// `GET /v1/ws`
pub(super) async fn upgrade(
    State(shared): State<Shared>,
    (Extension(seat), Extension(client)): (Extension<Seat>, Extension<Client>),
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|_| {
        Problem::new(400, "not_a_websocket", "this path answers the handshake of a WebSocket")
    })?;
    let principal = shared.settings.auth.of_headers(&headers, now())?;
    let place = shared.enter(client, &principal)?;
    // Small buffers, since most connections are quiet most of the time.
    let upgrade = upgrade.protocols([PROTOCOL]).max_message_size(READ_BYTES).max_frame_size(READ_BYTES);
    let upgrade = upgrade.read_buffer_size(4 << 10).write_buffer_size(0);
    Ok(upgrade.on_upgrade(async move |socket| {
        let session = Session::new(&shared.feed, Known::ByRoom, seat.cut());
        let seen = Instant::now();
        let open = Open::new("websocket", place);
        Connection { shared, socket, session, principal, seen, _held: (seat, open) }.run().await;
    }))
}

struct Connection {
    shared: Shared,
    socket: WebSocket,
    session: Session,
    principal: Principal,
    /// When the client last sent anything.
    seen: Instant,
    _held: (Seat, Open),
}

/// What a client asks for.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Op {
    Subscribe { rooms: Vec<String>, since: Option<String> },
    Unsubscribe { rooms: Vec<String> },
    Ping,
    Refresh { token: String },
}

impl Connection {
    async fn run(mut self) {
        let end = loop {
            if let Err(end) = self.turn().await {
                break end;
            }
        };
        metrics::push_dropped(end.reason());
        if let Some((code, reason)) = end.frame() {
            let close = Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from_static(reason) }));
            let patience = if matches!(end, End::TooSlow) { LAST_WORDS } else { Duration::from_secs(1) };
            tracing::debug!(code, reason, "a connection is closed");
            let _in_time = timeout(patience, self.socket.send(close)).await;
        }
    }

    /// Hands out what is ready, reads one page of what was missed, or waits for whatever comes first.
    async fn turn(&mut self) -> Result<(), End> {
        if let Some(ending) = self.shared.ending(&self.principal) {
            return Err(End::Ending(ending));
        }
        while let Some(arrival) = self.session.ready() {
            self.hand_out(arrival).await?;
        }
        if self.session.is_resuming() {
            self.session.resume().await.map_err(|_| End::Unavailable)?;
            // What the client asks is answered between two pages, and the pages are paced by its reading.
            return match self.socket.recv().now_or_never() {
                Some(incoming) => self.incoming(incoming).await,
                None => Ok(()),
            };
        }
        tokio::select! {
            arrival = self.session.live() => self.hand_out(arrival).await,
            incoming = self.socket.recv() => self.incoming(incoming).await,
            ending = self.shared.ended(&self.principal) => Err(End::Ending(ending)),
            () = tokio::time::sleep(PING) => self.ask().await,
        }
    }

    async fn ask(&mut self) -> Result<(), End> {
        if self.seen.elapsed() > SILENT {
            return Err(End::Gone);
        }
        self.send(Message::Ping(axum::body::Bytes::new())).await
    }

    async fn hand_out(&mut self, arrival: Arrival) -> Result<(), End> {
        match arrival {
            Arrival::TooSlow => Err(End::TooSlow),
            Arrival::Gap(gap) => self.send(Message::Text(gap_frame(&gap).into())).await,
            Arrival::Message(delivery) => {
                for room in &delivery.rooms {
                    let text = Utf8Bytes::try_from(delivery.entry.frame(*room)).unwrap_or_default();
                    self.send(Message::Text(text)).await?;
                }
                metrics::push_delivered("websocket", delivery.rooms.len());
                Ok(())
            }
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(FULL, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::TooSlow),
        }
    }

    /// Oversize and malformed frames end the connection.
    async fn incoming(&mut self, incoming: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        let message = match incoming {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(broken(&error)),
            None => return Err(End::Gone),
        };
        self.seen = Instant::now();
        if message_bytes(&message) > FRAME_BYTES {
            return Err(End::Oversize);
        }
        match message {
            Message::Text(text) => {
                let answer = self.answer(text.as_str()).await;
                self.send(Message::Text(answer.to_string().into())).await
            }
            Message::Binary(_) => {
                let problem = Problem::new(400, "malformed", "frames are JSON in text");
                self.send(Message::Text(refusal(&Value::Null, &problem).to_string().into())).await
            }
            Message::Ping(_) | Message::Pong(_) => Ok(()),
            Message::Close(_) => Err(End::Gone),
        }
    }

    async fn answer(&mut self, text: &str) -> Value {
        let frame: Value = serde_json::from_str(text).unwrap_or_default();
        // Numbers and short texts come back as they are.
        let id =
            Some(&frame["id"]).filter(|id| id.is_number() || id.as_str().is_some_and(|id| id.len() <= 64));
        let id = id.cloned().unwrap_or_default();
        let answered = match serde_json::from_value::<Op>(frame) {
            Ok(op) => self.act(op).await,
            Err(_) => {
                let detail = "a frame is {\"id\":1,\"op\":\"subscribe\",\"rooms\":[…],\"since\":\"…\"}; \
                              other ops are unsubscribe, ping and refresh";
                Err(Problem::new(400, "malformed", detail))
            }
        };
        match answered {
            Ok(mut answer) => {
                (answer["id"], answer["ok"]) = (id, true.into());
                answer
            }
            Err(problem) => refusal(&id, &problem),
        }
    }

    async fn act(&mut self, op: Op) -> Result<Value, Problem> {
        match op {
            // Where it is settled the client may resume from it, however quiet its rooms are.
            Op::Ping => Ok(match self.session.settled() {
                Some(position) => json!({ "position": position, "settled": true }),
                None => json!({ "position": write_position(&self.shared.feed.newest()), "settled": false }),
            }),
            Op::Subscribe { rooms, since } => {
                let names = rooms.iter().map(String::as_str);
                let rooms = query::rooms(names, &self.principal, &self.shared.settings.public_rooms)?;
                let since = since.as_deref().map(query::position).transpose()?;
                let names: Vec<String> = rooms.iter().map(Room::to_string).collect();
                let joined = self.session.join(rooms, since).await?;
                let position = write_position(&joined.position);
                Ok(json!({ "rooms": names, "position": position, "recovered": joined.recovered }))
            }
            Op::Unsubscribe { rooms } => {
                let named: Vec<Room> = rooms.iter().filter_map(|name| Room::parse(name).ok()).collect();
                self.session.leave(&named);
                Ok(json!({ "rooms": self.session.rooms().map(Room::as_str).collect::<Vec<_>>() }))
            }
            Op::Refresh { token } => {
                self.principal = self.shared.refreshed(&self.principal, &self.session, &token)?;
                Ok(json!({}))
            }
        }
    }
}

fn message_bytes(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) => bytes.len(),
        _ => 0,
    }
}

/// Why a frame cannot be read. The library's error has no type here, only its text.
fn broken(error: &axum::Error) -> End {
    match error.to_string() {
        text if text.contains("too long") => End::Oversize,
        text if text.contains("UTF-8") || text.contains("utf-8") => End::NotText,
        _ => End::Gone,
    }
}

fn refusal(id: &Value, problem: &Problem) -> Value {
    metrics::push_refused(problem.code);
    json!({ "id": id, "ok": false, "code": problem.code, "detail": problem.detail })
}
