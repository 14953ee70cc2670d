//! HTTP for operators, on one admin address: liveness, readiness and metrics.
//!
//! The answers are computed from [`chainflume_ops::health`] at the time of the request, so that ages grow while nothing
//! moves. Nothing here writes.

mod client;
mod report;
mod server;

pub use client::ask;
pub use report::{
    ChainReport, DatabaseReport, LeaseReport, Limits, LoopReport, ProviderReport, Report, RpcReport,
    SourceReport,
};
pub use server::{AdminServer, ServeError, Settings};
