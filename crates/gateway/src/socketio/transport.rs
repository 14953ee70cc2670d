//! How packets reach a client: in answers to its polls, or as messages of a WebSocket, to which a session that polls may move.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::session::{BadPacket, CLOSE, EngineSession, EngineTransport, NOOP, PING, SEPARATOR};
use crate::tcp::{ClientStream, FAREWELL};
use crate::websocket::{WRITE_BYTES, WebSocketConnection, WebSocketError, WebSocketMessage};

/// How often a client is asked whether it is there, and how long it may take to answer. The defaults of the protocol, which the
/// handshake states.
pub(super) const PINGS: PingTimes =
    PingTimes { interval: Duration::from_secs(25), timeout: Duration::from_secs(20) };

/// When a client is asked whether it is there.
#[derive(Clone, Copy)]
pub(super) struct PingTimes {
    /// Between its answer and the next ping.
    pub interval: Duration,
    /// How long it has for its answer.
    pub timeout: Duration,
}

/// How long a client may take to move to a WebSocket, as the protocol's own server.
const MOVE: Duration = Duration::from_secs(10);

/// A WebSocket after its handshake.
pub(super) type EngineSocket = WebSocketConnection<ClientStream>;

/// Answers a poll: what waits, or the first that comes. `None` where the session is over, or another poll waits, which ends it.
pub(super) async fn poll(session: &EngineSession, max_bytes: usize) -> Option<Bytes> {
    let Some(_place) = session.poll() else {
        session.close(CLOSE);
        return None;
    };
    loop {
        match session.transport() {
            EngineTransport::WebSocket => return None,
            EngineTransport::Moving => return Some(Bytes::from_static(NOOP.as_bytes())),
            EngineTransport::Polling => {}
        }
        if let Some(payload) = session.payload(max_bytes) {
            return Some(payload);
        }
        if session.closed.is_cancelled() {
            return None;
        }
        tokio::select! {
            () = session.changed.notified() => {}
            () = session.closed.cancelled() => {}
        }
    }
}

/// Takes the packets of a body.
pub(super) fn take(session: &EngineSession, body: &[u8]) -> Result<(), BadPacket> {
    let taken = std::str::from_utf8(body)
        .map_err(|_| BadPacket)
        .and_then(|text| text.split(SEPARATOR).try_for_each(|packet| session.receive(packet)));
    taken.inspect_err(|_| session.close(CLOSE))
}

/// Asks the client again and again whether it is there, until the session ends.
pub(super) async fn keep_alive(session: &EngineSession, pings: PingTimes) {
    let asking = async {
        loop {
            tokio::time::sleep(pings.interval).await;
            // A pong without a ping is ignored.
            let _stale = timeout(Duration::ZERO, session.pong.notified()).await;
            session.push_own(PING);
            if timeout(pings.timeout, session.pong.notified()).await.is_err() {
                return session.close(NOOP);
            }
        }
    };
    session.closed.run_until_cancelled(asking).await;
}

/// Moves a session to a WebSocket, if the client completes the upgrade. Otherwise the session goes on polling.
pub(super) async fn move_over(session: Arc<EngineSession>, mut socket: EngineSocket) {
    let mut is_moving = false;
    let moving = async {
        if socket.next().await? != WebSocketMessage::Text("2probe".to_owned()) {
            return Ok(false);
        }
        // From now on polls are answered at once: the client moves when none of its polls waits.
        is_moving = session.turn(EngineTransport::Polling, EngineTransport::Moving);
        if !is_moving {
            return Ok(false);
        }
        socket.text(Bytes::from_static(b"3probe")).await?;
        Ok(socket.next().await? == WebSocketMessage::Text("5".to_owned()))
    };
    let moved = timeout(MOVE, moving).await.unwrap_or(Ok(false));
    if moved == Ok(true) && session.turn(EngineTransport::Moving, EngineTransport::WebSocket) {
        return run(&session, socket).await;
    }
    if is_moving {
        session.turn(EngineTransport::Moving, EngineTransport::Polling);
    }
    close(socket, moved.map(|_| NORMAL)).await;
}

/// Sends and receives packets until either side ends the session.
pub(super) async fn run(session: &EngineSession, mut socket: EngineSocket) {
    if let Some(writer) = socket.stream().writer() {
        session.write_by(writer);
    }
    let ended = exchange(session, &mut socket).await;
    session.close(CLOSE);
    close(socket, ended).await;
}

/// The code of a close frame where nothing is wrong.
const NORMAL: u16 = 1000;

/// Closes with this code, or with that of what the client did wrong, if the client is there.
async fn close(mut socket: EngineSocket, ended: Result<u16, WebSocketError>) {
    let frame = ended.map_or_else(WebSocketError::close_frame, |code| Some((code, "")));
    if let Some((code, reason)) = frame {
        let _gone = timeout(FAREWELL, socket.close(code, reason)).await;
    }
}

/// Returns when the session has ended, and what was for the client is sent: with the code to close with.
async fn exchange(session: &EngineSession, socket: &mut EngineSocket) -> Result<u16, WebSocketError> {
    let mut texts = Vec::new();
    loop {
        while session.next(WRITE_BYTES, &mut texts) {
            in_time(session, socket.texts(&texts)).await?;
            texts.clear();
        }
        if session.closed.is_cancelled() {
            return Ok(NORMAL);
        }
        let Some(idle) = session.idle() else { continue };
        let message = tokio::select! {
            message = socket.next() => Some(message),
            () = session.changed.notified() => None,
            () = session.closed.cancelled() => None,
        };
        drop(idle);
        let Some(message) = message else {
            // Something waits, or a write beside this task has left a rest.
            in_time(session, socket.flush()).await?;
            continue;
        };
        match message? {
            WebSocketMessage::Text(text) => {
                if session.receive(&text).is_err() {
                    return Ok(NORMAL);
                }
            }
            WebSocketMessage::Ping(bytes) => {
                in_time(session, socket.pong(bytes)).await?;
            }
            WebSocketMessage::Pong => {}
            WebSocketMessage::Binary(_) => return Ok(NORMAL),
            WebSocketMessage::Close(code) => return Ok(code),
        }
    }
}

/// A write with a limit of time once the session has ended: a client may read it as slowly as it likes.
async fn in_time(
    session: &EngineSession,
    write: impl Future<Output = Result<(), WebSocketError>>,
) -> Result<(), WebSocketError> {
    let late = async {
        session.closed.cancelled().await;
        tokio::time::sleep(FAREWELL).await;
    };
    tokio::select! {
        written = write => written,
        () = late => Err(WebSocketError::Gone),
    }
}
