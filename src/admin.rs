//! HTTP for operators, on one admin address: liveness, readiness and metrics.
//!
//! The answers are computed from [`chainflume_ops::health`] at the time of the request, so that ages grow while nothing
//! moves. Nothing here writes.

mod client;
mod connections;
mod host;
mod report;
mod server;

pub use client::ask;
pub use report::{
    ChainPace, ChainReport, DatabaseReport, LeaseReport, Limits, LoopReport, ProviderReport, Report,
    RpcReport, SourceReport, about, thousands,
};
pub use server::{AdminServer, ServeError, Settings};
