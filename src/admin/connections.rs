//! Connections to the admin address: few, and none for long. The address answers from memory. A client that keeps
//! connections open must not exhaust the daemon's files or block other readers.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// Maximum number of connections: a Prometheus, a load balancer and some people need ten.
pub(super) const CONNECTIONS: usize = 128;
/// Maximum life of a connection. A scraper opens the next one; a client that sends one byte a second gets no more time.
pub(super) const LIFETIME: Duration = Duration::from_mins(2);

/// Accepts connections while there is room for them.
pub(super) struct LimitedListener {
    listener: TcpListener,
    room: Arc<Semaphore>,
    lifetime: Duration,
}

impl LimitedListener {
    /// At most this many at once, each for at most this long.
    pub(super) fn new(listener: TcpListener, connections: usize, lifetime: Duration) -> Self {
        Self { listener, room: Arc::new(Semaphore::new(connections)), lifetime }
    }
}

impl Listener for LimitedListener {
    type Io = LimitedConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let permit = self.room.clone().acquire_owned().await.expect("it is never closed");
        // Waits after an error such as a lack of files.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let ends = Box::pin(tokio::time::sleep(self.lifetime));
        (LimitedConnection { stream, ends, _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when its time is over.
pub(super) struct LimitedConnection {
    stream: TcpStream,
    ends: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl LimitedConnection {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.ends.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for LimitedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for LimitedConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_sends_nothing_makes_room_for_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let mut limited = LimitedListener::new(listener, 1, Duration::from_millis(50));
        let address = limited.local_addr().expect("it is bound");
        let _silent = TcpStream::connect(address).await.expect("it listens");
        let _next = TcpStream::connect(address).await.expect("it listens");
        let (mut first, _) = limited.accept().await;
        let ended = first.read_u8().await.expect_err("its time is over");
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        assert_eq!(limited.room.available_permits(), 0, "it is the only one");
        drop(first);
        let (_second, _) = limited.accept().await;
    }
}
