//! The messages at a consumer: it reads the stream of the token's messages like an application.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::redis_server::RedisServer;

/// The entries of one stream: id and fields.
type Entries = Vec<(String, Vec<(String, Vec<String>)>)>;

/// A consumer; it ends when dropped.
pub struct Consumer {
    blocks: mpsc::UnboundedReceiver<(u64, Instant)>,
    _reading: AbortOnDropHandle<anyhow::Result<()>>,
}

impl Consumer {
    /// Reads from now on; a block is complete with its last message of `logs`.
    pub async fn start(redis: &RedisServer, logs: u64) -> Self {
        let (sender, blocks) = mpsc::unbounded_channel();
        let connection = redis.connection().await;
        let reading = tokio::spawn(read(connection, logs, sender));
        Self { blocks, _reading: AbortOnDropHandle::new(reading) }
    }

    /// The next complete block; never returns after a failure of the reader.
    pub async fn next(&mut self) -> (u64, Instant) {
        match self.blocks.recv().await {
            Some(block) => block,
            None => std::future::pending().await,
        }
    }
}

async fn read(
    mut connection: redis::aio::MultiplexedConnection,
    logs: u64,
    sender: mpsc::UnboundedSender<(u64, Instant)>,
) -> anyhow::Result<()> {
    let (mut last, mut seen) = ("$".to_owned(), BTreeMap::<u64, u64>::new());
    loop {
        let mut ask = redis::cmd("XREAD");
        ask.arg(&["BLOCK", "1000", "COUNT", "1000", "STREAMS", "events:token", &last]);
        let answer: Option<Entries> = ask.query_async(&mut connection).await?;
        let now = Instant::now();
        for (id, fields) in answer.into_iter().flatten().flat_map(|(_, entries)| entries) {
            let message: Value = serde_json::from_str(fields.get(1).map_or("null", String::as_str))?;
            let number = message["metadata"]["blockNumber"].as_u64().unwrap_or_default();
            let count = seen.entry(number).or_default();
            *count += 1;
            if *count == logs && sender.send((number, now)).is_err() {
                return Ok(());
            }
            last = id;
        }
    }
}
