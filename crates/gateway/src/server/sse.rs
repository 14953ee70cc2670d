//! Server-sent events, as the HTML standard defines them: what is the same for every stream.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};

use super::{Open, Shared, random};
use chainflume_api::access::Principal;
use chainflume_ops::metrics;

/// The media type of every stream.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Where the text of a stream comes from.
pub(super) trait EventText: Send + 'static {
    /// The next events as text; `None` where the stream has to end.
    fn next(&mut self) -> impl Future<Output = Option<String>> + Send;
}

/// A stream to one caller, which ends with the caller's credential and with the server.
pub(super) struct EventResponse<T> {
    pub shared: Arc<Shared>,
    pub principal: Principal,
    pub text: T,
    pub _open: Open,
}

type Chunk = Result<Bytes, std::convert::Infallible>;

impl<T: EventText> EventResponse<T> {
    /// The answer, with one more header.
    pub fn respond(self, extra: Option<(HeaderName, HeaderValue)>) -> Response {
        let body = Body::from_stream(futures_util::stream::unfold(Some(self), Self::next));
        // nginx would keep events in a buffer until it is full.
        let headers = [(header::CONTENT_TYPE, EVENT_STREAM), (UNBUFFERED, "no")];
        let mut response = (headers, body).into_response();
        response.headers_mut().extend(extra);
        response
    }

    /// The next bytes; asked for only when the client has read enough of those before.
    async fn next(this: Option<Self>) -> Option<(Chunk, Option<Self>)> {
        let mut this = this?;
        let ending = tokio::select! {
            biased;
            ending = this.shared.ended(&this.principal) => ending,
            text = this.text.next() => return Some((Ok(text?.into()), Some(this))),
        };
        metrics::push_dropped(ending.reason());
        let last = match ending.event() {
            Some((event, code)) => format!("event: {event}\ndata: {{\"code\":\"{code}\"}}\n\n"),
            None => format!("{}\n", retry()),
        };
        Some((Ok(last.into()), None))
    }
}

/// When to come again after the stream ends: clients that lose it together do not come back together.
pub(super) fn retry() -> String {
    format!("retry: {}\n", 1_000 + random() % 4_000)
}
