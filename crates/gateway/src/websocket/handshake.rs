use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{self, HeaderName};
use hyper::{HeaderMap, Method, Version};
use sha1::{Digest as _, Sha1};

/// The request is no handshake of a WebSocket, or of another version than 13.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHandshake;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    accept: String,
    extension: Option<String>,
}

/// The answer to a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// Headers of the answer, whose status is 101.
    pub headers: Vec<(HeaderName, String)>,
    /// Whether messages may be compressed.
    pub is_compressed: bool,
}

impl Handshake {
    /// Reads the head of a request, RFC 6455 section 4.2.1: a GET of HTTP/1.1.
    ///
    /// # Errors
    /// [`NoHandshake`]
    pub fn read(method: &Method, version: Version, headers: &HeaderMap) -> Result<Self, NoHandshake> {
        let is_get = *method == Method::GET && version == Version::HTTP_11;
        let has = |name: HeaderName, word: &str| {
            words(headers, &name).any(|found| found.eq_ignore_ascii_case(word))
        };
        let spoken = headers.get(header::SEC_WEBSOCKET_VERSION);
        let key = headers.get(header::SEC_WEBSOCKET_KEY).map(|key| key.as_bytes()).unwrap_or_default();
        // 16 bytes in base64.
        let is_key = key.len() == 24 && key.ends_with(b"==");
        let is_one = is_get
            && has(header::CONNECTION, "upgrade")
            && has(header::UPGRADE, "websocket")
            && spoken.is_some_and(|version| version == "13")
            && is_key;
        if !is_one {
            return Err(NoHandshake);
        }
        let extension = words(headers, &header::SEC_WEBSOCKET_EXTENSIONS).find_map(accepted);
        Ok(Self { accept: accept_key(key), extension })
    }

    /// The headers of an answer without a subprotocol and without compression.
    pub fn accept_plain(self) -> Vec<(HeaderName, String)> {
        vec![
            (header::CONNECTION, "upgrade".to_owned()),
            (header::UPGRADE, "websocket".to_owned()),
            (header::SEC_WEBSOCKET_ACCEPT, self.accept),
        ]
    }

    /// The answer, with the subprotocol `ours` where the client offers it.
    pub fn accept(self, headers: &HeaderMap, ours: &str) -> Upgrade {
        let extension = self.extension.clone();
        let mut answer = self.accept_plain();
        if words(headers, &header::SEC_WEBSOCKET_PROTOCOL).any(|offered| offered == ours) {
            answer.push((header::SEC_WEBSOCKET_PROTOCOL, ours.to_owned()));
        }
        let is_compressed = extension.is_some();
        answer.extend(extension.map(|extension| (header::SEC_WEBSOCKET_EXTENSIONS, extension)));
        Upgrade { headers: answer, is_compressed }
    }
}

/// Proves that the handshake was understood. RFC 6455 section 1.3: SHA-1 is no secret here.
fn accept_key(key: &[u8]) -> String {
    STANDARD
        .encode(Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize())
}

/// What a header lists, separated by commas, in one line or several.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|text| text.split(',')).map(str::trim)
}

/// The answer to an offer of permessage-deflate that can be kept; `None` for any other. Nothing is kept from one message to the next, on
/// either side.
fn accepted(offer: &str) -> Option<String> {
    let mut parts = offer.split(';').map(str::trim);
    if parts.next() != Some("permessage-deflate") {
        return None;
    }
    let mut answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover".to_owned();
    let mut seen: Vec<&str> = Vec::new();
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (part, None),
        };
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        let bits = value.and_then(|value| value.parse::<u8>().ok()).filter(|bits| (8..=15).contains(bits));
        match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover", None)
            | ("client_max_window_bits", None) => {}
            // The window of the client may be as large as it likes: all are read with the largest.
            ("client_max_window_bits", Some(_)) if bits.is_some() => {}
            // All get the same bytes, which may look back as far as the largest window.
            ("server_max_window_bits", Some(_)) if bits == Some(15) => {
                answer.push_str("; server_max_window_bits=15")
            }
            _ => return None,
        }
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(more: &[(&'static str, &'static str)]) -> HeaderMap {
        let all = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let mut map = HeaderMap::new();
        for (name, value) in
            all.iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name)).chain(more)
        {
            map.append(*name, value.parse().expect("a value"));
        }
        map
    }

    fn read(headers: &HeaderMap) -> Result<Handshake, NoHandshake> {
        Handshake::read(&Method::GET, Version::HTTP_11, headers)
    }

    fn answer(more: &[(&'static str, &'static str)], name: &HeaderName) -> Option<String> {
        let headers = headers(more);
        let upgrade = read(&headers).expect("a handshake").accept(&headers, "ours.v1");
        let found = upgrade.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone());
        assert_eq!(
            upgrade.is_compressed,
            upgrade.headers.iter().any(|(name, _)| *name == header::SEC_WEBSOCKET_EXTENSIONS)
        );
        found
    }

    #[test]
    fn a_handshake_is_answered_as_the_standard_requires() {
        // RFC 6455 section 1.3.
        assert_eq!(
            answer(&[], &header::SEC_WEBSOCKET_ACCEPT).as_deref(),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        let protocol = |text| answer(&[("sec-websocket-protocol", text)], &header::SEC_WEBSOCKET_PROTOCOL);
        assert_eq!(protocol("bearer.a.b.c, ours.v1").as_deref(), Some("ours.v1"));
        assert_eq!(protocol("ours.v2, bearer.ours.v1"), None);
        for wrong in [
            ("connection", "keep-alive"),
            ("upgrade", "h2c"),
            ("sec-websocket-version", "8"),
            ("sec-websocket-key", "short=="),
        ] {
            assert_eq!(read(&headers(&[wrong])), Err(NoHandshake), "{wrong:?}");
        }
        for (method, version) in [(Method::HEAD, Version::HTTP_11), (Method::GET, Version::HTTP_10)] {
            assert_eq!(
                Handshake::read(&method, version, &headers(&[])),
                Err(NoHandshake),
                "{method} {version:?}"
            );
        }
    }

    #[test]
    fn an_offer_of_compression_is_accepted_where_it_can_be_kept() {
        let offer = |text| answer(&[("sec-websocket-extensions", text)], &header::SEC_WEBSOCKET_EXTENSIONS);
        let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        for text in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "x-other, permessage-deflate;client_max_window_bits=\"10\";server_no_context_takeover",
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
        ] {
            assert_eq!(offer(text).as_deref(), Some(plain), "{text}");
        }
        let bits = format!("{plain}; server_max_window_bits=15");
        assert_eq!(offer("permessage-deflate; server_max_window_bits=15"), Some(bits));
        for text in [
            "permessage-deflate; server_max_window_bits=9",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
            "permessage-deflate; unknown",
            "permessage-deflate; server_no_context_takeover=1",
            "x-webkit-deflate-frame",
        ] {
            assert_eq!(offer(text), None, "{text}");
        }
    }
}
