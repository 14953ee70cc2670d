use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{MAX_PAUSE, backoff};
use crate::domain::causes;
use crate::store::{Store, StoreError};
use crate::telemetry::Limiter;

/// How relays hear of commits; clones hear the same.
#[derive(Clone, Debug)]
pub struct Wake(watch::Receiver<()>);

impl Wake {
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

/// One connection that listens for all relays, and the task that keeps it.
pub fn listen(store: Store, stop: CancellationToken) -> (Wake, impl Future<Output = ()> + Send + 'static) {
    let (sender, receiver) = watch::channel(());
    (Wake(receiver), keep_listening(store, sender, stop))
}

async fn keep_listening(store: Store, sender: watch::Sender<()>, stop: CancellationToken) {
    if !store.announces() {
        tracing::warn!(
            "a pooler stands before the database: commits are not announced, messages are polled for"
        );
        return;
    }
    let (mut pause, lines) = (backoff(), Limiter::default());
    loop {
        let heard = stop.run_until_cancelled(hear(&store, &sender, || pause = backoff())).await;
        let Some(Err(error)) = heard else { return };
        let wait = pause.next().unwrap_or(MAX_PAUSE);
        if let Some(held_back) = lines.admit("listen") {
            let held_back = held_back.field();
            tracing::warn!(error = %causes(&error), held_back, "commits are not announced; messages are polled for");
        }
        let _stopped = stop.run_until_cancelled(tokio::time::sleep(wait)).await;
    }
}

async fn hear(
    store: &Store,
    sender: &watch::Sender<()>,
    mut connected: impl FnMut(),
) -> Result<(), StoreError> {
    let mut listener = store.listen_outbox().await?;
    connected();
    loop {
        // What was committed before we listened was announced to nobody, so this comes first.
        sender.send_replace(());
        listener.changed().await?;
    }
}
