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

/// How relays learn of commits; clones share the same source.
#[derive(Clone, Debug)]
pub struct CommitSignal(watch::Receiver<()>);

impl CommitSignal {
    /// Returns at the next notification, at once if there was one since the last call, or after `timeout`. A
    /// notification only saves time; a lost one costs at most `timeout`.
    pub(super) async fn wait(&mut self, timeout: Duration) {
        let notified = async {
            if self.0.changed().await.is_err() {
                // The listener has ended, so only the timeout remains.
                std::future::pending::<()>().await;
            }
        };
        let _in_time = tokio::time::timeout(timeout, notified).await;
    }
}

/// One connection that listens for all relays, and their handles.
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
    /// Listens until `stop` on one connection, which is reopened after each loss.
    pub async fn run(self, stop: CancellationToken, heartbeat: Heartbeat) {
        if !self.outbox.can_listen() {
            tracing::warn!(
                "the database is behind a pooler: relays do not receive notifications of commits and poll for messages"
            );
            return heartbeat.wait(stop.cancelled()).await;
        }
        let (mut backoff, lines) = (backoff(), LogLimiter::default());
        loop {
            // There may be no notification for a long time.
            let hearing = hear(&self.outbox, &self.sender, || backoff.reset());
            let Some(Err(error)) = stop.run_until_cancelled(heartbeat.wait(hearing)).await else { return };
            let wait = backoff.next_pause();
            if let Some(suppressed) = lines.admit("listen") {
                let suppressed = suppressed.field();
                tracing::warn!(error = %causes(&error), suppressed, "cannot listen for commits; relays poll for messages");
            }
            heartbeat.pause(wait, &stop).await;
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
        // Commits before the connection listened caused no notification, so this step comes first.
        sender.send_replace(());
        listener.changed().await?;
    }
}
