//! What every part with I/O needs: logs, metrics, health, alerts, shutdown, TLS and one HTTP client.

/// Alerts: what is wrong for long, and when it is over.
pub mod alert;
/// Pauses between tries that grow.
pub mod backoff;
/// What each chain and each sink reports.
pub mod health;
/// One bounded HTTP request to a server outside.
pub mod http;
/// Every metric there is.
pub mod metrics;
/// Draining under a deadline.
pub mod shutdown;
/// Loops that panic, return or hang are noticed.
pub mod supervise;
/// Logs.
pub mod telemetry;
/// The one TLS library of the process.
pub mod tls;
