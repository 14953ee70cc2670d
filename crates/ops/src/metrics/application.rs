use metrics::{counter, describe_counter, describe_gauge, gauge};

use super::{
    ACTIVITY_CHANGES, APPLICATION_COMMITS, APPLICATION_EVENTS, APPLICATION_PAUSES, APPLICATION_WAITING,
};

pub(super) fn describe() {
    describe_counter!(
        APPLICATION_EVENTS,
        "events that the application published, by result (duplicate, failed, stored)"
    );
    describe_counter!(APPLICATION_COMMITS, "transactions that stored events of the application");
    describe_counter!(
        APPLICATION_PAUSES,
        "pauses after commits that publishers shared, by length (commit: as long as the commit, limit: cut at publish.max_commit_pause)"
    );
    describe_gauge!(APPLICATION_WAITING, "events of the application that wait for a commit");
    describe_counter!(
        ACTIVITY_CHANGES,
        "changes of activities, by kind (completed, created, failed, updated)"
    );
}

/// Sets every series of the application's routes to zero before the first request.
pub fn application_starts() {
    for result in ["duplicate", "failed", "stored"] {
        application_events(result, 0);
    }
    for kind in ["completed", "created", "failed", "updated"] {
        counter!(ACTIVITY_CHANGES, "kind" => kind).increment(0);
    }
    counter!(APPLICATION_COMMITS).increment(0);
    for length in ["commit", "limit"] {
        counter!(APPLICATION_PAUSES, "length" => length).increment(0);
    }
    application_waiting(0);
}

/// Counts events by their result.
pub fn application_events(result: &'static str, events: usize) {
    counter!(APPLICATION_EVENTS, "result" => result).increment(events as u64);
}

/// Counts a transaction that stored events.
pub fn application_committed() {
    counter!(APPLICATION_COMMITS).increment(1);
}

/// Counts a pause after a shared commit; `is_cut`: the commit took longer than a pause may.
pub fn application_paused(is_cut: bool) {
    counter!(APPLICATION_PAUSES, "length" => if is_cut { "limit" } else { "commit" }).increment(1);
}

/// Sets the number of events that wait for a commit.
#[expect(clippy::cast_precision_loss, reason = "far fewer events than 2^52 wait")]
pub fn application_waiting(events: usize) {
    gauge!(APPLICATION_WAITING).set(events as f64);
}

/// Counts a change of an activity.
pub fn activity_changed(kind: &'static str) {
    counter!(ACTIVITY_CHANGES, "kind" => kind).increment(1);
}
