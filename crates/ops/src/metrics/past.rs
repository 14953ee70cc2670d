use metrics::{describe_gauge, gauge};

use super::{SOURCE_BLOCKED, UNREAD, as_f64};

pub(super) fn describe() {
    describe_gauge!(
        SOURCE_BLOCKED,
        "1 while a source, or a part of it, is not followed (operator action required), by chain and source"
    );
    describe_gauge!(
        UNREAD,
        "blocks of a source's past that are still to be read of what was added, by chain and source"
    );
}

/// Sets whether a source is not followed, and the number of its blocks that are still to be read.
pub fn source_past(chain: &str, source: &str, blocked: bool, unread: u64) {
    let labels = [("chain", chain.to_owned()), ("source", source.to_owned())];
    gauge!(SOURCE_BLOCKED, &labels).set(if blocked { 1.0 } else { 0.0 });
    gauge!(UNREAD, &labels).set(as_f64(unread));
}
