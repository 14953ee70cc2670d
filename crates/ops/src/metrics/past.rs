use metrics::{describe_gauge, gauge};

use super::{CLOCK_AHEAD, CONTRACT_FINDINGS, SOURCE_BLOCKED, UNREAD, as_f64};

pub(super) fn describe() {
    describe_gauge!(
        SOURCE_BLOCKED,
        "1 while a source, or a part of it, is not followed (operator action required), by chain and source"
    );
    describe_gauge!(
        UNREAD,
        "blocks of a source's past that are still to be read of what was added, by chain and source"
    );
    describe_gauge!(
        CLOCK_AHEAD,
        "seconds by which the clock of the database is ahead of this machine's; negative where it is behind"
    );
    describe_gauge!(
        CONTRACT_FINDINGS,
        "contracts without code, and contracts whose newest logs do not fit the ABI, by chain and source"
    );
}

/// Sets the number of seconds by which the clock of the database is ahead of this machine's.
pub fn clock_ahead(seconds: f64) {
    gauge!(CLOCK_AHEAD).set(seconds);
}

/// Sets the findings of the last check of a source's contracts.
pub fn contract_findings(chain: &str, source: &str, findings: usize) {
    let labels = [("chain", chain.to_owned()), ("source", source.to_owned())];
    gauge!(CONTRACT_FINDINGS, &labels).set(as_f64(u64::try_from(findings).unwrap_or(u64::MAX)));
}

/// Sets whether a source is not followed, and the number of its blocks that are still to be read.
pub fn source_past(chain: &str, source: &str, blocked: bool, unread: u64) {
    let labels = [("chain", chain.to_owned()), ("source", source.to_owned())];
    gauge!(SOURCE_BLOCKED, &labels).set(if blocked { 1.0 } else { 0.0 });
    gauge!(UNREAD, &labels).set(as_f64(unread));
}
