use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::heads::Heads;
use super::plan::DepthZones;

/// When a block is deep enough to be published as confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmations {
    /// This many blocks below the head; 0 is the head itself.
    Blocks(u64),
    /// At or below the block the node tags `safe`.
    Safe,
    /// At or below the block the node tags `finalized`.
    Finalized,
}

impl<'de> Deserialize<'de> for Confirmations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tags = [("safe", Self::Safe), ("finalized", Self::Finalized)];
        let remedy = "write a number of blocks, \"safe\" or \"finalized\"";
        crate::settings::number_or_word::<0, 10_000, _, _>(deserializer, Self::Blocks, &tags, remedy)
    }
}

/// What is published about an event, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublishMode {
    /// Only the confirmed event.
    #[default]
    Confirmed,
    /// The event at the head as pending, and its confirmation.
    PendingAndConfirmed,
}

/// A chain's rules of depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DepthPolicy {
    /// When a block counts as confirmed.
    pub confirmations: Confirmations,
    /// Number of blocks below the head that may still change, if the chain has no `finalized` tag. Each of them is read
    /// singly.
    #[serde(deserialize_with = "crate::settings::number::<1, 100_000, _, _>")]
    pub reorg_window: u64,
    /// How long one backend of a node may lack a block that another one has. A block younger than this, measured from
    /// the head, is read singly.
    #[serde(deserialize_with = "crate::settings::duration::<0, 3_600_000, _>")]
    pub backend_lag: Duration,
    /// The same in blocks; the larger of both counts.
    #[serde(deserialize_with = "crate::settings::number::<0, 100_000, _, _>")]
    pub backend_lag_blocks: u64,
    /// Whether events are published as pending.
    pub publish: PublishMode,
}

impl Default for DepthPolicy {
    fn default() -> Self {
        Self {
            confirmations: Confirmations::Blocks(2),
            reorg_window: 64,
            backend_lag: Duration::from_secs(60),
            backend_lag_blocks: 128,
            publish: PublishMode::default(),
        }
    }
}

impl DepthPolicy {
    /// The highest confirmed block; `None` until a block is deep enough.
    pub fn confirmed(&self, heads: &Heads) -> Option<u64> {
        match self.confirmations {
            Confirmations::Blocks(depth) => heads.latest.checked_sub(depth),
            Confirmations::Safe => heads.safe,
            Confirmations::Finalized => heads.finalized,
        }
        // A tag from one backend may be ahead of a head from another one.
        .map(|number| number.min(heads.latest))
    }

    /// The zones of the chain under these heads.
    pub fn zones(&self, heads: &Heads) -> DepthZones {
        DepthZones {
            confirmed: self.confirmed(heads),
            live_from: self.live_from(heads),
            pending_from: self.pending_from(heads),
            pending_to: (self.publish == PublishMode::PendingAndConfirmed).then_some(heads.latest),
        }
    }

    /// The tag that confirms blocks, if the node does not have it.
    pub fn missing_tag(&self, heads: &Heads) -> Option<&'static str> {
        match self.confirmations {
            Confirmations::Safe if heads.safe.is_none() => Some("safe"),
            Confirmations::Finalized if heads.finalized.is_none() => Some("finalized"),
            _ => None,
        }
    }

    /// The highest final block. The daemon undoes nothing at or below it.
    pub fn final_number(&self, heads: &Heads) -> u64 {
        heads.finalized.unwrap_or(heads.latest.saturating_sub(self.reorg_window)).min(heads.latest)
    }

    /// The first block that is read singly: by hash, with its parent hash checked and its logs compared with its
    /// header. Below it, ranges are read. A lagging backend answers a range above its head with no logs and no error.
    /// So the age of a block decides, not its finality: many chains finalize a block within seconds.
    pub fn live_from(&self, heads: &Heads) -> u64 {
        let near = self.near(heads.latest);
        heads.aged.map_or(near, |aged| aged.number.min(near)).saturating_add(1)
    }

    /// The highest block that is old by the number of blocks above it.
    pub(super) fn near(&self, latest: u64) -> u64 {
        latest.saturating_sub(self.least_depth())
    }

    /// The minimum number of blocks that are read singly. A node that is further behind lacks the stored blocks.
    pub fn least_depth(&self) -> u64 {
        self.reorg_window.max(self.backend_lag_blocks)
    }

    /// The first block that is published as pending. Final blocks need no pending message; and below the reorg window a
    /// restart would publish everything again.
    fn pending_from(&self, heads: &Heads) -> u64 {
        let window = heads.latest.saturating_sub(self.reorg_window);
        self.final_number(heads).max(window).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canon::AgeBoundary;

    fn heads(latest: u64, finalized: Option<u64>) -> Heads {
        Heads { latest, safe: finalized.map(|n| n + 10), finalized, aged: None }
    }

    fn policy(confirmations: Confirmations) -> DepthPolicy {
        DepthPolicy {
            confirmations,
            reorg_window: 64,
            backend_lag: Duration::from_secs(60),
            backend_lag_blocks: 128,
            publish: PublishMode::Confirmed,
        }
    }

    #[test]
    fn depth_and_tags_confirm() {
        assert_eq!(policy(Confirmations::Blocks(2)).confirmed(&heads(100, None)), Some(98));
        assert_eq!(policy(Confirmations::Blocks(2)).confirmed(&heads(1, None)), None);
        assert_eq!(policy(Confirmations::Safe).confirmed(&heads(100, Some(30))), Some(40));
        assert_eq!(policy(Confirmations::Finalized).confirmed(&heads(100, Some(30))), Some(30));
        assert_eq!(policy(Confirmations::Finalized).confirmed(&heads(100, None)), None);
        assert_eq!(policy(Confirmations::Finalized).confirmed(&heads(20, Some(30))), Some(20));
    }

    #[test]
    fn only_a_tag_that_confirms_is_missed() {
        let missing = |confirmations, finalized| policy(confirmations).missing_tag(&heads(100, finalized));
        assert_eq!(missing(Confirmations::Blocks(2), None), None);
        assert_eq!(missing(Confirmations::Safe, None), Some("safe"));
        assert_eq!(missing(Confirmations::Finalized, None), Some("finalized"));
        assert_eq!(missing(Confirmations::Finalized, Some(30)), None);
    }

    #[test]
    fn the_tag_is_final_and_else_the_window() {
        let policy = policy(Confirmations::Blocks(2));
        assert_eq!(policy.final_number(&heads(1000, Some(200))), 200);
        assert_eq!(policy.final_number(&heads(1000, None)), 936);
        assert_eq!(policy.final_number(&heads(10, None)), 0);
    }

    #[test]
    fn single_blocks_begin_at_a_depth_that_no_tag_changes() {
        let policy = policy(Confirmations::Blocks(2));
        for tag in [None, Some(200), Some(990), Some(999), Some(1000)] {
            assert_eq!(policy.live_from(&heads(1000, tag)), 873);
        }
        assert_eq!(policy.live_from(&heads(10, None)), 1);
        let wide = DepthPolicy { reorg_window: 500, ..policy };
        assert_eq!(wide.live_from(&heads(1000, Some(1000))), 501);
    }

    #[test]
    fn single_blocks_begin_further_below_where_blocks_are_younger() {
        let policy = policy(Confirmations::Blocks(2));
        let aged =
            |number| Heads { aged: Some(AgeBoundary { number, under: 1000 }), ..heads(1000, Some(1000)) };
        assert_eq!(policy.live_from(&aged(700)), 701);
        assert_eq!(policy.live_from(&aged(950)), 873);
    }

    #[test]
    fn pending_begins_at_the_window_and_never_below_final() {
        let policy = policy(Confirmations::Blocks(2));
        assert_eq!(policy.pending_from(&heads(1000, None)), 937);
        assert_eq!(policy.pending_from(&heads(1000, Some(200))), 937);
        assert_eq!(policy.pending_from(&heads(1000, Some(990))), 991);
        assert_eq!(policy.pending_from(&heads(10, None)), 1);
    }
}
