//! The stream of a client after its upgrade. Where it is plain TCP, others than the task of the connection can write to it.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::stall::{STALL_TIMEOUT, Stall};

/// What the task of a connection reads and writes.
pub enum ClientStream {
    /// Plain TCP.
    Tcp(SharedTcp),
    /// Anything else, as TLS is.
    Other(TokioIo<Upgraded>),
}

/// TCP to which others write while the task of the connection does not.
pub struct SharedTcp {
    shared: Arc<TcpHalves>,
    write: Stall<OwnedWriteHalf>,
}

struct TcpHalves {
    read: OwnedReadHalf,
    /// What others have written and the socket has not taken: it goes out before anything else.
    unsent: Mutex<BytesMut>,
}

/// Writes to a [`SharedTcp`] without waiting.
#[derive(Clone)]
pub struct DirectWriter(Arc<TcpHalves>);

impl ClientStream {
    /// Of an upgraded connection, with the bytes that were read beyond its request.
    pub fn new(upgraded: Upgraded) -> (Self, Bytes) {
        match upgraded.downcast::<TokioIo<Stall<TcpStream>>>() {
            Ok(parts) => {
                let (read, write) = parts.io.into_inner().into_inner().into_split();
                let write = Stall::new(write, STALL_TIMEOUT);
                let shared = Arc::new(TcpHalves { read, unsent: Mutex::default() });
                (Self::Tcp(SharedTcp { shared, write }), parts.read_buf)
            }
            Err(upgraded) => (Self::Other(TokioIo::new(upgraded)), Bytes::new()),
        }
    }

    /// What others write with; `None` where the task of the connection alone can write.
    pub fn writer(&self) -> Option<DirectWriter> {
        match self {
            Self::Tcp(tcp) => Some(DirectWriter(tcp.shared.clone())),
            Self::Other(_) => None,
        }
    }
}

impl DirectWriter {
    /// Writes as much as the socket takes at once, and keeps the rest for the task of the connection to flush; whether nothing is left.
    /// To be called only while that task writes nothing.
    pub fn write(&self, bytes: &[u8]) -> bool {
        let mut unsent = self.0.unsent();
        // An error is for the task to find when it flushes.
        let written = if unsent.is_empty() { self.0.tcp().try_write(bytes).unwrap_or(0) } else { 0 };
        unsent.extend_from_slice(bytes.get(written..).unwrap_or_default());
        unsent.is_empty()
    }
}

impl TcpHalves {
    fn tcp(&self) -> &TcpStream {
        self.read.as_ref()
    }

    fn unsent(&self) -> MutexGuard<'_, BytesMut> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedTcp {
    /// Sends what others have left.
    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut unsent = self.shared.unsent();
        while !unsent.is_empty() {
            let written = ready!(Pin::new(&mut self.write).poll_write(cx, &unsent))?;
            if written == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            unsent.advance(written);
        }
        // A quiet connection keeps no buffer.
        *unsent = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for SharedTcp {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let tcp = self.shared.tcp();
        loop {
            ready!(tcp.poll_read_ready(cx))?;
            match tcp.try_read_buf(buf) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(|_| ())),
            }
        }
    }
}

impl AsyncWrite for SharedTcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_unsent(cx))?;
        Pin::new(&mut self.write).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_unsent(cx))?;
        Pin::new(&mut self.write).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.write.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx))?;
        Pin::new(&mut self.write).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(cx)
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Other(other) => Pin::new(other).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Other(other) => Pin::new(other).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Self::Other(other) => Pin::new(other).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(tcp) => tcp.is_write_vectored(),
            Self::Other(other) => other.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Other(other) => Pin::new(other).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Other(other) => Pin::new(other).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests;
