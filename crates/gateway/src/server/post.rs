use std::io::Read as _;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::read::MultiGzDecoder;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Shared;
use super::messages::POSITION;
use super::problem::HttpProblem;
use crate::feed::parse_position;
use crate::grants::{Begun, Repeatable};
use chainflume_api::routes::{object, read_json};
use chainflume_outbox::Position;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Bytes of such a key.
const MAX_KEY_BYTES: usize = 255;

/// The first answer to a write.
pub(super) struct PostAnswer {
    pub status: u16,
    pub json: String,
    /// Of what was written, `<epoch>.<seq>`.
    pub position: Option<String>,
}

/// Reads a body within its bounds of bytes and time.
pub(super) async fn body(shared: &Shared, body: Body) -> Result<Vec<u8>, HttpProblem> {
    let limits = shared.settings.limits;
    match tokio::time::timeout(limits.head_timeout, to_bytes(body, limits.body_bytes)).await {
        Ok(read) => read.map(Vec::from).map_err(|error| {
            let detail = "the body did not come whole, or not as HTTP sends one";
            let malformed = is_malformed(&error).then(|| HttpProblem::new(400, "bad_body", detail));
            malformed.unwrap_or_else(|| too_large(limits.body_bytes))
        }),
        Err(_) => Err(HttpProblem::new(408, "body_timeout", "the body came too slowly")),
    }
}

/// Whether a body cannot be read, whatever its size.
fn is_malformed(error: &axum::Error) -> bool {
    let first = std::error::Error::source(error);
    std::iter::successors(first, |cause| cause.source()).any(|cause| cause.is::<hyper::Error>())
}

/// Reads the body of a write, which may be compressed with gzip. The bound holds for what was sent and for what it becomes.
pub(super) async fn written(
    shared: &Shared,
    headers: &HeaderMap,
    sent: Body,
) -> Result<Vec<u8>, HttpProblem> {
    let sent = body(shared, sent).await?;
    let coding = headers.get(header::CONTENT_ENCODING).map(|coding| coding.as_bytes().to_ascii_lowercase());
    match coding.as_deref() {
        None | Some(b"" | b"identity") => Ok(sent),
        Some(b"gzip" | b"x-gzip") => inflated(&sent, shared.settings.limits.body_bytes),
        Some(_) => {
            let detail = "send a body as it is, or compressed with gzip";
            Err(HttpProblem::new(415, "unsupported_media_type", detail))
        }
    }
}

fn inflated(sent: &[u8], limit: usize) -> Result<Vec<u8>, HttpProblem> {
    let (mut bytes, most) = (Vec::new(), limit as u64 + 1);
    let read = MultiGzDecoder::new(sent).take(most).read_to_end(&mut bytes);
    read.map_err(|_| HttpProblem::new(400, "bad_body", "the body is not what gzip writes"))?;
    if bytes.len() > limit { Err(too_large(limit)) } else { Ok(bytes) }
}

fn too_large(limit: usize) -> HttpProblem {
    let detail = format!("a body has at most {limit} bytes, compressed or not");
    HttpProblem::new(413, "body_too_large", detail)
}

/// The fields that a body may have.
pub(super) struct BodyShape {
    /// Their names.
    pub fields: &'static [&'static str],
    /// An example, for a caller that sent something else.
    pub example: &'static str,
}

impl BodyShape {
    /// The answer to a body of another shape.
    pub fn problem(&self) -> HttpProblem {
        HttpProblem::new(400, "bad_body", format!("send {}", self.example))
    }
}

/// Reads a body as JSON of a shape, without other fields.
pub(super) fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: &[u8],
    shape: &BodyShape,
) -> Result<T, HttpProblem> {
    // One that is no text is no media type, and not the same as none.
    let media = headers.get(header::CONTENT_TYPE).map(|media| media.to_str().unwrap_or("?"));
    let fields = object(read_json(media, body)?, shape.fields, "")?;
    serde_json::from_value(Value::Object(fields)).map_err(|_| shape.problem())
}

/// A write, as it is asked for.
pub(super) struct Write<'a> {
    pub headers: &'a HeaderMap,
    /// Who asks.
    pub owner: &'a str,
    /// Method and path, as they are sent.
    pub route: &'a str,
    pub body: &'a [u8],
}

/// Answers a write, once for each `Idempotency-Key` of the caller: the same key and body get the first answer again. Where the first has
/// no answer, it may have been cut off by a kill, which nothing shows. So its repeat runs too, at once, and `act` hears that it is one.
pub(super) async fn once(
    shared: &Shared,
    Write { headers, owner, route, body }: Write<'_>,
    act: impl AsyncFnOnce(bool) -> Result<PostAnswer, HttpProblem>,
) -> Result<Response, HttpProblem> {
    let Some(key) = headers.get(KEY) else {
        let answer = act(false).await?;
        return Ok(respond(&shared.feed.newest(), answer));
    };
    let is_plain = |key: &&str| (1..=MAX_KEY_BYTES).contains(&key.len());
    let key = key.to_str().ok().filter(is_plain).ok_or_else(|| {
        let detail = format!("an Idempotency-Key has 1 to {MAX_KEY_BYTES} printable characters of ASCII");
        HttpProblem::new(400, "bad_idempotency_key", detail)
    })?;
    let this = Repeatable { owner, route, key, body };
    match shared.grants.begin(&this).await.map_err(|error| HttpProblem::of_store(&error))? {
        Begun::Answered(status, json) => {
            Ok(repeat(&shared.feed.newest(), PostAnswer { status, json, position: None }))
        }
        Begun::Differs => {
            let detail = "this Idempotency-Key was used with another body; use a new one";
            Err(HttpProblem::new(422, "idempotency_key_reused", detail))
        }
        begun @ (Begun::New | Begun::Running) => {
            let answered = act(begun == Begun::Running).await;
            let kept = match &answered {
                Ok(answer) => shared.grants.answered(&this, answer.status, &answer.json).await,
                Err(_) => shared.grants.abandon(&this).await,
            };
            if let Err(error) = kept {
                tracing::debug!(%error, "an answer is not kept; a repeat is done again");
            }
            Ok(respond(&shared.feed.newest(), answered?))
        }
    }
}

/// The answer to a repeated request, as [`respond`]: the first answer again, marked as such.
fn repeat(newest: &Position, answer: PostAnswer) -> Response {
    let mut response = respond(newest, answer);
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// An answer that is at least as new as `newest`.
pub(super) fn respond(newest: &Position, answer: PostAnswer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, answer.json).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // What was written now is not in the feed yet; a read that waits for this position has it.
    let written = answer.position.filter(|text| parse_position(text).is_some_and(|own| own.seq > newest.seq));
    if let Ok(position) = HeaderValue::try_from(written.unwrap_or_else(|| newest.to_string())) {
        headers.insert(POSITION, position);
    }
    response
}
