use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge};

use super::number::as_f64;

const OUTBOX_KEPT: &str = "chainflume_outbox_messages";
const OUTBOX_OLDEST: &str = "chainflume_outbox_oldest_age_seconds";
const OUTBOX_INDEXED: &str = "chainflume_outbox_indexed_total";
const OUTBOX_TRIMMED: &str = "chainflume_outbox_trimmed_total";

pub(super) fn describe() {
    describe_gauge!(OUTBOX_KEPT, "messages kept in the outbox, delivered ones included");
    describe_gauge!(OUTBOX_OLDEST, "age of the oldest message kept in the outbox, computed at the scrape");
    describe_counter!(
        OUTBOX_INDEXED,
        "messages added to the index of rooms, by which clients that return find theirs"
    );
    describe_counter!(OUTBOX_TRIMMED, "messages deleted from the outbox after every sink had them");
}

/// Sets the size of the outbox.
pub fn outbox(kept: u64, oldest: Duration) {
    gauge!(OUTBOX_KEPT).set(as_f64(kept));
    gauge!(OUTBOX_OLDEST).set(oldest.as_secs_f64());
}

/// Counts messages that were added to the index of rooms.
pub fn outbox_indexed(count: u64) {
    counter!(OUTBOX_INDEXED).increment(count);
}

/// Counts messages that were deleted after every sink had them.
pub fn outbox_trimmed(count: u64) {
    counter!(OUTBOX_TRIMMED).increment(count);
}
