//! Pauses between tries.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Pauses that double from a first one to a longest one. Each has jitter, so that tasks which failed together do not
/// retry together. The pauses never end: the caller decides when to give up.
#[derive(Debug)]
pub struct Backoff {
    builder: ExponentialBuilder,
    pauses: ExponentialBackoff,
    longest: Duration,
}

impl Backoff {
    /// The first call of [`Self::next_pause`] returns about `first`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        let builder = ExponentialBuilder::default()
            .with_min_delay(first)
            .with_max_delay(longest)
            .without_max_times()
            .with_jitter();
        Self { builder, pauses: builder.build(), longest }
    }

    /// The pause before the next try.
    pub fn next_pause(&mut self) -> Duration {
        self.pauses.next().unwrap_or(self.longest)
    }

    /// Call this after a success: the next pause is a first one again.
    pub fn reset(&mut self) {
        self.pauses = self.builder.build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_begin_again_after_a_success() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(2));
        let mut backoff = Backoff::new(first, longest);
        let pauses: Vec<Duration> = (0..40).map(|_| backoff.next_pause()).collect();
        // Jitter at most doubles a pause.
        assert!((first..=2 * first).contains(&pauses[0]), "{:?}", pauses[0]);
        assert!(pauses[10..].iter().all(|pause| (longest..=2 * longest).contains(pause)), "{pauses:?}");
        backoff.reset();
        assert!(backoff.next_pause() <= 2 * first);
    }
}
