//! Several daemons on one database: who leads what. A [`Keeper`] takes leases, makes them last and gives them back; what
//! it leads is done by workers that hold a [`Chair`] each.
//!
//! Nothing here keeps two from writing: that is the store's part, which refuses whoever holds an old epoch. This
//! room only sees to it that there is one.

mod chair;
mod decide;
mod keeper;

pub use chair::{Chair, Turn};
pub use keeper::{Keeper, holder};

use std::time::Duration;

/// How leases are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Name of this instance; the same again after a restart.
    pub name: String,
    /// How long a lease lasts.
    pub length: Duration,
    /// Whether nobody else can be on this database: whoever held a lease before is gone.
    pub sole: bool,
}

impl Settings {
    /// A lease is made last four times within its length: three may fail.
    fn renew_every(&self) -> Duration {
        self.length / 4
    }

    /// How often the roll is looked at: what a standby adds to every takeover. Not by `LISTEN`, which would need another
    /// connection, does not go through a pooler, and would still need this behind it.
    fn look_every(&self) -> Duration {
        (self.length / 20).clamp(Duration::from_millis(50), Duration::from_millis(500))
    }

    /// How long the session of a holder must be gone before its lease is taken early: a holder that lives and lost its
    /// connection (a server that restarts, a pooler) is back within that time.
    fn orphaned_for(&self) -> Duration {
        self.renew_every() + Duration::from_secs(1)
    }

    /// How long a lease that another instance should take may stay free.
    fn courtesy(&self) -> Duration {
        Duration::from_secs(2).min(self.length)
    }
}
