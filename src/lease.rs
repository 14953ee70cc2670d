//! Several instances on one database: which instance leads what. A [`LeaseManager`] takes, renews and releases leases. Each
//! worker holds a [`LeaseHandle`] and works while it has a [`LeaseGuard`].
//!
//! The store refuses a writer with an old epoch. This room only sees to it that each lease has one holder.

mod decide;
mod handle;
mod manager;

pub use handle::{LeaseGuard, LeaseHandle};
pub use manager::{LeaseManager, holder};

use std::time::Duration;

/// How leases are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Name of this instance; the same again after a restart.
    pub name: String,
    /// How long a lease lasts.
    pub length: Duration,
    /// Whether no other instance can be on this database: any earlier holder is gone.
    pub sole: bool,
    /// What this instance would follow if it led: [`chainflume_db::lease_follows`], one for each source.
    pub follows: Vec<String>,
}

impl Settings {
    /// A lease is made last four times within its length: three may fail.
    fn renew_every(&self) -> Duration {
        self.length / 4
    }

    /// How often the roll is looked at: what a standby adds to every takeover. Not by `LISTEN`, which would need another
    /// connection, does not go through a pooler, and would still need this behind it.
    fn check_every(&self) -> Duration {
        (self.length / 20).clamp(Duration::from_millis(50), Duration::from_millis(500))
    }

    /// How long the session of a holder must be gone before its lease is taken early: a holder that lives and lost its
    /// connection (a server that restarts, a pooler) is back within that time.
    fn orphaned_for(&self) -> Duration {
        self.renew_every() + Duration::from_secs(1)
    }

    /// How long a lease that another instance should take may stay free.
    fn preferred_first(&self) -> Duration {
        Duration::from_secs(2).min(self.length)
    }
}
