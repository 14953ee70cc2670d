use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::problem::{Fault, Spot};
use super::reader::Text;
use super::section::Section;
use super::settings::DAY;
use super::url::{Scheme, url as read_url};
use super::words::{dashed_name, word};
use chainflume_api::access::{Algorithm, KeyHash, PublicRooms, Scope, VerifyingKey};
use chainflume_core::domain::TypePattern;
use chainflume_core::settings::Secret;
use chainflume_gateway::feed;
use chainflume_gateway::push::{EventName, PayloadTemplate, PushRule, RoomTemplate};
use chainflume_gateway::server::{CallerLimits, Key, ListenerSettings, PUBLIC_ROOMS, TlsFiles};

/// Bytes read of a file with a public key.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The public address; `None` for none.
    pub listen: Option<SocketAddr>,
    /// What the listener accepts.
    pub listener: ListenerSettings,
    /// What each caller may use.
    pub limits: CallerLimits,
    /// How messages are kept for clients, without the rules of `[[push]]`.
    pub feed: feed::Settings,
    /// The certificate, where the server itself speaks TLS.
    pub tls: Option<TlsFiles>,
    /// `[server.auth]`
    pub auth: ServerAuth,
    /// Every `[[server.key]]`.
    pub keys: Vec<Key>,
}

/// `[server.auth]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServerAuth {
    /// Whether a credential is wanted.
    pub mode: AuthMode,
    /// How tokens may be signed.
    #[serde(skip)]
    pub algorithms: Vec<Algorithm>,
    /// What issuer and server share, for HS256.
    #[serde(skip)]
    pub secret: Option<Secret>,
    /// The public key of the issuer, PEM, for the other algorithms.
    #[serde(skip)]
    pub public_key: Option<String>,
    /// Where the issuer publishes its public keys.
    #[serde(skip)]
    pub jwks_url: Option<Secret>,
    /// How often they are fetched again.
    #[serde(deserialize_with = "chainflume_core::settings::duration::<10_000, DAY, _>")]
    pub jwks_refresh: Duration,
    /// How long revocations of users and tokens are kept, and how long a token may live.
    #[serde(deserialize_with = "chainflume_core::settings::duration::<DAY, { 36_500 * DAY }, _>")]
    pub revocations_kept: Duration,
    /// What the claim `iss` must be.
    pub issuer: Option<String>,
    /// What the claim `aud` must contain.
    pub audience: Option<String>,
}

impl Default for ServerAuth {
    fn default() -> Self {
        Self {
            mode: AuthMode::default(),
            algorithms: vec![Algorithm::Hs256],
            secret: None,
            public_key: None,
            jwks_url: None,
            jwks_refresh: Duration::from_mins(10),
            revocations_kept: Duration::from_hours(24 * 400),
            issuer: None,
            audience: None,
        }
    }
}

/// Whether a credential is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// A token or a service key.
    #[default]
    Jwt,
    /// None, on the loopback only.
    None,
}

pub(super) fn server(section: &Section<'_>) -> ServerConfig {
    let listen = section.parsed("listen", address);
    let public = texts(section, "public_rooms", |text| {
        word(text, &PUBLIC_ROOMS.map(|kind| (kind, kind))).map(str::to_owned)
    });
    let mut listener = section.fill::<ListenerSettings>();
    listener.cors_origins = texts(section, "cors_origins", origin).unwrap_or_default();
    listener.public_rooms = public.map_or(listener.public_rooms, PublicRooms);
    let files = section.certificate_files(["tls_certificate_file", "tls_key_file"], "TLS");
    let read = ServerConfig {
        listen: listen.as_ref().map(|listen| listen.value),
        listener,
        limits: section.fill(),
        feed: section.fill(),
        tls: files.map(|(certificate, key)| TlsFiles { certificate, key }),
        auth: auth(&section.table("auth")),
        keys: section.tables("key").iter().filter_map(key).collect(),
    };
    section.finish();
    if let Some(listen) = listen {
        check(section, &listen.spot, &read);
    }
    read
}

fn auth(section: &Section<'_>) -> ServerAuth {
    let algorithms = texts(section, "algorithms", |text| word(text, &Algorithm::WORDS));
    let secret = section.parsed("secret", |text| match VerifyingKey::from_secret(text.as_bytes()) {
        Ok(_) => Ok(Secret::new(text)),
        Err(error) => Err(Fault::new("cannot be used", error.to_string())),
    });
    let public_key = section.parsed("public_key_file", |text| {
        let reader = section.reader;
        let pem = reader.environment.read(&reader.resolve(text), MAX_KEY_BYTES);
        let pem =
            pem.map_err(|error| Fault::new(format!("cannot be read: {error}"), "name a file in PEM"))?;
        let checked = VerifyingKey::from_pem(&pem);
        checked.map(|_| pem).map_err(|error| Fault::new("cannot be used", error.to_string()))
    });
    let jwks_url = section.parsed("jwks_url", jwks_url);
    let read = section.fill::<ServerAuth>();
    let read = ServerAuth {
        algorithms: algorithms.unwrap_or(read.algorithms),
        secret: secret.map(|secret| secret.value),
        public_key: public_key.map(|key| key.value),
        jwks_url: jwks_url.map(|url| url.value),
        ..read
    };
    section.finish();
    check_algorithms(section, &read);
    read
}

/// A key whose algorithm is not listed would never be used, and that is no setting anybody means.
fn check_algorithms(section: &Section<'_>, auth: &ServerAuth) {
    let listed = |algorithm: Algorithm| auth.algorithms.contains(&algorithm);
    let unlisted = |algorithm: Algorithm| {
        let what = format!("is for {}, which is not among the algorithms", algorithm.as_str());
        Fault::new(what, format!("add {:?} to algorithms", algorithm.as_str()))
    };
    if auth.secret.is_some() && !listed(Algorithm::Hs256) {
        section.report("secret", unlisted(Algorithm::Hs256));
    }
    let is_published = |algorithm: &Algorithm| *algorithm != Algorithm::Hs256;
    if auth.jwks_url.is_some() && !auth.algorithms.iter().any(is_published) {
        let remedy =
            "add \"RS256\", \"ES256\" or \"EdDSA\" to algorithms: a published set has public keys alone";
        section.report("jwks_url", Fault::new("is for none of the algorithms", remedy));
    }
    let public = auth.public_key.as_deref().and_then(|pem| VerifyingKey::from_pem(pem).ok());
    if let Some(algorithm) = public.map(|key| key.algorithm()).filter(|algorithm| !listed(*algorithm)) {
        section.report("public_key_file", unlisted(algorithm));
    }
}

fn key(section: &Section<'_>) -> Option<Key> {
    section.require(&[
        ("name", "add name = \"…\", by which logs name the service"),
        ("hash", "add hash = \"sha256:…\", which `chainflume keys new` prints"),
        ("scopes", "add scopes = [\"read\"], or of publish, notify and admin"),
    ]);
    let name = section.parsed("name", dashed_name);
    let hash = section.parsed("hash", |text| {
        KeyHash::parse(text).map_err(|error| Fault::new("cannot be used", format!("it {error}")))
    });
    let scope = |text: &str| {
        Scope::parse(text).map_err(|_| Fault::new("is no scope", "write of read, publish, notify and admin"))
    };
    let scopes = texts(section, "scopes", scope);
    section.finish();
    Some(Key { name: name?.value, hash: hash?.value, scopes: scopes?.into_iter().collect() })
}

/// What depends on whether, and where, the server listens.
fn check(section: &Section<'_>, listen: &Spot, server: &ServerConfig) {
    let report = |what: &str, remedy: &str| section.reader.report(listen, Fault::new(what, remedy));
    let is_open = server.auth.mode == AuthMode::None;
    if is_open && server.listen.is_some_and(|listen| !listen.ip().is_loopback()) {
        report(
            "is not on the loopback, and server.auth.mode = \"none\" lets everybody read everything",
            "configure [server.auth], or listen on 127.0.0.1",
        );
    }
    let auth = &server.auth;
    let has_keys = auth.secret.is_some()
        || auth.public_key.is_some()
        || auth.jwks_url.is_some()
        || !server.keys.is_empty();
    if !is_open && !has_keys {
        report(
            "has nothing to check a credential with",
            "set server.auth.secret, server.auth.public_key_file or server.auth.jwks_url, or add a [[server.key]]",
        );
    }
    if !is_open && server.listener.cors_origins.iter().any(|origin| origin == "*") {
        let remedy = "write each origin out; \"*\" is for server.auth.mode = \"none\"";
        section.report("cors_origins", Fault::new("has `*` although credentials are checked", remedy));
    }
}

/// Who can change the answer on its way can sign tokens of anybody.
fn jwks_url(text: &str) -> Result<Secret, Fault> {
    let secret = read_url(text, Scheme::Http)?;
    let parsed = ::url::Url::parse(secret.expose()).ok();
    let is_near = parsed.as_ref().and_then(::url::Url::host).is_some_and(|host| match host {
        ::url::Host::Domain(name) => name == "localhost",
        ::url::Host::Ipv4(address) => address.is_loopback(),
        ::url::Host::Ipv6(address) => address.is_loopback(),
    });
    if is_near || parsed.is_some_and(|url| url.scheme() == "https") {
        return Ok(secret);
    }
    Err(Fault::new("is not encrypted", "write an https:// address; http:// is for the loopback"))
}

fn address(text: &str) -> Result<SocketAddr, Fault> {
    let remedy = "write an IP address and a port, like \"127.0.0.1:8080\" or \"[::1]:8080\"";
    text.parse().map_err(|_| Fault::new("is not an address and port", remedy))
}

/// As browsers write it: scheme, host and a port that is not the scheme's own.
fn origin(text: &str) -> Result<String, Fault> {
    let parsed = ::url::Url::parse(text).ok().map(|url| url.origin().ascii_serialization());
    if text == "*" || (parsed.as_deref() == Some(text) && text.starts_with("http")) {
        return Ok(text.to_owned());
    }
    Err(Fault::new("is not an origin", "write it as browsers do: \"https://app.example\", without a path"))
}

pub(super) fn push(section: &Section<'_>) -> Option<PushRule> {
    section.require(&[
        ("on", "add on = \"…\", a type of messages, or a prefix like \"erc20.*\""),
        ("emit", "add emit = \"…\", the name of the event that clients get"),
    ]);
    let wrong = |error: &dyn std::error::Error| Fault::new(error.to_string(), "docs/PUSH.md shows rules");
    let on = section.parsed("on", |text| TypePattern::parse(text).map_err(|error| wrong(&error)));
    let emit = section.parsed("emit", |text| EventName::parse(text).map_err(|error| wrong(&error)));
    let is_private = on.as_ref().is_some_and(|on| !on.value.may_be_of_chain());
    let rooms = texts(section, "rooms", |text| {
        let room = RoomTemplate::parse(text).map_err(|error| wrong(&error))?;
        if is_private && room.is_public() {
            let remedy = "name a room like user-{user.id} or order-{aggregateId}, or leave rooms out";
            return Err(Fault::new("is a public room, which gets no fact of the application", remedy));
        }
        Ok(room)
    });
    let changed = section.texts("changed").unwrap_or_default();
    let payload = section.table("payload").all_texts().into_iter().filter_map(|(name, text)| {
        let template =
            text.parse(section.reader, |text| PayloadTemplate::parse(text).map_err(|error| wrong(&error)));
        Some((name, template?.value))
    });
    let payload = payload.collect();
    section.finish();
    let changed = changed.into_iter().map(|text| text.value).collect();
    Some(PushRule { on: on?.value, changed, emit: emit?.value, rooms: rooms.unwrap_or_default(), payload })
}

/// The values under `key`, each read as something else; those that cannot be read are reported.
fn texts<T>(
    section: &Section<'_>,
    key: &'static str,
    parse: impl Fn(&str) -> Result<T, Fault>,
) -> Option<Vec<T>> {
    let read = |text: Text| Some(text.parse(section.reader, &parse)?.value);
    Some(section.texts(key)?.into_iter().filter_map(read).collect())
}
