//! Reads the body of an HTTP answer, within bounds.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::RETRY_AFTER;
use serde_json::error::Category;

use super::in_flight::AnswerBytes;

/// The body of an HTTP answer, with what is needed of the head.
pub(super) struct Body {
    pub status: u16,
    pub retry_after: Option<Duration>,
    pub bytes: Vec<u8>,
    /// Its share of the bytes in flight, held until the body is parsed.
    _share: AnswerBytes,
}

/// Consumes a body while it arrives.
pub(super) trait BodyConsumer {
    /// The announced length, which is within the limit.
    fn expect(&mut self, bytes: usize);
    /// Takes the next bytes.
    fn take(&mut self, bytes: &[u8]);
    /// The bytes that are left to be parsed at the end.
    fn finish(&mut self) -> Vec<u8>;
}

/// Keeps the whole body.
impl BodyConsumer for Vec<u8> {
    fn expect(&mut self, bytes: usize) {
        // To grow the vector chunk by chunk would copy a large answer several times.
        self.reserve_exact(bytes);
    }

    fn take(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn finish(&mut self) -> Vec<u8> {
        std::mem::take(self)
    }
}

/// Why a body could not be read.
pub(super) enum BodyError {
    /// It is larger than the limit.
    TooLarge,
    /// The connection or the encoding broke.
    Broken(reqwest::Error),
}

impl Body {
    /// Reads at most `limit` bytes, counted after decompression and while they arrive: the announced length and the
    /// compressed size guarantee nothing. Waits while other answers use up the bytes in flight.
    pub(super) async fn read(
        mut response: Response,
        limit: usize,
        mut share: AnswerBytes,
        intake: &mut impl BodyConsumer,
    ) -> Result<Self, BodyError> {
        let retry_after =
            response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(read_retry_after);
        let status = response.status().as_u16();
        // A body that is announced as too large is not read at all.
        if response.content_length().is_some_and(|length| length > limit as u64) {
            return Err(BodyError::TooLarge);
        }
        let promised = response.content_length().and_then(|length| usize::try_from(length).ok());
        if let Some(bytes) = promised {
            share.cover(bytes).await;
            intake.expect(bytes);
        }
        let mut came = 0;
        while let Some(chunk) = response.chunk().await.map_err(BodyError::Broken)? {
            came += chunk.len();
            if came > limit {
                return Err(BodyError::TooLarge);
            }
            share.cover(came).await;
            intake.take(&chunk);
        }
        Ok(Self { status, retry_after, bytes: intake.finish(), _share: share })
    }

    pub(super) fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Why the body is no JSON-RPC answer.
    pub(super) fn why_unread(&self, error: &serde_json::Error) -> String {
        why_unread(&self.bytes, error)
    }

    /// The beginning of the body, which is enough to classify a refusal. Some bodies are whole web pages.
    pub(super) fn beginning(&self) -> String {
        String::from_utf8_lossy(&self.bytes[..self.bytes.len().min(2000)]).into_owned()
    }
}

/// Why a body is no JSON-RPC answer. Servers that are no nodes answer with web pages, also with status 200.
fn why_unread(bytes: &[u8], error: &serde_json::Error) -> String {
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => "it is empty: check the url, and what answers there".to_owned(),
        Some(b'<') => "it is a web page: check the url, and what answers there".to_owned(),
        Some(b'{' | b'[') => match error.classify() {
            Category::Syntax => format!("it is no JSON ({error}): check the url, and what answers there"),
            Category::Eof => format!("it breaks off ({error})"),
            Category::Data | Category::Io => error.to_string(),
        },
        Some(_) => "it is no JSON: check the url, and what answers there".to_owned(),
    }
}

/// `Retry-After` is seconds or an HTTP date (RFC 9110 §10.2.3).
fn read_retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value.trim()).ok()?;
    Some(at.duration_since(std::time::SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use chainflume_ops::metrics::ProviderLabels;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::super::in_flight::BytesInFlight;
    use super::*;

    const MIB: usize = 1 << 20;

    /// The answer of a server that sends this head, then 3 MiB.
    async fn answer(head: &'static str) -> Response {
        chainflume_ops::tls::install();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await?;
            assert!(stream.read(&mut [0; 4096]).await? > 0, "a request came");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&vec![b'x'; 3 * MIB]).await
        });
        reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client")
            .get(url)
            .send()
            .await
            .expect("an answer")
    }

    #[tokio::test]
    async fn a_body_beyond_the_bytes_in_flight_waits_for_the_others() {
        let in_flight = BytesInFlight::new(ProviderLabels { chain: "base", provider: "one" }, MIB);
        for head in [
            "HTTP/1.1 200 OK\r\ncontent-length: 3145728\r\n\r\n",
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
        ] {
            let [mut first, mut second] = std::array::from_fn(|_| AnswerBytes::new(in_flight.clone()));
            first.cover(2 * MIB).await;
            second.cover(9 * MIB).await;
            let mut bytes = Vec::new();
            let read =
                Body::read(answer(head).await, 4 * MIB, AnswerBytes::new(in_flight.clone()), &mut bytes);
            tokio::pin!(read);
            assert!(timeout(Duration::from_millis(300), &mut read).await.is_err(), "it did not wait: {head}");
            drop((first, second));
            let body = timeout(Duration::from_secs(10), read).await.expect("it waits no longer");
            assert_eq!(body.ok().expect("all is read").bytes.len(), 3 * MIB);
        }
    }

    #[test]
    fn a_body_that_is_no_json_is_named_for_what_it_is() {
        let why = |body: &str| {
            let error = serde_json::from_str::<serde_json::Value>(body).expect_err("no JSON");
            why_unread(body.as_bytes(), &error)
        };
        assert_eq!(why("\n <!doctype html>"), "it is a web page: check the url, and what answers there");
        assert_eq!(why("Welcome"), "it is no JSON: check the url, and what answers there");
        assert_eq!(why(" "), "it is empty: check the url, and what answers there");
        assert_eq!(why("[{\"id\":1"), "it breaks off (EOF while parsing an object at line 1 column 8)");
        assert_eq!(
            why("{{{{"),
            "it is no JSON (key must be a string at line 1 column 2): check the url, and what answers there"
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(read_retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(read_retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read_retry_after("soon"), None);
        let soon = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(90));
        assert!((88..=90).contains(&read_retry_after(&soon).expect("a date").as_secs()));
    }
}
