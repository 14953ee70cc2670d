use super::plan::Zones;

/// When a block is deep enough to be announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmations {
    /// This many blocks below the head; 0 is the head itself.
    Blocks(u64),
    /// At or below the block the node tags `safe`.
    Safe,
    /// At or below the block the node tags `finalized`.
    Finalized,
}

/// What is told of an event, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Publish {
    /// That it is confirmed.
    #[default]
    Confirmed,
    /// That it is seen at the head, too.
    PendingAndConfirmed,
}

/// What a node says of its chain's height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Newest block.
    pub latest: u64,
    /// The `safe` tag where it was asked for and the chain has it.
    pub safe: Option<u64>,
    /// The `finalized` tag where the chain has it.
    pub finalized: Option<u64>,
}

/// A chain's rules of depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// When a block is confirmed.
    pub confirmations: Confirmations,
    /// Blocks below the head that may still change where the chain has no `finalized` tag; also how
    /// near the head each block is read by itself.
    pub reorg_window: u64,
    /// Whether something is told before it is confirmed.
    pub publish: Publish,
}

impl Policy {
    /// The highest confirmed block, `None` while no block is deep enough.
    pub fn confirmed(&self, heads: &Heads) -> Option<u64> {
        match self.confirmations {
            Confirmations::Blocks(depth) => heads.latest.checked_sub(depth),
            Confirmations::Safe => heads.safe,
            Confirmations::Finalized => heads.finalized,
        }
        // A tag read from another backend may be ahead of the head read from this one.
        .map(|number| number.min(heads.latest))
    }

    /// How the chain divides under these heads.
    pub fn zones(&self, heads: &Heads) -> Zones {
        Zones {
            confirmed: self.confirmed(heads),
            live_from: self.live_from(heads),
            pending_to: (self.publish == Publish::PendingAndConfirmed).then_some(heads.latest),
        }
    }

    /// The tag that confirms and that the node does not have.
    pub fn missing_tag(&self, heads: &Heads) -> Option<&'static str> {
        match self.confirmations {
            Confirmations::Safe if heads.safe.is_none() => Some("safe"),
            Confirmations::Finalized if heads.finalized.is_none() => Some("finalized"),
            _ => None,
        }
    }

    /// The highest final block: what we refuse to undo by ourselves.
    pub fn final_number(&self, heads: &Heads) -> u64 {
        heads.finalized.unwrap_or(heads.latest.saturating_sub(self.reorg_window)).min(heads.latest)
    }

    /// The first block that is read by itself, by hash and with its parent link checked; below it ranges
    /// do. Everything above `final` would be exact too, but on a chain whose `finalized` tag is thousands
    /// of blocks behind, coming back after an hour would take thousands of calls.
    pub fn live_from(&self, heads: &Heads) -> u64 {
        let near = heads.latest.saturating_sub(self.reorg_window);
        self.final_number(heads).max(near).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(latest: u64, finalized: Option<u64>) -> Heads {
        Heads { latest, safe: finalized.map(|n| n + 10), finalized }
    }

    fn policy(confirmations: Confirmations) -> Policy {
        Policy { confirmations, reorg_window: 64, publish: Publish::Confirmed }
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
    fn single_blocks_begin_at_the_window_and_never_below_final() {
        let policy = policy(Confirmations::Blocks(2));
        assert_eq!(policy.live_from(&heads(1000, None)), 937);
        assert_eq!(policy.live_from(&heads(1000, Some(200))), 937);
        assert_eq!(policy.live_from(&heads(1000, Some(990))), 991);
        assert_eq!(policy.live_from(&heads(10, None)), 1);
    }
}
