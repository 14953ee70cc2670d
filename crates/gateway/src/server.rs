//! The public listener: who may ask, routes, and connections that stay open. No logic of its own.

mod accept;
mod auth;
mod guard;
mod messages;
mod problem;
mod query;
mod session;
mod socket;
mod status;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use auth::{Auth, Key};
use problem::Problem;
use status::Status;
pub use status::StatusSource;

use crate::dashboard;
use crate::feed::Feed;
use chainflume_access::PublicRooms;

/// How the public listener answers.
#[derive(Debug)]
pub struct Settings {
    /// Address and port.
    pub listen: SocketAddr,
    /// Who may ask.
    pub auth: Auth,
    /// Origins of web pages that may ask, exactly as browsers write them.
    pub cors_origins: Vec<String>,
    /// Rooms for everybody with a valid credential.
    pub public_rooms: PublicRooms,
    /// Connections at the same time.
    pub max_connections: usize,
}

/// Why the public address cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listen}: {source}; change server.listen or stop what holds the address")]
pub struct BindError {
    listen: SocketAddr,
    source: std::io::Error,
}

impl BindError {
    /// Whether somebody else holds the address just now.
    pub fn is_taken(&self) -> bool {
        self.source.kind() == std::io::ErrorKind::AddrInUse
    }
}

/// The public address, bound and not served yet.
pub struct PublicServer {
    listener: std::net::TcpListener,
    address: SocketAddr,
    settings: Arc<Settings>,
    status: Option<Arc<Status>>,
}

/// What every request sees.
#[derive(Clone)]
struct Shared {
    feed: Feed,
    settings: Arc<Settings>,
    status: Option<Arc<Status>>,
    /// Cancelled when connections that stay open have to end.
    stop: CancellationToken,
}

impl PublicServer {
    /// Binds the address, so that a wrong one is known before anything else starts.
    ///
    /// # Errors
    /// [`BindError`]
    pub fn bind(settings: Settings) -> Result<Self, BindError> {
        let listen = settings.listen;
        let bind = |source| BindError { listen, source };
        let listener = std::net::TcpListener::bind(listen).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        Ok(Self { listener, address, settings: Arc::new(settings), status: None })
    }

    /// Answers operators what this returns.
    #[must_use]
    pub fn with_status(self, source: StatusSource) -> Self {
        Self { status: Some(Arc::new(Status::new(source))), ..self }
    }

    /// The address in use.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`, and then until every client has been told to come again. May be called again when it has failed.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub async fn serve(&self, feed: Feed, stop: CancellationToken) -> std::io::Result<()> {
        let listener = self.listener.try_clone().and_then(TcpListener::from_std)?;
        let (settings, status) = (self.settings.clone(), self.status.clone());
        let shared = Shared { feed, settings, status, stop: stop.clone() };
        accept::accept(listener, router(shared), self.settings.max_connections, stop).await;
        Ok(())
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/v1/messages", get(messages::messages))
        .route("/v1/stream", get(stream::stream))
        .route("/v1/ws", get(socket::upgrade))
        .route("/v1/status", get(status::status))
        .route("/v1/status/stream", get(status::stream))
        .merge(dashboard::routes())
        .fallback(async || Problem::new(404, "not_found", "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Problem::new(405, "method_not_allowed", "this path answers GET")
        })
        .layer(from_fn_with_state(shared.clone(), guard::guard))
        .with_state(shared)
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A number that nobody can foresee, for names and for spreading clients; not for secrets.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
