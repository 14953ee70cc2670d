use crate::domain::BlockRange;

/// Sources that stand at the same block and go on together, by one question to the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Indices into the positions that were planned for, ascending.
    pub sources: Vec<usize>,
    /// What they may read: from their next block to where another source stands and joins them.
    pub range: BlockRange,
}

/// What can be read now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Near the head, block by block.
    pub live: Option<Group>,
    /// Far from it, in ranges.
    pub history: Option<Group>,
}

/// Plans for sources whose next unread blocks are `next`, up to `confirmed`, reading single blocks from
/// `live_from` on.
///
/// In each of the two zones the lowest sources go first and stop where the next ones stand, which then
/// travel with them: every block is asked for once, and no source waits for one that joins from far below.
pub fn plan(next: &[u64], confirmed: u64, live_from: u64) -> Plan {
    Plan {
        live: group(next, live_from, confirmed),
        history: live_from.checked_sub(1).and_then(|top| group(next, 0, top.min(confirmed))),
    }
}

fn group(next: &[u64], bottom: u64, top: u64) -> Option<Group> {
    let lowest = next.iter().copied().filter(|n| (bottom..=top).contains(n)).min()?;
    let joins_at = next.iter().copied().filter(|n| *n > lowest).min();
    let limit = joins_at.map_or(top, |n| top.min(n - 1));
    let sources = next.iter().enumerate().filter(|(_, n)| **n == lowest).map(|(i, _)| i).collect();
    BlockRange::new(lowest, limit).map(|range| Group { sources, range })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(sources: &[usize], from: u64, to: u64) -> Option<Group> {
        Some(Group { sources: sources.to_vec(), range: BlockRange::new(from, to).expect("in order") })
    }

    #[test]
    fn caught_up_sources_have_nothing_to_read() {
        assert_eq!(plan(&[99, 99], 98, 37), Plan::default());
    }

    #[test]
    fn a_source_that_joins_late_does_not_hold_the_others() {
        let plan = plan(&[95, 0, 95], 98, 37);
        assert_eq!(plan, Plan { live: some(&[0, 2], 95, 98), history: some(&[1], 0, 36) });
    }

    #[test]
    fn the_lowest_go_first_and_stop_where_the_next_ones_stand() {
        assert_eq!(plan(&[500, 0, 900], 5000, 4000).history, some(&[1], 0, 499));
        assert_eq!(plan(&[500, 500, 900], 5000, 4000).history, some(&[0, 1], 500, 899));
        assert_eq!(plan(&[97, 95], 98, 37).live, some(&[1], 95, 96));
    }

    #[test]
    fn a_start_block_in_the_future_waits_alone() {
        assert_eq!(plan(&[5000, 98], 98, 37), Plan { live: some(&[1], 98, 98), history: None });
    }

    #[test]
    fn history_ends_at_the_confirmed_head_where_that_is_far_behind() {
        assert_eq!(plan(&[0], 10, 937), Plan { live: None, history: some(&[0], 0, 10) });
    }
}
