use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::gap::Reason;
use super::line::Line;
use super::{Feed, POLL};
use crate::push::Entry;
use chainflume_core::domain::causes;
use chainflume_db::StoreError;
use chainflume_ops::backoff::Backoff;
use chainflume_ops::health::Heartbeat;
use chainflume_ops::telemetry::LogLimiter;

/// Messages read at once.
const BATCH: u32 = 500;
/// Lines that one task flushes, some ten microseconds each: a thread that flushes has nothing else run meanwhile.
const LINES: usize = 64;
/// The first pause between two tries of a database that does not answer.
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two tries of a database that does not answer: clients wait.
const MAX_PAUSE: Duration = Duration::from_secs(2);

fn backoff() -> Backoff {
    Backoff::new(MIN_PAUSE, MAX_PAUSE)
}

impl Feed {
    /// Reads messages and sends them to clients until `stop`. An error of the database is logged and retried after a pause.
    pub async fn run(&self, stop: CancellationToken, heartbeat: Heartbeat) {
        let (mut wake, mut pause, lines) = (self.wake.subscribe(), backoff(), LogLimiter::default());
        while !stop.is_cancelled() {
            heartbeat.beat();
            let Some(stepped) = stop.run_until_cancelled(heartbeat.wait(self.step())).await else { return };
            match stepped {
                Ok(true) => pause.reset(),
                Ok(false) => {
                    pause.reset();
                    let woken = tokio::time::timeout(POLL, wake.changed());
                    let _stopped = stop.run_until_cancelled(heartbeat.wait(woken)).await;
                }
                Err(error) => {
                    if let Some(suppressed) = lines.admit("feed") {
                        let suppressed = suppressed.field();
                        tracing::warn!(error = %causes(&error), suppressed, "messages for clients cannot be read; they wait");
                    }
                    let wait = tokio::time::sleep(pause.next_pause());
                    let _stopped = stop.run_until_cancelled(heartbeat.wait(wait)).await;
                }
            }
        }
    }

    /// Reads what follows the newest message. Returns whether there was any.
    async fn step(&self) -> Result<bool, StoreError> {
        let newest = self.hub.newest();
        let Some(rows) = self.outbox.read_after(newest.clone(), BATCH).await? else {
            tracing::warn!(
                seq = newest.seq,
                "the database is of another history than before; clients are notified of a gap"
            );
            self.begin_again(Reason::Epoch).await?;
            return Ok(true);
        };
        let Some(first) = rows.first() else { return Ok(false) };
        if first.missed(newest.seq) > 0 {
            tracing::warn!(
                seq = newest.seq,
                "messages were deleted before clients had them; clients are notified of a gap"
            );
            match first.epoch.before(first.seq) {
                // The next read returns the messages that are kept.
                Some(position) => self.hub.skip(position),
                None => self.begin_again(Reason::Retention).await?,
            }
            return Ok(true);
        }
        self.publish(self.entries(rows, None).await?).await;
        Ok(true)
    }

    /// Sends messages in order. A client gets messages that were read together by one write, up to a part of what may wait for it.
    async fn publish(&self, entries: Vec<Arc<Entry>>) {
        let (mut together, mut bytes) = (Vec::new(), 0);
        for entry in entries {
            bytes += entry.json.len();
            together.push(entry);
            if bytes >= self.settings.queue_bytes / 4 {
                flush(self.hub.publish(together.drain(..))).await;
                bytes = 0;
            }
        }
        flush(self.hub.publish(together)).await;
    }

    /// Listens for commits until `stop`, on one connection, which is opened again whenever it is lost. Without it messages are
    /// polled for.
    pub async fn listen(&self, stop: CancellationToken, heartbeat: Heartbeat) {
        if !self.outbox.can_listen() {
            return heartbeat.wait(stop.cancelled()).await;
        }
        let (mut pause, lines) = (backoff(), LogLimiter::default());
        loop {
            let hearing = self.hear(|| pause.reset());
            let Some(Err(error)) = stop.run_until_cancelled(heartbeat.wait(hearing)).await else { return };
            if let Some(suppressed) = lines.admit("listen") {
                let suppressed = suppressed.field();
                tracing::warn!(error = %causes(&error), suppressed, "commits are not announced; messages for clients are polled for");
            }
            let wait = tokio::time::sleep(pause.next_pause());
            let _stopped = stop.run_until_cancelled(heartbeat.wait(wait)).await;
        }
    }

    async fn hear(&self, mut connected: impl FnMut()) -> Result<(), StoreError> {
        let mut listener = self.outbox.listen().await?;
        connected();
        loop {
            // What was committed before the connection was there was not announced to it, so this comes first.
            self.wake.send_replace(());
            listener.changed().await?;
        }
    }
}

/// Sends to the clients of these lines what was added. Many lines are divided among the threads.
async fn flush(lines: Vec<Arc<Line>>) {
    if lines.len() <= LINES {
        return lines.iter().for_each(|line| line.flush());
    }
    let mut parts = JoinSet::new();
    for part in lines.chunks(LINES) {
        let part = part.to_vec();
        parts.spawn(async move { part.iter().for_each(|line| line.flush()) });
    }
    while parts.join_next().await.is_some() {}
}
