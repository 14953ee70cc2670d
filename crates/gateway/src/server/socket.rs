mod batch;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::accept::Seat;
use super::caller::{Ending, unless_ended};
use super::forwarded::Client;
use super::frames::FrameQuota;
use super::problem::HttpProblem;
use super::query::{self, Query};
use super::session::{Known, Session, gap_frame};
use super::{Open, Shared, now};
use crate::feed::Arrival;
use crate::tcp::{ClientStream, FAREWELL, LAST_WORDS};
use crate::websocket::{Handshake, WebSocketConnection, WebSocketError, WebSocketMessage, text_frame};
use batch::FrameBatch;
use chainflume_api::access::{Principal, Room};

/// What a client offers, and the server answers alone.
const PROTOCOL: &str = "chainflume.v1";
/// In metrics and log lines.
const PROTOCOL_LABEL: &str = "websocket";
/// Bytes of one frame of a client: 128 rooms of 255 bytes, and a token.
const FRAME_BYTES: usize = 64 << 10;
/// Bytes of a frame that are read all the same, so that a client with a little more hears why the connection is closed. One with
/// more is cut off.
const READ_BYTES: usize = 4 * FRAME_BYTES;
/// What clients send.
const FRAMES: &str = "a frame is {\"id\":1,\"op\":\"subscribe\",\"rooms\":[…],\"since\":\"…\"}; \
                      other ops are unsubscribe, ping, refresh and emit";
/// How often a quiet client is asked whether it is there.
const PING: Duration = Duration::from_secs(30);
/// Pings in turn that a client may leave without an answer, or any frame: a minute and a half of silence.
const UNANSWERED_PINGS: u8 = 2;

/// Why a connection ends, as its close frame reports.
#[derive(Clone, Copy)]
enum End {
    /// By the server, whatever the client does.
    Ending(Ending),
    TooSlow,
    Unavailable,
    /// The client sent what a WebSocket does not take.
    Refused(WebSocketError),
    /// The client ended it, with this code.
    Closed(u16),
    /// It is gone.
    Gone,
}

impl From<Ending> for End {
    fn from(ending: Ending) -> Self {
        Self::Ending(ending)
    }
}

impl From<WebSocketError> for End {
    fn from(error: WebSocketError) -> Self {
        match error {
            WebSocketError::Gone => Self::Gone,
            WebSocketError::Stalled => Self::TooSlow,
            refused => Self::Refused(refused),
        }
    }
}

impl End {
    fn frame(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Ending(Ending::Expired) => Some((4401, "token_expired")),
            Self::Ending(Ending::Revoked) => Some((4403, "credential_revoked")),
            Self::Ending(Ending::Stopping) => Some((1012, "restart")),
            Self::TooSlow => Some((4408, "too_slow")),
            Self::Unavailable => Some((1013, "unavailable")),
            Self::Refused(error) => error.close_frame(),
            Self::Closed(code) => Some((code, "")),
            Self::Gone => None,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Ending(ending) => ending.reason(),
            Self::TooSlow => "slow",
            Self::Refused(_) => "malformed",
            Self::Unavailable => "unavailable",
            Self::Closed(_) | Self::Gone => "gone",
        }
    }
}

/// `GET /v1/ws`
pub(super) async fn upgrade(
    State(shared): State<Arc<Shared>>,
    Extension(seat): Extension<Seat>,
    Extension(client): Extension<Client>,
    mut request: Request,
) -> Result<Response, HttpProblem> {
    let headers = request.headers();
    let Ok(handshake) = Handshake::read(request.method(), request.version(), headers) else {
        return Ok(not_a_websocket());
    };
    let principal = shared.settings.auth.of_headers(headers, now())?;
    Query::parse(request.uri().query(), &[])?;
    let place = shared.enter(client, &principal)?;
    let upgrade = handshake.accept(headers, PROTOCOL);
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(io) = upgraded.await else { return };
        let (stream, read) = ClientStream::new(io);
        let writer = stream.writer();
        let socket = WebSocketConnection::new(stream, read, READ_BYTES).compressed(upgrade.is_compressed);
        let session = Session::new(&shared.feed, Known::ByRoom, seat.cut());
        let batch = FrameBatch::new(upgrade.is_compressed);
        if let Some(writer) = writer {
            session.write_by(Box::new(batch.direct(writer)));
        }
        let open = Open::new(PROTOCOL_LABEL, place);
        let quota = shared.quota();
        let held = (seat, open);
        Connection { shared, socket, session, principal, quota, unanswered: 0, batch, _held: held }
            .run()
            .await;
    });
    let mut answer = StatusCode::SWITCHING_PROTOCOLS.into_response();
    for (name, value) in upgrade.headers {
        answer.headers_mut().extend(value.parse().ok().map(|value| (name, value)));
    }
    Ok(answer)
}

/// RFC 6455 section 4.4: a client of another version learns which one is spoken here.
fn not_a_websocket() -> Response {
    let detail = "this path answers the handshake of a WebSocket, version 13";
    let mut answer = HttpProblem::new(400, "not_a_websocket", detail).into_response();
    answer.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    answer
}

type ClientSocket = WebSocketConnection<ClientStream>;

struct Connection {
    shared: Arc<Shared>,
    socket: ClientSocket,
    session: Session,
    principal: Principal,
    quota: FrameQuota,
    /// Pings since the last frame of the client.
    unanswered: u8,
    batch: FrameBatch,
    _held: (Seat, Open),
}

/// What a client asks for. A misspelt `since` would begin now, and skip what the client missed.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
enum Op {
    Subscribe {
        rooms: Vec<String>,
        since: Option<String>,
    },
    Unsubscribe {
        rooms: Vec<String>,
    },
    // With braces: without them serde takes any field.
    Ping {},
    Refresh {
        token: String,
    },
    /// One event of the application, or a list of them.
    Emit {
        event: Option<Value>,
        events: Option<Vec<Value>>,
    },
}

impl Connection {
    async fn run(mut self) {
        let end = loop {
            if let Err(end) = self.turn().await {
                break end;
            }
        };
        self.shared.closed(PROTOCOL_LABEL, end.reason(), Some(&self.principal));
        if let Some((code, reason)) = end.frame() {
            let is_patient = matches!(end, End::TooSlow | End::Ending(Ending::Expired | Ending::Revoked));
            let limit = if is_patient { LAST_WORDS } else { FAREWELL };
            tracing::debug!(code, reason, "a connection is closed");
            let _in_time = timeout(limit, self.socket.close(code, reason)).await;
        }
    }

    /// Hands out what is ready, reads one page of what was missed, or waits for whatever comes first.
    async fn turn(&mut self) -> Result<(), End> {
        if let Some(ending) = self.shared.ending(&self.principal) {
            return Err(ending.into());
        }
        if let Some(arrival) = self.session.ready() {
            let ended = pin!(self.shared.ended(&self.principal));
            let sending = hand_out(&mut self.session, &mut self.socket, &mut self.batch, arrival);
            unless_ended(ended, sending).await?;
        }
        if self.session.is_resuming() {
            self.session.resume().await.map_err(|_| End::Unavailable)?;
            // What the client asks is answered between two pages, and the pages are paced by its reading.
            return match self.socket.next().now_or_never() {
                Some(incoming) => self.incoming(incoming?).await,
                None => Ok(()),
            };
        }
        let incoming = self.follow().await?;
        self.incoming(incoming).await
    }

    /// Hands out live messages until the client sends something.
    async fn follow(&mut self) -> Result<WebSocketMessage, End> {
        // These are waited for by all messages together: to begin to wait costs as much as a message does.
        let mut ended = pin!(self.shared.ended(&self.principal));
        let mut quiet = pin!(tokio::time::sleep(PING));
        loop {
            tokio::select! {
                arrival = self.session.live() => {
                    let sending = hand_out(&mut self.session, &mut self.socket, &mut self.batch, arrival);
                    unless_ended(ended.as_mut(), sending).await?;
                }
                incoming = self.socket.next() => return Ok(incoming?),
                ending = &mut ended => return Err(ending.into()),
                () = &mut quiet => {
                    if self.unanswered == UNANSWERED_PINGS {
                        return Err(End::Gone);
                    }
                    unless_ended::<End>(ended.as_mut(), async { Ok(self.socket.ping().await?) }).await?;
                    self.unanswered += 1;
                    quiet.as_mut().reset(Instant::now() + PING);
                }
            }
        }
    }

    /// Oversize and malformed messages end the connection.
    async fn incoming(&mut self, message: WebSocketMessage) -> Result<(), End> {
        self.unanswered = 0;
        match message {
            WebSocketMessage::Text(text) if text.len() <= FRAME_BYTES => {
                let answer = self.answer(&text).await;
                self.send(answer).await
            }
            WebSocketMessage::Binary(bytes) if bytes <= FRAME_BYTES => {
                let problem = HttpProblem::new(400, "malformed", "frames are JSON in text");
                let answer = self.refusal(&Value::Null, &problem);
                self.send(answer).await
            }
            WebSocketMessage::Text(_) | WebSocketMessage::Binary(_) => {
                Err(End::Refused(WebSocketError::TooLong))
            }
            WebSocketMessage::Ping(bytes) => {
                // A flood of pings, or of pongs, is read at the same pace as other frames.
                let _paused = self.quota.take().await;
                let ended = pin!(self.shared.ended(&self.principal));
                unless_ended(ended, async { Ok(self.socket.pong(bytes).await?) }).await
            }
            WebSocketMessage::Pong => {
                let _paused = self.quota.take().await;
                Ok(())
            }
            WebSocketMessage::Close(code) => Err(End::Closed(code)),
        }
    }

    /// Sends the answer to a frame, for as long as the credential holds.
    async fn send(&mut self, answer: Value) -> Result<(), End> {
        let ended = pin!(self.shared.ended(&self.principal));
        unless_ended(ended, async { Ok(self.socket.text(answer.to_string().into()).await?) }).await
    }

    async fn answer(&mut self, text: &str) -> Value {
        let (mut frame, wrong) = match chainflume_api::routes::parse(text.as_bytes()) {
            Ok(frame) => (frame, FRAMES.to_owned()),
            Err(refusal) => (refused_frame(text), refusal.detail),
        };
        // Numbers and short texts come back as they are.
        let id = frame.as_object_mut().and_then(|fields| fields.remove("id"));
        let id = id.filter(|id| id.is_number() || id.as_str().is_some_and(|id| id.len() <= 64));
        let id = id.unwrap_or_default();
        let answered = match (self.quota.take().await, serde_json::from_value::<Op>(frame)) {
            (Err(problem), _) => Err(problem),
            (Ok(()), Ok(op)) => self.act(op).await,
            (Ok(()), Err(_)) => Err(HttpProblem::new(400, "malformed", wrong)),
        };
        match answered {
            Ok(mut answer) => {
                (answer["id"], answer["ok"]) = (id, true.into());
                answer
            }
            Err(problem) => self.refusal(&id, &problem),
        }
    }

    fn refusal(&self, id: &Value, problem: &HttpProblem) -> Value {
        self.shared.refused(PROTOCOL_LABEL, Some(&self.principal), problem);
        json!({ "id": id, "ok": false, "code": problem.code, "detail": problem.detail })
    }

    async fn act(&mut self, op: Op) -> Result<Value, HttpProblem> {
        match op {
            // Where it is settled the client may resume from it, however quiet its rooms are.
            Op::Ping {} => Ok(match self.session.settled() {
                Some(position) => json!({ "position": position, "settled": true }),
                None => json!({ "position": self.shared.feed.newest().to_string(), "settled": false }),
            }),
            Op::Subscribe { rooms, since } => {
                let names = rooms.iter().map(String::as_str);
                let rooms =
                    query::rooms(names, &self.principal, &self.shared.settings.listener.public_rooms)?;
                let since = since.as_deref().map(query::position).transpose()?;
                let names: Vec<String> = rooms.iter().map(Room::to_string).collect();
                let joined = self.session.join(rooms, since).await?;
                let position = joined.position.to_string();
                Ok(json!({ "rooms": names, "position": position, "recovered": joined.recovered }))
            }
            Op::Unsubscribe { rooms } => {
                let named: Vec<Room> = rooms.iter().filter_map(|name| Room::parse(name).ok()).collect();
                self.session.leave(&named);
                Ok(json!({ "rooms": self.session.rooms().map(Room::as_str).collect::<Vec<_>>() }))
            }
            Op::Refresh { token } => {
                self.principal = self.shared.refreshed(&self.principal, &self.session, &token).await?;
                Ok(json!({}))
            }
            Op::Emit { event, events } => {
                let what = match (event, events) {
                    (Some(event), None) => event,
                    (None, Some(events)) => Value::Array(events),
                    _ => {
                        let detail =
                            "emit {\"event\": {…}}, or {\"events\": […]} for several in one transaction";
                        return Err(HttpProblem::new(400, "malformed", detail));
                    }
                };
                self.shared.emit(&self.principal, &what).await
            }
        }
    }
}

/// What is known of a frame that cannot be kept (a text with NUL in it, a key that is there twice): its `id`, so that the client learns
/// which of its frames was refused.
fn refused_frame(text: &str) -> Value {
    #[derive(Deserialize)]
    struct Named {
        id: Value,
    }
    serde_json::from_str::<Named>(text).map_or(Value::Null, |Named { id }| json!({ "id": id }))
}

/// Sends an arrival, and all that is ready after it.
async fn hand_out(
    session: &mut Session,
    socket: &mut ClientSocket,
    batch: &mut FrameBatch,
    arrival: Arrival,
) -> Result<(), End> {
    let mut next = Some(arrival);
    while let Some(arrival) = next {
        match arrival {
            Arrival::TooSlow => return Err(End::TooSlow),
            Arrival::Gap(gap) => batch.add(text_frame(gap_frame(&gap).as_bytes())),
            Arrival::Message(delivery) => batch.add_message(delivery),
            Arrival::Unflushed => socket.flush().await?,
        }
        if batch.is_full() {
            batch.send(socket).await?;
        }
        next = session.ready();
    }
    batch.send(socket).await
}
