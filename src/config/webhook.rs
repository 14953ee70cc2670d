use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::problem::Fault;
use super::reader::Text;
use super::schedule::event_type;
use super::section::Section;
use super::url::{Scheme, url};
use super::words::dashed_name;
use chainflume_core::settings::Secret;
use chainflume_deliver::relay::DeliverySettings;
use chainflume_deliver::sink::{SigningKey, WebhookSettings};
use chainflume_ops::http::AddressPolicy;

/// `[[webhook]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The endpoint, without its authority.
    pub endpoint: WebhookSettings,
    /// Certificate authority of its server, PEM; `None` asks those of the system.
    pub ca_file: Option<PathBuf>,
    /// What is delivered, and when a delivery is retried.
    pub delivery: DeliverySettings,
    /// What becomes of its answers, of a `[[reaction]]`.
    pub answers: Option<AnswerConfig>,
}

impl Webhook {
    /// Name of the table that configures it.
    pub fn table(&self) -> &'static str {
        if self.answers.is_some() { "reaction" } else { "webhook" }
    }
}

/// What becomes of the answers of a `[[reaction]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerConfig {
    /// Type of the event whose payload an answer is; `None` where answers are events.
    pub event_type: Option<String>,
}

/// `[alerts]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Alerts {
    /// Where incidents are sent; `None` leaves them in log and metrics.
    #[serde(skip)]
    pub webhook: Option<Secret>,
    /// What is well for so long is over.
    #[serde(deserialize_with = "chainflume_core::settings::duration::<100, 86_400_000, _>")]
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
    let name = section.parsed("name", dashed_name);
    let url = section.parsed("url", |text| url(text, Scheme::Http));
    let keys = keys(section);
    let except = parsed_list(section, "allow_hosts", host).unwrap_or_default().into_iter().collect();
    let ca_file = section.path_value("ca_file");
    let (limits, schedule) = (section.fill::<WebhookSettings>(), section.fill());
    let delivery = DeliverySettings { schedule, types: types.unwrap_or_default(), ..section.fill() };
    section.finish();
    let whole = || {
        let (url, reach) = (url?.value.expose().to_owned(), AddressPolicy::Public { except });
        let endpoint =
            WebhookSettings { name: name.as_ref()?.value.clone(), url, keys: keys?, reach, ..limits };
        Some(Webhook { endpoint, ca_file, delivery, answers })
    };
    let webhook = whole();
    WebhookDraft { name, webhook }
}

pub(super) fn alerts(section: &Section<'_>) -> Alerts {
    let webhook = section.parsed("webhook", |text| url(text, Scheme::Http));
    let read = Alerts { webhook: webhook.map(|webhook| webhook.value), ..section.fill() };
    section.finish();
    read
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
