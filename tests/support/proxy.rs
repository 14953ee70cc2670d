//! A TCP proxy before a server. It reads each message and cuts the connection at a given point of the relevant
//! exchange: PostgreSQL's `commit`, and the append to Redis' streams. It can also stop all traffic, or break every
//! connection.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::random::Random;

/// The point at which a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// The request never reaches the server.
    BeforeRequest,
    /// The server has executed the request, and its reply is lost.
    BeforeReply,
    /// The reply has arrived, and nothing after it does.
    AfterReply,
}

impl Point {
    pub const ALL: [Self; 3] = [Self::BeforeRequest, Self::BeforeReply, Self::AfterReply];
}

/// A proxy before a server. It passes everything until a cut is requested.
pub struct Proxy {
    pub address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    state: watch::Sender<State>,
    _connections: JoinSet<()>,
}

#[derive(Clone, Copy, Default)]
struct State {
    stalled: bool,
    /// Connections of an earlier generation are broken.
    generation: u64,
}

#[derive(Default)]
struct Plan {
    /// The fate of the next relevant exchanges; `None` passes.
    next: VecDeque<Option<Point>>,
    /// Of the exchanges after those, one in this many is cut at some point.
    random: Option<(Random, u64)>,
    made: Vec<Point>,
}

impl Plan {
    fn take(&mut self) -> Option<Point> {
        if let Some(next) = self.next.pop_front() {
            return next;
        }
        let (random, one_in) = self.random.as_mut()?;
        (random.below(*one_in) == 0).then(|| random.pick(&Point::ALL))
    }
}

#[derive(Clone)]
enum Server {
    Postgres(PathBuf),
    Redis(u16),
}

impl Proxy {
    /// Starts a proxy for the PostgreSQL server of this URL (`postgres:///name?host=folder&…`); returns the database's
    /// URL behind it.
    pub async fn before_postgres(url: &str) -> (Self, String) {
        let (start, rest) = url.split_once("?host=").expect("the url names its folder");
        let name = start.strip_prefix("postgres:///").expect("the url names its database");
        let (folder, _) = rest.split_once('&').expect("the url names more than its folder");
        let proxy = Self::before(Server::Postgres(PathBuf::from(folder).join(".s.PGSQL.5432"))).await;
        // Without TLS: the proxy must read the messages.
        let url = format!("postgres://postgres@{}/{name}?sslmode=disable", proxy.address);
        (proxy, url)
    }

    /// Starts a proxy for the Redis on this port; returns the URL behind it.
    pub async fn before_redis(port: u16) -> (Self, String) {
        let proxy = Self::before(Server::Redis(port)).await;
        let url = format!("redis://{}/", proxy.address);
        (proxy, url)
    }

    async fn before(server: Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let plan = Arc::<Mutex<Plan>>::default();
        let (state, watched) = watch::channel(State::default());
        let (shared, mut connections) = (plan.clone(), JoinSet::new());
        connections.spawn(async move {
            let mut lines = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while lines.try_join_next().is_some() {}
                lines.spawn(serve(client, server.clone(), (shared.clone(), watched.clone())));
            }
        });
        Self { address, plan, state, _connections: connections }
    }

    /// Cuts once, after `passing` relevant exchanges.
    pub fn cut(&self, point: Point, passing: usize) {
        let mut plan = lock(&self.plan);
        plan.next = std::iter::repeat_n(None, passing).chain([Some(point)]).collect();
    }

    /// Cuts one relevant exchange in `one_in` from now on, at any point; 0 for none.
    pub fn cut_at_random(&self, seed: u64, one_in: u64) {
        lock(&self.plan).random = (one_in > 0).then(|| (Random::new(seed), one_in));
    }

    /// Stops all traffic in both directions; connections stay open.
    pub fn stall(&self) {
        self.state.send_modify(|state| state.stalled = true);
    }

    /// Resumes the traffic.
    pub fn go_on(&self) {
        self.state.send_modify(|state| state.stalled = false);
    }

    /// Breaks every connection. New connections are accepted.
    pub fn break_all(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }

    /// The points of its cuts so far, in order.
    pub fn made(&self) -> Vec<Point> {
        lock(&self.plan).made.clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(client: TcpStream, server: Server, control: (Arc<Mutex<Plan>>, watch::Receiver<State>)) {
    // With Nagle's algorithm, each message would wait for the acknowledgement of the last one.
    client.set_nodelay(true).expect("a socket of ours");
    match server {
        Server::Postgres(socket) => {
            if let Ok(server) = UnixStream::connect(socket).await {
                pass_on(client, server.into_split(), Line::new(Grammar::Postgres, control)).await;
            }
        }
        Server::Redis(port) => {
            if let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await {
                server.set_nodelay(true).expect("a socket of ours");
                pass_on(client, server.into_split(), Line::new(Grammar::Redis, control)).await;
            }
        }
    }
}

/// One connection.
struct Line {
    grammar: Grammar,
    plan: Arc<Mutex<Plan>>,
    state: watch::Receiver<State>,
    /// The fate of the outstanding replies, in order.
    due: Mutex<VecDeque<Option<Point>>>,
}

/// The end of either direction ends both, which closes both sides.
async fn pass_on(
    client: TcpStream,
    (from_server, to_server): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    line: Line,
) {
    let (from_client, to_client) = client.into_split();
    tokio::select! {
        () = line.ask(from_client, to_server) => {}
        () = line.answer(from_server, to_client) => {}
        () = line.broken() => {}
    }
}

impl Line {
    fn new(grammar: Grammar, (plan, state): (Arc<Mutex<Plan>>, watch::Receiver<State>)) -> Self {
        Self { grammar, plan, state, due: Mutex::default() }
    }

    /// Returns when the connection is broken, by command or by the end of the proxy.
    async fn broken(&self) {
        let mut state = self.state.clone();
        let born = state.borrow().generation;
        drop(state.wait_for(|state| state.generation != born).await);
    }

    /// Returns while traffic is not stopped.
    async fn free(&self) {
        drop(self.state.clone().wait_for(|state| !state.stalled).await);
    }

    async fn ask(&self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let (mut held, mut is_first) = (Vec::new(), true);
        while let Ok(1..) = from.read_buf(&mut held).await {
            self.free().await;
            while let Some(length) = self.grammar.request(&held, is_first) {
                let request: Vec<u8> = held.drain(..length).collect();
                let point = self.grammar.matters(&request).then(|| lock(&self.plan).take()).flatten();
                if point == Some(Point::BeforeRequest) {
                    return self.made(Point::BeforeRequest);
                }
                if self.grammar.is_answered(&request, is_first) {
                    lock(&self.due).push_back(point);
                }
                is_first = false;
                if to.write_all(&request).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn answer(&self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let mut held = Vec::new();
        while let Ok(1..) = from.read_buf(&mut held).await {
            self.free().await;
            while let Some(length) = self.grammar.reply(&held) {
                let reply: Vec<u8> = held.drain(..length).collect();
                let is_last = self.grammar.ends_reply(&reply);
                let point = match is_last {
                    true => lock(&self.due).pop_front().flatten(),
                    false => lock(&self.due).front().copied().flatten(),
                };
                if point == Some(Point::BeforeReply) {
                    if is_last {
                        return self.made(Point::BeforeReply);
                    }
                    continue;
                }
                if to.write_all(&reply).await.is_err() {
                    return;
                }
                if point.is_some() && is_last {
                    return self.made(Point::AfterReply);
                }
            }
        }
    }

    fn made(&self, point: Point) {
        lock(&self.plan).made.push(point);
    }
}

/// The message format of a connection.
#[derive(Clone, Copy)]
enum Grammar {
    /// <https://www.postgresql.org/docs/current/protocol-message-formats.html>
    Postgres,
    /// <https://redis.io/docs/latest/develop/reference/protocol-spec/>
    Redis,
}

impl Grammar {
    /// Length of the first request in `bytes`, once it is complete.
    fn request(self, bytes: &[u8], is_first: bool) -> Option<usize> {
        match self {
            // The first message has no letter: it is the startup message.
            Self::Postgres => frame(bytes, if is_first { 0 } else { 1 }),
            Self::Redis => value(bytes),
        }
    }

    fn reply(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Postgres => frame(bytes, 1),
            Self::Redis => value(bytes),
        }
    }

    fn matters(self, request: &[u8]) -> bool {
        match self {
            // The driver's simple query, and not another statement that contains the word.
            Self::Postgres => request.first() == Some(&b'Q') && request.get(5..) == Some(b"COMMIT\0"),
            Self::Redis => {
                let start = String::from_utf8_lossy(&request[..request.len().min(24)]).to_uppercase();
                let word = start.split("\r\n").nth(2).unwrap_or_default();
                ["EVAL", "EVALSHA", "FCALL", "XADD"].contains(&word)
            }
        }
    }

    /// Whether it gets a reply of its own.
    fn is_answered(self, request: &[u8], is_first: bool) -> bool {
        match self {
            // ReadyForQuery ends the reply to the startup message, a simple query, and a Sync.
            Self::Postgres => is_first || matches!(request.first(), Some(b'Q' | b'S')),
            Self::Redis => true,
        }
    }

    fn ends_reply(self, reply: &[u8]) -> bool {
        match self {
            Self::Postgres => reply.first() == Some(&b'Z'),
            Self::Redis => true,
        }
    }
}

/// A length of four bytes that includes itself, after `before` bytes that it does not include.
fn frame(bytes: &[u8], before: usize) -> Option<usize> {
    let length = bytes.get(before..before + 4)?.try_into().ok().map(u32::from_be_bytes)?;
    let whole = before + usize::try_from(length).ok()?;
    (bytes.len() >= whole).then_some(whole)
}

/// A value of RESP 2 or 3.
fn value(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|two| two == b"\r\n")? + 2;
    let count = || std::str::from_utf8(&bytes[1..line - 2]).ok()?.parse::<i64>().ok();
    let several = |count: i64| (0..count).try_fold(line, |at, _| Some(at + value(bytes.get(at..)?)?));
    let whole = match bytes[0] {
        b'$' | b'=' | b'!' => usize::try_from(count()?).map_or(line, |length| line + length + 2),
        b'*' | b'~' | b'>' => several(count()?)?,
        b'%' => several(2 * count()?)?,
        _ => line,
    };
    (bytes.len() >= whole).then_some(whole)
}
