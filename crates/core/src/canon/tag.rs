/// The accepted height of a tag (`safe`, `finalized`): the node's answer, except a jump that the node did not repeat.
///
/// One wrong answer would make blocks final for good, and an ordinary reorg of them would then stop the chain. So a tag
/// that is suddenly much nearer to the head than before counts only after a second equal answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TagHistory {
    accepted: Option<u64>,
    /// A jump that was reported once.
    jumped_to: Option<u64>,
    /// The smallest distance to the head so far.
    nearest: Option<u64>,
}

/// The judgement of an answer about a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagVerdict {
    /// The answer is accepted, or contains nothing new.
    Settled,
    /// The first answer has nothing to be compared with: ask again before anything depends on it.
    AskAgain,
    /// The tag jumped to this block. The jump counts if the next answer repeats it.
    Jumped(u64),
}

impl TagHistory {
    /// Judges an answer: under this head the tag is at `tagged`; `None` if the node does not know it. A tag never goes
    /// back, and a node that lacks it for a moment proves nothing.
    pub fn judge(&mut self, head: u64, tagged: Option<u64>) -> TagVerdict {
        if self.accepted.is_some_and(|accepted| accepted > head) {
            // A tag above the head is from another chain, or the head fell back.
            *self = Self::default();
        }
        let Some(tagged) = tagged else { return TagVerdict::Settled };
        let distance = head.saturating_sub(tagged);
        // Half of the usual distance: how far a tag lags varies with the blocks since it moved last.
        let is_plausible = self.accepted.is_some_and(|accepted| tagged <= accepted)
            || self.nearest.is_some_and(|nearest| distance >= nearest / 2);
        if is_plausible {
            self.accept(head, tagged);
            return TagVerdict::Settled;
        }
        match self.jumped_to.take() {
            Some(before) => {
                self.accept(head, tagged.min(before));
                TagVerdict::Settled
            }
            None => {
                self.jumped_to = Some(tagged);
                if self.accepted.is_none() { TagVerdict::AskAgain } else { TagVerdict::Jumped(tagged) }
            }
        }
    }

    /// The accepted height; `None` before the first one, or if `head` is below it.
    pub fn accepted(&self, head: u64) -> Option<u64> {
        self.accepted.filter(|accepted| *accepted <= head)
    }

    fn accept(&mut self, head: u64, tagged: u64) {
        // The head may come from a backend that is behind the one of the tag.
        let tagged = tagged.min(head);
        self.accepted = self.accepted.max(Some(tagged));
        let distance = head - tagged;
        self.nearest = Some(self.nearest.map_or(distance, |nearest| nearest.min(distance)));
        self.jumped_to = None;
    }
}

#[cfg(test)]
mod tests {
    use super::TagVerdict::{AskAgain, Jumped, Settled};
    use super::*;

    /// A history that knows the tag 64 blocks below head 1000.
    fn known() -> TagHistory {
        let mut tag = TagHistory::default();
        assert_eq!(tag.judge(1000, Some(936)), AskAgain);
        assert_eq!((tag.accepted(1000), tag.judge(1000, Some(936))), (None, Settled));
        tag
    }

    #[test]
    fn a_tag_that_follows_its_chain_is_accepted_at_once() {
        let mut tag = known();
        for (head, tagged) in [(1010, 936), (1040, 968), (1064, 1024), (1080, 1000), (1090, 1024)] {
            assert_eq!(tag.judge(head, Some(tagged)), Settled, "{tagged} under {head}");
        }
        assert_eq!(tag.accepted(1090), Some(1024));
        assert_eq!((tag.judge(1091, None), tag.accepted(1091)), (Settled, Some(1024)));
    }

    #[test]
    fn a_jump_counts_when_the_node_repeats_it() {
        let mut tag = known();
        assert_eq!((tag.judge(1001, Some(1001)), tag.accepted(1001)), (Jumped(1001), Some(936)));
        // One wrong answer is forgotten with the next right one.
        assert_eq!((tag.judge(1002, Some(937)), tag.accepted(1002)), (Settled, Some(937)));
        assert_eq!(tag.judge(1003, Some(1002)), Jumped(1002));
        assert_eq!((tag.judge(1004, Some(1001)), tag.accepted(1004)), (Settled, Some(1001)));
    }

    #[test]
    fn of_two_first_answers_the_lower_one_counts() {
        let mut tag = TagHistory::default();
        assert_eq!(tag.judge(1000, Some(1000)), AskAgain);
        assert_eq!((tag.judge(1000, Some(936)), tag.accepted(1000)), (Settled, Some(936)));
    }

    #[test]
    fn a_tag_at_the_head_or_ahead_of_it_never_jumps() {
        let mut tag = TagHistory::default();
        tag.judge(50, Some(50));
        tag.judge(50, Some(51));
        assert_eq!((tag.judge(52, Some(52)), tag.accepted(52)), (Settled, Some(52)));
        assert_eq!((tag.judge(53, Some(54)), tag.accepted(53)), (Settled, Some(53)));
    }

    #[test]
    fn a_tag_above_the_head_is_forgotten() {
        let mut tag = known();
        assert_eq!(tag.accepted(900), None);
        assert_eq!((tag.judge(900, Some(836)), tag.accepted(900)), (AskAgain, None));
        assert_eq!((tag.judge(900, Some(836)), tag.accepted(900)), (Settled, Some(836)));
    }
}
