//! A consumer of Chainflume's messages: it keeps count of what is on the chain, whatever happens to chain or consumer.
//!
//!     cargo run --example consumer -- redis://127.0.0.1:6379/ activity worker-1
//!
//! In a program of your own: `cargo add redis serde_json`. Start as many as you like in one group, each with a name of its
//! own. docs/CONSUMING.md has the rest.
#![expect(clippy::disallowed_methods, reason = "there is no runtime here whose worker a sleep would block")]

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use redis::{Client, Connection, RedisError, RedisResult, cmd};
use serde_json::Value;

const STREAMS: [&str; 4] = ["events:user", "events:token", "events:nft", "events:contract"];

/// Here is what you do with a message. Whether it counts is decided in the transaction in which it has its effect: only
/// if its `seq` is above the last one seen of the same thing. So a message that comes again does nothing, and one that
/// another consumer overtook does nothing either. In SQL this is
///
/// ```sql
/// insert into seen (thing, seq, state) values ($1, $2, $3)
/// on conflict (thing) do update set seq = excluded.seq, state = excluded.state where seen.seq < excluded.seq
/// ```
const APPLY: &str = "
local seq, state = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '0 unknown', '(%d+) (%a+)')
if tonumber(ARGV[2]) <= tonumber(seq) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
local stood, stands = state == 'confirmed' and 1 or 0, ARGV[3] == 'confirmed' and 1 or 0
redis.call('HINCRBY', KEYS[2], ARGV[4], stands - stood)
return 1
";

/// Id and fields of an entry; no fields where Redis has trimmed it meanwhile.
type Entry = (String, Option<HashMap<String, String>>);

struct Consumer {
    group: String,
    name: String,
    /// What another consumer took and did not finish for so long is taken over: longer than any message takes you.
    idle_ms: u64,
}

impl Consumer {
    fn run(&self, connection: &mut Connection) -> Result<(), Box<dyn Error>> {
        for stream in STREAMS {
            let made: RedisResult<()> =
                cmd("XGROUP").arg(&["CREATE", stream, &self.group, "0", "MKSTREAM"]).query(connection);
            made.or_else(|error| if exists(&error) { Ok(()) } else { Err(error) })?;
        }
        loop {
            for stream in STREAMS {
                let (_next, claimed): (String, Vec<Entry>) = self.claim(stream, connection)?;
                self.handle(stream, claimed, connection)?;
            }
            let fresh: Option<Vec<(String, Vec<Entry>)>> = cmd("XREADGROUP")
                .arg(&["GROUP", &self.group, &self.name, "COUNT", "100", "BLOCK", "2000", "STREAMS"])
                .arg(&STREAMS)
                .arg(&[">"; STREAMS.len()])
                .query(connection)?;
            for (stream, entries) in fresh.unwrap_or_default() {
                self.handle(&stream, entries, connection)?;
            }
        }
    }

    fn claim(&self, stream: &str, connection: &mut Connection) -> RedisResult<(String, Vec<Entry>)> {
        let (next, entries, _trimmed): (String, Vec<Entry>, Vec<String>) = cmd("XAUTOCLAIM")
            .arg(&[stream, &self.group, &self.name])
            .arg(self.idle_ms)
            .arg(&["0-0", "COUNT", "100"])
            .query(connection)?;
        Ok((next, entries))
    }

    fn handle(
        &self,
        stream: &str,
        entries: Vec<Entry>,
        connection: &mut Connection,
    ) -> Result<(), Box<dyn Error>> {
        for (id, fields) in entries {
            if let Some(text) = fields.as_ref().and_then(|fields| fields.get("message")) {
                self.apply(&serde_json::from_str(text)?, connection)?;
            }
            // Only now: what is not acknowledged comes again.
            cmd("XACK").arg(&[stream, &self.group, &id]).exec(connection)?;
        }
        Ok(())
    }

    fn apply(&self, message: &Value, connection: &mut Connection) -> Result<(), Box<dyn Error>> {
        let word = |key: &str| message[key].as_str().ok_or_else(|| format!("no {key}: {message}"));
        let seq = message["seq"].as_u64().ok_or("no seq")?;
        let (kind, aggregate, state) = (word("type")?, word("aggregateType")?, word("state")?);
        // An event is known by its id: confirmed, retracted when a reorg took it back, perhaps confirmed again. A user is
        // told anew with every change: the newest message about a wallet holds.
        let thing = word(if kind.starts_with("user.") { "aggregateId" } else { "id" })?;
        let is_new: bool = cmd("EVAL")
            .arg(APPLY)
            .arg(2)
            .arg(&[format!("{{{}}}:seen", self.group), format!("{{{}}}:standing", self.group)])
            .arg(thing)
            .arg(seq)
            .arg(&[state, aggregate])
            .query(connection)?;
        println!("{seq} {kind} {state} {}", if is_new { "" } else { "(seen before)" });
        Ok(())
    }
}

fn exists(error: &RedisError) -> bool {
    error.code() == Some("BUSYGROUP")
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |usual: &str| arguments.next().unwrap_or_else(|| usual.to_owned());
    let client = Client::open(argument("redis://127.0.0.1:6379/"))?;
    let (group, name) = (argument("activity"), argument("worker-1"));
    let idle_ms = std::env::var("IDLE_MS").unwrap_or_else(|_| "60000".to_owned()).parse()?;
    let consumer = Consumer { group, name, idle_ms };
    loop {
        let ended = client.get_connection().map_err(Into::into).and_then(|mut c| consumer.run(&mut c));
        // Redis is away, or has lost the group with all it had: from the beginning of what is there.
        if let Err(error) = ended {
            eprintln!("trying again: {error}");
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}
