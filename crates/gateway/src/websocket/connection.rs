use bytes::buf::Chain;
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::deflate::{InflateError, inflate};
use super::frame::{self, ClientFrame, FrameError, client_frame, server_head, unmask};
use crate::tcp::is_stall;

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebSocketMessage {
    /// Text, whole.
    Text(String),
    /// The number of bytes of a binary message.
    Binary(usize),
    /// To be answered by [`WebSocketConnection::pong`] with the same bytes.
    Ping(Bytes),
    /// An answer to a ping.
    Pong,
    /// The client ends the connection, with this code.
    Close(u16),
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebSocketError {
    /// The client is gone.
    Gone,
    /// The client reads nothing while something waits for it.
    Stalled,
    /// A message is larger than allowed.
    TooLong,
    /// A text, or the reason of a close frame, is not UTF-8.
    NotText,
    /// The client broke the protocol.
    Wrong,
}

impl WebSocketError {
    /// Code and reason of the close frame with which a server answers what a client sent; `None` where nothing was sent. RFC 6455 section
    /// 7.4.1.
    pub fn close_frame(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Gone | Self::Stalled => None,
            Self::TooLong => Some((1009, "frame_too_large")),
            Self::NotText => Some((1007, "not_utf8")),
            Self::Wrong => Some((1002, "protocol_error")),
        }
    }
}

impl From<std::io::Error> for WebSocketError {
    fn from(error: std::io::Error) -> Self {
        if is_stall(&error) { Self::Stalled } else { Self::Gone }
    }
}

impl From<FrameError> for WebSocketError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Wrong => Self::Wrong,
            FrameError::TooLong => Self::TooLong,
        }
    }
}

impl From<InflateError> for WebSocketError {
    fn from(error: InflateError) -> Self {
        match error {
            InflateError::Wrong => Self::Wrong,
            InflateError::TooLong => Self::TooLong,
        }
    }
}

/// The server's side of a connection.
pub struct WebSocketConnection<S> {
    io: S,
    /// Bytes of the client that are no whole frame yet.
    read: BytesMut,
    /// A message in parts of which the last has not come.
    partial: Option<Partial>,
    /// What is left of a frame of which the rest was not taken yet.
    unsent: Option<Chain<Bytes, Bytes>>,
    /// Whether clients may compress their messages.
    is_compressed: bool,
    max: usize,
}

struct Partial {
    opcode: u8,
    is_compressed: bool,
    bytes: Vec<u8>,
}

/// Bytes read at once, which every quiet connection has ready: what clients send is short.
const CHUNK: usize = 1 << 10;

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocketConnection<S> {
    /// After the handshake, and these bytes of the client, which were read with it. Messages of the client have at most `max` bytes,
    /// and are not compressed.
    pub fn new(io: S, read: Bytes, max: usize) -> Self {
        Self { io, read: BytesMut::from(read), partial: None, unsent: None, is_compressed: false, max }
    }

    /// Accepts also compressed messages, if the handshake agreed on them. The bound holds before and after the compression.
    pub fn compressed(self, is_compressed: bool) -> Self {
        Self { is_compressed, ..self }
    }

    /// What it reads and writes.
    pub fn stream(&self) -> &S {
        &self.io
    }

    /// The next message. A call that is dropped takes nothing.
    ///
    /// # Errors
    /// [`WebSocketError`]
    pub async fn next(&mut self) -> Result<WebSocketMessage, WebSocketError> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            if self.read.is_empty() {
                // What a long message took is given back.
                self.read = BytesMut::with_capacity(CHUNK);
            } else {
                self.read.reserve(CHUNK);
            }
            if self.io.read_buf(&mut self.read).await? == 0 {
                return Err(WebSocketError::Gone);
            }
        }
    }

    /// A message of what was read; `None` where more is needed.
    fn take(&mut self) -> Result<Option<WebSocketMessage>, WebSocketError> {
        while let Some(head) = client_frame(&self.read, self.max)? {
            if self.read.len() < head.head + head.payload {
                break;
            }
            self.read.advance(head.head);
            let mut payload = self.read.split_to(head.payload);
            unmask(&mut payload, head.mask);
            match head.opcode {
                frame::CLOSE => return close_code(&payload).map(|code| Some(WebSocketMessage::Close(code))),
                frame::PING => return Ok(Some(WebSocketMessage::Ping(payload.freeze()))),
                frame::PONG => return Ok(Some(WebSocketMessage::Pong)),
                _ => {
                    if let Some(whole) = self.add(head, &payload)? {
                        return whole.message(self.max).map(Some);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Adds a part of a message; the message, where it was the last.
    fn add(&mut self, head: ClientFrame, payload: &[u8]) -> Result<Option<Partial>, WebSocketError> {
        let mut partial = match (self.partial.take(), head.opcode) {
            (Some(partial), frame::CONTINUATION) => partial,
            (None, frame::TEXT | frame::BINARY) if self.is_compressed || !head.is_compressed => {
                Partial { opcode: head.opcode, is_compressed: head.is_compressed, bytes: Vec::new() }
            }
            _ => return Err(WebSocketError::Wrong),
        };
        if partial.bytes.len() + payload.len() > self.max {
            return Err(WebSocketError::TooLong);
        }
        partial.bytes.extend_from_slice(payload);
        if head.is_final {
            return Ok(Some(partial));
        }
        self.partial = Some(partial);
        Ok(None)
    }

    /// Sends a text. A call that is dropped has sent a part; the next one sends the rest first.
    ///
    /// # Errors
    /// [`WebSocketError::Gone`] or [`WebSocketError::Stalled`]
    pub async fn text(&mut self, text: Bytes) -> Result<(), WebSocketError> {
        self.send(frame::TEXT, text).await
    }

    /// Sends texts, several by one write, as [`Self::frames`] does.
    ///
    /// # Errors
    /// [`WebSocketError::Gone`] or [`WebSocketError::Stalled`]
    pub async fn texts(&mut self, texts: &[Bytes]) -> Result<(), WebSocketError> {
        if let [one] = texts {
            return self.text(one.clone()).await;
        }
        let frames: Vec<Bytes> = texts.iter().map(|text| frame::text_frame(text)).collect();
        self.frames(&frames).await
    }

    /// Sends whole frames, several by one write: each write costs more than a copy of a few kilobytes. A call that is dropped has sent a
    /// part; the next one sends the rest first.
    ///
    /// # Errors
    /// [`WebSocketError::Gone`] or [`WebSocketError::Stalled`]
    pub async fn frames(&mut self, frames: &[Bytes]) -> Result<(), WebSocketError> {
        self.flush().await?;
        let all = match frames {
            [one] => one.clone(),
            several => several.concat().into(),
        };
        self.unsent = Some(all.chain(Bytes::new()));
        self.flush().await
    }

    /// Asks whether the client is there.
    ///
    /// # Errors
    /// [`WebSocketError::Gone`] or [`WebSocketError::Stalled`]
    pub async fn ping(&mut self) -> Result<(), WebSocketError> {
        self.send(frame::PING, Bytes::new()).await
    }

    /// Answers a ping.
    ///
    /// # Errors
    /// [`WebSocketError::Gone`] or [`WebSocketError::Stalled`]
    pub async fn pong(&mut self, bytes: Bytes) -> Result<(), WebSocketError> {
        self.send(frame::PONG, bytes).await
    }

    /// Sends a close frame with a code and a reason of at most 123 bytes.
    ///
    /// # Errors
    /// [`WebSocketError::Gone`] or [`WebSocketError::Stalled`]
    pub async fn close(&mut self, code: u16, reason: &str) -> Result<(), WebSocketError> {
        let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
        self.send(frame::CLOSE, payload.into()).await?;
        Ok(self.io.shutdown().await?)
    }

    async fn send(&mut self, opcode: u8, payload: Bytes) -> Result<(), WebSocketError> {
        self.flush().await?;
        let head = Bytes::from(server_head(opcode, payload.len()));
        // One write, without a copy of the payload, where the system takes it.
        self.unsent = Some(head.chain(payload));
        self.flush().await
    }

    /// Sends what is left of a frame, and what the stream itself has kept.
    ///
    /// # Errors
    /// [`WebSocketError::Gone`] or [`WebSocketError::Stalled`]
    pub async fn flush(&mut self) -> Result<(), WebSocketError> {
        while let Some(unsent) = self.unsent.as_mut().filter(|unsent| unsent.has_remaining()) {
            if self.io.write_buf(unsent).await? == 0 {
                return Err(WebSocketError::Gone);
            }
        }
        self.unsent = None;
        Ok(self.io.flush().await?)
    }
}

/// The code of a close frame; 1000 where it has none. RFC 6455 sections 5.5.1, 7.4 and 8.1, and the registry of codes at IANA: the codes
/// that are left out have no meaning, or are for the client itself, as 1006 is.
fn close_code(payload: &[u8]) -> Result<u16, WebSocketError> {
    if payload.is_empty() {
        return Ok(1000);
    }
    let (code, reason) = payload.split_first_chunk().ok_or(WebSocketError::Wrong)?;
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(WebSocketError::Wrong);
    }
    std::str::from_utf8(reason).map(|_| code).map_err(|_| WebSocketError::NotText)
}

impl Partial {
    fn message(self, max: usize) -> Result<WebSocketMessage, WebSocketError> {
        let bytes = if self.is_compressed { inflate(&self.bytes, max)? } else { self.bytes };
        if self.opcode == frame::BINARY {
            return Ok(WebSocketMessage::Binary(bytes.len()));
        }
        String::from_utf8(bytes).map(WebSocketMessage::Text).map_err(|_| WebSocketError::NotText)
    }
}

#[cfg(test)]
mod tests;
