//! A consumer of Chainflume's messages. It counts the confirmed ones, exactly, through reorgs and crashes of the consumer.
//!
//!     cargo run --example consumer -- redis://127.0.0.1:6379/ activity worker-1
//!
//! In your own program: `cargo add redis serde_json`. Start any number of consumers in one group, each with its own name.
//! docs/CONSUMING.md explains the rules.
#![expect(clippy::disallowed_methods, reason = "there is no runtime here whose worker a sleep would block")]

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use redis::{Client, Connection, RedisError, RedisResult, cmd};
use serde_json::Value;

const STREAMS: [&str; 4] = ["events:user", "events:token", "events:nft", "events:contract"];

/// Put your own work here. The same transaction decides whether the message counts: only if its `seq` is above the last
/// `seq` of the same subject. So a repeated message changes nothing, nor does one that another consumer has overtaken. In
/// SQL this is
///
/// ```sql
/// insert into seen (subject, seq, state) values ($1, $2, $3)
/// on conflict (subject) do update set seq = excluded.seq, state = excluded.state where seen.seq < excluded.seq
/// ```
const APPLY: &str = "
local seq, state = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '0 unknown', '(%d+) (%a+)')
if tonumber(ARGV[2]) <= tonumber(seq) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
local before, after = state == 'confirmed' and 1 or 0, ARGV[3] == 'confirmed' and 1 or 0
redis.call('HINCRBY', KEYS[2], ARGV[4], after - before)
return 1
";

/// Id and fields of an entry; no fields if Redis has trimmed it meanwhile.
type Entry = (String, Option<HashMap<String, String>>);

struct Consumer {
    group: String,
    name: String,
    /// A message that another consumer received this long ago and did not acknowledge is taken over. Set it longer than
    /// your work takes.
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
            // Last: Redis delivers a message again if it is not acknowledged.
            cmd("XACK").arg(&[stream, &self.group, &id]).exec(connection)?;
        }
        Ok(())
    }

    fn apply(&self, message: &Value, connection: &mut Connection) -> Result<(), Box<dyn Error>> {
        let word = |key: &str| message[key].as_str().ok_or_else(|| format!("no {key}: {message}"));
        let seq = message["seq"].as_u64().ok_or("no seq")?;
        let (kind, aggregate, state) = (word("type")?, word("aggregateType")?, word("state")?);
        // All messages about an event have its id: confirmed, retracted after a reorg, perhaps confirmed again. Messages
        // about a user have the wallet as `aggregateId`, and the newest one is valid.
        let subject = word(if kind.starts_with("user.") { "aggregateId" } else { "id" })?;
        let is_new: bool = cmd("EVAL")
            .arg(APPLY)
            .arg(2)
            .arg(&[format!("{{{}}}:seen", self.group), format!("{{{}}}:confirmed", self.group)])
            .arg(subject)
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
        // Redis is away, or has lost its data with the group: begin again with the oldest entry.
        if let Err(error) = ended {
            eprintln!("trying again: {error}");
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}
