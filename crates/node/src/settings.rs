mod pace;

use std::fmt;
use std::time::Duration;

use reqwest::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
    UPGRADE,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use chainflume_core::settings::{GIB, KIB};
pub use pace::{FailoverSettings, HistorySettings, MAX_RATE, RateLimitSettings};

/// Settings of one chain and its providers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ChainSettings {
    /// Name in messages and metrics.
    #[serde(skip)]
    pub name: String,
    /// The chain id the node must have (EIP-155).
    #[serde(skip)]
    pub chain_id: u64,
    /// The providers; at least one.
    #[serde(skip)]
    pub providers: Vec<ProviderSettings>,
    /// When another provider is used.
    #[serde(skip)]
    pub failover: FailoverSettings,
    /// How the logs of new blocks are checked.
    pub verify: LogVerification,
    /// The tag that confirms blocks, if the chain is configured so. A provider without it is not used.
    #[serde(skip)]
    pub tag: Option<BlockTag>,
    /// How long one request may take, connection included.
    #[serde(deserialize_with = "chainflume_core::settings::duration::<100, 600_000, _>")]
    pub request_timeout: Duration,
    /// Whether answers may come compressed.
    pub compression: Compression,
    /// Largest body read, after decompression, in bytes.
    #[serde(deserialize_with = "chainflume_core::settings::size::<{ 64 * KIB }, GIB, _>")]
    pub max_response_bytes: usize,
    /// How often the head is requested while no WebSocket works.
    #[serde(deserialize_with = "chainflume_core::settings::duration::<50, 3_600_000, _>")]
    pub poll_interval: Duration,
    /// An open WebSocket without a message for this time counts as lost.
    #[serde(deserialize_with = "chainflume_core::settings::duration::<100, 3_600_000, _>")]
    pub ws_silence: Duration,
    /// A node whose newest block is older counts as not synced. Zero: no limit.
    #[serde(deserialize_with = "chainflume_core::settings::duration::<0, 31_536_000_000, _>")]
    pub max_head_age: Duration,
    /// How history is read.
    #[serde(skip)]
    pub history: HistorySettings,
}

/// Defaults for a chain with a block every twelve seconds.
impl Default for ChainSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            chain_id: 0,
            providers: Vec::new(),
            failover: FailoverSettings::default(),
            verify: LogVerification::default(),
            tag: None,
            request_timeout: Duration::from_secs(10),
            compression: Compression::default(),
            max_response_bytes: 64 << 20,
            poll_interval: Duration::from_secs(12),
            ws_silence: Duration::from_secs(36),
            max_head_age: Duration::from_hours(1),
            history: HistorySettings::default(),
        }
    }
}

/// One node, or one company's gateway to many nodes.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ProviderSettings {
    /// Its name in messages and metrics: unique in the chain, and never the URL.
    #[serde(skip)]
    pub label: String,
    /// `http://` or `https://`. It may contain a key and is never shown.
    #[serde(skip)]
    pub http_url: String,
    /// `ws://` or `wss://`; `None` follows the chain by polling alone.
    #[serde(skip)]
    pub ws_url: Option<String>,
    /// Headers of each request and of the WebSocket's handshake; values may be keys and are never shown.
    #[serde(skip)]
    pub headers: HeaderMap,
    /// The priority; a lower number is preferred.
    #[serde(deserialize_with = "chainflume_core::settings::number::<1, 1_000, _, _>")]
    pub priority: u32,
    /// The work that the provider is used for.
    pub role: ProviderRole,
    /// Limits of the rate of requests.
    #[serde(skip)]
    pub pace: RateLimitSettings,
}

impl Default for ProviderSettings {
    fn default() -> Self {
        Self {
            label: String::new(),
            http_url: String::new(),
            ws_url: None,
            headers: HeaderMap::new(),
            priority: 1,
            role: ProviderRole::default(),
            pace: RateLimitSettings::default(),
        }
    }
}

// URLs and headers may contain keys.
impl fmt::Debug for ProviderSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderSettings")
            .field("label", &self.label)
            .field("priority", &self.priority)
            .field("role", &self.role)
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}

/// How the logs of new blocks are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogVerification {
    /// Only the shape of the logs is checked.
    Off,
    /// Against the bloom filter of the header, which holds every log of the block.
    #[default]
    Bloom,
    /// Against the receipts root of the header: no log can be missing or changed.
    Receipts,
}

impl LogVerification {
    /// The strongest check up to this one that the headers of this chain allow. A chain that is not listed and fails
    /// a check is noticed, and the check is given up.
    pub(super) fn on_chain(self, chain_id: u64) -> Self {
        match chain_id {
            // zkSync Era and its test network have blooms that are not those of the block (zksync-era issue 4580),
            // and no root. Polygon and its test network return logs of state syncs that are in no header (bor pull
            // request 90).
            324 | 300 | 137 | 80_002 => Self::Off,
            // Arbitrum One, Nova and their test network have receipt types of their own. Celo's CIP-64 adds a field
            // to a receipt type.
            42_161 | 42_170 | 421_614 | 42_220 if self == Self::Receipts => Self::Bloom,
            _ => self,
        }
    }
}

/// A block by tag (execution API, "block tags").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockTag {
    /// The newest block.
    Latest,
    /// Unlikely to be reorganised.
    Safe,
    /// Accepted by more than two thirds of the validators, or final by the chain's own rule.
    Finalized,
}

impl BlockTag {
    /// The word of the execution API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::Safe => "safe",
            Self::Finalized => "finalized",
        }
    }
}

/// Whether a node may compress its answers. Compression saves eight ninths of the bytes. But a node (go-ethereum,
/// Erigon) spends more time on compression than on the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Over `https://`, which usually crosses the internet, and not over `http://`, which usually reaches an own
    /// node.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Compression {
    pub(super) fn is_for(self, url: &str) -> bool {
        match self {
            Self::Auto => reqwest::Url::parse(url).is_ok_and(|url| url.scheme() == "https"),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// A kind of work that a provider is used for. Failures are counted by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Blocks near the head, to be stored.
    Live,
    /// Blocks near the head, to be published as pending.
    Pending,
    /// Ranges of old blocks.
    History,
    /// A check of the provider.
    Probe,
}

/// What a provider is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderRole {
    /// All kinds of work.
    #[default]
    Any,
    /// The newest blocks.
    Live,
    /// Ranges of old blocks.
    History,
    /// The second read of blocks that are stored.
    Audit,
}

impl ProviderRole {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Live => "live",
            Self::History => "history",
            Self::Audit => "audit",
        }
    }

    /// Whether a provider with this role does that work.
    pub fn includes(self, work: Self) -> bool {
        self == Self::Any || self == work
    }
}

impl ChainSettings {
    /// Every part of the URLs and headers of all providers that may be a key, the longest first.
    pub(super) fn secrets(&self) -> Vec<String> {
        let urls = |provider: &ProviderSettings| {
            [Some(provider.http_url.clone()), provider.ws_url.clone()].into_iter().flatten()
        };
        let of_urls = self.providers.iter().flat_map(urls).flat_map(|url| secrets_of(&url));
        let headers = self.providers.iter().flat_map(|provider| provider.headers.values());
        let of_headers = headers.filter_map(|value| value.to_str().ok()).flat_map(str::split_whitespace);
        let of_headers = of_headers.filter(|part| part.len() >= SHORTEST_SECRET).map(str::to_owned);
        let mut secrets: Vec<String> = of_urls.chain(of_headers).collect();
        // A secret may be the beginning of another, whose rest would then be shown.
        secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets
    }
}

impl ProviderSettings {
    /// The name under which the limits of the endpoint are stored: the host for people, and a digest of the URL. The
    /// digest differs for two keys or paths, and reveals neither.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.http_url.as_bytes());
        let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("{} {short}", host_of(&self.http_url))
    }
}

/// The host and port of a URL, without user, path and query, which may contain a key.
pub fn host_of(url: &str) -> String {
    reqwest::Url::parse(url)
        .ok()
        .and_then(|url| {
            let host = url.host_str()?.to_owned();
            Some(url.port().map_or(host.clone(), |port| format!("{host}:{port}")))
        })
        .unwrap_or_else(|| "node".to_owned())
}

/// Shorter parts are words (`v2`, `rpc`): to hide them would hide half of a message.
const SHORTEST_SECRET: usize = 8;

/// Headers of requests from pairs of name and value. The values are marked as secret.
///
/// # Errors
/// The name of the first header that HTTP does not allow, or that the client sets itself.
pub fn headers_of<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (given, value) in pairs {
        let name = given.parse::<HeaderName>().map_err(|_| given.to_owned())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| given.to_owned())?;
        if [CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING, UPGRADE].contains(&name) {
            return Err(given.to_owned());
        }
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Every part of a URL that may be a key: user, password, parts of the path and values of the query.
fn secrets_of(url: &str) -> Vec<String> {
    let Ok(url) = reqwest::Url::parse(url) else { return Vec::new() };
    let path = url.path_segments().into_iter().flatten().map(str::to_owned);
    let query = url.query_pairs().map(|(_, value)| value.into_owned());
    let user = [url.username(), url.password().unwrap_or_default()].map(str::to_owned);
    path.chain(query).chain(user).filter(|part| part.len() >= SHORTEST_SECRET).collect()
}

#[cfg(test)]
mod tests {
    use super::{Compression, headers_of, host_of, secrets_of};

    #[test]
    fn headers_that_the_client_sets_itself_are_refused() {
        let headers =
            headers_of([("X-Api-Key", "k"), ("authorization", "Bearer t")]).expect("they are right");
        assert!(headers["x-api-key"] == "k" && headers.len() == 2);
        assert!(
            headers.values().all(|value| value.is_sensitive()) && !format!("{headers:?}").contains("Bearer")
        );
        for (name, value) in [("host", "a"), ("Content-Length", "1"), ("a b", "c"), ("a", "line\nbreak")] {
            assert_eq!(headers_of([(name, value)]), Err(name.to_owned()));
        }
    }

    #[test]
    fn by_itself_only_what_crosses_the_internet_is_compressed() {
        for (url, auto) in [
            ("https://base.example/key", true),
            ("HTTPS://base.example", true),
            ("http://127.0.0.1:8545", false),
            ("http://geth:8545", false),
        ] {
            assert_eq!(Compression::Auto.is_for(url), auto, "{url}");
            assert!(Compression::Always.is_for(url) && !Compression::Never.is_for(url));
        }
    }

    #[test]
    fn the_parts_of_a_url_that_may_be_keys_are_known() {
        assert_eq!(
            secrets_of("https://somebody:password1@base.example/v2/keykeykey?token=tokentoken&x=1"),
            ["keykeykey", "tokentoken", "somebody", "password1"]
        );
        assert_eq!(secrets_of("http://127.0.0.1:8545"), [""; 0]);
    }

    #[test]
    fn a_host_shows_no_key() {
        assert_eq!(host_of("https://user:secret@base.example/v2/secret?key=secret"), "base.example");
        assert_eq!(host_of("http://127.0.0.1:8545/secret"), "127.0.0.1:8545");
        assert_eq!(host_of("secret"), "node");
    }
}
