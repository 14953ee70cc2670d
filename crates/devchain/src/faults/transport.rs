//! Faults of transport, over HTTP and over WebSocket.

use std::io::{self, ErrorKind};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::watch;
use tokio::time;

use super::{Behaviour, Wire};
use crate::connection::{ServedConnection, Then, json};

/// Pause between the first half of a cut body and the end of the connection, so that the half is sent.
const CUT_AFTER: Duration = Duration::from_millis(50);

impl Wire {
    /// The answer to one POST with this fault.
    pub(crate) async fn over_http(
        self,
        status: StatusCode,
        body: String,
        connection: &ServedConnection,
    ) -> Response {
        match self {
            Self::Status { status, headers, body } => named(status, headers, body),
            Self::Close => {
                connection.break_off();
                StatusCode::OK.into_response()
            }
            Self::Hang => {
                connection.broken().await;
                StatusCode::OK.into_response()
            }
            Self::Truncate => json(status, first_half(&body)),
            Self::CutOff => cut_off(&body),
            Self::Html(page) => ([(header::CONTENT_TYPE, "text/html")], page).into_response(),
            Self::Oversize(bytes) => json(status, padded(&body, bytes)),
        }
    }

    /// The message with this fault, if one is sent, and whether the socket stays open.
    pub(crate) fn over_socket(self, body: &str) -> (Option<String>, Then) {
        match self {
            Self::Close | Self::Status { .. } => (None, Then::Close),
            Self::Hang => (None, Then::GoOn),
            Self::Truncate => (Some(first_half(body)), Then::GoOn),
            Self::CutOff => (Some(first_half(body)), Then::Close),
            Self::Html(page) => (Some(page), Then::GoOn),
            Self::Oversize(bytes) => (Some(padded(body, bytes)), Then::GoOn),
        }
    }
}

/// The behaviour of the node towards one socket.
#[derive(Debug)]
pub(crate) struct SocketWatch {
    behaviour: watch::Receiver<Behaviour>,
    /// The generation of the socket.
    born: u64,
}

impl SocketWatch {
    pub(super) fn new(behaviour: watch::Receiver<Behaviour>) -> Self {
        let born = behaviour.borrow().ws_generation;
        Self { behaviour, born }
    }

    /// Whether the node closed the sockets of this generation.
    pub(crate) fn is_closed(&self) -> bool {
        self.behaviour.borrow().ws_generation != self.born
    }

    /// Whether the node sends and reads nothing at present.
    pub(crate) fn is_silent(&self) -> bool {
        self.behaviour.borrow().ws_silent
    }

    /// Returns when the behaviour changed; `false` if the node is gone.
    pub(crate) async fn changed(&mut self) -> bool {
        self.behaviour.changed().await.is_ok()
    }
}

/// The first half of an answer.
fn first_half(body: &str) -> String {
    body.chars().take(body.chars().count() / 2).collect()
}

/// The answer with leading blanks, which JSON allows.
fn padded(body: &str, bytes: usize) -> String {
    " ".repeat(bytes.saturating_sub(body.len())) + body
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
