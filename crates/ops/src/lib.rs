//! Shared parts of everything with I/O: logs, metrics, health, alerts, shutdown, TLS and one HTTP client.

/// Alerts for problems that last, and their ends.
pub mod alert;
/// Pauses between tries, which grow.
pub mod backoff;
/// The state of each chain and each sink.
pub mod health;
/// One bounded HTTP request to an external server.
pub mod http;
/// Every metric.
pub mod metrics;
/// Stops tasks under a deadline.
pub mod shutdown;
/// Detects loops that panic, return or hang.
pub mod supervise;
/// Logs.
pub mod telemetry;
/// Text of others, before it is shown.
pub mod text;
/// The one TLS library of the process.
pub mod tls;
