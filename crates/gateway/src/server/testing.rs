//! A feed to listen to, against a real PostgreSQL.

use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::feed::{Feed, Settings};
use chainflume_core::domain::OffChainMessage;
use chainflume_db::Database;
use chainflume_ops::health::{Board, Heartbeat, TurnSource};
use chainflume_outbox::{Outbox, Position, append_off_chain, off_chain_drafts};

/// A feed of a fresh database, which keeps so many bytes of messages in memory, and what it reads from.
pub(super) struct FedStream {
    database: Database,
    pub feed: Feed,
    stop: CancellationToken,
}

impl Drop for FedStream {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn heartbeat() -> Heartbeat {
    Board::default().loop_starts("feed", TurnSource::Heartbeat, Duration::from_secs(120))
}

fn message(order: &str) -> OffChainMessage {
    serde_json::from_value(json!({
        "id": "00000000-0000-4000-8000-000000000000", "seq": 0, "version": 1, "type": "order.shipped", "state": "confirmed",
        "timestamp": "2026-01-01T00:00:00.000Z", "aggregateType": "order", "aggregateId": order, "payload": {},
        "metadata": { "userId": null, "correlationId": null, "causationId": null, "source": "test", "chainId": null,
            "blockNumber": null, "blockHash": null, "transactionHash": null, "logIndex": null, "confirmations": null },
    }))
    .expect("a message")
}

impl FedStream {
    pub async fn new(hot_bytes: usize) -> Self {
        let url = chainflume_testkit::postgres::database().await;
        let acquire_timeout = Duration::from_secs(30);
        let settings = chainflume_db::Settings { url, max_connections: 4, acquire_timeout };
        let database = Database::connect(&settings).await.expect("connects");
        database.migrate().await.expect("migrates");
        let settings = Settings { hot_bytes, ..Settings::default() };
        let feed = Feed::open(&database, Outbox::of(&database), settings).await.expect("opens");
        let stop = CancellationToken::new();
        let (running, ended) = (feed.clone(), stop.clone());
        tokio::spawn(async move { running.run(ended, heartbeat()).await });
        Self { database, feed, stop }
    }

    /// Publishes a message about each of these orders, in one commit, and waits until clients can have them.
    pub async fn publish(&self, orders: &[&str]) {
        let drafts = off_chain_drafts(orders.iter().map(|order| message(order)).collect()).expect("drafts");
        let mut tx = self.database.pool().begin().await.expect("begins");
        let last = append_off_chain(&mut tx, drafts).await.expect("appends").expect("messages");
        tx.commit().await.expect("commits");
        while self.feed.newest().seq < last.seq {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn at(&self, seq: u64) -> Position {
        Position { seq, epoch: self.feed.newest().epoch }
    }
}
