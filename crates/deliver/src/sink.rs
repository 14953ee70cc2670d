//! The receivers of messages: one file per kind of sink, and the contract of all sinks.
//!
//! A sink receives messages in the order of their numbers and refuses repeats. So the relay may send again every
//! message whose delivery is uncertain. The relay asks the sink what it has and never assumes a delivery.

mod error;
mod in_process;
mod redis;
mod webhook;

use std::future::Future;
use std::sync::Arc;

pub use error::SinkError;
pub use in_process::{Bus, InProcess};
pub use redis::{RedisSink, Servers as RedisServers, Settings as RedisSettings};
pub use webhook::{
    AnswerFault, MAX_ANSWER, Settings as WebhookSettings, SigningKey, TakeAnswer, WebhookSink,
};

use chainflume_core::domain::Envelope;

/// The state of one stream of a sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// Aggregate type of its messages.
    pub aggregate_type: String,
    /// Its full name, for errors.
    pub name: String,
    /// Newest number that it ever accepted, 0 for none. Trimming does not change it.
    pub top: u64,
    /// Its newest entry; `None` if it has no entries.
    pub newest: Option<StreamEntry>,
}

/// An entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its number.
    pub seq: u64,
    /// The epoch of its number; `None` for an entry of an old version, which wrote no epoch.
    pub epoch: Option<String>,
    /// The message.
    pub json: String,
}

/// The result of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Everything up to and including this number is delivered. Below the batch's last number if only a part was
    /// delivered.
    pub upto: u64,
    /// Number of messages that the sink already had.
    pub repeats: Vec<u64>,
}

/// Delivers messages to a receiver.
pub trait Sink: Send + 'static {
    /// Name of its cursor, also in metrics; never changes.
    fn name(&self) -> &str;

    /// Adds the streams of these aggregate types, for a sink that keeps a stream for each. They are read from now on.
    ///
    /// # Errors
    /// If the settings of the sink do not reach such a stream.
    fn follow(&mut self, _aggregate_types: &[String]) -> Result<(), SinkError> {
        Ok(())
    }

    /// The streams of the sink, which the relay compares with the outbox. Empty for a sink that stores nothing
    /// readable.
    ///
    /// Each stream is reported separately, not only the newest message of all. Streams on different servers fail
    /// separately: one can lose its tail while another continues, and the newest message of all would hide the loss. A
    /// later delivery appends to the streams as reported here; a relay that rejects the report delivers nothing.
    ///
    /// # Errors
    /// If the sink cannot be read.
    fn look(&mut self) -> impl Future<Output = Result<Vec<Stream>, SinkError>> + Send;

    /// Delivers messages in ascending order. A message that the sink already has counts as delivered.
    ///
    /// # Errors
    /// If the delivery of even the first message is uncertain. Some of the batch may be delivered.
    fn deliver(
        &mut self,
        batch: &[Arc<Envelope>],
    ) -> impl Future<Output = Result<Delivered, SinkError>> + Send;
}
