//! Metrics of the database. Names are in [`super`].

use metrics::{describe_gauge, gauge};

use super::{DATABASE_WRITABLE, NEGATIVE_BALANCES, OPEN_DEAD_LETTERS, VIEWS_MISSING, as_f64};

pub(super) fn describe() {
    describe_gauge!(DATABASE_WRITABLE, "1 while the database takes writes");
    describe_gauge!(VIEWS_MISSING, "typed views that could not be created or updated, by chain");
    describe_gauge!(
        NEGATIVE_BALANCES,
        "token balances below zero: rebasing tokens, wrapped ones without `mints` and `burns`, or a start block after the first transfer"
    );
    describe_gauge!(OPEN_DEAD_LETTERS, "open dead letters: neither retried with success nor dropped");
}

/// Sets the number of typed views that could not be created.
pub fn views_missing(chain: &str, views: u64) {
    gauge!(VIEWS_MISSING, "chain" => chain.to_owned()).set(as_f64(views));
}

/// Sets the result of the last probe of the database.
pub fn database(writable: bool, counts: Option<(u64, u64)>) {
    gauge!(DATABASE_WRITABLE).set(if writable { 1.0 } else { 0.0 });
    if let Some((negative_balances, dead_letters)) = counts {
        gauge!(NEGATIVE_BALANCES).set(as_f64(negative_balances));
        gauge!(OPEN_DEAD_LETTERS).set(as_f64(dead_letters));
    }
}
