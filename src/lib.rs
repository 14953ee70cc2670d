//! Chainflume carries EVM logs from a chain into PostgreSQL: every confirmed log becomes exactly one
//! event row and one change to a user's records, and none is lost, doubled or left standing after a reorg.
//!
//! The rooms, in the order a log passes them:

/// Words every room shares.
pub mod domain;

/// Decides, without I/O: advance, rewind, wait or stop.
pub mod canon;
/// Asks nodes: heads, headers, logs in a range.
pub mod chain;
/// Bytes to typed logs.
pub mod decode;
/// The spine: carries each step from chain to store.
pub mod indexer;
/// Typed logs to facts: the only place that knows what an event means.
pub mod mapping;
/// PostgreSQL: advance, its inverse rewind, checkpoints, queries.
pub mod store;

/// Several daemons on one database: who leads what.
pub mod lease;
/// From the outbox to the sinks, in order, for as long as it takes.
pub mod relay;
/// Where messages go.
pub mod sink;

/// Tells somebody when something is wrong for long, and when it is over.
pub mod alert;
/// HTTP for operators: health, readiness, metrics.
pub mod api;
/// The built-in development chain.
pub mod devchain;
/// What each chain says of itself.
pub mod health;
/// One bounded HTTP request to somebody else's server.
pub mod post;
/// A PostgreSQL server of the daemon's own.
pub mod postgres;

/// Builds the parts and joins them.
pub mod app;
/// The command line.
pub mod cli;
/// Reads and checks everything once.
pub mod config;
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
