use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::backoff;
use chainflume_core::domain::causes;
use chainflume_db::StoreError;
use chainflume_ops::health::Heartbeat;
use chainflume_ops::telemetry::LogLimiter;
use chainflume_outbox::Outbox;

/// How relays hear of commits; clones hear the same.
#[derive(Clone, Debug)]
pub struct CommitSignal(watch::Receiver<()>);

impl CommitSignal {
    /// Returns at the next announcement, at once if there was one since the last call, or after `patience`:
    /// an announcement only saves time, and one that is lost costs no more than that.
    pub(super) async fn wait(&mut self, patience: Duration) {
        let heard = async {
            if self.0.changed().await.is_err() {
                // Nobody listens any more; the time has to do.
                std::future::pending::<()>().await;
            }
        };
        let _in_time = tokio::time::timeout(patience, heard).await;
    }
}

/// One connection that listens for all relays, and how they hear of it.
pub fn listen(outbox: Outbox) -> (CommitSignal, Listener) {
    let (sender, receiver) = watch::channel(());
    (CommitSignal(receiver), Listener { outbox, sender: Arc::new(sender) })
}

/// Listens for all relays. Clones wake the same ones.
#[derive(Clone)]
pub struct Listener {
    outbox: Outbox,
    sender: Arc<watch::Sender<()>>,
}

impl Listener {
    /// Listens until `stop`, on one connection, which is opened again whenever it is lost.
    pub async fn run(self, stop: CancellationToken, heartbeat: Heartbeat) {
        if !self.outbox.announces() {
            tracing::warn!(
                "the database is behind a pooler: commits are not announced, and relays poll for messages"
            );
            return heartbeat.wait(stop.cancelled()).await;
        }
        let (mut backoff, lines) = (backoff(), LogLimiter::default());
        loop {
            // Nothing may come for long.
            let hearing = hear(&self.outbox, &self.sender, || backoff.reset());
            let Some(Err(error)) = stop.run_until_cancelled(heartbeat.wait(hearing)).await else { return };
            let wait = backoff.next_pause();
            if let Some(suppressed) = lines.admit("listen") {
                let suppressed = suppressed.field();
                tracing::warn!(error = %causes(&error), suppressed, "cannot listen for commits; relays poll for messages");
            }
            let _stopped = stop.run_until_cancelled(heartbeat.wait(tokio::time::sleep(wait))).await;
        }
    }
}

async fn hear(
    outbox: &Outbox,
    sender: &watch::Sender<()>,
    mut connected: impl FnMut(),
) -> Result<(), StoreError> {
    let mut listener = outbox.listen().await?;
    connected();
    loop {
        // What was committed before we listened was announced to nobody, so this comes first.
        sender.send_replace(());
        listener.changed().await?;
    }
}
