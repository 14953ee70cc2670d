mod send;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::auth::credential;
use super::caller::{Ending, unless_ended};
use super::forwarded::Client;
use super::frames::FrameQuota;
use super::limits::{ConnectionPlaces, counted};
use super::problem::{Code, HttpProblem};
use super::query::{self, MAX_ROOMS};
use super::session::{Known, Session};
use super::{Open, Shared, now};
use crate::socketio::{ClientPacket, Engine, EngineClient, PacketEvent, Received, SendError, Settings};
use crate::socketio::{ack, connected, disconnect, refused};
use chainflume_api::access::{Principal, Room, random_name};
use chainflume_ops::metrics::{self, DeliveryMeter};
use chainflume_outbox::Position;
use send::{DirectPackets, hand_out, hand_out_all};

/// In metrics and log lines.
const PROTOCOL_LABEL: &str = "socketio";
/// Bytes that a client may send at once: 128 joins of 255 bytes and a token, as over the WebSocket.
const PAYLOAD: usize = 64 << 10;
/// Packets that may wait: a client joins all its rooms in one go.
const WAITING: usize = 512;
/// How long a client may take from its connection to its CONNECT, as the protocol's own server.
const CONNECT: Duration = Duration::from_secs(45);

/// `/socket.io/`, for the clients of npm and PyPI as they are.
pub(super) fn routes(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    // A polling client is connected between its requests too, so connections that are open do not count it.
    let places = Arc::new(Semaphore::new(shared.settings.listener.max_connections));
    let (by_address, most) = (ConnectionPlaces::new(), shared.settings.limits.connections_per_address);
    let (accepting, limit) = (shared.clone(), shared.settings.limits.head_timeout);
    let settings = Settings { max_payload: PAYLOAD, max_waiting: WAITING };
    let engine = Engine::new(
        settings,
        || random_name().ok(),
        move |client| {
            let address = client.extension::<Client>().map(|client| counted(client.address));
            let Some(of_address) = address.and_then(|address| by_address.take(&address, most)) else {
                return metrics::push_dropped("address");
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                return metrics::push_dropped("connections");
            };
            let shared = accepting.clone();
            tokio::spawn(async move {
                serve(shared, client).await;
                drop((place, of_address));
            });
        },
    );
    Router::new()
        .route("/socket.io/", any(async move |request: Request| answer(&engine, request, limit).await))
}

/// A body may take as long as `limit`.
async fn answer(engine: &Engine, request: Request, limit: Duration) -> Response {
    // As everywhere: a token in an address ends in logs.
    if query::has_token(request.uri().query()) {
        let detail = "a token in an address ends in logs; send it in the handshake: auth: { token }";
        return HttpProblem::new(400, "token_in_query", detail).into_response();
    }
    let (head, body) = request.into_parts();
    let body = match head.method {
        Method::POST => match timeout(limit, to_bytes(body, PAYLOAD)).await {
            Ok(body) => body.ok(),
            Err(_) => {
                return HttpProblem::new(408, "body_timeout", "the body came too slowly").into_response();
            }
        },
        _ => Some(Bytes::new()),
    };
    let mut answer = engine.answer(head, body).await.map(Body::from).into_response();
    // The body has the words of the protocol. The count has the code that the same fault has on other paths.
    let code = match answer.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Some("body_too_large"),
        status => status.is_client_error().then_some("malformed"),
    };
    if let Some(code) = code {
        answer.extensions_mut().insert(Code(code));
    }
    answer
}

/// Why a client is disconnected.
#[derive(Clone, Copy)]
enum SocketIoEnd {
    /// By the server, whatever the client does.
    Ending(Ending),
    TooSlow,
    Unavailable,
    Malformed,
    /// It left the namespace, and is still there.
    Left,
    Gone,
}

impl SocketIoEnd {
    fn reason(self) -> &'static str {
        match self {
            Self::Ending(ending) => ending.reason(),
            Self::TooSlow => "slow",
            Self::Unavailable => "unavailable",
            Self::Malformed => "malformed",
            Self::Left | Self::Gone => "gone",
        }
    }
}

impl From<Ending> for SocketIoEnd {
    fn from(ending: Ending) -> Self {
        Self::Ending(ending)
    }
}

impl From<SendError> for SocketIoEnd {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Gone => Self::Gone,
            SendError::TooSlow => Self::TooSlow,
        }
    }
}

/// One client in the namespace `/`.
struct Peer<'a> {
    shared: Arc<Shared>,
    client: &'a mut EngineClient,
    session: Session,
    principal: Principal,
    quota: FrameQuota,
    /// Where every join of this connection begins; `None` for now.
    since: Option<Position>,
    /// Cancelled when more live messages gathered than may wait.
    cut: CancellationToken,
    meter: DeliveryMeter,
    _open: Open,
}

/// A client that may connect.
struct Accepted {
    principal: Principal,
    since: Option<Position>,
    open: Open,
}

/// Follows one client until it is disconnected. One that leaves the namespace keeps its connection, and may connect again.
async fn serve(shared: Arc<Shared>, mut client: EngineClient) {
    loop {
        let accepted = timeout(CONNECT, accept(&shared, &mut client)).await.unwrap_or(Err(SocketIoEnd::Gone));
        let (end, principal) = match accepted {
            Ok(accepted) => {
                let (end, principal) = Peer::new(&shared, &mut client, accepted).follow().await;
                (end, Some(principal))
            }
            Err(end) => (end, None),
        };
        shared.closed(PROTOCOL_LABEL, end.reason(), principal.as_ref());
        if !matches!(end, SocketIoEnd::Left) {
            return;
        }
    }
}

impl<'a> Peer<'a> {
    fn new(shared: &Arc<Shared>, client: &'a mut EngineClient, accepted: Accepted) -> Self {
        let Accepted { principal, since, open } = accepted;
        let cut = CancellationToken::new();
        let session = Session::new(&shared.feed, Known::ByEvent, cut.clone());
        let (shared, quota, meter) = (shared.clone(), shared.quota(), DeliveryMeter::new(PROTOCOL_LABEL));
        session.write_by(Box::new(DirectPackets::new(client.sender(), meter.clone())));
        Self { shared, client, session, principal, quota, since, cut, meter, _open: open }
    }

    async fn follow(mut self) -> (SocketIoEnd, Principal) {
        let end = loop {
            if let Err(end) = self.turn().await {
                break end;
            }
        };
        if let SocketIoEnd::Ending(ending) = end
            && let Some((event, code)) = ending.event()
        {
            // The client does not connect again by itself after this, which would be of no use with the token that it has.
            self.client.end([format!("42{}", json!([event, { "code": code }])), disconnect()]).await;
        }
        (end, self.principal)
    }

    /// Hands out what is ready, reads one page of what was missed, or waits for whatever comes first.
    async fn turn(&mut self) -> Result<(), SocketIoEnd> {
        if let Some(ending) = self.shared.ending(&self.principal) {
            return Err(ending.into());
        }
        if let Some(arrival) = self.session.ready() {
            let ended = pin!(self.shared.ended(&self.principal));
            let sending = hand_out_all(&mut self.session, self.client, &self.meter, arrival);
            unless_ended(ended, sending).await?;
        }
        if self.session.is_resuming() {
            // First the joins that came together with this one: what they missed is read, and handed out, as one.
            for _ in 0..MAX_ROOMS {
                let Some(received) = self.client.try_receive() else { break };
                self.receive(received).await?;
            }
            return self.session.resume().await.map_err(|_| SocketIoEnd::Unavailable);
        }
        let received = self.live().await?;
        self.receive(received).await
    }

    /// Hands out live messages until the client sends something.
    async fn live(&mut self) -> Result<Received, SocketIoEnd> {
        // These are waited for by all messages together: to begin to wait costs as much as a message does.
        let mut ended = pin!(self.shared.ended(&self.principal));
        let mut cut = pin!(self.cut.cancelled());
        loop {
            tokio::select! {
                arrival = self.session.live() => {
                    unless_ended(ended.as_mut(), hand_out(self.client, &self.meter, arrival)).await?;
                }
                received = self.client.receive() => return Ok(received),
                () = &mut cut => return Err(SocketIoEnd::TooSlow),
                ending = &mut ended => return Err(ending.into()),
            }
        }
    }

    async fn receive(&mut self, received: Received) -> Result<(), SocketIoEnd> {
        match received {
            Received::Gone => Err(SocketIoEnd::Gone),
            Received::Packet(ClientPacket::Disconnect) => Err(SocketIoEnd::Left),
            Received::Malformed => Err(SocketIoEnd::Malformed),
            // The client is connected already, or asks for another namespace.
            Received::Packet(ClientPacket::Connect { namespace, .. }) if namespace != "/" => {
                Ok(self.client.send(no_namespace(&namespace)).await?)
            }
            Received::Packet(ClientPacket::Connect { .. } | ClientPacket::Ignored) => Ok(()),
            Received::Packet(ClientPacket::Event(event)) => {
                let acted = match self.quota.take().await {
                    Ok(()) => self.act(&event).await,
                    Err(problem) => Err(problem),
                };
                let answer = match acted {
                    Ok(answer) => answer,
                    Err(problem) => {
                        self.shared.refused(PROTOCOL_LABEL, Some(&self.principal), &problem);
                        json!({ "ok": false, "code": problem.code, "detail": problem.detail })
                    }
                };
                match event.ack {
                    Some(number) => Ok(self.client.send(ack(number, &answer)).await?),
                    None => Ok(()),
                }
            }
        }
    }

    async fn act(&mut self, event: &PacketEvent) -> Result<Value, HttpProblem> {
        if event.name == "refresh" {
            let token = event.arguments.first().and_then(Value::as_str).unwrap_or_default();
            self.principal = self.shared.refreshed(&self.principal, &self.session, token).await?;
            return Ok(json!({ "ok": true }));
        }
        let prefix = match &*event.name {
            "join-event" => "event-",
            "join-user" => "user-",
            "join" | "leave" => "",
            _ => {
                let detail = "events here are join <room>, join-user <id>, join-event <id>, leave <room> and refresh <token>";
                return Err(HttpProblem::new(400, "malformed", detail));
            }
        };
        let room = match event.arguments.first() {
            Some(Value::String(name)) => format!("{prefix}{name}"),
            Some(Value::Number(id)) => format!("{prefix}{id}"),
            _ => {
                return Err(HttpProblem::new(
                    400,
                    "bad_room",
                    "name a room, or an id, as the first argument",
                ));
            }
        };
        if event.name == "leave" {
            self.session.leave(&Room::parse(&room).into_iter().collect::<Vec<_>>());
            let position = self.shared.feed.newest().to_string();
            return Ok(json!({ "ok": true, "position": position, "recovered": true }));
        }
        let public = &self.shared.settings.listener.public_rooms;
        let rooms = query::rooms(std::iter::once(&*room), &self.principal, public)?;
        let joined = self.session.join(rooms, self.since.clone()).await?;
        let position = joined.position.to_string();
        Ok(json!({ "ok": true, "position": position, "recovered": joined.recovered }))
    }
}

/// Waits for the CONNECT of a client that may connect. A refused client may try again, with a newer token.
async fn accept(shared: &Shared, client: &mut EngineClient) -> Result<Accepted, SocketIoEnd> {
    loop {
        let received = shared
            .stop
            .run_until_cancelled(client.receive())
            .await
            .ok_or(SocketIoEnd::Ending(Ending::Stopping))?;
        let (namespace, auth) = match received {
            Received::Packet(ClientPacket::Connect { namespace, auth }) => (namespace, auth),
            Received::Gone => return Err(SocketIoEnd::Gone),
            _ => return Err(SocketIoEnd::Malformed),
        };
        if namespace != "/" {
            client.send(no_namespace(&namespace)).await?;
            continue;
        }
        match admit(shared, client, &auth).await {
            Ok(admitted) => {
                let id = random_name().map_err(|_| SocketIoEnd::Unavailable)?;
                client.send(connected(&id)).await?;
                return Ok(admitted);
            }
            Err(problem) => {
                shared.refused(PROTOCOL_LABEL, None, &problem);
                client.send(refused("/", Some(problem.code), &problem.detail)).await?;
            }
        }
    }
}

async fn admit(shared: &Shared, client: &EngineClient, auth: &Value) -> Result<Accepted, HttpProblem> {
    let known = &shared.settings.auth;
    let address = client.extension::<Client>().ok_or_else(HttpProblem::forbidden)?;
    // One connection may have many tries: they count as requests without a credential do.
    shared.take_stranger(address)?;
    let credential = auth["token"].as_str().or_else(|| credential(client.headers()));
    known.learn(credential, now()).await;
    let principal = known.of_credential(credential, now())?;
    let since = match &auth["since"] {
        Value::Null => None,
        since => Some(query::position(since.as_str().unwrap_or_default())?),
    };
    let open = Open::new(PROTOCOL_LABEL, shared.enter(address, &principal)?);
    Ok(Accepted { principal, since, open })
}

fn no_namespace(namespace: &str) -> String {
    // In the words of the protocol's own server.
    refused(namespace, None, "Invalid namespace")
}
