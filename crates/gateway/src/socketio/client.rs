use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use hyper::HeaderMap;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::packet::ClientPacket;
use super::session::{EngineSession, NOOP, NotPushed};
use crate::tcp::STALL_TIMEOUT;

/// One client, over its present transport. It is disconnected when this is dropped.
pub struct EngineClient {
    session: Arc<EngineSession>,
    packets: mpsc::Receiver<String>,
}

/// Sends packets to a client without waiting for it.
pub struct PacketSender(Arc<EngineSession>);

impl PacketSender {
    /// Sends packets that go together: all, or none where as much waits for the client as may, or it is gone. Whether it did.
    pub fn try_send(&self, packets: &[Bytes]) -> bool {
        self.0.push(packets).is_ok()
    }
}

/// What comes from a client.
#[derive(Debug, PartialEq)]
pub enum Received {
    /// A packet.
    Packet(ClientPacket),
    /// Something that is no packet.
    Malformed,
    /// The client is gone.
    Gone,
}

/// Why nothing can be sent to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// It is gone.
    Gone,
    /// It has taken no packet for ten seconds.
    TooSlow,
}

impl EngineClient {
    pub(super) fn new(session: Arc<EngineSession>, packets: mpsc::Receiver<String>) -> Self {
        Self { session, packets }
    }

    /// What was put beside the request that opened its connection.
    pub fn extension<T: Copy + Send + Sync + 'static>(&self) -> Option<T> {
        self.session.head.extensions.get::<T>().copied()
    }

    /// The headers of the request that opened the connection.
    pub fn headers(&self) -> &HeaderMap {
        &self.session.head.headers
    }

    /// Waits for the next packet. A call that is dropped takes nothing.
    pub async fn receive(&mut self) -> Received {
        tokio::select! {
            biased;
            text = self.packets.recv() => self.read(text),
            () = self.session.closed.cancelled() => Received::Gone,
        }
    }

    /// The next packet that is there already.
    pub fn try_receive(&mut self) -> Option<Received> {
        self.packets.try_recv().ok().map(|text| self.read(Some(text)))
    }

    fn read(&self, text: Option<String>) -> Received {
        let Some(text) = text else { return Received::Gone };
        self.session.waiting.fetch_sub(text.len(), Ordering::Relaxed);
        ClientPacket::parse(&text).map_or(Received::Malformed, Received::Packet)
    }

    /// Sends a packet, the type of the engine before it, as soon as the client has read enough of those before.
    ///
    /// # Errors
    /// [`SendError`]
    pub async fn send(&self, packet: impl Into<Bytes>) -> Result<(), SendError> {
        let (packet, deadline) = (packet.into(), Instant::now() + STALL_TIMEOUT);
        loop {
            match self.session.push(std::slice::from_ref(&packet)) {
                Ok(()) => return Ok(()),
                Err(NotPushed::Closed) => return Err(SendError::Gone),
                Err(NotPushed::Full) => {}
            }
            tokio::select! {
                taken = timeout_at(deadline, self.session.taken.notified()) => {
                    taken.map_err(|_| SendError::TooSlow)?;
                }
                () = self.session.closed.cancelled() => return Err(SendError::Gone),
            }
        }
    }

    /// What sends packets beside the task that has this client, while that task sends none.
    pub fn sender(&self) -> PacketSender {
        PacketSender(self.session.clone())
    }

    /// Sends the last packets in the place of those that wait: a client which comes again gets these as what it missed. Waits until the
    /// client has taken them, for as long as [`STALL_TIMEOUT`]. One that polls takes them with its next request, and what was not taken is
    /// forgotten with the session.
    pub async fn end<const COUNT: usize>(&self, packets: [String; COUNT]) {
        self.session.replace(packets.map(Bytes::from));
        let emptied = async {
            while !self.session.is_empty() && !self.session.closed.is_cancelled() {
                self.session.taken.notified().await;
            }
        };
        let _in_time = tokio::time::timeout(STALL_TIMEOUT, emptied).await;
    }
}

impl Drop for EngineClient {
    fn drop(&mut self) {
        // One library takes the end of the engine, in an answer to a poll, for a disconnect by its own client and never reconnects. Without it
        // the client polls, gets an error because the session is gone, and connects anew.
        self.session.close(NOOP);
    }
}
