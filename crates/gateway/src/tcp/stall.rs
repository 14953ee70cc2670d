use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long a client has to read [`PROGRESS`] bytes while its socket is full, or a packet while its queue is.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that a full socket has to accept in that time. Without it a reader of one byte a second would keep a connection, and what
/// waits for it, for hours.
const PROGRESS: usize = 16 << 10;

/// A connection whose writes fail when the other side does not read. HTTP, WebSockets and the engine of Socket.IO wait for a write
/// without a limit, so nothing else ends a connection to a client that stays connected and reads nothing.
pub struct Stall<S> {
    io: S,
    limit: Duration,
    full: Option<FullSocket>,
}

/// A socket that took no more.
struct FullSocket {
    /// Until when it has to accept the missing bytes.
    deadline: Pin<Box<Sleep>>,
    missing: usize,
    /// Whether a write waits for it since then, or again.
    is_waiting: bool,
}

/// Whether a connection ended because its client did not read.
pub fn is_stalled(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(is_stall) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether a write failed because the client did not read. The system has an error of this kind for a client that vanished.
pub fn is_stall(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none()
}

impl<S> Stall<S> {
    /// With so long for each [`PROGRESS`] of a full socket.
    pub fn new(io: S, limit: Duration) -> Self {
        Self { io, limit, full: None }
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
                    (Some(bytes), Some(full)) if bytes < full.missing => {
                        full.missing -= bytes;
                        full.is_waiting &= bytes == 0;
                    }
                    (_, full) => *full = None,
                }
                outcome
            }
            Poll::Ready(Err(_)) => outcome,
            Poll::Pending if self.is_past(cx) => {
                self.full = None;
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Whether a write that waits has waited for too long.
    fn is_past(&mut self, cx: &mut Context<'_>) -> bool {
        // Time in which nothing was to be sent does not count.
        self.full.take_if(|full| !full.is_waiting && full.deadline.is_elapsed());
        let limit = self.limit;
        let full = self.full.get_or_insert_with(|| FullSocket {
            deadline: Box::pin(tokio::time::sleep(limit)),
            missing: PROGRESS,
            is_waiting: true,
        });
        full.is_waiting = true;
        full.deadline.as_mut().poll(cx).is_ready()
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

    /// How writing 64 KiB ends when the other side reads so many bytes every so often.
    async fn write(limit: Duration, (bytes, pause): (usize, Duration)) -> io::Result<()> {
        let (server, mut client) = duplex(1 << 10);
        let reader = tokio::spawn(async move {
            while client.read(&mut vec![0; bytes]).await.is_ok_and(|read| read > 0) {
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
        });
        let written = Stall::new(server, limit).write_all(&[0; 64 << 10]).await;
        reader.abort();
        written
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stops_or_trickles_fails_the_write() {
        let kind = |outcome: io::Result<()>| outcome.map_err(|error| error.kind());
        let (short, long) = (Duration::from_secs(2), Duration::from_mins(1));
        let began = Instant::now();
        assert_eq!(kind(write(short, (1, long)).await), Err(io::ErrorKind::TimedOut));
        assert_eq!(began.elapsed().as_secs(), short.as_secs());
        assert_eq!(kind(write(short, (1, Duration::from_millis(1))).await), Err(io::ErrorKind::TimedOut));
        assert_eq!(began.elapsed().as_secs(), 2 * short.as_secs());
        assert_eq!(kind(write(long, (1, Duration::ZERO)).await), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_may_take_as_long_as_its_reader_goes_on() {
        let (limit, began) = (Duration::from_secs(2), Instant::now());
        write(limit, (1 << 10, Duration::from_millis(100))).await.expect("the reader is slow, and reads");
        assert!(began.elapsed() > 2 * limit);
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nothing_is_to_be_sent_does_not_count() {
        let (server, mut client) = duplex(1 << 10);
        let (limit, mut bytes) = (Duration::from_secs(2), [0; 1 << 10]);
        let mut stream = Stall::new(server, limit);
        stream.write_all(&bytes).await.expect("there is room");
        let full = tokio::time::timeout(limit / 2, stream.write_all(&[0])).await;
        assert!(full.is_err());
        client.read_exact(&mut bytes).await.expect("bytes");
        stream.write_all(&bytes).await.expect("there is room");
        tokio::time::sleep(10 * limit).await;
        let reader = tokio::spawn(async move {
            tokio::time::sleep(limit / 2).await;
            client.read_exact(&mut bytes).await.map(|_| client)
        });
        stream.write_all(&[0]).await.expect("the reader has its time");
        let _client = reader.await.expect("no panic").expect("bytes");
    }
}
