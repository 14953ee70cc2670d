//! Clients of the three protocols, as the documentation asks an application to write them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use super::super::request;
use super::super::wire::{Frame, Socket};
use super::log::{ClientLog, RoomLog, Stored, seq};

/// What a client speaks.
#[derive(Clone, Copy, Debug)]
pub enum Protocol {
    WebSocket,
    Sse,
    SocketIo,
}

/// What a client has to do next.
pub enum Order {
    Join(&'static str),
    Leave(&'static str),
    /// Break the connection, and come again at this port.
    Cut(u16),
    /// End when everything of this has come.
    Finish(Arc<BTreeMap<u64, Stored>>, u64),
}

/// Why a connection ended.
enum Turn {
    Again,
    Done,
}

/// A client that follows until it is asked to finish.
struct Follower {
    port: u16,
    orders: UnboundedReceiver<Order>,
    log: ClientLog,
    /// Rooms that are to be joined.
    wanted: Vec<&'static str>,
    end: Option<(Arc<BTreeMap<u64, Stored>>, u64)>,
    /// The newest position, as the protocol hands it out.
    position: Option<String>,
    ids: u64,
}

/// How long a client waits before it comes again.
const PAUSE: Duration = Duration::from_millis(50);

pub async fn start(protocol: Protocol, port: u16, orders: UnboundedReceiver<Order>) -> ClientLog {
    let (log, wanted) = (ClientLog::default(), Vec::new());
    let mut this = Follower { port, orders, log, wanted, end: None, position: None, ids: 0 };
    loop {
        let turn = match protocol {
            Protocol::WebSocket => this.websocket().await,
            Protocol::Sse => this.sse().await,
            Protocol::SocketIo => this.socketio().await,
        };
        if matches!(turn, Some(Turn::Done)) {
            return this.log;
        }
        tokio::time::sleep(PAUSE).await;
        while let Ok(order) = this.orders.try_recv() {
            this.note(order);
        }
    }
}

impl Follower {
    /// Takes an order that changes what the next connection does. Whether this one has to end.
    fn note(&mut self, order: Order) -> bool {
        match order {
            Order::Join(room) if self.wanted.contains(&room) => false,
            Order::Join(room) => {
                self.wanted.push(room);
                true
            }
            Order::Leave(room) => {
                let was = self.wanted.len();
                self.wanted.retain(|wanted| *wanted != room);
                self.log.rooms.remove(room);
                was != self.wanted.len()
            }
            Order::Cut(port) => {
                self.port = port;
                true
            }
            Order::Finish(stored, deleted) => {
                self.end = Some((stored, deleted));
                false
            }
        }
    }

    fn is_done(&self) -> bool {
        let is_complete = |(stored, deleted): &(Arc<_>, u64)| self.log.is_complete(stored, *deleted);
        self.end.as_ref().is_some_and(is_complete)
            && self.wanted.iter().all(|room| self.log.rooms.contains_key(room))
    }

    /// The room is joined: from `position` on, where it is new.
    fn joined(&mut self, room: &'static str, position: &str) {
        self.log.rooms.entry(room).or_insert_with(|| RoomLog::after(position));
    }

    /// One connection of a WebSocket: each room resumes from what the client has of it.
    async fn websocket(&mut self) -> Option<Turn> {
        let mut socket = Socket::try_open(self.port).await?;
        let mut asked: BTreeMap<u64, &'static str> = BTreeMap::new();
        for room in self.wanted.clone() {
            self.subscribe(&mut socket, room, &mut asked).await;
        }
        loop {
            if asked.is_empty() && self.is_done() {
                return Some(Turn::Done);
            }
            tokio::select! {
                frame = socket.next() => {
                    let Frame::Text(frame) = frame else { return None };
                    self.frame(&frame, &mut asked);
                }
                order = self.orders.recv() => match order? {
                    Order::Join(room) => {
                        if !self.wanted.contains(&room) {
                            self.wanted.push(room);
                            self.subscribe(&mut socket, room, &mut asked).await;
                        }
                    }
                    Order::Leave(room) => {
                        self.note(Order::Leave(room));
                        asked.retain(|_, asked| *asked != room);
                        let op = json!({ "op": "unsubscribe", "rooms": [room] });
                        socket.send(1, op.to_string().as_bytes()).await;
                    }
                    order => if self.note(order) { return Some(Turn::Again) },
                },
            }
        }
    }

    async fn subscribe(
        &mut self,
        socket: &mut Socket,
        room: &'static str,
        asked: &mut BTreeMap<u64, &'static str>,
    ) {
        self.ids += 1;
        let mut op = json!({ "id": self.ids, "op": "subscribe", "rooms": [room] });
        let last = self.log.rooms.get_mut(room).map(|log| {
            log.resumed = Some(log.last());
            log.position.clone()
        });
        if let Some(last) = last {
            op["since"] = last.into();
        }
        asked.insert(self.ids, room);
        socket.send(1, op.to_string().as_bytes()).await;
    }

    fn frame(&mut self, frame: &Value, asked: &mut BTreeMap<u64, &'static str>) {
        if frame["gap"].is_object() {
            self.log.gap(&frame["gap"]);
        } else if let Some(room) = frame["room"].as_str() {
            self.log.take(room, frame["position"].as_str().expect("a position"), &frame["data"]);
        } else if frame["ok"] == true {
            let room = frame["id"].as_u64().and_then(|id| asked.remove(&id));
            room.into_iter().for_each(|room| {
                self.joined(room, frame["position"].as_str().expect("a position"));
            });
        } else {
            self.log.wrong.push(format!("refused: {frame}"));
        }
    }

    /// One stream: other rooms are another stream, which resumes by `Last-Event-ID`. A room that is new begins there too.
    async fn sse(&mut self) -> Option<Turn> {
        if self.wanted.is_empty() {
            return self.idle().await;
        }
        let path = format!("/v1/stream?rooms={}", self.wanted.join(","));
        let asked = request(self.port, reqwest::Method::GET, &path);
        let asked = match &self.position {
            Some(position) => asked.header("last-event-id", position),
            None => asked,
        };
        let mut answer = asked.send().await.ok().filter(|answer| answer.status().as_u16() == 200)?;
        let position = answer.headers()["chainflume-position"].to_str().expect("ASCII").to_owned();
        let begin = self.position.get_or_insert(position).clone();
        for room in self.wanted.clone() {
            self.joined(room, &begin);
        }
        let mut text = String::new();
        loop {
            if self.is_done() {
                return Some(Turn::Done);
            }
            tokio::select! {
                chunk = answer.chunk() => text.push_str(&String::from_utf8_lossy(&chunk.ok()??)),
                order = self.orders.recv() => if self.note(order?) { return Some(Turn::Again) },
            }
            while let Some((event, rest)) = text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.event(&event);
                text = rest;
            }
        }
    }

    fn event(&mut self, event: &str) {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
        if let (Some(name), Some(data)) = (field("event: "), field("data: ")) {
            let data: Value = serde_json::from_str(data).expect("JSON");
            if name == "gap" {
                self.log.gap(&data);
            } else {
                let room = data["room"].as_str().expect("a room");
                // The frames of a message before its last, which has the id, come again where the stream broke between them.
                let frame_seq = seq(data["position"].as_str().expect("a position"));
                if let Some(log) = self.log.rooms.get_mut(room)
                    && log.last() == frame_seq
                    && self.position.as_deref().is_some_and(|last| seq(last) < frame_seq)
                {
                    log.resumed = Some(frame_seq);
                }
                self.log.take(room, data["position"].as_str().expect("a position"), &data["data"]);
            }
        }
        if let Some(id) = field("id: ") {
            self.position = Some(id.to_owned());
        }
    }

    /// Waits for an order while there is nothing to follow.
    async fn idle(&mut self) -> Option<Turn> {
        while self.wanted.is_empty() {
            if self.is_done() {
                return Some(Turn::Done);
            }
            let order = self.orders.recv().await?;
            self.note(order);
        }
        Some(Turn::Again)
    }

    /// One connection of Socket.IO: all rooms are joined in one go, from the position of the last event.
    async fn socketio(&mut self) -> Option<Turn> {
        let path = "/socket.io/?EIO=4&transport=websocket";
        let mut socket = Socket::try_open_at(self.port, path).await?;
        let auth = self.position.as_ref().map_or_else(|| json!({}), |since| json!({ "since": since }));
        let rooms = self.wanted.clone();
        let joins = rooms.iter().enumerate();
        let joins = joins.map(|(number, room)| format!("42{number}{}", json!(["join", room])));
        let packets: Vec<String> = std::iter::once(format!("40{auth}")).chain(joins).collect();
        socket.send_texts(&packets).await;
        let resumed = self.position.as_deref().map(seq);
        self.log.rooms.values_mut().for_each(|log| log.resumed = resumed);
        loop {
            if self.is_done() {
                return Some(Turn::Done);
            }
            tokio::select! {
                packet = socket.next_text() => {
                    let packet = packet?;
                    if packet == "2" {
                        socket.send(1, b"3").await;
                    }
                    self.packet(&packet, &rooms);
                }
                order = self.orders.recv() => if self.note(order?) { return Some(Turn::Again) },
            }
        }
    }

    fn packet(&mut self, packet: &str, rooms: &[&'static str]) {
        if let Some(answer) = packet.strip_prefix("43") {
            let digits = answer.find('[').expect("arguments");
            let [answer]: [Value; 1] = serde_json::from_str(&answer[digits..]).expect("one argument");
            let number: usize = packet[2..2 + digits].parse().expect("a number");
            if answer["ok"] != true {
                return self.log.wrong.push(format!("refused: {answer}"));
            }
            let begin = self.position.clone();
            let begin = begin.unwrap_or_else(|| answer["position"].as_str().expect("one").to_owned());
            self.position.get_or_insert(begin.clone());
            if self.wanted.contains(&rooms[number]) {
                self.joined(rooms[number], &begin);
            }
        } else if let Some(event) = packet.strip_prefix("42") {
            let [name, data, meta]: [Value; 3] = serde_json::from_str(event).expect("an event");
            let position = meta["position"].as_str().expect("a position");
            if name == "gap" {
                self.log.gap(&data);
            }
            for room in meta["rooms"].as_array().expect("rooms") {
                self.log.take(room.as_str().expect("a name"), position, &data);
            }
            self.position = Some(position.to_owned());
        }
    }
}
