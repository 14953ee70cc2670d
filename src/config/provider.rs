use serde::{Deserialize, Deserializer};

use super::problem::Fault;
use super::reader::{Found, Text};
use super::section::Section;
use super::url::{Scheme, url};
use super::words;
use chainflume_core::settings::Secret;
use chainflume_node::{MAX_RATE, ProviderRole, ProviderSettings, RateLimitSettings, headers_of, host_of};

const HTTP: (&str, &str) = ("http", "add http = \"https://…\", the address of a node");

/// The providers of a chain in their order, each as fast as `pace` unless it has limits of its own; `None` where one is wrong.
pub(super) fn providers(chain: &Section<'_>, pace: &RateLimitSettings) -> Option<Vec<ProviderSettings>> {
    let tables = chain.tables("provider");
    if tables.is_empty() {
        chain.require(&[HTTP]);
        let read = read(chain, None, ProviderSettings { pace: pace.clone(), ..ProviderSettings::default() });
        return read.map(|provider| vec![provider]);
    }
    for key in ["http", "ws", "headers"] {
        if chain.get(key).is_some() {
            let what = "is beside [[chain.provider]], which has the same meaning";
            chain.report(key, Fault::new(what, "move it into a [[chain.provider]] of its own, or remove it"));
        }
    }
    let whole: Vec<ProviderSettings> =
        (1..).zip(&tables).filter_map(|(place, table)| provider(table, place, pace)).collect();
    if whole.len() < tables.len() {
        return None;
    }
    check_together(chain, &tables, &whole);
    Some(whole)
}

fn provider(table: &Section<'_>, place: u32, pace: &RateLimitSettings) -> Option<ProviderSettings> {
    table.require(&[HTTP]);
    let name = table.parsed("name", words::dashed_name).map(|name| name.value);
    let mut settings = table.fill::<ProviderSettings>();
    if !table.is_given("priority") {
        settings.priority = place;
    }
    // A limit of the provider counts before the one of the chain, also if it is "no limit".
    let own = table.fill::<ProviderLimits>();
    let limit = |own: Option<u64>, of_chain: Option<u64>| match own {
        None => of_chain,
        Some(limit) => Some(limit).filter(|limit| *limit > 0),
    };
    settings.pace = RateLimitSettings {
        requests_per_second: limit(own.requests_per_second, pace.requests_per_second),
        compute_units_per_second: limit(own.compute_units_per_second, pace.compute_units_per_second),
        ..pace.clone()
    };
    let provider = read(table, name, settings);
    table.finish();
    provider
}

/// The limits of a `[[chain.provider]]`: 0 for no limit, `None` for the chain's.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ProviderLimits {
    #[serde(deserialize_with = "rate")]
    requests_per_second: Option<u64>,
    #[serde(deserialize_with = "rate")]
    compute_units_per_second: Option<u64>,
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    chainflume_core::settings::number::<0, MAX_RATE, _, _>(deserializer).map(Some)
}

/// Adds who is asked.
fn read(table: &Section<'_>, name: Option<String>, settings: ProviderSettings) -> Option<ProviderSettings> {
    let exposed = |url: Found<Secret>| url.value.expose().to_owned();
    let ws_url = table.parsed("ws", |text| url(text, Scheme::WebSocket)).map(exposed);
    let headers = headers(&table.table("headers"));
    let http_url = exposed(table.parsed("http", |text| url(text, Scheme::Http))?);
    let label = name.unwrap_or_else(|| host_of(&http_url));
    let headers = headers.iter().map(|(name, text)| (name.as_str(), text.value.as_str()));
    // Those that are no headers are reported.
    let headers = headers_of(headers).unwrap_or_default();
    Some(ProviderSettings { label, http_url, ws_url, headers, ..settings })
}

/// Keys that a provider wants as headers and not in its URL.
fn headers(table: &Section<'_>) -> Vec<(String, Text)> {
    let texts = table.all_texts();
    for (name, text) in &texts {
        if headers_of([(name.as_str(), text.value.as_str())]).is_err() {
            let what = "is no header that may be set here, or has a line break in its value";
            let remedy = "write { \"x-api-key\" = \"${KEY}\" }; host, content-type and their like are set by the client";
            table.report(name, Fault::new(what, remedy));
        }
    }
    texts
}

/// What only all providers together show.
fn check_together(chain: &Section<'_>, tables: &[Section<'_>], providers: &[ProviderSettings]) {
    for (index, provider) in providers.iter().enumerate() {
        if providers.iter().take(index).any(|other| other.label == provider.label) {
            let what =
                "is called like another of this chain, and logs and metrics could not distinguish them";
            tables[index].report("name", Fault::new(what, "give each a name of its own: name = \"…\""));
        }
    }
    for (role, work) in [(ProviderRole::Live, "the newest blocks"), (ProviderRole::History, "history")] {
        if !providers.iter().any(|provider| provider.role == ProviderRole::Any || provider.role == role) {
            let what = format!("leaves no provider to ask about {work}");
            chain.report(
                "provider",
                Fault::new(what, "give one of them role = \"any\", or leave its role out"),
            );
        }
    }
}
