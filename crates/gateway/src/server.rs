//! The public listener: who may ask, routes, and connections that stay open. No logic of its own.

mod accept;
mod api;
mod auth;
mod caller;
mod forwarded;
mod frames;
mod fresh;
mod guard;
mod jwks;
mod keep;
mod limits;
mod messages;
mod offered;
mod post;
mod problem;
mod query;
mod report;
mod revocations;
mod revoked;
mod session;
mod socket;
mod socketio;
mod sse;
mod status;
mod stream;
#[cfg(test)]
mod testing;
mod tickets;
mod tls;
mod unread;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::middleware::from_fn_with_state;
use serde::{Deserialize, Deserializer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use auth::{Access, Auth, Key};
use forwarded::Client;
pub use forwarded::Network;
pub use jwks::Jwks;
pub use limits::CallerLimits;
use limits::{Buckets, ConnectionPlace, ConnectionPlaces, counted};
use problem::{CODES, HttpProblem};
pub use revoked::Revoked;
use status::StatusCache;
pub use status::StatusSource;
pub use tls::{Tls, TlsError, TlsFiles};

use crate::dashboard;
use crate::feed::Feed;
use crate::grants::Grants;
use chainflume_api::access::{Principal, PublicRooms};
use chainflume_api::routes::Api;
use chainflume_core::settings::{Fault, texts};
use chainflume_ops::metrics;
use chainflume_ops::telemetry::LogLimiter;
use chainflume_outbox::Outbox;

/// How the public listener answers.
#[derive(Debug)]
pub struct Settings {
    /// Address and port.
    pub listen: SocketAddr,
    /// Who may ask.
    pub auth: Auth,
    /// What is accepted of all callers together.
    pub listener: ListenerSettings,
    /// What each caller may use.
    pub limits: CallerLimits,
    /// How long revocations of users and tokens are kept.
    pub revocations_kept: Duration,
    /// The certificate, where the server itself speaks TLS.
    pub tls: Option<Tls>,
}

/// What the listener accepts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ListenerSettings {
    /// Origins of web pages that may ask, exactly as browsers write them.
    #[serde(skip)]
    pub cors_origins: Vec<String>,
    /// Rooms for every client with a valid credential.
    #[serde(skip)]
    pub public_rooms: PublicRooms,
    /// Connections at the same time.
    #[serde(deserialize_with = "chainflume_core::settings::number::<1, 1_000_000, _, _>")]
    pub max_connections: usize,
    /// Proxies whose `X-Forwarded-For` counts.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<Network>,
    /// Whether every request is logged.
    pub access_log: bool,
}

impl Default for ListenerSettings {
    fn default() -> Self {
        Self {
            cors_origins: Vec::new(),
            public_rooms: PublicRooms(PUBLIC_ROOMS.map(str::to_owned).to_vec()),
            max_connections: 20_000,
            trusted_proxies: Vec::new(),
            access_log: false,
        }
    }
}

/// Kinds of rooms that may be public.
pub const PUBLIC_ROOMS: [&str; 4] = ["address", "contract", "chain", "type"];

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Network>, D::Error> {
    let remedy =
        "write an address, \"10.0.0.7\", or a network with the bits of its prefix alone, \"10.0.0.0/8\"";
    texts(deserializer, |text| Network::parse(text).ok_or_else(|| Fault::new("is not a network", remedy)))
}

/// Why the public address cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listen}: {source}; change server.listen or stop what holds the address")]
pub struct BindError {
    listen: SocketAddr,
    source: std::io::Error,
}

impl BindError {
    /// Whether another process holds the address just now.
    pub fn is_taken(&self) -> bool {
        self.source.kind() == std::io::ErrorKind::AddrInUse
    }
}

/// The public address, bound and not served yet.
pub struct PublicServer {
    /// Closed when the server stops, so that a client which comes too late is refused at once and goes elsewhere.
    listener: Mutex<Option<std::net::TcpListener>>,
    address: SocketAddr,
    settings: Arc<Settings>,
}

/// What every request sees.
struct Shared {
    feed: Feed,
    outbox: Outbox,
    grants: Grants,
    settings: Arc<Settings>,
    /// Requests of callers with a credential, by owner, and of all others, by address.
    callers: Buckets,
    strangers: Buckets,
    /// Connections that stay open, by user, and by address where a proxy names it.
    users: ConnectionPlaces<String>,
    addresses: ConnectionPlaces<IpAddr>,
    lines: LogLimiter,
    status: StatusCache,
    /// Routes of other crates.
    offered: Arc<[Api]>,
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
        Ok(Self { listener: Mutex::new(Some(listener)), address, settings: Arc::new(settings) })
    }

    /// The address in use.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`, and then until every client has been asked to come again. May be called again when it has failed.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub async fn serve(&self, sources: Sources, stop: CancellationToken) -> std::io::Result<()> {
        let bound = || self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(listener) = bound().as_ref().map(std::net::TcpListener::try_clone).transpose()? else {
            return Ok(());
        };
        metrics::push_codes(&CODES);
        sources.offered.iter().for_each(|api| metrics::push_codes(api.codes));
        let (shared, settings) = (self.shared(sources, &stop), self.settings.clone());
        let door = accept::Door { settings, addresses: shared.addresses.clone() };
        let closing = async {
            stop.cancelled().await;
            bound().take();
        };
        let accepting = accept::accept(TcpListener::from_std(listener)?, router(shared), door, stop.clone());
        let renewing = async {
            if let Some(tls) = &self.settings.tls {
                tls.keep(&stop).await;
            }
        };
        let ((), (), ()) = tokio::join!(closing, accepting, renewing);
        Ok(())
    }

    fn shared(
        &self,
        Sources { feed, outbox, grants, status, offered }: Sources,
        stop: &CancellationToken,
    ) -> Arc<Shared> {
        let limits = self.settings.limits;
        Arc::new(Shared {
            feed,
            outbox,
            grants,
            settings: self.settings.clone(),
            callers: Buckets::new(limits.requests),
            strangers: Buckets::new(limits.requests_per_address),
            users: ConnectionPlaces::new(),
            addresses: ConnectionPlaces::new(),
            lines: LogLimiter::default(),
            status: StatusCache::new(status),
            offered,
            stop: stop.clone(),
        })
    }
}

/// What the server reads from.
#[derive(Clone)]
pub struct Sources {
    /// Messages for clients.
    pub feed: Feed,
    /// The table of messages.
    pub outbox: Outbox,
    /// What is kept about callers.
    pub grants: Grants,
    /// The state of the daemon, for operators.
    pub status: StatusSource,
    /// Routes of other crates.
    pub offered: Arc<[Api]>,
}

/// A place of a connection that stays open, among those of its user and of its address.
struct Entered {
    _user: Option<ConnectionPlace<String>>,
    _address: Option<ConnectionPlace<IpAddr>>,
}

/// Counts a connection that stays open.
struct Open {
    protocol: &'static str,
    _entered: Entered,
}

impl Open {
    fn new(protocol: &'static str, entered: Entered) -> Self {
        metrics::push_connected(protocol, 1.0);
        Self { protocol, _entered: entered }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::push_connected(self.protocol, -1.0);
    }
}

impl Shared {
    /// A place for a connection that stays open. Services are trusted with as many as the server has.
    fn enter(&self, client: Client, principal: &Principal) -> Result<Entered, HttpProblem> {
        let limits = self.settings.limits;
        let full = |reason| {
            metrics::push_dropped(reason);
            HttpProblem::too_many_connections()
        };
        let user = match principal {
            Principal::User(_) => {
                let place = self.users.take(&principal.owner(), limits.connections_per_user);
                Some(place.ok_or_else(|| full("user"))?)
            }
            Principal::Local | Principal::Service(_) => None,
        };
        let address = match client.is_proxied {
            true => {
                let place = self.addresses.take(&counted(client.address), limits.connections_per_address);
                Some(place.ok_or_else(|| full("address"))?)
            }
            false => None,
        };
        Ok(Entered { _user: user, _address: address })
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .merge(api::routes())
        .merge(offered::routes(&shared.offered))
        .merge(socketio::routes(&shared))
        .merge(dashboard::routes())
        .fallback(async || HttpProblem::new(404, "not_found", "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            HttpProblem::new(405, "method_not_allowed", "this path does not answer this method")
        })
        .layer(from_fn_with_state(shared.clone(), guard::guard))
        .with_state(shared)
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A number that cannot be foreseen, for names and for spreading clients; not for secrets.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
