use std::time::Duration;

use metrics::{
    Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use super::recent::DELIVERIES;
use super::{
    PUSH_BYTES, PUSH_CONNECTIONS, PUSH_DELIVERED, PUSH_DROPPED, PUSH_KEYS, PUSH_LAG, PUSH_LATENCY,
    PUSH_REFUSED, PUSH_RESUMED, PUSH_ROOMS,
};

const PUSH_RESUMING: &str = "chainflume_push_resuming_bytes";

/// Reasons why clients are disconnected or refused.
const DROPPED: [&str; 11] = [
    "address",
    "connections",
    "expired",
    "gone",
    "malformed",
    "restart",
    "revoked",
    "silent",
    "slow",
    "unavailable",
    "user",
];

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
        PUSH_BYTES,
        "bytes of messages handed to clients, after compression and without the heads of frames, by protocol"
    );
    describe_histogram!(
        PUSH_LATENCY,
        "time from the transaction of a message to the connection of a client that was there, by protocol"
    );
    describe_counter!(
        PUSH_DROPPED,
        "clients disconnected or not let in, by reason (address, connections, expired, gone, malformed, restart, \
         revoked, silent, slow, unavailable, user)"
    );
    describe_counter!(
        PUSH_RESUMED,
        "messages read again for clients that were away, by source (memory, store)"
    );
    describe_gauge!(
        PUSH_RESUMING,
        "bytes of missed messages that were read from the database and are not yet sent"
    );
    describe_gauge!(PUSH_LAG, "messages stored that the public server has not read yet");
    describe_counter!(PUSH_REFUSED, "requests answered with an error, by its code (docs/PUSH.md lists them)");
    describe_counter!(
        PUSH_KEYS,
        "fetches of the issuer's public keys, by result (failed, fetched); 0 without server.auth.jwks_url"
    );
}

/// Sets every series of the public server to zero, so that a rate can be computed from the first client on.
pub fn push_starts() {
    for protocol in ["socketio", "sse", "websocket"] {
        push_connected(protocol, 0.0);
        let _zero = DeliveryMeter::new(protocol);
    }
    for reason in DROPPED {
        counter!(PUSH_DROPPED, "reason" => reason).increment(0);
    }
    for source in ["memory", "store"] {
        push_resumed(source, 0);
    }
    push_rooms(0);
    push_resuming(0);
    push_lag(0);
    for result in ["failed", "fetched"] {
        counter!(PUSH_KEYS, "result" => result).increment(0);
    }
}

/// Error codes of the public server; their series exist from the start.
pub fn push_codes(codes: &[&'static str]) {
    for code in codes {
        counter!(PUSH_REFUSED, "code" => *code).increment(0);
    }
}

/// Counts a request that was answered with an error of this code.
pub fn push_refused(code: &'static str) {
    counter!(PUSH_REFUSED, "code" => code).increment(1);
}

/// Sets the number of stored messages that the feed has not read.
#[expect(clippy::cast_precision_loss, reason = "far fewer messages than 2^52 wait")]
pub fn push_lag(messages: u64) {
    gauge!(PUSH_LAG).set(messages as f64);
}

/// Counts a fetch of the issuer's public keys.
pub fn push_keys_fetched(well: bool) {
    counter!(PUSH_KEYS, "result" => if well { "fetched" } else { "failed" }).increment(1);
}

/// Counts a client that connected (1) or disconnected (-1).
pub fn push_connected(protocol: &'static str, change: f64) {
    gauge!(PUSH_CONNECTIONS, "protocol" => protocol).increment(change);
}

/// Sets the bytes of missed messages that are not yet sent.
#[expect(clippy::cast_precision_loss, reason = "far fewer bytes than 2^52")]
pub fn push_resuming(bytes: usize) {
    gauge!(PUSH_RESUMING).set(bytes as f64);
}

/// Sets the number of rooms with clients.
#[expect(clippy::cast_precision_loss, reason = "far fewer rooms than 2^52")]
pub fn push_rooms(rooms: usize) {
    gauge!(PUSH_ROOMS).set(rooms as f64);
}

/// The series of deliveries by one protocol, looked up once for each connection and not for each message.
#[derive(Clone)]
pub struct DeliveryMeter {
    delivered: Counter,
    bytes: Counter,
    latency: Histogram,
}

impl DeliveryMeter {
    /// Of this protocol.
    pub fn new(protocol: &'static str) -> Self {
        let (delivered, bytes) =
            (counter!(PUSH_DELIVERED, "protocol" => protocol), counter!(PUSH_BYTES, "protocol" => protocol));
        delivered.increment(0);
        bytes.increment(0);
        Self { delivered, bytes, latency: histogram!(PUSH_LATENCY, "protocol" => protocol) }
    }

    /// Counts messages sent to a client, and their bytes. Records how long a message took to a client that was connected when it was
    /// stored.
    pub fn record(&self, frames: usize, bytes: usize, took: Option<Duration>) {
        self.delivered.increment(frames as u64);
        self.bytes.increment(bytes as u64);
        if let Some(took) = took {
            self.latency.record(took);
            DELIVERIES.add(took.as_secs_f64() * 1_000.0);
        }
    }
}

/// Counts a client that was disconnected or refused.
pub fn push_dropped(reason: &'static str) {
    counter!(PUSH_DROPPED, "reason" => reason).increment(1);
}

/// Counts messages that were read again for a client that was away.
pub fn push_resumed(source: &'static str, messages: usize) {
    counter!(PUSH_RESUMED, "source" => source).increment(messages as u64);
}
