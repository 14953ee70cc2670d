use serde::{Deserialize, Serialize};

use chainflume_ops::health::DatabaseHealth;

/// The database in a [`super::Report`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseReport {
    /// Whether it accepts writes.
    pub writable: bool,
    /// Why it does not.
    pub error: Option<String>,
    /// Number of balances below zero.
    pub negative_balances: u64,
    /// Number of open dead letters.
    pub open_dead_letters: u64,
    /// A name that differs from those of other databases: commands compare it with the name of their own.
    #[serde(default)]
    pub identity: Option<String>,
    /// Number of seconds by which the clock of the database is ahead of this machine's.
    #[serde(default)]
    pub clock_ahead: Option<f64>,
}

impl DatabaseReport {
    /// `None` before the first probe.
    pub(super) fn of(
        health: Option<DatabaseHealth>,
        identity: Option<String>,
        clock_ahead: Option<f64>,
    ) -> Self {
        Self {
            writable: health.as_ref().is_some_and(|health| health.writable),
            error: health.as_ref().and_then(|health| health.error.clone()),
            negative_balances: health.as_ref().map_or(0, |health| health.negative_balances),
            open_dead_letters: health.as_ref().map_or(0, |health| health.open_dead_letters),
            identity,
            clock_ahead,
        }
    }
}
