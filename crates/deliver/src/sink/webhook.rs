//! Webhooks: each message is one signed `POST`, as Standard Webhooks 1.0.0 has it
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
//!
//! A receiver answers, and cannot be asked what it holds. So repeats are told by `webhook-id`, which is the same
//! at every try, and what was answered with success counts as there for good.

mod sign;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::{Delivered, Sink, SinkError, Stream};
use chainflume_core::domain::Envelope;
use chainflume_ops::http::{AddressPolicy, HttpClient, HttpError, HttpResponse};
pub use sign::SigningKey;

/// An endpoint.
#[derive(Clone)]
pub struct Settings {
    /// Its name, by which its cursor goes.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Each signs: while keys are exchanged, the receiver knows one of two.
    pub keys: Vec<SigningKey>,
    /// How long a delivery may take, connection and answer included.
    pub timeout: Duration,
    /// Which addresses it may have.
    pub reach: AddressPolicy,
    /// Certificate authority of its server, PEM; `None` asks those of the system.
    pub ca: Option<Vec<u8>>,
    /// Largest message sent, in bytes.
    pub max_bytes: usize,
}

// The URL may hold a key.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Delivers messages to one endpoint. Clones are the same endpoint, for deliveries at the same time.
#[derive(Clone, Debug)]
pub struct WebhookSink {
    name: String,
    post: HttpClient,
    keys: Arc<[SigningKey]>,
    max_bytes: usize,
}

impl WebhookSink {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// When the URL or the authority cannot be read, or the URL names an address that may not be called.
    pub fn new(settings: Settings) -> Result<Self, HttpError> {
        let Settings { name, url, keys, timeout, reach, ca, max_bytes } = settings;
        let post = HttpClient::new(&chainflume_ops::http::HttpSettings { url, timeout, reach, ca })?;
        Ok(Self { name: format!("webhook:{name}"), post, keys: keys.into(), max_bytes })
    }

    /// Looks whether somebody answers there, and delivers nothing; returns the host and the status of the answer.
    ///
    /// # Errors
    /// What keeps messages from being delivered there.
    pub async fn check(&self) -> Result<(String, u16), HttpError> {
        Ok((self.post.host().to_owned(), self.post.look().await?))
    }

    async fn send(&self, envelope: &Envelope) -> Result<(), SinkError> {
        let bytes = envelope.json.len();
        if bytes > self.max_bytes {
            return Err(SinkError::TooLarge { sink: SINK, host: self.host(), bytes, limit: self.max_bytes });
        }
        let id = id(envelope);
        // The time of this try and not of the message: receivers refuse what is old (their defence against replays).
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signed: Vec<String> = self.keys.iter().map(|key| key.sign(&id, now, &envelope.json)).collect();
        let headers = [
            ("webhook-id", id),
            ("webhook-timestamp", now.to_string()),
            ("webhook-signature", signed.join(" ")),
            (POSITION, format!("{}.{}", envelope.epoch, envelope.seq)),
        ];
        let answer = self.post.send(&headers, envelope.json.clone()).await;
        self.judge(answer.map_err(|error| self.unreached(error))?)
    }

    fn judge(&self, answer: HttpResponse) -> Result<(), SinkError> {
        let HttpResponse { status, retry_after, text } = answer;
        if (200..300).contains(&status) {
            return Ok(());
        }
        let text = if text.is_empty() { text } else { format!(": {text}") };
        Err(SinkError::Answered { sink: SINK, host: self.host(), status, retry_after, text })
    }

    fn unreached(&self, error: HttpError) -> SinkError {
        let (sink, host) = (SINK, self.host());
        match error {
            HttpError::Timeout { after, .. } => {
                SinkError::Unreachable { sink, host, reason: format!("no answer within {after:?}") }
            }
            HttpError::Unreachable { reason, .. } => SinkError::Unreachable { sink, host, reason },
            other => SinkError::Forbidden { sink, reason: other.to_string() },
        }
    }

    fn host(&self) -> String {
        self.post.host().to_owned()
    }
}

const SINK: &str = "webhook";

/// The header that says epoch and number: a receiver sees by it that a database was restored to an older state.
const POSITION: &str = "chainflume-position";

/// The epoch of messages from before there were epochs, whose ids are what they were.
const NO_EPOCH: &str = "0";

/// The `webhook-id`: the message's number, and a digest of its epoch and its text. The number alone would come again from a
/// database that was restored to an older state, for other messages, which receivers would then take for repeats. So would
/// number and text: a block that comes back has the same events, and a receiver that was told of its retraction meanwhile must
/// hear of them again. Without full stops, which separate what is signed.
fn id(envelope: &Envelope) -> String {
    let mut digest = Sha256::new();
    if envelope.epoch != NO_EPOCH {
        digest.update(envelope.epoch.as_bytes());
    }
    let digest = digest.chain_update(envelope.json.as_bytes()).finalize();
    let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("msg_{}_{digest}", envelope.seq)
}

impl Sink for WebhookSink {
    fn name(&self) -> &str {
        &self.name
    }

    /// What was answered with success is the receiver's: it cannot be asked.
    async fn look(&mut self) -> Result<Vec<Stream>, SinkError> {
        Ok(Vec::new())
    }

    /// One after the other. Which were repeats, only the receiver knows.
    async fn deliver(&mut self, batch: &[Arc<Envelope>]) -> Result<Delivered, SinkError> {
        let mut delivered = Delivered::default();
        for envelope in batch {
            match self.send(envelope).await {
                Ok(()) => delivered.upto = envelope.seq,
                Err(error) if delivered.upto == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(delivered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_keeps_its_id_at_every_try() {
        let envelope = |epoch: &str, seq, json: &str| Envelope {
            seq,
            epoch: epoch.to_owned(),
            aggregate_type: "user".to_owned(),
            message_type: "user.activated".to_owned(),
            state: "confirmed".to_owned(),
            user_id: None,
            counterparty_user_id: None,
            json: json.to_owned(),
        };
        let known = id(&envelope("0", 184, "{}"));
        assert_eq!(known, "msg_184_44136fa355b3678a", "as before there were epochs");
        assert_eq!(id(&envelope("a", 184, "{}")), id(&envelope("a", 184, "{}")));
        assert_ne!(id(&envelope("a", 184, "{}")), id(&envelope("b", 184, "{}")));
        assert_ne!(id(&envelope("a", 184, "{}")), id(&envelope("a", 184, "{ }")));
        assert_ne!(id(&envelope("a", 184, "{}")), id(&envelope("a", 185, "{}")));
    }
}
