use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use chainflume_ops::metrics;

/// How long the head of a request may take, and how long a connection may wait for one: a client that writes a byte a second
/// holds a place no longer.
const HEAD: Duration = Duration::from_secs(10);
/// Bytes of the head of a request, a token among it, and of its lines.
const HEAD_BYTES: usize = 32 << 10;
/// How long a client that is too slow may take to read how it ends.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// How long clients may take to leave when the server stops.
const DRAIN: Duration = Duration::from_secs(2);
/// After an error of the socket, which is mostly too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection's place among those that are allowed: as long as it, or what it was upgraded to, lasts.
#[derive(Clone)]
pub(super) struct Seat(Arc<Held>);

struct Held {
    _permit: OwnedSemaphorePermit,
    _tracked: TaskTrackerToken,
    cut: CancellationToken,
}

impl Seat {
    /// Ends the connection soon, also while its client reads nothing.
    pub fn cut(&self) -> CancellationToken {
        self.0.cut.clone()
    }
}

/// Accepts connections until `stop`, and waits a little until all have ended.
pub(super) async fn accept(listener: TcpListener, router: Router, most: usize, stop: CancellationToken) {
    let (seats, tracker) = (Arc::new(Semaphore::new(most)), TaskTracker::new());
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = seats.clone().try_acquire_owned() else {
            metrics::push_dropped("connections");
            tracker.spawn(refuse(stream));
            continue;
        };
        let held = Held { _permit: permit, _tracked: tracker.token(), cut: CancellationToken::new() };
        tokio::spawn(connection(stream, router.clone(), Seat(Arc::new(held)), stop.clone()));
    }
    tracker.close();
    let _in_time = tokio::time::timeout(DRAIN, tracker.wait()).await;
}

async fn connection(stream: TcpStream, router: Router, seat: Seat, stop: CancellationToken) {
    let (_unset, cut) = (stream.set_nodelay(true), seat.cut());
    let service = TowerToHyperService::new(router.layer(Extension(seat.clone())));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES);
    let served = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut served = std::pin::pin!(served);
    tokio::select! {
        _ended = served.as_mut() => return,
        () = stop.cancelled() => served.as_mut().graceful_shutdown(),
        () = cut.cancelled() => {}
    }
    let _in_time = tokio::time::timeout(LAST_WORDS, served).await;
}

/// There is no place: the client is told to come again, if it can be told at once.
async fn refuse(mut stream: TcpStream) {
    let answer = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let _in_time = tokio::time::timeout(PAUSE, stream.write_all(answer.as_bytes())).await;
}
