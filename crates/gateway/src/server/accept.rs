use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Settings;
use super::limits::{CallerLimits, ConnectionPlace, ConnectionPlaces, counted};
use super::problem::{HttpProblem, PROBLEM_JSON};
use super::tls::Tls;
use crate::tcp::{LAST_WORDS, STALL_TIMEOUT, Stall, is_stalled, set_up};
use chainflume_ops::metrics;

/// After an error of the socket, which is mostly too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection's place among those that are allowed: as long as it, or what it was upgraded to, lasts.
#[derive(Clone)]
pub(super) struct Seat(Arc<Held>);

struct Held {
    _permit: OwnedSemaphorePermit,
    _place: Option<ConnectionPlace<IpAddr>>,
    _tracked: TaskTrackerToken,
    cut: CancellationToken,
    peer: SocketAddr,
}

impl Seat {
    /// Ends the connection soon, also while its client reads nothing.
    pub fn cut(&self) -> CancellationToken {
        self.0.cut.clone()
    }

    /// Who is at the other end: a client, or a proxy.
    pub fn peer(&self) -> IpAddr {
        self.0.peer.ip()
    }
}

/// Who gets a place.
pub(super) struct Door {
    pub settings: Arc<Settings>,
    /// Connections by address, those through trusted proxies apart: these are counted by request.
    pub addresses: ConnectionPlaces<IpAddr>,
}

impl Door {
    /// A place among those of the address; `None` where it has them all.
    fn enter(&self, peer: SocketAddr) -> Option<Option<ConnectionPlace<IpAddr>>> {
        let address = peer.ip().to_canonical();
        if self.settings.listener.trusted_proxies.iter().any(|network| network.has(address)) {
            return Some(None);
        }
        self.addresses.take(&counted(address), self.settings.limits.connections_per_address).map(Some)
    }
}

/// Accepts connections until `stop`, and then waits until all have ended, for as long as clients may take to leave.
pub(super) async fn accept(listener: TcpListener, router: Router, door: Door, stop: CancellationToken) {
    let (seats, tracker) =
        (Arc::new(Semaphore::new(door.settings.listener.max_connections)), TaskTracker::new());
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = seats.clone().try_acquire_owned() else {
            metrics::push_dropped("connections");
            tracker.spawn(refuse(stream, full(), door.settings.tls.is_some()));
            continue;
        };
        let Some(place) = door.enter(peer) else {
            metrics::push_dropped("address");
            tracing::debug!(client = %peer.ip(), "an address has too many connections");
            tracker.spawn(refuse(stream, HttpProblem::too_many_connections(), door.settings.tls.is_some()));
            continue;
        };
        let (tracked, cut) = (tracker.token(), CancellationToken::new());
        let held = Held { _permit: permit, _place: place, _tracked: tracked, cut, peer };
        let limits = door.settings.limits;
        let tls = door.settings.tls.as_ref().map(Tls::acceptor);
        let service = AcceptedConnection {
            router: router.clone(),
            limits,
            seat: Seat(Arc::new(held)),
            stop: stop.clone(),
        };
        tokio::spawn(connection(stream, tls, service));
    }
    drop(listener);
    tracker.close();
    if tokio::time::timeout(door.settings.limits.drain, tracker.wait()).await.is_err() {
        tracing::info!(clients = tracker.len(), "clients are cut off: they did not leave in time");
    }
}

/// What a connection is served with.
struct AcceptedConnection {
    router: Router,
    limits: CallerLimits,
    seat: Seat,
    stop: CancellationToken,
}

/// Serves a connection, after its handshake where the server speaks TLS.
async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, service: AcceptedConnection) {
    set_up(&stream);
    let Some(tls) = tls else { return serve(stream, service).await };
    let reason = match tokio::time::timeout(service.limits.head_timeout, tls.accept(stream)).await {
        Ok(Ok(stream)) => return serve(stream, service).await,
        Ok(Err(_)) => "malformed",
        Err(_) => "silent",
    };
    metrics::push_dropped(reason);
    tracing::debug!(client = %service.seat.peer(), reason, "a connection did not speak TLS");
}

async fn serve<S>(stream: S, AcceptedConnection { router, limits, seat, stop }: AcceptedConnection)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (cut, stream) = (seat.cut(), Stall::new(stream, STALL_TIMEOUT));
    let service = TowerToHyperService::new(router.layer(Extension(seat.clone())));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head_timeout).max_buf_size(limits.head_bytes);
    let served = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut served = std::pin::pin!(served);
    tokio::select! {
        ended = served.as_mut() => return explain(ended, seat.peer()),
        () = stop.cancelled() => served.as_mut().graceful_shutdown(),
        () = cut.cancelled() => {}
    }
    let _in_time = tokio::time::timeout(LAST_WORDS, served).await;
}

/// What is no HTTP ends here, and so does a client that sends the head of a request too slowly, or none: hyper has answered.
fn explain(ended: hyper::Result<()>, peer: IpAddr) {
    let Err(error) = ended else { return };
    let reason = match (error.is_timeout(), error.is_parse(), is_stalled(&error)) {
        (true, _, false) => "silent",
        (_, true, _) => "malformed",
        (_, _, true) => "slow",
        _ => return,
    };
    metrics::push_dropped(reason);
    tracing::debug!(client = %peer, reason, "a connection sent no request that can be read, or did not read its answer");
}

fn full() -> HttpProblem {
    HttpProblem::new(503, "unavailable", "the server has as many connections as it may have; try again")
}

/// There is no place: the client is asked to come again, if that can be sent at once. Before a handshake of TLS it cannot.
async fn refuse(mut stream: TcpStream, problem: HttpProblem, is_tls: bool) {
    if is_tls {
        return;
    }
    let (status, body) = (problem.status(), problem.json().to_string());
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {PROBLEM_JSON}\r\nretry-after: 5\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let _in_time = tokio::time::timeout(PAUSE, stream.write_all(answer.as_bytes())).await;
}
