use metrics::{counter, describe_counter, describe_gauge, gauge};

use super::{PUSH_CONNECTIONS, PUSH_DELIVERED, PUSH_DROPPED, PUSH_RESUMED, PUSH_ROOMS};

pub(super) fn describe() {
    describe_gauge!(
        PUSH_CONNECTIONS,
        "clients connected to the public server, by protocol (socketio, sse, websocket)"
    );
    describe_gauge!(PUSH_ROOMS, "rooms that clients are in");
    describe_counter!(
        PUSH_DELIVERED,
        "messages handed to clients, once for each room (over Socket.IO once for each event), by protocol"
    );
    describe_counter!(
        PUSH_DROPPED,
        "clients disconnected or not let in, by reason (connections, expired, gone, malformed, restart, slow, unavailable)"
    );
    describe_counter!(
        PUSH_RESUMED,
        "messages read again for clients that were away, by source (memory, store)"
    );
}

/// The public server starts: every series is there before the first client, so that a rate of it can be taken.
pub fn push_starts() {
    for protocol in ["socketio", "sse", "websocket"] {
        push_connected(protocol, 0.0);
        push_delivered(protocol, 0);
    }
    for reason in ["connections", "expired", "gone", "malformed", "restart", "slow", "unavailable"] {
        counter!(PUSH_DROPPED, "reason" => reason).increment(0);
    }
    for source in ["memory", "store"] {
        push_resumed(source, 0);
    }
    push_rooms(0);
}

/// A client came (1) or went (-1).
pub fn push_connected(protocol: &'static str, change: f64) {
    gauge!(PUSH_CONNECTIONS, "protocol" => protocol).increment(change);
}

/// Clients are in so many rooms.
#[expect(clippy::cast_precision_loss, reason = "far fewer rooms than 2^52")]
pub fn push_rooms(rooms: usize) {
    gauge!(PUSH_ROOMS).set(rooms as f64);
}

/// Messages were handed to a client.
pub fn push_delivered(protocol: &'static str, frames: usize) {
    counter!(PUSH_DELIVERED, "protocol" => protocol).increment(frames as u64);
}

/// A client was disconnected, or not let in.
pub fn push_dropped(reason: &'static str) {
    counter!(PUSH_DROPPED, "reason" => reason).increment(1);
}

/// Messages were read again for a client that was away.
pub fn push_resumed(source: &'static str, messages: usize) {
    counter!(PUSH_RESUMED, "source" => source).increment(messages as u64);
}
