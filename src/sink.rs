//! Where messages go: one file a kind of sink, and the contract all of them keep.
//!
//! A sink is given messages in the order of their numbers and refuses repeats by itself, so that the relay may
//! send again whatever it is not sure of. It is never told that something *was* delivered: it is asked.

mod error;
mod in_process;
mod redis;
mod webhook;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

pub use error::SinkError;
pub use in_process::{Bus, InProcess};
pub use redis::{Redis, Servers as RedisServers, Settings as RedisSettings};
pub use webhook::{Settings as WebhookSettings, SigningKey, Webhook};

use crate::domain::Envelope;

/// What a sink has been given so far, as the outbox knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Everything up to and including this number was delivered.
    pub cursor: u64,
    /// Newest number the outbox ever gave.
    pub newest: u64,
    /// For each aggregate type the newest delivered message the outbox still has.
    pub ends: BTreeMap<String, u64>,
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

    /// Looks what the sink holds and says after which number to go on: `given.cursor`, or a lower number where
    /// it lost something it had been given.
    ///
    /// The question is put by aggregate type and not as "what is the newest you hold?": where types live on different
    /// servers, one can lose its tail while another goes on, and the newest of all hides the hole.
    ///
    /// # Errors
    /// When it cannot be asked, or holds what is not ours.
    fn resume(&mut self, given: &Given) -> impl Future<Output = Result<u64, SinkError>> + Send;

    /// Delivers messages whose numbers rise. What has been there already counts as delivered.
    ///
    /// # Errors
    /// When it is not certain that at least the first is there now. Some of the batch may be.
    fn deliver(
        &mut self,
        batch: &[Arc<Envelope>],
    ) -> impl Future<Output = Result<Delivered, SinkError>> + Send;
}
