use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::{Bytes, BytesMut};
use hyper::http::request::Parts;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::tcp::DirectWriter;
use crate::websocket::text_frame;

/// Packets that may wait for one client. They are shared with all clients that get the same; beyond this [`super::EngineClient::send`]
/// waits for the client.
const MAX_PACKETS: usize = 128;
/// Packets in one answer to a poll: python-engineio refuses more than 16.
const MAX_POLLED: usize = 16;
/// Between two packets of a payload, which no packet has: JSON writes it as an escape.
pub(super) const SEPARATOR: char = '\u{1e}';
/// Packets of the engine itself.
pub(super) const CLOSE: &str = "1";
pub(super) const PING: &str = "2";
pub(super) const NOOP: &str = "6";

/// One session of a client, over whatever transport it has just now.
pub(super) struct EngineSession {
    /// The request that opened it.
    pub head: Parts,
    state: Mutex<EngineState>,
    /// Writes to the WebSocket while the task of the transport waits.
    writer: OnceLock<DirectWriter>,
    /// Something waits for the client, or its transport changes.
    pub changed: Notify,
    /// The client has taken something.
    pub taken: Notify,
    /// The client has answered a ping.
    pub pong: Notify,
    pub closed: CancellationToken,
    inbox: mpsc::Sender<String>,
    /// Bytes in the inbox, and how many there may be.
    pub waiting: AtomicUsize,
    max_waiting: usize,
}

struct EngineState {
    packets: VecDeque<Bytes>,
    transport: EngineTransport,
    is_polled: bool,
    /// Whether the task of the WebSocket only waits. No packet waits then.
    is_idle: bool,
}

/// While the task of a WebSocket only waits.
pub(super) struct IdleTransport<'a>(&'a EngineSession);

impl Drop for IdleTransport<'_> {
    fn drop(&mut self) {
        self.0.state().is_idle = false;
    }
}

/// What brings packets to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EngineTransport {
    Polling,
    /// The client tries a WebSocket, and does not poll meanwhile.
    Moving,
    WebSocket,
}

/// Why a packet is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotPushed {
    Full,
    Closed,
}

/// A packet of a client is against the protocol, or too many wait to be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadPacket;

/// The place of the one poll of a session, until it is dropped.
pub(super) struct PollPlace<'a>(&'a EngineSession);

impl Drop for PollPlace<'_> {
    fn drop(&mut self) {
        self.0.state().is_polled = false;
    }
}

impl EngineSession {
    /// Opened by this request. Packets of the client are put into `inbox`, of which `max_waiting` bytes may wait.
    pub fn new(
        head: Parts,
        transport: EngineTransport,
        inbox: mpsc::Sender<String>,
        max_waiting: usize,
    ) -> Self {
        Self {
            head,
            state: Mutex::new(EngineState {
                packets: VecDeque::new(),
                transport,
                is_polled: false,
                is_idle: false,
            }),
            writer: OnceLock::new(),
            changed: Notify::new(),
            taken: Notify::new(),
            pong: Notify::new(),
            closed: CancellationToken::new(),
            inbox,
            waiting: AtomicUsize::new(0),
            max_waiting,
        }
    }

    fn state(&self) -> MutexGuard<'_, EngineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds packets of the application, which go together: all or none.
    pub fn push(&self, packets: &[Bytes]) -> Result<(), NotPushed> {
        let mut state = self.state();
        if self.closed.is_cancelled() {
            return Err(NotPushed::Closed);
        }
        if !state.packets.is_empty() && state.packets.len() + packets.len() > MAX_PACKETS {
            return Err(NotPushed::Full);
        }
        if let Some(writer) = self.writer.get().filter(|_| state.is_idle) {
            let frames: Vec<Bytes> = packets.iter().map(|packet| text_frame(packet)).collect();
            // What is left is for the task to flush.
            state.is_idle = writer.write(&frames.concat());
            if state.is_idle {
                return Ok(());
            }
        } else {
            state.packets.extend(packets.iter().cloned());
        }
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Puts packets of the application in the place of all that wait.
    pub fn replace(&self, packets: impl IntoIterator<Item = Bytes>) {
        let mut state = self.state();
        if !self.closed.is_cancelled() {
            state.packets.clear();
            state.packets.extend(packets);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// From now on packets are written by `writer` while the task of the WebSocket is [`Self::idle`].
    pub fn write_by(&self, writer: DirectWriter) {
        let _first = self.writer.set(writer);
    }

    /// From now on the task of the WebSocket writes nothing, as long as the answer lives; `None` where a packet waits for it.
    pub fn idle(&self) -> Option<IdleTransport<'_>> {
        let mut state = self.state();
        state.is_idle = state.packets.is_empty();
        state.is_idle.then(|| IdleTransport(self))
    }

    /// Adds a packet of the engine, for which there is always room.
    pub fn push_own(&self, packet: &'static str) {
        self.state().packets.push_back(Bytes::from_static(packet.as_bytes()));
        self.changed.notify_one();
    }

    /// Adds the next packets to `texts`, for a WebSocket: about so many bytes. Returns whether there was one.
    pub fn next(&self, max_bytes: usize, texts: &mut Vec<Bytes>) -> bool {
        let (mut state, mut bytes) = (self.state(), 0);
        while bytes < max_bytes
            && let Some(packet) = state.packets.pop_front()
        {
            bytes += packet.len();
            texts.push(packet);
        }
        drop(state);
        if bytes > 0 {
            self.taken.notify_one();
        }
        bytes > 0
    }

    /// The next packets as one payload of about so many bytes, for a poll.
    pub fn payload(&self, max_bytes: usize) -> Option<Bytes> {
        let mut state = self.state();
        let mut payload = BytesMut::from(&*state.packets.pop_front()?);
        for _ in 1..MAX_POLLED {
            let fits = |packet: &Bytes| payload.len() + packet.len() < max_bytes;
            let Some(packet) = state.packets.front().filter(|packet| fits(packet)) else { break };
            payload.extend_from_slice(SEPARATOR.to_string().as_bytes());
            payload.extend_from_slice(packet);
            state.packets.pop_front();
        }
        drop(state);
        self.taken.notify_one();
        Some(payload.freeze())
    }

    /// Whether nothing waits for the client.
    pub fn is_empty(&self) -> bool {
        self.state().packets.is_empty()
    }

    pub fn transport(&self) -> EngineTransport {
        self.state().transport
    }

    /// Changes the transport, from the one expected; whether it was that.
    pub fn turn(&self, from: EngineTransport, to: EngineTransport) -> bool {
        let mut state = self.state();
        let fits = state.transport == from && !self.closed.is_cancelled();
        if fits {
            state.transport = to;
        }
        drop(state);
        self.changed.notify_one();
        fits
    }

    /// The place of a poll; `None` where another waits.
    pub fn poll(&self) -> Option<PollPlace<'_>> {
        let mut state = self.state();
        let is_free = !std::mem::replace(&mut state.is_polled, true);
        drop(state);
        is_free.then(|| PollPlace(self))
    }

    /// Ends the session. A poll that waits is answered with `last`.
    pub fn close(&self, last: &'static str) {
        let mut state = self.state();
        if !self.closed.is_cancelled() {
            if state.transport != EngineTransport::WebSocket {
                state.packets.push_back(Bytes::from_static(last.as_bytes()));
            }
            self.closed.cancel();
        }
    }

    /// Takes a packet of the client.
    pub fn receive(&self, packet: &str) -> Result<(), BadPacket> {
        let (kind, rest) = packet.split_at_checked(1).ok_or(BadPacket)?;
        match (kind, rest) {
            ("4", text) => {
                let waiting = self.waiting.fetch_add(text.len(), Ordering::Relaxed) + text.len();
                if waiting > self.max_waiting {
                    return Err(BadPacket);
                }
                self.inbox.try_send(text.to_owned()).map_err(|_| BadPacket)
            }
            ("3", "") => {
                self.pong.notify_one();
                Ok(())
            }
            ("1", "") => {
                self.close(NOOP);
                Ok(())
            }
            _ => Err(BadPacket),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(transport: EngineTransport) -> (EngineSession, mpsc::Receiver<String>) {
        let (sender, inbox) = mpsc::channel(4);
        let head = hyper::Request::new(()).into_parts().0;
        (EngineSession::new(head, transport, sender, 20), inbox)
    }

    fn text(payload: Option<Bytes>) -> Option<String> {
        payload.map(|bytes| String::from_utf8(bytes.to_vec()).expect("text"))
    }

    #[test]
    fn a_payload_has_packets_up_to_its_bounds() {
        let (session, _inbox) = session(EngineTransport::Polling);
        for n in 0..20 {
            session.push(&[Bytes::from(format!("4{n}"))]).expect("there is room");
        }
        let first = text(session.payload(1_000)).expect("packets");
        assert_eq!((first.split(SEPARATOR).count(), first.ends_with("415")), (MAX_POLLED, true));
        assert_eq!(text(session.payload(8)).as_deref(), Some("416\u{1e}417"));
        assert_eq!(text(session.payload(1)).as_deref(), Some("418"), "one alone always fits");
        assert_eq!(text(session.payload(8)).as_deref(), Some("419"));
        assert!(session.payload(8).is_none() && session.is_empty());
    }

    #[test]
    fn a_full_session_takes_pings_alone_and_a_closed_one_nothing() {
        let (session, _inbox) = session(EngineTransport::Polling);
        let packet = [Bytes::from_static(b"4")];
        while session.push(&packet).is_ok() {}
        assert_eq!(session.push(&packet), Err(NotPushed::Full));
        session.push_own(PING);
        let mut taken = Vec::new();
        assert!(session.next(2, &mut taken) && taken.len() == 2 && session.push(&packet).is_ok());
        session.close(CLOSE);
        assert_eq!(session.push(&packet), Err(NotPushed::Closed));
        taken.clear();
        while session.next(10, &mut taken) {}
        assert_eq!(taken.len(), MAX_PACKETS + 1, "what waits, the ping among it, and the end");
    }

    #[test]
    fn packets_of_a_client_are_bounded_and_of_known_kinds() {
        let (session, mut inbox) = session(EngineTransport::WebSocket);
        assert_eq!(session.receive("40"), Ok(()));
        assert_eq!(inbox.try_recv().as_deref(), Ok("0"));
        for packet in ["", "abc", "2", "2probe", "5", "6", "3x", "bAQ==", "\u{e4}"] {
            assert_eq!(session.receive(packet), Err(BadPacket), "{packet}");
        }
        assert_eq!(session.receive(&format!("4{}", "x".repeat(30))), Err(BadPacket), "too many bytes wait");
        assert_eq!(session.receive("1"), Ok(()));
        assert!(session.closed.is_cancelled());
    }

    #[test]
    fn one_poll_waits_at_a_time_and_none_moves_twice() {
        let (session, _inbox) = session(EngineTransport::Polling);
        let place = session.poll().expect("the first");
        assert!(session.poll().is_none());
        drop(place);
        assert!(session.poll().is_some());
        assert!(session.turn(EngineTransport::Polling, EngineTransport::Moving));
        assert!(!session.turn(EngineTransport::Polling, EngineTransport::Moving));
        session.close(CLOSE);
        assert!(!session.turn(EngineTransport::Moving, EngineTransport::WebSocket));
    }
}
