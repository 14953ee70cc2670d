use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Deserializer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::connections::{CONNECTIONS, LIFETIME, LimitedListener};
use super::host;
use super::report::{Limits, Report, refresh_metrics};
use chainflume_core::settings::{Fault, text};
use chainflume_ops::health::Board;
use chainflume_ops::supervise;

/// Settings of the admin address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Address and port; port 0 takes a free port.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// Limits of readiness.
    #[serde(skip)]
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9464)), limits: Limits::default() }
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let remedy = "write an IP address and a port, like \"127.0.0.1:9464\" or \"[::1]:9464\"";
    text(deserializer, |text| text.parse().map_err(|_| Fault::new("is not an address and port", remedy)))
}

/// Why the admin address cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is in use, or does not belong to this machine.
    #[error("cannot listen on {listen}: {source}; change admin.listen or stop the process that uses it")]
    Bind {
        /// The configured address.
        listen: SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// It failed later.
    #[error("the admin address cannot be served any more: {0}")]
    Serve(std::io::Error),
}

impl ServeError {
    /// Whether another process uses the address at present.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Bind { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse)
    }
}

/// The admin address, bound and not served yet.
pub struct AdminServer {
    /// Outlives a failed server, so that the next one continues on the same socket.
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
    /// Binds the address, so that a wrong one is reported before anything else starts.
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

    /// Uses a socket that the service manager has bound, in place of the address in `settings`.
    ///
    /// # Errors
    /// [`ServeError::Bind`] if it is not a listening socket.
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

    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `stop`. May be called again after a failure.
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

/// Timeout of an answer: it comes from memory, and a client of the readiness check waits only a few seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// A panic or a hang fails one request only: other requests are answered, and the loop that accepts connections
/// continues.
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

/// Live while every loop turns: red only for faults that a restart can repair. Readiness is red after half that time.
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
