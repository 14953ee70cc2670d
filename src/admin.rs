//! HTTP for operators, on one admin address: is it alive, is it ready, what are its numbers.
//!
//! The answers are made from [`chainflume_ops::health`] at the moment of the question, so that ages grow while
//! nothing moves. Nothing here writes.

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
