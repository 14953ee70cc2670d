use tokio_util::sync::CancellationToken;

use super::{Courier, Relay};
use crate::sink::Sink;
use chainflume_db::Epoch;

/// Whatever carries to one sink: of several daemons, the one whose turn it is.
pub trait Lead: Send + 'static {
    /// Name of the sink.
    fn sink(&self) -> &str;

    /// Carries until `stop`, or until another instance leads. Without an epoch nobody else is there.
    fn lead(&mut self, epoch: Option<Epoch>, stop: CancellationToken) -> impl Future<Output = ()> + Send;
}

impl<S: Sink> Lead for Relay<S> {
    fn sink(&self) -> &str {
        self.name()
    }

    async fn lead(&mut self, epoch: Option<Epoch>, stop: CancellationToken) {
        self.carry(epoch, stop).await;
    }
}

impl<S: Sink + Clone + Sync> Lead for Courier<S> {
    fn sink(&self) -> &str {
        self.name()
    }

    async fn lead(&mut self, epoch: Option<Epoch>, stop: CancellationToken) {
        self.carry(epoch, stop).await;
    }
}
