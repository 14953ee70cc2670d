//! Many clients of one push server in one process, on one thread: what they take of the machine is small beside the server, so that
//! the time of a message is that of the server.
//!
//! `chainflume-push-clients <chainflume|socket.io> <host:port> <clients> <room>`
//!
//! Prints `connected` when all are in the room. Reads `stop` from stdin, and prints one JSON object: `cut`, clients whose connection
//! ended; `deliveries`; `p50`, `p99` and `max`, milliseconds from the time that a message names in `sentAt` to its arrival.

mod frames;

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::SystemTime;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinSet, LocalSet};

use frames::{client_frame, first_frame};

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// Connections that are opened at once: a server accepts no more of them in one go.
const AT_ONCE: usize = 100;
/// Bytes that one read takes.
const READ_BYTES: usize = 64 << 10;
/// In front of the time of a message, as text in milliseconds since 1970.
const SENT_AT: &[u8] = br#""sentAt":""#;

/// What the clients speak.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Chainflume,
    SocketIo,
}

struct Plan {
    protocol: Protocol,
    server: SocketAddr,
    room: String,
}

/// What all clients share.
struct Measured {
    latencies: RefCell<Vec<f64>>,
    cut: RefCell<usize>,
    /// Where each read puts its bytes: a connection that waits needs none of its own.
    scratch: RefCell<Vec<u8>>,
}

impl Plan {
    fn path(&self) -> &'static str {
        match self.protocol {
            Protocol::Chainflume => "/v1/ws",
            Protocol::SocketIo => "/socket.io/?EIO=4&transport=websocket",
        }
    }

    /// What a client sends after this text of the server.
    fn answer(&self, text: &[u8]) -> Option<String> {
        match self.protocol {
            Protocol::Chainflume => None,
            Protocol::SocketIo => match text {
                // Engine.IO: open, ping. Socket.IO: connected.
                [b'0', ..] => Some("40".to_owned()),
                [b'2'] => Some("3".to_owned()),
                [b'4', b'0', ..] => Some(format!("420{}", json!(["join", self.room]))),
                _ => None,
            },
        }
    }

    /// Whether this text of the server answers that the client is in the room.
    fn is_joined(&self, text: &[u8]) -> bool {
        match self.protocol {
            Protocol::Chainflume => find(text, br#""ok":true"#).is_some(),
            Protocol::SocketIo => text.starts_with(b"430"),
        }
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|there| there == what)
}

/// Milliseconds since the time that the message names.
fn latency(text: &[u8]) -> Option<f64> {
    let rest = text.get(find(text, SENT_AT)? + SENT_AT.len()..)?;
    let digits = rest.split(|byte| *byte == b'"').next()?;
    let sent_at: f64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(now.as_secs_f64() * 1_000.0 - sent_at)
}

/// Connects, and asks for the protocol; the bytes after the answer.
async fn open(plan: &Plan, index: usize) -> io::Result<(TcpStream, Vec<u8>)> {
    let socket = TcpSocket::new_v4()?;
    // 127.0.0.0/8 has ports enough for any number of clients.
    let last = u8::try_from(index % 8).unwrap_or_default() + 2;
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into())?;
    let mut stream = socket.connect(plan.server).await?;
    stream.set_nodelay(true)?;
    let named =
        if plan.protocol == Protocol::Chainflume { "Sec-WebSocket-Protocol: chainflume.v1\r\n" } else { "" };
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{named}\r\n",
        plan.path(),
        plan.server
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    loop {
        stream.readable().await?;
        match stream.try_read_buf(&mut head) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        if let Some(end) = find(&head, b"\r\n\r\n") {
            if !head.starts_with(b"HTTP/1.1 101 ") {
                return Err(io::Error::other(String::from_utf8_lossy(&head).into_owned()));
            }
            let rest = head.split_off(end + 4);
            return Ok((stream, rest));
        }
    }
}

/// One client, until its connection ends. `joined` is sent once it is in the room.
async fn client(
    plan: &Plan,
    index: usize,
    measured: &Measured,
    joined: oneshot::Sender<()>,
) -> io::Result<()> {
    let (mut stream, mut read) = open(plan, index).await?;
    let mut joined = Some(joined);
    if plan.protocol == Protocol::Chainflume {
        let subscribe = json!({ "id": 1, "op": "subscribe", "rooms": [plan.room] }).to_string();
        stream.write_all(&client_frame(TEXT, subscribe.as_bytes())).await?;
    }
    loop {
        let (mut used, mut answers) = (0, Vec::new());
        while let Some((frame, length)) = first_frame(&read[used..]) {
            used += length;
            match frame.opcode {
                CLOSE => return Err(ErrorKind::UnexpectedEof.into()),
                PING => answers.extend(client_frame(PONG, frame.payload)),
                _ => {
                    measured.latencies.borrow_mut().extend(latency(frame.payload));
                    answers.extend(
                        plan.answer(frame.payload)
                            .iter()
                            .flat_map(|text| client_frame(TEXT, text.as_bytes())),
                    );
                    if joined.is_some() && plan.is_joined(frame.payload) {
                        let _heard = joined.take().map(|joined| joined.send(()));
                    }
                }
            }
        }
        read.drain(..used);
        stream.write_all(&answers).await?;
        stream.readable().await?;
        let mut scratch = measured.scratch.borrow_mut();
        match stream.try_read(&mut scratch) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => read.extend_from_slice(&scratch[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Opens all, and waits until each is in the room.
async fn connect(
    plan: &Rc<Plan>,
    count: usize,
    measured: &Rc<Measured>,
    clients: &mut JoinSet<()>,
) -> io::Result<()> {
    for first in (0..count).step_by(AT_ONCE) {
        let mut waiting = Vec::new();
        for index in first..count.min(first + AT_ONCE) {
            let (plan, measured) = (plan.clone(), measured.clone());
            let (sender, joined) = oneshot::channel();
            waiting.push(joined);
            clients.spawn_local(async move {
                if let Err(error) = client(&plan, index, &measured, sender).await {
                    *measured.cut.borrow_mut() += 1;
                    eprintln!("client {index}: {error}");
                }
            });
        }
        for joined in waiting {
            joined.await.map_err(|_| io::Error::other("a client could not join"))?;
        }
    }
    Ok(())
}

fn report(measured: &Measured) -> String {
    let mut latencies = measured.latencies.borrow_mut();
    latencies.sort_by(f64::total_cmp);
    // The smallest value that so many of a hundred do not exceed.
    let at = |percent: usize| latencies.get((latencies.len() * percent).div_ceil(100).saturating_sub(1));
    json!({
        "cut": *measured.cut.borrow(), "deliveries": latencies.len(),
        "p50": at(50), "p99": at(99), "max": latencies.last(),
    })
    .to_string()
}

fn plan_of(arguments: &[String]) -> Option<(Plan, usize)> {
    let [protocol, server, count, room] = arguments else { return None };
    let protocol = match &**protocol {
        "chainflume" => Protocol::Chainflume,
        "socket.io" => Protocol::SocketIo,
        _ => return None,
    };
    Some((Plan { protocol, server: server.parse().ok()?, room: room.clone() }, count.parse().ok()?))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((plan, count)) = plan_of(&arguments) else {
        eprintln!("usage: chainflume-push-clients <chainflume|socket.io> <host:port> <clients> <room>");
        std::process::exit(2);
    };
    let scratch = RefCell::new(vec![0; READ_BYTES]);
    let measured = Rc::new(Measured { latencies: RefCell::default(), cut: RefCell::default(), scratch });
    let plan = Rc::new(plan);
    LocalSet::new()
        .run_until(async {
            let mut clients = JoinSet::new();
            connect(&plan, count, &measured, &mut clients).await?;
            println!("connected");
            tokio::task::spawn_blocking(|| {
                io::stdin().lines().map_while(Result::ok).find(|line| line == "stop")
            })
            .await?;
            println!("{}", report(&measured));
            Ok(())
        })
        .await
}
