use std::io::{self, ErrorKind};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::time;

use super::connection::ServedConnection;
use crate::DevChain;
use crate::faults::Wire;
use crate::rpc;

/// Pause between the first half of a cut body and the end of the connection, so that the half is sent.
const CUT_AFTER: Duration = Duration::from_millis(50);

/// Answers one POST.
pub(super) async fn answer(chain: &DevChain, body: &[u8], connection: &ServedConnection) -> Response {
    let reply = rpc::answer(chain, body, None).await;
    let status = reply.status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::OK);
    let body = reply.body.unwrap_or_default();
    match reply.wire {
        None => json(status, body),
        Some(Wire::Status { status, headers, body }) => named(status, headers, body),
        Some(Wire::Close) => {
            connection.break_off();
            StatusCode::OK.into_response()
        }
        Some(Wire::Hang) => {
            connection.broken().await;
            StatusCode::OK.into_response()
        }
        Some(Wire::Truncate) => json(status, first_half(&body)),
        Some(Wire::CutOff) => cut_off(&body),
        Some(Wire::Html(page)) => ([(header::CONTENT_TYPE, "text/html")], page).into_response(),
        Some(Wire::Oversize(bytes)) => json(status, padded(&body, bytes)),
    }
}

/// The first half of an answer.
pub(super) fn first_half(body: &str) -> String {
    body.chars().take(body.chars().count() / 2).collect()
}

/// The answer with leading blanks, which JSON allows.
pub(super) fn padded(body: &str, bytes: usize) -> String {
    " ".repeat(bytes.saturating_sub(body.len())) + body
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Names and values that HTTP does not allow are omitted.
fn named(status: u16, headers: Vec<(String, String)>, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let valid = |(name, value): (String, String)| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
    };
    (status, headers.into_iter().filter_map(valid).collect::<HeaderMap>(), body).into_response()
}

/// Announces the whole length, sends half and fails.
fn cut_off(body: &str) -> Response {
    let length = [(header::CONTENT_LENGTH, body.len())].map(|(name, bytes)| (name, bytes.to_string()));
    let half = Some(Bytes::from(first_half(body)));
    let parts = stream::unfold(Some(half), |step| async move {
        match step? {
            Some(half) => Some((Ok(half), Some(None))),
            None => {
                time::sleep(CUT_AFTER).await;
                Some((Err(io::Error::from(ErrorKind::ConnectionReset)), None))
            }
        }
    });
    (length, Body::from_stream(parts)).into_response()
}
