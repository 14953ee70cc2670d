use std::ops::RangeInclusive;
use std::time::Duration;

use super::problem::Fault;
use super::secret::Secret;
use super::section::Section;
use super::url::{Scheme, url};
use super::words::{self, word};
use chainflume_node::{FailoverSettings, ProviderRole, headers_of, host_of};

/// `[[chain.provider]]`, or `http` and `ws` of a chain with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// What it is called in messages and metrics: its name, or else the host of `http`.
    pub label: String,
    /// JSON-RPC over HTTP.
    pub http: Secret,
    /// JSON-RPC over WebSocket; `None` follows the chain by polling alone.
    pub ws: Option<Secret>,
    /// Headers of each request, of the WebSocket's handshake too.
    pub headers: Vec<(String, Secret)>,
    /// The lower, the rather it is asked.
    pub priority: u32,
    /// What it is for.
    pub role: ProviderRole,
    /// Instead of the chain's, 0 for no limit; `None` for the chain's.
    pub requests_per_second: Option<u64>,
    /// Likewise.
    pub compute_units_per_second: Option<u64>,
}

/// Requests or compute units a second.
pub(super) const RATES: RangeInclusive<u64> = 0..=1_000_000;

const HTTP: (&str, &str) = ("http", "add http = \"https://…\", the address of a node");
const ROLES: [(&str, ProviderRole); 4] = [
    ("any", ProviderRole::Any),
    ("live", ProviderRole::Live),
    ("history", ProviderRole::History),
    ("audit", ProviderRole::Audit),
];

/// The providers of a chain in their order; `None` where one is wrong.
pub(super) fn providers(chain: &Section<'_>) -> Option<Vec<Provider>> {
    let tables = chain.tables("provider");
    if tables.is_empty() {
        chain.require(&[HTTP]);
        return read(chain, (None, 1, ProviderRole::Any)).map(|provider| vec![provider]);
    }
    for key in ["http", "ws", "headers"] {
        if chain.get(key).is_some() {
            let what = "is beside [[chain.provider]], which has the same meaning";
            chain.report(key, Fault::new(what, "move it into a [[chain.provider]] of its own, or remove it"));
        }
    }
    let whole: Vec<Provider> =
        (1..).zip(&tables).filter_map(|(place, table)| provider(table, place)).collect();
    if whole.len() < tables.len() {
        return None;
    }
    check_together(chain, &tables, &whole);
    Some(whole)
}

fn provider(table: &Section<'_>, place: u32) -> Option<Provider> {
    table.require(&[HTTP]);
    let name = table.parsed("name", |text| words::name(text, true)).map(|name| name.value);
    let priority = table.number("priority", 1..=1000).and_then(|found| u32::try_from(found.value).ok());
    let role = table.parsed("role", |text| word(text, &ROLES)).map_or(ProviderRole::Any, |role| role.value);
    let limit = |key| table.number(key, RATES).map(|rate| rate.value);
    let (requests_per_second, compute_units_per_second) =
        (limit("requests_per_second"), limit("compute_units_per_second"));
    let provider = read(table, (name, priority.unwrap_or(place), role));
    table.finish();
    Some(Provider { requests_per_second, compute_units_per_second, ..provider? })
}

fn read(
    table: &Section<'_>,
    (name, priority, role): (Option<String>, u32, ProviderRole),
) -> Option<Provider> {
    let ws = table.parsed("ws", |text| url(text, Scheme::WebSocket)).map(|ws| ws.value);
    let headers = headers(&table.table("headers"));
    let http = table.parsed("http", |text| url(text, Scheme::Http))?.value;
    let label = name.unwrap_or_else(|| host_of(http.expose()));
    let (requests_per_second, compute_units_per_second) = (None, None);
    Some(Provider { label, http, ws, headers, priority, role, requests_per_second, compute_units_per_second })
}

/// Keys that a provider wants as headers and not in its URL.
fn headers(table: &Section<'_>) -> Vec<(String, Secret)> {
    let texts = table.all_texts();
    for (name, text) in &texts {
        if headers_of([(name.as_str(), text.value.as_str())]).is_err() {
            let what = "is no header that may be set here, or has a line break in its value";
            let remedy = "write { \"x-api-key\" = \"${KEY}\" }; host, content-type and their like are set by the client";
            table.report(name, Fault::new(what, remedy));
        }
    }
    texts.into_iter().map(|(name, text)| (name, Secret::new(text.value))).collect()
}

/// What only all providers together show.
fn check_together(chain: &Section<'_>, tables: &[Section<'_>], providers: &[Provider]) {
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

pub(super) fn failover(section: &Section<'_>) -> FailoverSettings {
    let time = |key, bounds: RangeInclusive<u64>| {
        let bounds = Duration::from_millis(*bounds.start())..=Duration::from_millis(*bounds.end());
        section.duration(key, bounds).map(|found| found.value)
    };
    let probe_interval = time("probe_interval", 100..=3_600_000);
    let probe_timeout = time("probe_timeout", 100..=60_000);
    let return_after = time("return_after", 100..=86_400_000);
    let max_lag = section.number("max_lag", 1..=100_000).map(|lag| lag.value);
    section.finish();
    FailoverSettings {
        probe_interval: probe_interval.unwrap_or(Duration::from_secs(10)),
        probe_timeout: probe_timeout.unwrap_or(Duration::from_secs(2)),
        max_lag: max_lag.unwrap_or(5),
        return_after: return_after.unwrap_or(Duration::from_secs(60)),
    }
}
