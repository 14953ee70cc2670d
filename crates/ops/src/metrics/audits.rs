//! Metrics of audits. Names are in [`super`].

use metrics::{counter, describe_counter, describe_gauge, gauge};

use super::{AUDIT_DIFFERENCES, AUDIT_FOUND, AUDIT_REPAIRED, AUDITED, as_f64};

pub(super) fn describe() {
    describe_gauge!(
        AUDITED,
        "highest block up to which stored events were compared again, by chain and source"
    );
    describe_gauge!(AUDIT_DIFFERENCES, "stored events that differ from the chain, by chain and source");
    describe_counter!(AUDIT_FOUND, "ranges in which an audit found differences, by chain and source");
    describe_counter!(AUDIT_REPAIRED, "stored events that the audit repaired by proof, by chain and source");
}

/// Counts an audit that found stored events of a source to differ from the chain.
pub fn audit_difference(chain: &str, source: &str) {
    counter!(AUDIT_FOUND, "chain" => chain.to_owned(), "source" => source.to_owned()).increment(1);
}

/// Counts stored events of a source that the audit repaired.
pub fn audit_repaired(chain: &str, source: &str, count: u64) {
    counter!(AUDIT_REPAIRED, "chain" => chain.to_owned(), "source" => source.to_owned()).increment(count);
}

/// Sets the progress of the audit of a source.
pub fn audit(chain: &str, source: &str, verified_to: Option<u64>, differences: u64) {
    let labels = [("chain", chain.to_owned()), ("source", source.to_owned())];
    gauge!(AUDIT_DIFFERENCES, &labels).set(as_f64(differences));
    counter!(AUDIT_FOUND, &labels).increment(0);
    counter!(AUDIT_REPAIRED, &labels).increment(0);
    if let Some(verified_to) = verified_to {
        gauge!(AUDITED, &labels).set(as_f64(verified_to));
    }
}
