use tokio::sync::watch;

/// Cancels the requests in flight when another provider is used from now on.
pub(super) struct RequestCanceller(watch::Sender<u64>);

impl Default for RequestCanceller {
    fn default() -> Self {
        Self(watch::channel(0).0)
    }
}

impl RequestCanceller {
    /// Completes all futures of [`Self::wait_for_next`].
    pub(super) fn cancel(&self) {
        self.0.send_modify(|cancellations| *cancellations += 1);
    }

    /// A future that completes at the first [`Self::cancel`] after this call.
    pub(super) fn wait_for_next(&self) -> impl Future<Output = ()> + use<> {
        let mut cancellations = self.0.subscribe();
        async move {
            if cancellations.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }
}
