use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::Request;
use axum::http::header;
use hyper::body::{Frame, SizeHint};

/// Bytes of a body that are read although nothing needs them: sixteen times what a body may have by default. A client with more loses
/// its answer.
const MAX_BYTES: usize = 16 << 20;
/// How long that may take, as long as a body may by default.
const MAX_TIME: Duration = Duration::from_secs(10);

/// The body of a request. What an answer did not need of it is read and thrown away: a connection that is closed while its client
/// still sends is reset, and the client gets an error of its socket in place of the answer.
pub(super) struct UnreadBody {
    body: Option<Body>,
    /// Whether the client sends nothing before it is asked to (`Expect: 100-continue`).
    is_awaited: bool,
}

impl UnreadBody {
    /// The request, with its body read to the end whatever the answer needs.
    pub fn read_whole(request: Request) -> Request {
        let is_awaited = request.headers().contains_key(header::EXPECT);
        request.map(|body| Body::new(Self { body: Some(body), is_awaited }))
    }
}

impl axum::body::HttpBody for UnreadBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // The client sends from here on.
        self.is_awaited = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for UnreadBody {
    fn drop(&mut self) {
        let is_there = |body: &Body| !body.is_end_stream() && !self.is_awaited;
        if let Some(rest) = self.body.take().filter(is_there)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(tokio::time::timeout(MAX_TIME, read(rest)));
        }
    }
}

async fn read(mut body: Body) {
    let mut bytes = 0;
    while bytes < MAX_BYTES
        && let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
    {
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
}
