//! Where messages go: one file a kind of sink, and the contract all of them keep.
//!
//! A sink is given messages in the order of their numbers and refuses repeats by itself, so that the relay may
//! send again whatever it is not sure of. It is never told that something *was* delivered: it is asked.

mod error;
mod in_process;
mod redis;
mod webhook;

use std::future::Future;
use std::sync::Arc;

pub use error::SinkError;
pub use in_process::{Bus, InProcess};
pub use redis::{RedisSink, Servers as RedisServers, Settings as RedisSettings};
pub use webhook::{Settings as WebhookSettings, SigningKey, WebhookSink};

use chainflume_core::domain::Envelope;

/// A stream of a sink, as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// Names it.
    pub aggregate_type: String,
    /// Its full name, for messages.
    pub name: String,
    /// Newest number it ever took, 0 for none. Trimming does not move it.
    pub top: u64,
    /// Its newest entry; `None` where it has none (any more).
    pub newest: Option<StreamEntry>,
}

/// An entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its number.
    pub seq: u64,
    /// The epoch of its number; `None` where the entry bears none: programs before there were epochs wrote no epoch.
    pub epoch: Option<String>,
    /// The message.
    pub json: String,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Everything up to and including this number is there now. Below the batch's last when only a part went.
    pub upto: u64,
    /// Numbers that had been there already.
    pub repeats: Vec<u64>,
}

/// Takes messages out of the house.
pub trait Sink: Send + 'static {
    /// Name of its cursor and in metrics; the same for ever.
    fn name(&self) -> &str;

    /// Aggregate types of messages there are, for a sink that keeps a stream for each: it looks at these too from here on.
    ///
    /// # Errors
    /// When such a stream cannot be reached by the settings of the sink.
    fn follow(&mut self, _aggregate_types: &[String]) -> Result<(), SinkError> {
        Ok(())
    }

    /// The streams it holds, for the relay to compare with the outbox; none where a sink keeps nothing that could be looked at.
    ///
    /// Each stream for itself, and not only the newest message of all: where streams live on different servers, one can lose
    /// its tail while another goes on, and the newest of all hides the hole. What is looked at is what messages are appended
    /// to from here on; whoever does not like what was found delivers nothing.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn look(&mut self) -> impl Future<Output = Result<Vec<Stream>, SinkError>> + Send;

    /// Delivers messages whose numbers rise. What has been there already counts as delivered.
    ///
    /// # Errors
    /// When it is not certain that at least the first is there now. Some of the batch may be.
    fn deliver(
        &mut self,
        batch: &[Arc<Envelope>],
    ) -> impl Future<Output = Result<Delivered, SinkError>> + Send;
}
