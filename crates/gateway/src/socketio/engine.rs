use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::client::EngineClient;
use super::session::{CLOSE, EngineSession, EngineTransport};
use super::transport::{self, EngineSocket, PINGS};
use crate::tcp::ClientStream;
use crate::websocket::{Handshake, WebSocketConnection};

/// How clients are served. What a client may send at once bounds what it can make this server keep.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes of one WebSocket message or one body of a polling client, and about those of one answer to a poll.
    pub max_payload: usize,
    /// Packets that a client may have sent before they are handled.
    pub max_waiting: usize,
}

/// Bodies of packets that may wait to be handled: a client that sends one after the other is handled between them.
const MAX_BODIES: usize = 4;

type Accept = Box<dyn Fn(EngineClient) + Send + Sync>;

/// Turns requests into clients, as engine.io-protocol revision 4 describes it. Clones are the same.
///
/// The protocol is ours down to the frames: the library that there is pings a client as soon as it is connected, which the protocol's own
/// tests do not expect, ends a session whose WebSocket breaks before the client has moved to it, and copies each packet for each client.
#[derive(Clone)]
pub struct Engine(Arc<EngineParts>);

struct EngineParts {
    settings: Settings,
    sessions: Mutex<HashMap<String, Arc<EngineSession>>>,
    name: fn() -> Option<String>,
    accept: Accept,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

/// Why a request is no request of the protocol, in the numbers and words of the protocol's own server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BadRequest {
    Transport,
    UnknownSession,
    Method,
    Wrong,
    TooLarge,
    Version,
}

impl BadRequest {
    fn answer(self) -> Response<Bytes> {
        let (code, message) = match self {
            Self::Transport => (0, "Transport unknown"),
            Self::UnknownSession => (1, "Session ID unknown"),
            Self::Method => (2, "Bad handshake method"),
            Self::Wrong | Self::TooLarge => (3, "Bad request"),
            Self::Version => (5, "Unsupported protocol version"),
        };
        let body = json!({ "code": code, "message": message }).to_string();
        let status = match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        answer(status, "application/json", body.into())
    }
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    is_websocket: bool,
    session: Option<String>,
}

impl Asked {
    fn read(query: &str, method: &Method) -> Result<Self, BadRequest> {
        let value = |name: &str| {
            let mut all = url::form_urlencoded::parse(query.as_bytes());
            all.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
        };
        let is_websocket = match value("transport").as_deref() {
            Some("websocket") => true,
            Some("polling") => false,
            _ => return Err(BadRequest::Transport),
        };
        if value("EIO").as_deref() != Some("4") {
            return Err(BadRequest::Version);
        }
        let session = value("sid");
        let fits = match *method {
            Method::GET => true,
            Method::POST => session.is_some() && !is_websocket,
            _ => false,
        };
        if fits { Ok(Self { is_websocket, session }) } else { Err(BadRequest::Method) }
    }
}

fn answer(status: StatusCode, media: &'static str, body: Bytes) -> Response<Bytes> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media));
    answer
}

fn text(body: impl Into<Bytes>) -> Response<Bytes> {
    answer(StatusCode::OK, "text/plain; charset=UTF-8", body.into())
}

/// The answer to the handshake of a WebSocket, and what its connection becomes.
fn handshake(head: &mut Parts) -> Result<(Response<Bytes>, OnUpgrade), BadRequest> {
    let handshake = Handshake::read(&head.method, head.version, &head.headers);
    let handshake = handshake.map_err(|_| BadRequest::Wrong)?;
    let upgrade = head.extensions.remove::<OnUpgrade>().ok_or(BadRequest::Wrong)?;
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in handshake.accept_plain() {
        answer.headers_mut().extend(value.parse().ok().map(|value| (name, value)));
    }
    Ok((answer, upgrade))
}

async fn upgraded(upgrade: OnUpgrade, max: usize) -> Option<EngineSocket> {
    let (stream, read) = ClientStream::new(upgrade.await.ok()?);
    Some(WebSocketConnection::new(stream, read, max))
}

impl Engine {
    /// Calls `accept` with each client that opens a session; it must not wait. `name` gives names that cannot be guessed.
    pub fn new(
        settings: Settings,
        name: fn() -> Option<String>,
        accept: impl Fn(EngineClient) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(EngineParts { settings, sessions: Mutex::default(), name, accept: Box::new(accept) }))
    }

    /// Answers a request of either transport with this body; `None` for one that is too large.
    pub async fn answer(&self, head: Parts, body: Option<Bytes>) -> Response<Bytes> {
        let answered = match Asked::read(head.uri.query().unwrap_or_default(), &head.method) {
            Err(bad) => Err(bad),
            Ok(Asked { is_websocket: false, session: None }) => self.open(head),
            Ok(Asked { is_websocket: true, session: None }) => self.open_websocket(head),
            Ok(Asked { is_websocket, session: Some(name) }) => match self.session(&name) {
                None => Err(BadRequest::UnknownSession),
                Some(session) if is_websocket => self.move_to_websocket(session, head),
                Some(session) => self.polled(&session, &head.method, body).await,
            },
        };
        answered.unwrap_or_else(BadRequest::answer)
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Arc<EngineSession>>> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self, name: &str) -> Option<Arc<EngineSession>> {
        self.sessions().get(name).filter(|session| !session.closed.is_cancelled()).cloned()
    }

    /// A new session with its name, kept until it ends.
    fn begin(
        &self,
        head: Parts,
        transport: EngineTransport,
    ) -> Result<(Arc<EngineSession>, Bytes), BadRequest> {
        let name = (self.0.name)().ok_or(BadRequest::Wrong)?;
        let Settings { max_payload, max_waiting } = self.0.settings;
        let (sender, packets) = mpsc::channel(max_waiting);
        let session = Arc::new(EngineSession::new(head, transport, sender, MAX_BODIES * max_payload));
        self.sessions().insert(name.clone(), session.clone());
        let upgrades: &[&str] = if transport == EngineTransport::Polling { &["websocket"] } else { &[] };
        let open: Value = json!({
            "sid": name, "upgrades": upgrades, "pingInterval": PINGS.interval.as_secs() * 1_000,
            "pingTimeout": PINGS.timeout.as_secs() * 1_000, "maxPayload": max_payload,
        });
        (self.0.accept)(EngineClient::new(session.clone(), packets));
        let (this, kept) = (self.clone(), session.clone());
        tokio::spawn(async move {
            transport::keep_alive(&kept, PINGS).await;
            this.sessions().remove(&name);
        });
        Ok((session, format!("0{open}").into()))
    }

    fn open(&self, head: Parts) -> Result<Response<Bytes>, BadRequest> {
        self.begin(head, EngineTransport::Polling).map(|(_, open)| text(open))
    }

    fn open_websocket(&self, mut head: Parts) -> Result<Response<Bytes>, BadRequest> {
        let (answer, upgrade) = handshake(&mut head)?;
        let (session, open) = self.begin(head, EngineTransport::WebSocket)?;
        let max = self.0.settings.max_payload;
        tokio::spawn(async move {
            let Some(mut socket) = upgraded(upgrade, max).await else { return session.close(CLOSE) };
            if socket.text(open).await.is_ok() {
                transport::run(&session, socket).await;
            }
            session.close(CLOSE);
        });
        Ok(answer)
    }

    fn move_to_websocket(
        &self,
        session: Arc<EngineSession>,
        mut head: Parts,
    ) -> Result<Response<Bytes>, BadRequest> {
        if session.transport() != EngineTransport::Polling {
            return Err(BadRequest::Wrong);
        }
        let (answer, upgrade) = handshake(&mut head)?;
        let max = self.0.settings.max_payload;
        tokio::spawn(async move {
            // What is beside the request holds the place of its connection.
            let _held = head;
            if let Some(socket) = upgraded(upgrade, max).await {
                transport::move_over(session, socket).await;
            }
        });
        Ok(answer)
    }

    async fn polled(
        &self,
        session: &Arc<EngineSession>,
        method: &Method,
        body: Option<Bytes>,
    ) -> Result<Response<Bytes>, BadRequest> {
        if session.transport() == EngineTransport::WebSocket {
            return Err(BadRequest::Wrong);
        }
        if method == Method::POST {
            let Some(body) = body else {
                session.close(CLOSE);
                return Err(BadRequest::TooLarge);
            };
            return transport::take(session, &body).map(|()| text("ok")).map_err(|_| BadRequest::Wrong);
        }
        let payload = transport::poll(session, self.0.settings.max_payload).await;
        payload.map(text).ok_or(BadRequest::Wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_transport_its_version_and_its_session() {
        let read = |query: &str, method: Method| Asked::read(query, &method);
        let asked = |is_websocket, session: Option<&str>| {
            Ok(Asked { is_websocket, session: session.map(str::to_owned) })
        };
        assert_eq!(read("EIO=4&transport=polling&t=x", Method::GET), asked(false, None));
        assert_eq!(read("EIO=4&transport=websocket&sid=a", Method::GET), asked(true, Some("a")));
        assert_eq!(read("sid=a%2Fb&transport=polling&EIO=4", Method::POST), asked(false, Some("a/b")));
        for (query, method, bad) in [
            ("", Method::GET, BadRequest::Transport),
            ("EIO=4&transport=abc", Method::GET, BadRequest::Transport),
            ("EIO=3&transport=polling", Method::GET, BadRequest::Version),
            ("transport=websocket", Method::GET, BadRequest::Version),
            ("EIO=4&transport=polling", Method::POST, BadRequest::Method),
            ("EIO=4&transport=websocket&sid=a", Method::POST, BadRequest::Method),
            ("EIO=4&transport=polling&sid=a", Method::PUT, BadRequest::Method),
        ] {
            assert_eq!(read(query, method), Err(bad), "{query}");
        }
    }
}
