//! Builds the parts and joins them: one function for each command that needs more than files.

mod check;
mod commands;
mod database;
mod demo;
mod error;
mod notify;
mod parts;
mod preflight;
mod probe;
mod run;
mod status;

pub use check::{CheckLine, CheckReport, check};
pub use commands::{backfill, migrate, views};
pub use demo::{DemoArgs, Difference, compare, demo};
pub use error::AppError;
pub use parts::{Loaded, telemetry_settings};
pub use run::{indexers, run};
pub use status::{Status, StoredReorg, StoredSource, status};
