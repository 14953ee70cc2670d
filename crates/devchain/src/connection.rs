//! A connection of the server, and what its handlers and faults do with it.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A connection that its handler can break.
#[derive(Clone, Debug)]
pub(crate) struct ServedConnection(CancellationToken);

impl ServedConnection {
    /// Stops all reading and writing at once. Unwritten bytes are lost, including those of the present answer.
    pub(crate) fn break_off(&self) {
        self.0.cancel();
    }

    /// Returns when the connection was broken, by a fault or because the server stops.
    pub(crate) async fn broken(&self) {
        self.0.cancelled().await;
    }
}

/// Whether a socket stays open.
pub(crate) enum Then {
    GoOn,
    Close,
}

/// An answer of JSON.
pub(crate) fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

impl Connected<IncomingStream<'_, Breakable>> for ServedConnection {
    fn connect_info(stream: IncomingStream<'_, Breakable>) -> Self {
        Self(stream.io().broken.clone())
    }
}

/// A listener whose connections can be broken one by one, or all by cancelling `running`. HTTP libraries finish an
/// answer they have begun; a node that fails does not.
pub(crate) struct Breakable {
    pub(crate) listener: TcpListener,
    pub(crate) running: CancellationToken,
}

impl Listener for Breakable {
    type Io = BreakableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // A failure only affects latency.
        let _ = stream.set_nodelay(true);
        let broken = self.running.child_token();
        let breaking = Box::pin(broken.clone().cancelled_owned());
        (BreakableStream { stream, broken, breaking }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

pub(crate) struct BreakableStream {
    stream: TcpStream,
    broken: CancellationToken,
    /// Wakes a waiting reader when the connection is broken.
    breaking: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl BreakableStream {
    fn check(&self) -> io::Result<()> {
        if self.broken.is_cancelled() { Err(ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl AsyncRead for BreakableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.broken.is_cancelled() || self.breaking.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for BreakableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
