use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use super::problem::Fault;
use super::reader::Text;
use super::schedule::event_type;
use super::secret::Secret;
use super::section::Section;
use super::units::{self, KIB, MIB};
use super::url::{Scheme, url};
use super::words::name;
use chainflume_deliver::relay::DeliveryOrder;
use chainflume_deliver::sink::SigningKey;

/// `[[webhook]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Name in metrics and of its cursor.
    pub name: String,
    /// Where it is.
    pub url: Secret,
    /// What signs, one or several while they are exchanged.
    pub keys: Vec<SigningKey>,
    /// Types of messages it gets; empty for all.
    pub types: Vec<String>,
    /// How long a delivery may take.
    pub timeout: Duration,
    /// Pauses between the tries of a delivery.
    pub retry_schedule: Vec<Duration>,
    /// Tries of a message that the receiver refuses for itself.
    pub retry_attempts: u32,
    /// What one failed delivery holds up.
    pub order: DeliveryOrder,
    /// How many messages may wait for a retry or behind one.
    pub max_held: u64,
    /// Deliveries at the same time.
    pub in_flight: usize,
    /// Largest message sent, in bytes.
    pub max_message_bytes: usize,
    /// Hosts that may have addresses that are not public.
    pub allow_hosts: BTreeSet<String>,
    /// Certificate authority of its server, PEM; `None` asks those of the system.
    pub ca_file: Option<PathBuf>,
    /// What becomes of its answers, of a `[[reaction]]`.
    pub answers: Option<AnswerConfig>,
}

/// What becomes of the answers of a `[[reaction]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerConfig {
    /// Type of the event whose payload an answer is; `None` where answers are events.
    pub event_type: Option<String>,
}

/// `[alerts]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alerts {
    /// Where incidents are sent; `None` leaves them in log and metrics.
    pub webhook: Option<Secret>,
    /// What is well for so long is over.
    pub over_after: Duration,
}

impl Default for Alerts {
    fn default() -> Self {
        Self { webhook: None, over_after: Duration::from_mins(2) }
    }
}

/// What is known of a webhook, whole or not.
pub(super) struct WebhookDraft {
    pub name: Option<Text>,
    pub webhook: Option<Webhook>,
}

const REQUIRED: [(&str, &str); 3] = [
    ("name", "add name = \"…\", by which its position and metrics go"),
    ("url", "add url = \"https://…\", where messages are sent"),
    ("secret", "add secret = \"whsec_…\", what the receiver checks signatures with"),
];

/// The schedule the standard gives as its example, which is commonly used: ten tries in three days.
const SCHEDULE: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(14),
    Duration::from_hours(20),
    Duration::from_hours(24),
];

pub(super) fn read(section: &Section<'_>) -> WebhookDraft {
    section.require(&REQUIRED);
    let types = parsed_list(section, "types", message_type);
    endpoint(section, types, None)
}

/// A `[[reaction]]` is an endpoint whose answers are published.
pub(super) fn reaction(section: &Section<'_>) -> WebhookDraft {
    section.require(&REQUIRED);
    section.require(&[("on", "add on = \"…\", a type of messages, or a prefix like \"order.*\"")]);
    let on = section.parsed("on", message_type).map(|on| vec![on.value]);
    let event_type = section.parsed("type", event_type).map(|found| found.value);
    endpoint(section, on, Some(AnswerConfig { event_type }))
}

fn endpoint(
    section: &Section<'_>,
    types: Option<Vec<String>>,
    answers: Option<AnswerConfig>,
) -> WebhookDraft {
    let name = section.parsed("name", |text| name(text, true));
    let url = section.parsed("url", |text| url(text, Scheme::Http));
    let keys = keys(section);
    let timeout = section.duration("timeout", Duration::from_millis(100)..=Duration::from_mins(2));
    let wait = Duration::from_millis(10)..=Duration::from_hours(7 * 24);
    let retry_schedule = parsed_list(section, "retry_schedule", |text| units::duration(text, &wait));
    let retry_attempts = section.number("retry_attempts", 1..=100).and_then(|n| u32::try_from(n.value).ok());
    let order = section.parsed("order", order);
    let max_held = section.number("max_held", 100..=10_000_000).map(|n| n.value);
    let in_flight = section.number("in_flight", 1..=64).and_then(|n| usize::try_from(n.value).ok());
    let max_message_bytes = section.size("max_message_bytes", KIB..=64 * MIB);
    let allow_hosts = parsed_list(section, "allow_hosts", host);
    let ca_file = section.path_value("ca_file");
    section.finish();
    let whole = |(url, keys)| {
        Some(Webhook {
            name: name.as_ref()?.value.clone(),
            url,
            keys,
            types: types.unwrap_or_default(),
            timeout: timeout.map_or(Duration::from_secs(15), |timeout| timeout.value),
            retry_schedule: retry_schedule.unwrap_or_else(|| SCHEDULE.to_vec()),
            retry_attempts: retry_attempts.unwrap_or(3),
            order: order.as_ref().map(|order| order.value).unwrap_or_default(),
            max_held: max_held.unwrap_or(10_000),
            in_flight: in_flight.unwrap_or(4),
            max_message_bytes: max_message_bytes.unwrap_or(256 << 10),
            allow_hosts: allow_hosts.unwrap_or_default().into_iter().collect(),
            ca_file,
            answers,
        })
    };
    let webhook = url.map(|url| url.value).zip(keys).and_then(whole);
    WebhookDraft { name, webhook }
}

pub(super) fn alerts(section: &Section<'_>) -> Alerts {
    let webhook = section.parsed("webhook", |text| url(text, Scheme::Http));
    let over_after = section.duration("over_after", Duration::from_millis(100)..=Duration::from_hours(24));
    section.finish();
    Alerts {
        webhook: webhook.map(|webhook| webhook.value),
        over_after: over_after.map_or(Alerts::default().over_after, |found| found.value),
    }
}

/// One secret, or several while they are exchanged.
fn keys(section: &Section<'_>) -> Option<Vec<SigningKey>> {
    let texts = section.secrets(4, "does not hold one to four secrets")?;
    let key = |text: &str| {
        let remedy =
            "write whsec_ and the base64 of 24 to 64 random bytes: echo whsec_$(openssl rand -base64 32)";
        SigningKey::read(text).map_err(|what| Fault::new(what, remedy))
    };
    section.all_parsed(texts, key)
}

/// The strings under `key`, each read as something else; `None` when it is absent or one is wrong.
fn parsed_list<T>(
    section: &Section<'_>,
    key: &'static str,
    parse: impl Fn(&str) -> Result<T, Fault>,
) -> Option<Vec<T>> {
    section.all_parsed(section.texts(key)?, parse)
}

fn order(text: &str) -> Result<DeliveryOrder, Fault> {
    match text {
        "account" => Ok(DeliveryOrder::Account),
        "contract" => Ok(DeliveryOrder::Contract),
        "none" => Ok(DeliveryOrder::None),
        _ => Err(Fault::new("is not an order of deliveries", "write \"account\", \"contract\" or \"none\"")),
    }
}

fn message_type(text: &str) -> Result<String, Fault> {
    let name = text.strip_suffix('*').unwrap_or(text);
    if text.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'_') {
        let remedy = "write a type like \"user.activated\", or the beginning of some and a star: \"stake.*\"";
        return Err(Fault::new("is not a type of message", remedy));
    }
    Ok(text.to_owned())
}

fn host(text: &str) -> Result<String, Fault> {
    let host = text.trim_matches(['[', ']']).to_ascii_lowercase();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.parse::<Ipv6Addr>().is_err() && (host.is_empty() || !host.chars().all(fits)) {
        return Err(Fault::new(
            "is not a host",
            "write a name or an address as it is in the url, without port",
        ));
    }
    Ok(host)
}
