//! A WebSocket client that sends whatever a test wants, byte by byte.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::WAIT_LIMIT;

/// What a server sends.
#[derive(Debug, PartialEq)]
pub enum Frame {
    Text(Value),
    Close(u16, String),
    /// The connection ended without a word.
    End,
}

pub struct Socket {
    stream: TcpStream,
    read: Vec<u8>,
}

/// Sends bytes, and returns what comes back until the end, or after a while.
pub async fn raw(port: u16, bytes: &[u8]) -> String {
    let mut stream = connect(port, None).await;
    // A server may answer and close before everything is sent.
    let _refused = stream.write_all(bytes).await;
    let mut text = Vec::new();
    let _ended = timeout(WAIT_LIMIT, stream.read_to_end(&mut text)).await.expect("the server closes");
    String::from_utf8_lossy(&text).into_owned()
}

async fn connect(port: u16, buffer: Option<u32>) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    if let Some(bytes) = buffer {
        socket.set_recv_buffer_size(bytes).expect("it is ours");
    }
    socket.connect(([127, 0, 0, 1], port).into()).await.expect("the server listens")
}

impl Socket {
    /// Opens one; the head of the answer where the server refuses it.
    pub async fn open(port: u16, headers: &[(&str, &str)]) -> Result<Self, String> {
        Self::open_on(connect(port, None).await, headers).await
    }

    /// As [`Self::open`], with so few bytes in the kernel that a client which does not read is noticed.
    pub async fn open_narrow(port: u16, headers: &[(&str, &str)]) -> Result<Self, String> {
        Self::open_on(connect(port, Some(4_096)).await, headers).await
    }

    /// Opens one without a credential; `None` where no server is there, or it ends before its answer.
    pub async fn try_open(port: u16) -> Option<Self> {
        Self::try_open_at(port, "/v1/ws").await
    }

    /// As [`Self::try_open`], at another path.
    pub async fn try_open_at(port: u16, path: &str) -> Option<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        Self::open_path_on(stream, path, &[]).await.ok()
    }

    async fn open_on(stream: TcpStream, headers: &[(&str, &str)]) -> Result<Self, String> {
        Self::open_path_on(stream, "/v1/ws", headers).await
    }

    async fn open_path_on(
        mut stream: TcpStream,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, String> {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).await.map_err(|error| error.to_string())?;
        let mut this = Self { stream, read: Vec::new() };
        loop {
            if let Some(end) = this.read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&this.read[..end]).into_owned();
                this.read.drain(..end + 4);
                return if head.starts_with("HTTP/1.1 101") { Ok(this) } else { Err(head) };
            }
            if !this.more().await {
                return Err("the connection ended".to_owned());
            }
        }
    }

    async fn more(&mut self) -> bool {
        let mut bytes = vec![0; 64 << 10];
        let read = timeout(WAIT_LIMIT, self.stream.read(&mut bytes)).await.expect("the server goes on");
        let count = read.unwrap_or(0);
        self.read.extend_from_slice(&bytes[..count]);
        count > 0
    }

    /// Sends one frame.
    pub async fn send(&mut self, opcode: u8, payload: &[u8]) {
        let _cut = self.stream.write_all(&masked(opcode, payload)).await;
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        let _cut = self.stream.write_all(bytes).await;
    }

    /// Sends texts, all in one go.
    pub async fn send_texts(&mut self, texts: &[String]) {
        let frames: Vec<u8> = texts.iter().flat_map(|text| masked(1, text.as_bytes())).collect();
        let _cut = self.stream.write_all(&frames).await;
    }

    /// Sends an operation, and returns what the server sends next.
    pub async fn ask(&mut self, op: &Value) -> Frame {
        self.send(1, op.to_string().as_bytes()).await;
        self.next().await
    }

    /// Joins rooms.
    pub async fn join(&mut self, rooms: &[&str]) {
        let answer = self.ask(&json!({ "id": 1, "op": "subscribe", "rooms": rooms })).await;
        assert!(matches!(&answer, Frame::Text(answer) if answer["ok"] == true), "{answer:?}");
    }

    /// The next frame that is no ping.
    pub async fn next(&mut self) -> Frame {
        loop {
            match self.frame() {
                Some((1, payload)) => return Frame::Text(serde_json::from_slice(&payload).expect("JSON")),
                Some((8, payload)) => {
                    let code = payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
                    let reason = payload.get(2..).unwrap_or_default();
                    return Frame::Close(code, String::from_utf8_lossy(reason).into_owned());
                }
                Some(_) => {}
                None => {
                    if !self.more().await {
                        return Frame::End;
                    }
                }
            }
        }
    }

    /// The next text, whatever is in it; `None` where the connection ends.
    pub async fn next_text(&mut self) -> Option<String> {
        loop {
            match self.frame() {
                Some((1, payload)) => return Some(String::from_utf8(payload).expect("UTF-8")),
                Some((8, _)) => return None,
                Some(_) => {}
                None => {
                    if !self.more().await {
                        return None;
                    }
                }
            }
        }
    }

    /// Takes a whole frame out of what was read.
    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (opcode, short) = (self.read.first()? & 0x0f, *self.read.get(1)?);
        let number =
            |bytes: &[u8]| bytes.iter().fold(0usize, |number, byte| number << 8 | usize::from(*byte));
        let (begin, length) = match short {
            126 => (4, number(self.read.get(2..4)?)),
            127 => (10, number(self.read.get(2..10)?)),
            short => (2, usize::from(short)),
        };
        let payload = self.read.get(begin..begin + length)?.to_vec();
        self.read.drain(..begin + length);
        Some((opcode, payload))
    }
}

/// One frame of a client, masked with zeros.
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).expect("short")),
        middle @ 126..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(middle).expect("it fits").to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}
