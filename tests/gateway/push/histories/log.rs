//! What a client has, and what it should have.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::ROOM;

/// Rooms of the histories: they overlap, and the last is always empty.
pub const ROOMS: [&str; 6] =
    [ROOM, "all", "type-erc20.transfer", "type-erc721.transfer", "type-stake.staked", "chain-1"];

/// The rooms of [`ROOMS`] that a message is in.
pub struct Stored {
    pub rooms: Vec<&'static str>,
}

/// By the words of the documentation, and not by the code that is tested.
pub fn rooms(message: &Value) -> Vec<&'static str> {
    let kind = format!("type-{}", message["type"].as_str().expect("a type"));
    let chain = format!("chain-{}", message["metadata"]["chainId"]);
    ROOMS.into_iter().filter(|room| *room == "all" || *room == kind || *room == chain).collect()
}

/// The number in a position.
pub fn seq(position: &str) -> u64 {
    let (_, seq) = position.split_once('.').expect("an epoch and a number");
    seq.parse().expect("a number")
}

/// What a client has of one room.
#[derive(Clone, Debug)]
pub struct RoomLog {
    /// It joined after this message.
    pub joined: u64,
    pub got: Vec<u64>,
    /// The newest, as it was handed out: its epoch may be another than that of the join.
    pub position: String,
    /// From where the newest connection resumed: a message that is several frames may come again.
    pub resumed: Option<u64>,
}

impl RoomLog {
    pub fn after(position: &str) -> Self {
        Self { joined: seq(position), got: Vec::new(), position: position.to_owned(), resumed: None }
    }

    pub fn last(&self) -> u64 {
        self.got.last().copied().unwrap_or(self.joined)
    }
}

/// What a client has.
#[derive(Debug, Default)]
pub struct ClientLog {
    pub rooms: BTreeMap<&'static str, RoomLog>,
    /// From, to and reason.
    pub gaps: Vec<(u64, u64, String)>,
    /// What was wrong on the way.
    pub wrong: Vec<String>,
}

impl ClientLog {
    /// A message has come in a room; those of rooms that were left are still under way.
    pub fn take(&mut self, room: &str, position: &str, data: &Value) {
        let seq = seq(position);
        let Some((_, log)) = self.rooms.iter_mut().find(|(name, _)| **name == room) else { return };
        // The data of a push event differs; that of a message is the message.
        if data["seq"].is_u64() && data["seq"] != seq {
            self.wrong.push(format!("{room}: {position} has the message {}", data["seq"]));
        }
        if seq > log.last() {
            log.got.push(seq);
            position.clone_into(&mut log.position);
        } else if seq > log.joined && log.resumed.is_none_or(|resumed| seq != resumed) {
            self.wrong.push(format!("{room}: {seq} after {}, resumed from {:?}", log.last(), log.resumed));
        }
    }

    pub fn gap(&mut self, gap: &Value) {
        let part = |key: &str| seq(gap[key].as_str().expect("a position"));
        self.gaps.push((part("from"), part("to"), gap["reason"].as_str().unwrap_or_default().to_owned()));
    }

    fn is_in_gap(&self, seq: u64) -> bool {
        self.gaps.iter().any(|(from, to, _)| (from + 1..=*to).contains(&seq))
    }

    /// Whether everything that is still there has come.
    pub fn is_complete(&self, stored: &BTreeMap<u64, Stored>, deleted: u64) -> bool {
        self.rooms.iter().all(|(room, log)| {
            let after = log.joined.max(deleted);
            let last = stored.range(after + 1..).rfind(|(_, stored)| stored.rooms.contains(room));
            last.is_none_or(|(seq, _)| log.last() >= *seq)
        })
    }

    /// What is missing without a gap, doubled, out of order, or a gap without a reason.
    pub fn compared(mut self, stored: &BTreeMap<u64, Stored>, deleted: u64) -> Vec<String> {
        let mut wrong = std::mem::take(&mut self.wrong);
        for (room, log) in &self.rooms {
            let is_there = |(_, stored): &(&u64, &Stored)| stored.rooms.contains(room);
            let expected: Vec<u64> =
                stored.range(log.joined + 1..).filter(is_there).map(|(seq, _)| *seq).collect();
            let foreign: Vec<&u64> = log.got.iter().filter(|seq| !expected.contains(seq)).collect();
            let missing: Vec<&u64> = expected.iter().filter(|seq| !log.got.contains(seq)).collect();
            let hidden: Vec<&u64> =
                missing.into_iter().filter(|seq| **seq > deleted || !self.is_in_gap(**seq)).collect();
            if !foreign.is_empty() || !hidden.is_empty() {
                wrong.push(format!("{room}: lacks {hidden:?}, has {foreign:?} besides: {self:?}"));
            }
            if log.got.windows(2).any(|two| two[0] >= two[1]) {
                wrong.push(format!("{room}: {:?}", log.got));
            }
        }
        for (from, to, reason) in &self.gaps {
            if reason != "retention" || *to > deleted || from >= to {
                wrong.push(format!("a gap from {from} to {to} for {reason}, and {deleted} are deleted"));
            }
        }
        wrong
    }
}
