use metrics::{counter, describe_counter, describe_gauge, gauge};

use super::{LEASE_EPOCH, LEASE_ERRORS, LEASE_HELD, LEASE_TAKEN, as_f64};

pub(super) fn describe() {
    describe_gauge!(LEASE_HELD, "1 while this instance holds the lease and leads, by lease");
    describe_gauge!(LEASE_EPOCH, "fencing token of the lease, which grows with every new holder, by lease");
    describe_counter!(LEASE_TAKEN, "times this instance took the lease, by lease");
    describe_counter!(LEASE_ERRORS, "rounds in which leases could not be renewed or read");
}

/// As [`super::chain_starts`], for a lease.
pub fn lease_starts(lease: &str) {
    counter!(LEASE_TAKEN, "lease" => lease.to_owned()).increment(0);
    counter!(LEASE_ERRORS).increment(0);
}

/// Sets whether this instance holds a lease.
pub fn lease(name: &str, held: bool, epoch: u64) {
    gauge!(LEASE_HELD, "lease" => name.to_owned()).set(if held { 1.0 } else { 0.0 });
    gauge!(LEASE_EPOCH, "lease" => name.to_owned()).set(as_f64(epoch));
}

/// Counts a lease that this instance took.
pub fn lease_taken(name: &str) {
    counter!(LEASE_TAKEN, "lease" => name.to_owned()).increment(1);
}

/// Counts a round in which leases could not be renewed or read.
pub fn lease_error() {
    counter!(LEASE_ERRORS).increment(1);
}
