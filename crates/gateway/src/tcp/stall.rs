use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long a client may read nothing while its socket, or its queue of packets, is full.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that a full socket has to accept in that time. Without it a reader of one byte a second would keep a connection, and what
/// waits for it, for hours.
const PROGRESS: usize = 16 << 10;

/// A connection whose writes fail when the other side does not read. HTTP and the engine of Socket.IO wait for a write without a limit,
/// so nothing else ends a connection to a client that stays connected and reads nothing.
pub struct Stall<S> {
    io: S,
    guard: StallGuard,
    limit: Duration,
    /// While the socket is full: until when it has to accept bytes, and how many it still has to.
    full: Option<(Pin<Box<Sleep>>, usize)>,
}

/// Whether the writes of a connection are bounded here. Clones are of the same connection.
#[derive(Clone, Default)]
pub struct StallGuard(Arc<AtomicBool>);

impl StallGuard {
    /// What the connection became has bounds of its own.
    pub fn lift(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_off(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether a connection ended because its client did not read.
pub fn is_stalled(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            return true;
        }
        cause = error.source();
    }
    false
}

impl<S> Stall<S> {
    /// With so long for each [`PROGRESS`] of a full socket, while `guard` is set.
    pub fn new(io: S, limit: Duration, guard: StallGuard) -> Self {
        Self { io, guard, limit, full: None }
    }

    /// The connection, without bounds.
    pub fn into_inner(self) -> S {
        self.io
    }

    /// Looks at the outcome of a write of `written` bytes.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
        written: impl Fn(&T) -> Option<usize>,
    ) -> Poll<io::Result<T>> {
        match &outcome {
            Poll::Ready(Ok(value)) => {
                match (written(value), &mut self.full) {
                    (Some(bytes), Some((_, missing))) if bytes < *missing => *missing -= bytes,
                    (_, full) => *full = None,
                }
                outcome
            }
            Poll::Ready(Err(_)) => outcome,
            Poll::Pending if self.guard.is_off() => outcome,
            Poll::Pending => {
                let limit = self.limit;
                let (deadline, _) =
                    self.full.get_or_insert_with(|| (Box::pin(tokio::time::sleep(limit)), PROGRESS));
                match deadline.as_mut().poll(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                }
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stall<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stall<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(cx, outcome, |bytes| Some(*bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch(cx, outcome, |bytes| Some(*bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_flush(cx);
        // A TCP stream has nothing to flush: the outcome shows nothing about the other side.
        self.watch(cx, outcome, |()| Some(0))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_shutdown(cx);
        self.watch(cx, outcome, |()| None)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    use super::*;

    /// How writing 64 KiB ends when the other side reads a byte every so often.
    async fn write(limit: Duration, pause: Duration) -> io::Result<()> {
        let (server, mut client) = duplex(1 << 10);
        let reader = tokio::spawn(async move {
            while client.read(&mut [0; 1]).await.is_ok_and(|read| read > 0) {
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
        });
        let written = Stall::new(server, limit, StallGuard::default()).write_all(&[0; 64 << 10]).await;
        reader.abort();
        written
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stops_or_trickles_fails_the_write() {
        let kind = |outcome: io::Result<()>| outcome.map_err(|error| error.kind());
        let (short, long) = (Duration::from_secs(2), Duration::from_mins(1));
        let began = Instant::now();
        assert_eq!(kind(write(short, long).await), Err(io::ErrorKind::TimedOut));
        assert_eq!(began.elapsed().as_secs(), short.as_secs());
        assert_eq!(kind(write(short, Duration::from_millis(1)).await), Err(io::ErrorKind::TimedOut));
        assert_eq!(began.elapsed().as_secs(), 2 * short.as_secs());
        assert_eq!(kind(write(long, Duration::ZERO).await), Ok(()));
    }
}
