use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The use of one method since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodUsage {
    /// JSON-RPC method.
    pub method: &'static str,
    /// Calls made.
    pub requests: u64,
    /// Calls that got no usable answer.
    pub failed: u64,
    /// Compute units spent, by the configured table.
    pub credits: u64,
}

/// Counts calls by method, of which there are a dozen.
#[derive(Default)]
pub(super) struct UsageCounter(Mutex<BTreeMap<&'static str, MethodUsage>>);

impl UsageCounter {
    pub(super) fn count(&self, method: &'static str, ok: bool, credits: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let none = MethodUsage { method, requests: 0, failed: 0, credits: 0 };
        let usage = counts.entry(method).or_insert(none);
        usage.requests += 1;
        usage.failed += u64::from(!ok);
        usage.credits += credits;
    }

    /// By name.
    pub(super) fn all(&self) -> Vec<MethodUsage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect()
    }
}
