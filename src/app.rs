//! Builds the parts and joins them: one function for each command that needs more than files.

mod alerts;
mod background;
mod chains;
mod check;
mod commands;
mod database;
mod dead_letters;
mod demo;
mod error;
mod followed;
mod messages;
mod notify;
mod parts;
mod preflight;
mod probe;
mod public;
mod replay;
mod rewind;
mod run;
mod sinks;
mod sources;
mod status;
mod turns;
mod verify;
mod views;
mod webhooks;

pub use alerts::watch;
pub use chains::{ChainListing, chains, forget_chain};
pub use check::{CheckLine, CheckReport, check};
pub use commands::migrate;
pub use dead_letters::{
    Outcome, RetriedLetter, Retry, dead_letter, dead_letters, drop_dead_letter, retry_dead_letters,
};
pub use demo::{DemoArgs, Difference, compare, demo};
pub use error::AppError;
pub use messages::carry;
pub use parts::{Loaded, telemetry_settings};
pub use replay::{ReplayArgs, ReplayNews, ReplayTo, replay};
pub use rewind::{RewindArgs, Rewinding, rewind};
pub use run::{indexers, run, run_hurt};
pub use sinks::{Adoption, SinkListing, adopt_sink, reset_sink, sinks};
pub use sources::{Deleting, SourceListing, empty_source, rename_source, sources};
pub use status::{Status, StatusWatch, StoredDifference, StoredLease, StoredReorg, StoredSource, status};
pub use verify::{Progress, RereadArgs, Verified, reread};
pub use views::{Views, views};
pub use webhooks::{Endpoint, enable_webhook, webhooks};
