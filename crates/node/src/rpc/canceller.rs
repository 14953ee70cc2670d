use tokio::sync::watch;

/// Ends what is on its way when the endpoint is left for another.
pub(super) struct RequestCanceller(watch::Sender<u64>);

impl Default for RequestCanceller {
    fn default() -> Self {
        Self(watch::channel(0).0)
    }
}

impl RequestCanceller {
    /// Ends what waits for [`Self::wait_for_next`].
    pub(super) fn cancel(&self) {
        self.0.send_modify(|departures| *departures += 1);
    }

    /// From now on.
    pub(super) fn wait_for_next(&self) -> impl Future<Output = ()> + use<> {
        let mut departures = self.0.subscribe();
        async move {
            if departures.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }
}
