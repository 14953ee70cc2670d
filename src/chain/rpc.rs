//! One JSON-RPC endpoint over HTTP. Our own and not a library's, because of what has to be seen or bounded
//! here: a body is counted while it is read, after decompression; the body of a non-2xx answer tells the limit;
//! nothing is retried below the place that knows why.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::header::RETRY_AFTER;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::{ChainError, RefusedAnswer};
use super::settings::{ChainSettings, host_of, secrets_of};
use super::wire::{Answer, ErrorObject};
use crate::{metrics, tls};

pub(super) struct Rpc {
    client: reqwest::Client,
    url: String,
    host: String,
    /// Parts of the URL that a node may repeat in its refusal ("unknown key …").
    secrets: Vec<String>,
    chain: String,
    timeout: Duration,
    max_bytes: usize,
    next_id: AtomicU64,
}

/// A question to the node.
pub(super) struct Question {
    pub method: &'static str,
    pub params: Value,
    /// Blocks it spans, for what the node says about ranges.
    pub width: Option<u64>,
}

impl Question {
    pub(super) fn new(method: &'static str, params: Value) -> Self {
        Self { method, params, width: None }
    }
}

struct Body {
    status: u16,
    retry_after: Option<Duration>,
    bytes: Vec<u8>,
}

impl Rpc {
    pub(super) fn new(settings: &ChainSettings) -> Result<Self, ChainError> {
        tls::install();
        let host = host_of(&settings.http_url);
        let client = reqwest::Client::builder()
            // A redirect would carry the key in our URL to somebody else's host.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(settings.request_timeout)
            .connect_timeout(settings.request_timeout)
            .user_agent(concat!("chainflume/", env!("CARGO_PKG_VERSION")))
            .gzip(true)
            .build()
            .map_err(|error| ChainError::Unreachable { host: host.clone(), reason: root_cause(&error) })?;
        Ok(Self {
            client,
            url: settings.http_url.clone(),
            secrets: secrets_of(&settings.http_url),
            host,
            chain: settings.name.clone(),
            timeout: settings.request_timeout,
            max_bytes: settings.max_response_bytes,
            next_id: AtomicU64::new(1),
        })
    }

    /// The answer, `None` where the node says `null`.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        question: &Question,
    ) -> Result<Option<T>, ChainError> {
        let started = Instant::now();
        let answer = self.ask_once(question).await;
        let outcome = answer.as_ref().map_or_else(ChainError::kind, |_| "ok");
        metrics::rpc_request(&self.chain, question.method, outcome, started.elapsed());
        answer
    }

    /// As [`Self::ask`], where `null` is no answer.
    pub(super) async fn demand<T: DeserializeOwned>(&self, question: &Question) -> Result<T, ChainError> {
        self.ask(question).await?.ok_or_else(|| self.bad(question.method, "null where a result belongs"))
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn bad(&self, method: &'static str, reason: impl Into<String>) -> ChainError {
        ChainError::BadAnswer { host: self.host.clone(), method, reason: reason.into() }
    }

    async fn ask_once<T: DeserializeOwned>(&self, question: &Question) -> Result<Option<T>, ChainError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let request =
            json!({ "jsonrpc": "2.0", "id": id, "method": question.method, "params": question.params });
        let body = self.post(question.method, request.to_string()).await?;
        let ok = (200..300).contains(&body.status);
        match serde_json::from_slice::<Answer<T>>(&body.bytes) {
            Ok(Answer { error: Some(error), .. }) => Err(self.refused(question, &body, Some(error))),
            Ok(answer) if ok && answer.id == json!(id) => Ok(answer.result),
            Ok(answer) if ok => {
                Err(self.bad(question.method, format!("its id is {}, asked was {id}", answer.id)))
            }
            Err(error) if ok => Err(self.bad(question.method, error.to_string())),
            _ => Err(self.refused(question, &body, None)),
        }
    }

    async fn post(&self, method: &'static str, request: String) -> Result<Body, ChainError> {
        let failed = |error: reqwest::Error| self.failed(method, &error);
        let request = self.client.post(&self.url).header("content-type", "application/json").body(request);
        let mut response = request.send().await.map_err(failed)?;
        let retry_after =
            response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(read_retry_after);
        // Growing a large answer bit by bit would copy it several times; what is promised is believed up to the limit.
        let promised = response.content_length().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
        let mut bytes = Vec::with_capacity(promised.min(self.max_bytes));
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > self.max_bytes {
                return Err(ChainError::TooLarge { host: self.host.clone(), method, limit: self.max_bytes });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Body { status: response.status().as_u16(), retry_after, bytes })
    }

    fn refused(&self, question: &Question, body: &Body, error: Option<ErrorObject>) -> ChainError {
        let (code, message, data) = match error {
            Some(error) => {
                (error.code.as_i64(), text(&error.message), error.data.map(|data| data.to_string()))
            }
            // The beginning is enough to recognise a family, and some bodies are whole web pages.
            None => {
                (None, String::from_utf8_lossy(&body.bytes[..body.bytes.len().min(2000)]).into_owned(), None)
            }
        };
        let message =
            if message.trim().is_empty() { format!("http status {}", body.status) } else { message };
        let (status, retry_after, asked) = (Some(body.status), body.retry_after, question.width);
        let answer = RefusedAnswer { code, status, message, data, retry_after, asked };
        ChainError::refused((&self.host, &self.secrets), question.method, answer)
    }

    fn failed(&self, method: &'static str, error: &reqwest::Error) -> ChainError {
        let host = self.host.clone();
        if error.is_timeout() {
            return ChainError::Timeout { host, method, after: self.timeout };
        }
        if error.is_decode() || error.is_body() {
            return ChainError::BadAnswer { host, method, reason: root_cause(error) };
        }
        ChainError::Unreachable { host, reason: root_cause(error) }
    }
}

/// The innermost cause: the outer ones repeat it and hold the URL.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if std::ptr::eq(cause, std::ptr::from_ref(error) as *const dyn std::error::Error) {
        return "the request could not be made".to_owned();
    }
    cause.to_string()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
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
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(read_retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(read_retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read_retry_after("soon"), None);
    }
}
