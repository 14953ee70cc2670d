//! Several instances on one database: which instance leads what. A [`LeaseManager`] takes, renews and releases leases.
//! Each worker has a [`LeaseHandle`] and works while it has a [`LeaseGuard`].
//!
//! The store refuses a writer with an old epoch. This room only ensures that each lease has one holder.

mod decide;
mod handle;
mod manager;

pub use handle::{LeaseGuard, LeaseHandle};
pub use manager::{LeaseManager, holder};

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use chainflume_core::settings::{Fault, text};

/// Settings of leases.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Name of this instance; the same after a restart. Empty until `roles` knows the host and the admin port.
    #[serde(deserialize_with = "instance_name")]
    pub name: String,
    /// How long a lease lasts.
    #[serde(rename = "lease", deserialize_with = "chainflume_core::settings::duration::<1_000, 300_000, _>")]
    pub length: Duration,
    /// Whether no other instance can use this database: then any earlier holder is gone.
    #[serde(skip)]
    pub sole: bool,
    /// What this instance follows as a leader: [`chainflume_db::lease_follows`], one entry per source.
    #[serde(skip)]
    pub follows: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { name: String::new(), length: Duration::from_secs(10), sole: false, follows: Vec::new() }
    }
}

fn instance_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text(deserializer, |text| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"_-.:".contains(&b);
        if !text.is_empty() && text.len() <= 64 && text.bytes().all(fits) {
            return Ok(text.to_owned());
        }
        Err(Fault::new("is not a name", "write at most 64 of letters, digits, `_`, `-`, `.` and `:`"))
    })
}

impl Settings {
    /// Renewals per lifetime of a lease: three of four may fail.
    fn renew_every(&self) -> Duration {
        self.length / 4
    }

    /// Pause between two reads of the leases: a standby adds it to every takeover. `LISTEN` would need another
    /// connection, does not work through a pooler, and would still need this poll as a fallback.
    fn check_every(&self) -> Duration {
        (self.length / 20).clamp(Duration::from_millis(50), Duration::from_millis(500))
    }

    /// How long the session of a holder must be gone before its lease is taken early. A live holder that lost its
    /// connection (a restarted server, a pooler) reconnects within this time.
    fn orphaned_for(&self) -> Duration {
        self.renew_every() + Duration::from_secs(1)
    }

    /// How long a lease that another instance should take may stay free.
    fn preferred_first(&self) -> Duration {
        Duration::from_secs(2).min(self.length)
    }
}
