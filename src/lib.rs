//! Chainflume stores EVM logs of a chain in PostgreSQL: every confirmed log becomes exactly one
//! event row and one change to a user's records, and none is lost, doubled or left after a reorg.
//!
//! This package is the program. It builds the parts of the crates in `crates/` and joins them.

/// HTTP for operators: health, readiness, metrics.
pub mod admin;
/// The commands, each of which opens what it needs and closes it.
pub mod app;
/// The command line.
pub mod cli;
/// Reads and checks everything once.
pub mod config;
/// Several daemons on one database: who leads what.
pub mod lease;
/// A PostgreSQL server of the daemon's own.
pub mod postgres;
/// The roles of the daemon: index, deliver, serve, admin. They join the rooms.
pub mod roles;
