//! Webhooks: each message is one signed `POST`, as defined by Standard Webhooks 1.0.0
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
//!
//! A receiver cannot be asked which messages it has. So receivers recognize repeats by `webhook-id`, which is the same
//! for every try. A message answered with success counts as delivered for good.

mod answer;
mod sign;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Delivered, Sink, SinkError, Stream};
pub use answer::{AnswerFault, MAX_ANSWER, TakeAnswer};
use chainflume_core::domain::Envelope;
use chainflume_core::settings::{KIB, MIB};
use chainflume_ops::http::{AddressPolicy, HttpClient, HttpError, HttpResponse};
pub use sign::SigningKey;

/// A delivery endpoint.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Its name; its cursor is stored under this name.
    #[serde(skip)]
    pub name: String,
    /// Its URL.
    #[serde(skip)]
    pub url: String,
    /// Each key signs. While keys are exchanged, the receiver knows only one of two.
    #[serde(skip)]
    pub keys: Vec<SigningKey>,
    /// Timeout of a delivery, including connection and answer.
    #[serde(deserialize_with = "chainflume_core::settings::duration::<100, 120_000, _>")]
    pub timeout: Duration,
    /// The addresses that the URL may resolve to.
    #[serde(skip)]
    pub reach: AddressPolicy,
    /// Certificate authority of its server, PEM; `None` uses the system's authorities.
    #[serde(skip)]
    pub ca: Option<Vec<u8>>,
    /// Maximum size of a message, in bytes.
    #[serde(rename = "max_message_bytes")]
    #[serde(deserialize_with = "chainflume_core::settings::size::<KIB, { 64 * MIB }, _>")]
    pub max_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            keys: Vec::new(),
            timeout: Duration::from_secs(15),
            reach: AddressPolicy::Public { except: BTreeSet::new() },
            ca: None,
            max_bytes: 256 << 10,
        }
    }
}

// The URL may hold a key.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Delivers messages to one endpoint. Clones are the same endpoint, for parallel deliveries.
#[derive(Clone, Debug)]
pub struct WebhookSink {
    name: String,
    post: HttpClient,
    keys: Arc<[SigningKey]>,
    max_bytes: usize,
    answers: Option<Arc<dyn TakeAnswer>>,
}

impl WebhookSink {
    /// Creates the client without connecting.
    ///
    /// # Errors
    /// When the URL or the authority cannot be read, or the URL names an address that may not be called.
    pub fn new(settings: Settings) -> Result<Self, HttpError> {
        let Settings { name, url, keys, timeout, reach, ca, max_bytes } = settings;
        let post = HttpClient::new(&chainflume_ops::http::HttpSettings { url, timeout, reach, ca })?;
        Ok(Self { name: format!("webhook:{name}"), post, keys: keys.into(), max_bytes, answers: None })
    }

    /// The same, whose answers are taken: a message is delivered when its answer is.
    #[must_use]
    pub fn taking(self, answers: Arc<dyn TakeAnswer>) -> Self {
        Self { answers: Some(answers), ..self }
    }

    /// Checks that a server answers, and delivers nothing; returns its host and the status of the answer.
    ///
    /// # Errors
    /// The reason why messages cannot be delivered there.
    pub async fn check(&self) -> Result<(String, u16), HttpError> {
        Ok((self.post.host().to_owned(), self.post.look().await?))
    }

    async fn send(&self, envelope: &Envelope) -> Result<(), SinkError> {
        let bytes = envelope.json.len();
        if bytes > self.max_bytes {
            return Err(SinkError::TooLarge { sink: SINK, host: self.host(), bytes, limit: self.max_bytes });
        }
        let host = || self.host();
        if let Some(answers) = &self.answers
            && !answers.wants(&envelope.json).await.map_err(|fault| fault.error(SINK, host()))?
        {
            return Ok(());
        }
        let id = id(envelope);
        // The time of this try, not of the message: receivers refuse old timestamps as a defence against replays.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signed: Vec<String> = self.keys.iter().map(|key| key.sign(&id, now, &envelope.json)).collect();
        let headers = [
            ("webhook-id", id),
            ("webhook-timestamp", now.to_string()),
            ("webhook-signature", signed.join(" ")),
            (POSITION, format!("{}.{}", envelope.epoch, envelope.seq)),
        ];
        let Some(answers) = &self.answers else {
            let answer = self.post.send(&headers, envelope.json.clone()).await;
            return self.judge(answer.map_err(|error| self.unreached(error))?);
        };
        let answer = self.post.ask(&headers, envelope.json.clone(), MAX_ANSWER).await;
        let (answer, body) = answer.map_err(|error| self.unreached(error))?;
        self.judge(answer)?;
        answers.take(&envelope.json, body).await.map_err(|fault| fault.error(SINK, host()))
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
            HttpError::Untrusted { reason, remedy, .. } => {
                SinkError::Untrusted { sink, host, reason, remedy }
            }
            HttpError::Answer { what, .. } => {
                SinkError::Unusable { sink, host, reason: format!("it {what}") }
            }
            other => SinkError::Forbidden { sink, reason: other.to_string() },
        }
    }

    fn host(&self) -> String {
        self.post.host().to_owned()
    }
}

const SINK: &str = "webhook";

/// The header with epoch and number. A receiver recognizes from the epoch that the database was restored to an older
/// state.
const POSITION: &str = "chainflume-position";

/// The epoch of messages without an epoch (from old versions); their ids are unchanged.
const NO_EPOCH: &str = "0";

/// The `webhook-id`: the message's number, and a digest of its epoch and its text. The number alone is not enough: a
/// database restored to an older state uses it again for other messages, which receivers would take for repeats. Number
/// and text are not enough either: a block that returns has the same events, and a receiver that got their retraction
/// must get them again. No full stops, because the signed text uses them as separators.
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

    /// A message that was answered with success counts as delivered: the receiver cannot be asked.
    async fn look(&mut self) -> Result<Vec<Stream>, SinkError> {
        Ok(Vec::new())
    }

    /// One message after the other. Only the receiver can recognize repeats.
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
    use chainflume_core::domain::MessageState;

    #[test]
    fn a_message_keeps_its_id_at_every_try() {
        let envelope = |epoch: &str, seq, json: &str| Envelope {
            seq,
            epoch: epoch.to_owned(),
            aggregate_type: "user".to_owned(),
            message_type: "user.activated".to_owned(),
            state: MessageState::Confirmed,
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
