use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use chainflume_ops::health::LeaseHealth;

/// A lease in a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseReport {
    /// `leader` or `standby`.
    pub role: String,
    /// The holder; `None` without one.
    pub holder: Option<String>,
    /// The fencing token.
    pub epoch: u64,
}

impl LeaseReport {
    pub(super) fn of(LeaseHealth { held, holder, epoch }: LeaseHealth) -> Self {
        Self { role: role(held), holder, epoch }
    }
}

pub(super) fn role(leads: bool) -> String {
    if leads { "leader" } else { "standby" }.to_owned()
}

/// A standby is ready if any instance leads: it could take over, and the leader reports its own problems. If a standby
/// were never ready, a needed standby would look like a broken one.
pub(super) fn unled(lease: Option<&str>, leases: &BTreeMap<String, LeaseHealth>) -> Option<String> {
    let lease = leases.get(lease?)?;
    lease.holder.is_none().then(|| "no instance leads".to_owned())
}
