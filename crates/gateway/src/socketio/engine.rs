use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use engineioxide::config::EngineIoConfig;
use engineioxide::handler::EngineIoHandler;
use engineioxide::service::{EngineIoService, NotFoundService};
use engineioxide::{DisconnectReason, Socket, Str, TransportType};
use hyper::HeaderMap;
use hyper::body::Body;
use hyper::service::Service;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;

use super::packet::ClientPacket;
use super::stall::{FULL, Stall};

/// How clients are served. What a client may send at once bounds what it can make this server keep.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of one WebSocket message or one body of a polling client, and about those of one answer to a poll.
    pub max_payload: usize,
    /// Packets that a client may have sent before they are handled.
    pub max_waiting: usize,
}

/// How often a client is asked whether it is there, and how long it may take to answer. The defaults of the protocol, which the clients
/// are told.
const PING: (Duration, Duration) = (Duration::from_secs(25), Duration::from_secs(20));
/// Packets on their way to one client: the engine drops what does not fit, so [`EngineClient::send`] waits before that. The messages are
/// shared by all clients.
const BUFFER: usize = 128;
/// Places of the buffer that are left free: a ping that finds none ends the connection.
const SPARE: usize = 4;
/// Packets on their way to a client that polls: python-engineio refuses an answer of more than 16, pings among them.
const POLLED: usize = 12;
/// How often a client whose buffer is full is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// The engine's side of a client.
#[derive(Default)]
struct Inbox(Mutex<Option<mpsc::Sender<Str>>>, Arc<AtomicUsize>);

type Accept = Box<dyn Fn(EngineClient) + Send + Sync>;

struct Handler {
    settings: Settings,
    accept: Accept,
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Turns requests into clients. Clones are the same.
#[derive(Clone)]
pub struct Engine {
    service: EngineIoService<Handler>,
}

/// One client, over whatever transport it has just now. It is disconnected when this is dropped.
pub struct EngineClient {
    socket: Arc<Socket<Inbox>>,
    packets: mpsc::Receiver<Str>,
    bytes: Arc<AtomicUsize>,
}

/// What comes from a client.
#[derive(Debug, PartialEq)]
pub enum Received {
    /// A packet.
    Packet(ClientPacket),
    /// Something that is no packet.
    Malformed,
    /// The client is gone.
    Gone,
}

/// Why nothing can be sent to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// It is gone.
    Gone,
    /// It has read nothing for ten seconds.
    TooSlow,
}

impl Engine {
    /// Calls `accept` with each client that opens a connection. It must not wait.
    pub fn new(settings: Settings, accept: impl Fn(EngineClient) + Send + Sync + 'static) -> Self {
        let max = settings.max_payload;
        let config =
            EngineIoConfig::builder().req_path("/socket.io").ping_interval(PING.0).ping_timeout(PING.1);
        let config = config.max_buffer_size(BUFFER).max_payload(max as u64);
        let config = config.ws_max_message_size(max).ws_max_frame_size(max).build();
        let handler = Arc::new(Handler { settings, accept: Box::new(accept) });
        Self { service: EngineIoService::with_config_inner(NotFoundService, handler, config) }
    }

    /// Answers a request of any transport.
    pub async fn answer<B>(
        &self,
        mut request: Request<B>,
    ) -> Response<impl Body<Data = Bytes, Error = Infallible> + use<B>>
    where
        B: Body + fmt::Debug + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: fmt::Debug,
    {
        // The engine would take the connection as it is. Taken from the request before, it is given to the engine in a guard.
        let upgrade = request.extensions_mut().remove::<OnUpgrade>();
        let mut head = Request::new(());
        *head.method_mut() = request.method().clone();
        *head.uri_mut() = request.uri().clone();
        *head.headers_mut() = request.headers().clone();
        *head.extensions_mut() = request.extensions().clone();
        let Ok(response) = Service::<Request<B>>::call(&self.service, request).await;
        if let Some(upgrade) = upgrade.filter(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS) {
            let service = self.service.clone();
            tokio::spawn(async move {
                let Ok(io) = upgrade.await else { return };
                let guarded = Stall::new(TokioIo::new(io), FULL);
                // A request that is none was answered so above already.
                let _parsed = Service::<(Stall<_>, Request<()>)>::call(&service, (guarded, head)).await;
            });
        }
        response
    }
}

impl EngineIoHandler for Handler {
    type Data = Inbox;

    fn on_connect(self: Arc<Self>, socket: Arc<Socket<Inbox>>) {
        let (sender, packets) = mpsc::channel(self.settings.max_waiting);
        *socket.data.sender() = Some(sender);
        let bytes = socket.data.1.clone();
        (self.accept)(EngineClient { socket, packets, bytes });
    }

    fn on_disconnect(&self, socket: Arc<Socket<Inbox>>, _reason: DisconnectReason) {
        socket.data.sender().take();
    }

    /// Waits for nothing, so that packets keep their order: one task of the client takes them.
    fn on_message(self: &Arc<Self>, text: Str, socket: Arc<Socket<Inbox>>) {
        let (bytes, waiting) = (text.len(), &socket.data.1);
        let fits = waiting.fetch_add(bytes, Ordering::Relaxed) + bytes <= 4 * self.settings.max_payload;
        let sent = socket.data.sender().as_ref().is_some_and(|sender| fits && sender.try_send(text).is_ok());
        if !sent {
            socket.close(DisconnectReason::PacketParsingError);
        }
    }

    fn on_binary(self: &Arc<Self>, _data: Bytes, socket: Arc<Socket<Inbox>>) {
        socket.close(DisconnectReason::PacketParsingError);
    }
}

impl Inbox {
    fn sender(&self) -> std::sync::MutexGuard<'_, Option<mpsc::Sender<Str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EngineClient {
    /// What was put beside the request that opened its connection.
    pub fn extension<T: Copy + Send + Sync + 'static>(&self) -> Option<T> {
        self.socket.req_parts.extensions.get::<T>().copied()
    }

    /// The headers of the request that opened the connection.
    pub fn headers(&self) -> &HeaderMap {
        &self.socket.req_parts.headers
    }

    /// A new `socket.id`; the number of the connection itself is secret.
    pub fn new_id(&self) -> String {
        engineioxide::socket::Sid::new().to_string()
    }

    /// The next packet, waited for. A call that is dropped takes nothing.
    pub async fn receive(&mut self) -> Received {
        let text = self.packets.recv().await;
        self.read(text)
    }

    /// The next packet that is there already.
    pub fn try_receive(&mut self) -> Option<Received> {
        match self.packets.try_recv() {
            Ok(text) => Some(self.read(Some(text))),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(Received::Gone),
        }
    }

    fn read(&self, text: Option<Str>) -> Received {
        let Some(text) = text else { return Received::Gone };
        self.bytes.fetch_sub(text.len(), Ordering::Relaxed);
        ClientPacket::parse(&text).map_or(Received::Malformed, Received::Packet)
    }

    /// Sends a packet as soon as the client has read enough of those before.
    ///
    /// # Errors
    /// [`SendError`]
    pub async fn send(&self, packet: impl Into<Str>) -> Result<(), SendError> {
        let (packet, deadline) = (packet.into(), tokio::time::Instant::now() + FULL);
        while !self.has_room()? {
            if tokio::time::Instant::now() >= deadline {
                return Err(SendError::TooSlow);
            }
            tokio::time::sleep(LOOK).await;
        }
        self.socket.emit(packet).map_err(|_| SendError::Gone)
    }

    /// Waits until the client has taken everything, for as long as [`FULL`]. One that polls takes it with its next request, and the
    /// engine forgets with the connection what was not taken.
    pub async fn drain(&self) {
        let deadline = tokio::time::Instant::now() + FULL;
        while self.has_free(BUFFER) == Ok(false) && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether a packet fits beside the places that are left free.
    fn has_room(&self) -> Result<bool, SendError> {
        let is_polling = self.socket.transport_type() == TransportType::Polling;
        self.has_free(if is_polling { BUFFER - POLLED } else { SPARE })
    }

    /// Whether the buffer has so many free places.
    fn has_free(&self, places: usize) -> Result<bool, SendError> {
        let mut permits = Vec::with_capacity(places);
        while permits.len() < places {
            match self.socket.reserve() {
                Ok(permit) => permits.push(permit),
                Err(mpsc::error::TrySendError::Full(())) => return Ok(false),
                Err(mpsc::error::TrySendError::Closed(())) => return Err(SendError::Gone),
            }
        }
        Ok(true)
    }
}

impl Drop for EngineClient {
    fn drop(&mut self) {
        self.socket.close(DisconnectReason::TransportClose);
    }
}
