//! Limits the bytes of one provider's answers that are in memory while they are read.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

use chainflume_ops::metrics;

/// Bytes are reserved in units of this size.
const UNIT: usize = 64 << 10;
/// Bytes of each answer that are not counted, so that a head does not wait behind ranges of history. For 16
/// concurrent answers this is 16 MiB.
const FREE: usize = 1 << 20;

/// The bytes of a provider's answers that may be in memory. One answer at a time may exceed the limit: otherwise
/// several answers that each hold a part would wait for each other for ever. At most the limit and one largest answer
/// are in memory.
pub(super) struct BytesInFlight {
    units: Arc<Semaphore>,
    most: usize,
    beyond: Arc<Mutex<()>>,
    chain: String,
    provider: String,
}

impl BytesInFlight {
    /// A limit of `most` bytes for a provider of a chain.
    pub(super) fn new(labels: metrics::ProviderLabels<'_>, most: usize) -> Arc<Self> {
        let most = most.div_ceil(UNIT).clamp(1, Semaphore::MAX_PERMITS);
        let (units, beyond) = (Arc::new(Semaphore::new(most)), Arc::default());
        let (chain, provider) = (labels.chain.to_owned(), labels.provider.to_owned());
        let bytes = Self { units, most, beyond, chain, provider };
        bytes.report(0);
        Arc::new(bytes)
    }

    fn report(&self, returned: usize) {
        let taken = self.most.saturating_sub(self.units.available_permits() + returned);
        let labels = metrics::ProviderLabels { chain: &self.chain, provider: &self.provider };
        metrics::rpc_bytes(labels, (taken * UNIT) as u64);
    }
}

/// The share of one answer, until the answer is parsed.
pub(super) struct AnswerBytes {
    of: Arc<BytesInFlight>,
    permit: Option<OwnedSemaphorePermit>,
    beyond: Option<OwnedMutexGuard<()>>,
}

impl AnswerBytes {
    /// An empty share.
    pub(super) fn new(of: Arc<BytesInFlight>) -> Self {
        Self { of, permit: None, beyond: None }
    }

    fn covered(&self) -> usize {
        FREE + self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) * UNIT
    }

    /// Waits until this answer may have this number of bytes. Meanwhile the connection is not read, so that the node
    /// waits too.
    pub(super) async fn cover(&mut self, bytes: usize) {
        while self.beyond.is_none() && self.covered() < bytes {
            let lacking = (bytes - self.covered()).div_ceil(UNIT).clamp(1, self.of.most);
            let units = u32::try_from(lacking).unwrap_or(u32::MAX);
            tokio::select! {
                biased;
                permit = self.of.units.clone().acquire_many_owned(units) => {
                    let Ok(permit) = permit else { return };
                    match &mut self.permit {
                        Some(all) => all.merge(permit),
                        None => self.permit = Some(permit),
                    }
                    self.of.report(0);
                }
                beyond = self.of.beyond.clone().lock_owned() => self.beyond = Some(beyond),
            }
        }
    }
}

impl Drop for AnswerBytes {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.of.report(permit.num_permits());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const MIB: usize = 1 << 20;

    fn is_covered(answer: &mut AnswerBytes, bytes: usize) -> bool {
        answer.cover(bytes).now_or_never().is_some()
    }

    #[test]
    fn answers_beyond_the_limit_wait_for_others_but_for_one() {
        let bytes = BytesInFlight::new(metrics::ProviderLabels { chain: "base", provider: "one" }, 8 * MIB);
        let [mut first, mut second, mut third] = std::array::from_fn(|_| AnswerBytes::new(bytes.clone()));
        assert!(is_covered(&mut first, 7 * MIB));
        assert!(is_covered(&mut second, 3 * MIB));
        // All eight are taken. One answer continues, and the others wait for it, except for a small one.
        assert!(is_covered(&mut second, 60 * MIB));
        assert!(!is_covered(&mut first, 8 * MIB));
        assert!(!is_covered(&mut third, 2 * MIB));
        assert!(is_covered(&mut third, MIB));
        drop(second);
        assert!(is_covered(&mut first, 8 * MIB));
        assert!(is_covered(&mut third, 2 * MIB));
        drop((first, third));
        assert_eq!(bytes.units.available_permits() * UNIT, 8 * MIB);
    }
}
