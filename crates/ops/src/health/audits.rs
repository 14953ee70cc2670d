use std::collections::BTreeMap;
use std::time::Instant;

use super::Board;

/// The audit of one source, at its last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditHealth {
    /// Everything up to here was compared with the chain a second time; `None` until the first comparison.
    pub verified_to: Option<u64>,
    /// Stored events that differ from the chain and are not repaired.
    pub differences: u64,
    /// The first and the last block with such events.
    pub differing_in: Option<(u64, u64)>,
    /// How many events were last repaired by proof, and when.
    pub repaired: Option<(u64, Instant)>,
}

impl Board {
    /// Changes the state of the audit of a chain's source; the first change adds it.
    pub fn audit<T>(&self, chain: &str, source: &str, change: impl FnOnce(&mut AuditHealth) -> T) -> T {
        change(self.lock().audits.entry((chain.to_owned(), source.to_owned())).or_default())
    }

    /// The present state of all audits, by chain and source.
    pub fn audits(&self) -> BTreeMap<(String, String), AuditHealth> {
        self.lock().audits.clone()
    }
}
