use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::connections::{CONNECTIONS, LIFETIME, LimitedListener};
use super::host;
use super::report::{Limits, Report, refresh_metrics};
use chainflume_ops::health::Board;
use chainflume_ops::supervise;

/// Where operators look.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// When something is not ready.
    pub limits: Limits,
}

/// Why the admin address cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It is taken or not ours.
    #[error("cannot listen on {listen}: {source}; change admin.listen or stop what holds it")]
    Bind {
        /// As configured.
        listen: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// It broke later.
    #[error("the admin address cannot be served any more: {0}")]
    Serve(std::io::Error),
}

impl ServeError {
    /// Whether somebody else holds the address just now.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Bind { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse)
    }
}

/// The admin address, bound and not served yet.
pub struct AdminServer {
    /// Outlives a server that fails, so that the next one takes over its place.
    listener: std::net::TcpListener,
    address: SocketAddr,
    shared: AdminState,
}

#[derive(Clone)]
struct AdminState {
    board: Board,
    limits: Limits,
    metrics: PrometheusHandle,
}

impl AdminServer {
    /// Binds the address, so that a wrong one is known before anything else starts.
    ///
    /// # Errors
    /// [`ServeError::Bind`]
    pub async fn bind(
        settings: Settings,
        board: Board,
        metrics: PrometheusHandle,
    ) -> Result<Self, ServeError> {
        let bind = |source| ServeError::Bind { listen: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).await.map_err(bind)?;
        Self::on(listener.into_std().map_err(bind)?, settings, board, metrics)
    }

    /// On an address that somebody has bound already, in place of the one in `settings`.
    ///
    /// # Errors
    /// [`ServeError::Bind`] when it is no listening socket.
    pub fn on(
        listener: std::net::TcpListener,
        settings: Settings,
        board: Board,
        metrics: PrometheusHandle,
    ) -> Result<Self, ServeError> {
        let bind = |source| ServeError::Bind { listen: settings.listen, source };
        let address = listener.local_addr().map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        Ok(Self { listener, address, shared: AdminState { board, limits: settings.limits, metrics } })
    }

    /// The address in use.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`. May be called again when it has failed.
    ///
    /// # Errors
    /// [`ServeError::Serve`]
    pub async fn serve(&self, stop: CancellationToken) -> Result<(), ServeError> {
        let listener =
            self.listener.try_clone().and_then(TcpListener::from_std).map_err(ServeError::Serve)?;
        let app = Router::new()
            .route("/", get(index))
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self.shared.clone())
            .layer(from_fn(answered))
            .layer(from_fn_with_state(self.address, host::check));
        axum::serve(LimitedListener::new(listener, CONNECTIONS, LIFETIME), app)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
            .map_err(ServeError::Serve)
    }
}

/// An answer comes from memory, and a client that asks for readiness waits a few seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// One answer that panics or hangs is the failure of one request: other requests are answered, and the loop that accepts
/// connections continues.
async fn answered(request: Request, next: Next) -> Response {
    let failed = |failure| {
        let text = format!("the answer to this request {failure}; see the log of the daemon\n");
        (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
    };
    supervise::isolated(ANSWERS, ANSWER_TIMEOUT, next.run(request)).await.unwrap_or_else(failed)
}

/// The name of these answers in logs and metrics.
const ANSWERS: &str = "admin answer";

async fn index() -> &'static str {
    "chainflume\n\n/livez    is the process alive\n/readyz   is it up to date, with reasons\n/metrics  for Prometheus\n"
}

/// Alive as long as every loop turns: what a restart can mend, and nothing else. Readiness is red after half that time.
async fn livez(State(shared): State<AdminState>) -> Response {
    let hung: Vec<String> =
        shared.board.loops().into_iter().filter(|(_, one)| one.hangs(2)).map(|(name, _)| name).collect();
    if hung.is_empty() {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("hung: {}\n", hung.join(", "))).into_response()
    }
}

async fn readyz(State(shared): State<AdminState>) -> Response {
    let report = Report::of(&shared.board, &shared.limits);
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

async fn metrics(State(shared): State<AdminState>) -> Response {
    refresh_metrics(&shared.board);
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, shared.metrics.render()).into_response()
}
