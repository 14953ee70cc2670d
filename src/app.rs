//! The commands: one function for each that needs more than files.

mod chains;
mod check;
mod commands;
mod dead_letters;
mod demo;
mod followed;
mod keys;
mod preflight;
mod psql;
mod replay;
mod rewind;
mod run;
mod serve;
mod sinks;
mod sources;
mod status;
mod verify;
mod views;
mod webhooks;

pub use chains::{ChainListing, chains, forget_chain};
pub use check::{CheckLine, CheckReport, CheckScope, check};
pub use commands::migrate;
pub use dead_letters::{
    Outcome, RetriedLetter, Retry, dead_letter, dead_letters, drop_dead_letter, drop_dead_letters,
    retry_dead_letters,
};
pub use demo::{DemoOptions, Difference, compare, demo};
pub use keys::{KeyListing, keys, revoke_key};
pub use psql::psql;
pub use replay::{ReplayNews, ReplayOptions, ReplayTo, ReplayWhat, replay};
pub use rewind::{RewindOptions, Rewinding, rewind};
pub use run::{run, run_hurt};
pub use serve::serve;
pub use sinks::{Adoption, SinkListing, adopt_sink, reset_sink, sinks};
pub use sources::{Deleting, Emptying, SourceListing, empty_source, rename_source, sources};
pub use status::{Status, StatusWatch, StoredDifference, StoredLease, StoredReorg, StoredSource, status};
pub use verify::{Progress, RereadArgs, Verified, reread};
pub use views::{Views, views};
pub use webhooks::{Endpoint, enable_webhook, retry_webhook, webhooks};

pub use crate::roles::{AppError, Loaded, deliver, indexers, telemetry_settings, watch};
