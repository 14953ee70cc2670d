use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Values kept of each measure: a look at how things are now, while the metrics have the history.
const KEPT: usize = 100;

/// The newest values of one measure.
pub(super) struct Recent(Mutex<VecDeque<f64>>);

impl Recent {
    pub const fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    pub fn add(&self, value: f64) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(value);
    }

    /// `None` before the first value.
    fn mean(&self) -> Option<f64> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = u32::try_from(kept.len()).ok().filter(|count| *count > 0)?;
        Some(kept.iter().sum::<f64>() / f64::from(count))
    }
}

/// Time from a webhook delivery's last byte to its answer, in milliseconds.
pub(super) static WEBHOOKS: Recent = Recent::new();
/// Time from the transaction of a message to a client's connection, in milliseconds.
pub(super) static DELIVERIES: Recent = Recent::new();

/// Means of the last 100 values of this process; `None` before the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecentReport {
    /// From a webhook delivery's last byte to its answer, in milliseconds.
    pub webhook_millis: Option<f64>,
    /// From the transaction of a message to a client's connection, in milliseconds.
    pub push_millis: Option<f64>,
}

/// What was measured of late.
pub fn recent() -> RecentReport {
    RecentReport { webhook_millis: WEBHOOKS.mean(), push_millis: DELIVERIES.mean() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_of_the_last_hundred_values() {
        let recent = Recent::new();
        assert_eq!(recent.mean(), None);
        (0..50).for_each(|_| recent.add(1_000.0));
        (0..99).for_each(|_| recent.add(1.0));
        recent.add(101.0);
        assert_eq!(recent.mean(), Some(2.0));
    }
}
