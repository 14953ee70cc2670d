use metrics::{counter, describe_counter, describe_gauge, gauge};

use super::number::as_f64;
use super::{FOLLOW_CHANGES, FOLLOWED};

/// What a followed transaction can become.
const STATES: [&str; 6] = ["mined", "replaced", "reverted", "succeeded", "timed_out", "waiting"];

pub(super) fn describe() {
    describe_gauge!(FOLLOWED, "transactions that are followed, by chain");
    describe_counter!(
        FOLLOW_CHANGES,
        "changes of followed transactions, by chain and what they became (mined, replaced, reverted, succeeded, timed_out, waiting)"
    );
}

/// Starts what is counted of a chain's transactions at zero.
pub fn follow_starts(chain: &str) {
    followed(chain, 0);
    for state in STATES {
        counter!(FOLLOW_CHANGES, "chain" => chain.to_owned(), "state" => state).increment(0);
    }
}

/// So many transactions of a chain are followed.
pub fn followed(chain: &str, transactions: u64) {
    gauge!(FOLLOWED, "chain" => chain.to_owned()).set(as_f64(transactions));
}

/// A followed transaction changed.
pub fn follow_change(chain: &str, state: &'static str) {
    counter!(FOLLOW_CHANGES, "chain" => chain.to_owned(), "state" => state).increment(1);
}
