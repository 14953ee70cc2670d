use crate::domain::BlockRange;

/// Sources with the same next block. One request to the node serves all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceGroup {
    /// Indices into the planned positions, ascending.
    pub sources: Vec<usize>,
    /// The blocks to read: from the next block of the group to the next block of another source, which then joins the
    /// group.
    pub range: BlockRange,
}

/// The work that can be done now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadPlan {
    /// Near the head: read block by block.
    pub live: Option<SourceGroup>,
    /// Above the confirmed block: read block by block and publish as pending.
    pub pending: Option<SourceGroup>,
    /// Far from the head: read in ranges.
    pub history: Option<SourceGroup>,
}

/// The position of each source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourcePosition {
    /// The next block to store.
    pub next: u64,
    /// The next block to publish as pending, as far as known; a block may be published again.
    pub next_pending: u64,
    /// The last block of the source; the largest number without one. Nothing above it is read.
    pub last: u64,
}

/// The heights that divide a chain into zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepthZones {
    /// The highest confirmed block; `None` until a block is deep enough.
    pub confirmed: Option<u64>,
    /// The first block that is read singly.
    pub live_from: u64,
    /// The first block that may be published as pending, at or above `live_from`.
    pub pending_from: u64,
    /// The highest block to publish as pending; `None` if none is.
    pub pending_to: Option<u64>,
}

/// Plans the work for sources at these `positions`.
///
/// In each zone the lowest sources go first, up to the next block of the next sources; then both continue as one group.
/// So every block is fetched once, and no source waits for one that comes from far below.
///
/// The pending zone lies above the confirmed blocks and above the blocks read in ranges. Where a tag thousands of
/// blocks back confirms, only the reorg window is published as pending. A source that still reads ranges publishes
/// nothing as pending: it would leave pending events behind for the rest of its history.
pub fn plan(positions: &[SourcePosition], zones: DepthZones) -> ReadPlan {
    let next: Vec<ReadSpan> = positions.iter().map(|position| (position.next, position.last)).collect();
    let DepthZones { confirmed, live_from, .. } = zones;
    ReadPlan {
        live: confirmed.and_then(|confirmed| group(&next, live_from, confirmed)),
        pending: pending(positions, zones),
        history: live_from
            .checked_sub(1)
            .zip(confirmed)
            .and_then(|(top, confirmed)| group(&next, 0, top.min(confirmed))),
    }
}

fn pending(positions: &[SourcePosition], zones: DepthZones) -> Option<SourceGroup> {
    let DepthZones { confirmed, live_from, pending_from, pending_to } = zones;
    let unconfirmed = confirmed.map_or(0, |confirmed| confirmed.saturating_add(1));
    let bottom = unconfirmed.max(pending_from);
    let unpublished: Vec<ReadSpan> = positions
        .iter()
        .map(|at| match at.next >= unconfirmed.min(live_from) {
            true => (at.next.max(at.next_pending).max(bottom), at.last),
            // Beyond every head.
            false => (u64::MAX, at.last),
        })
        .collect();
    group(&unpublished, bottom, pending_to?)
}

/// The next block of a source, and its last.
type ReadSpan = (u64, u64);

fn group(spans: &[ReadSpan], bottom: u64, top: u64) -> Option<SourceGroup> {
    // A source that has stored its last block takes part in nothing.
    let reading = || spans.iter().enumerate().filter(|(_, (next, last))| next <= last);
    let next = || reading().map(|(_, (next, _))| *next);
    let lowest = next().filter(|n| (bottom..=top).contains(n)).min()?;
    let joins_at = next().filter(|n| *n > lowest).min();
    let group = || reading().filter(|(_, (next, _))| *next == lowest);
    let ends_at = group().map(|(_, (_, last))| *last).min().unwrap_or(top);
    let limit = joins_at.map_or(top, |n| top.min(n - 1)).min(ends_at);
    let sources = group().map(|(index, _)| index).collect();
    BlockRange::new(lowest, limit).map(|range| SourceGroup { sources, range })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(sources: &[usize], from: u64, to: u64) -> Option<SourceGroup> {
        Some(SourceGroup { sources: sources.to_vec(), range: BlockRange::new(from, to).expect("in order") })
    }

    fn stored(next: &[u64]) -> Vec<SourcePosition> {
        next.iter().map(|next| SourcePosition { next: *next, next_pending: 0, last: u64::MAX }).collect()
    }

    /// The plan of a chain that publishes nothing as pending.
    fn plan(next: &[u64], confirmed: u64, live_from: u64) -> ReadPlan {
        super::plan(
            &stored(next),
            DepthZones { confirmed: Some(confirmed), live_from, pending_from: live_from, pending_to: None },
        )
    }

    /// The blocks to publish as pending, for sources at (next, pending), up to block 100.
    fn pending_at(at: &[(u64, u64)], confirmed: Option<u64>, live_from: u64) -> Option<SourceGroup> {
        let positions: Vec<_> = at
            .iter()
            .map(|(next, next_pending)| SourcePosition {
                next: *next,
                next_pending: *next_pending,
                last: u64::MAX,
            })
            .collect();
        super::plan(
            &positions,
            DepthZones { confirmed, live_from, pending_from: live_from, pending_to: Some(100) },
        )
        .pending
    }

    #[test]
    fn caught_up_sources_have_nothing_to_read() {
        assert_eq!(plan(&[99, 99], 98, 37), ReadPlan::default());
    }

    #[test]
    fn a_source_that_joins_late_does_not_hold_the_others() {
        let plan = plan(&[95, 0, 95], 98, 37);
        assert_eq!(plan, ReadPlan { live: some(&[0, 2], 95, 98), pending: None, history: some(&[1], 0, 36) });
    }

    #[test]
    fn the_lowest_go_first_up_to_the_next_ones() {
        assert_eq!(plan(&[500, 0, 900], 5000, 4000).history, some(&[1], 0, 499));
        assert_eq!(plan(&[500, 500, 900], 5000, 4000).history, some(&[0, 1], 500, 899));
        assert_eq!(plan(&[97, 95], 98, 37).live, some(&[1], 95, 96));
    }

    #[test]
    fn a_start_block_in_the_future_waits_alone() {
        assert_eq!(plan(&[5000, 98], 98, 37), ReadPlan { live: some(&[1], 98, 98), ..ReadPlan::default() });
    }

    #[test]
    fn history_ends_at_the_confirmed_head_where_that_is_far_behind() {
        assert_eq!(plan(&[0], 10, 937), ReadPlan { history: some(&[0], 0, 10), ..ReadPlan::default() });
    }

    #[test]
    fn pending_blocks_are_published_once_above_the_confirmed_head() {
        assert_eq!(pending_at(&[(99, 0)], Some(98), 37), some(&[0], 99, 100));
        assert_eq!(pending_at(&[(98, 0)], Some(98), 37), some(&[0], 99, 100));
        assert_eq!(pending_at(&[(99, 100)], Some(98), 37), some(&[0], 100, 100));
        assert_eq!(pending_at(&[(99, 101)], Some(98), 37), None);
        assert_eq!(pending_at(&[(0, 0)], None, 1), some(&[0], 1, 100));
    }

    #[test]
    fn nothing_is_pending_where_the_head_itself_is_confirmed() {
        assert_eq!(pending_at(&[(101, 0), (100, 0)], Some(100), 37), None);
    }

    #[test]
    fn a_source_that_reads_history_publishes_nothing_ahead() {
        assert_eq!(pending_at(&[(99, 0), (12, 0)], Some(98), 37), some(&[0], 99, 100));
        assert_eq!(pending_at(&[(12, 0)], Some(98), 37), None);
        assert_eq!(pending_at(&[(37, 0)], Some(98), 37), some(&[0], 99, 100));
    }

    #[test]
    fn a_source_that_joins_the_head_publishes_up_to_the_others() {
        assert_eq!(pending_at(&[(99, 101), (99, 0)], Some(98), 37), some(&[1], 99, 100));
        assert_eq!(pending_at(&[(99, 100), (99, 0)], Some(98), 37), some(&[1], 99, 99));
        assert_eq!(pending_at(&[(99, 0), (100, 0), (500, 0)], Some(98), 37), some(&[0], 99, 99));
    }

    #[test]
    fn young_blocks_below_the_window_are_not_published() {
        let positions = [SourcePosition { next: 40, next_pending: 0, last: u64::MAX }];
        let zones =
            DepthZones { confirmed: Some(45), live_from: 37, pending_from: 60, pending_to: Some(100) };
        assert_eq!(super::plan(&positions, zones).pending, some(&[0], 60, 100));
    }

    /// The plan for sources at (next, last), of which blocks up to 98 are confirmed, and up to 100 may be pending.
    fn bounded(spans: &[(u64, u64)]) -> ReadPlan {
        let position =
            |(next, last): &(u64, u64)| SourcePosition { next: *next, next_pending: 0, last: *last };
        let positions: Vec<_> = spans.iter().map(position).collect();
        let zones =
            DepthZones { confirmed: Some(98), live_from: 37, pending_from: 37, pending_to: Some(100) };
        super::plan(&positions, zones)
    }

    #[test]
    fn a_group_reads_up_to_the_last_block_of_each_of_its_sources() {
        let plan = bounded(&[(95, u64::MAX), (95, 97), (95, 96)]);
        assert_eq!(plan.live, some(&[0, 1, 2], 95, 96));
        let plan = bounded(&[(97, u64::MAX), (97, 97), (97, 96)]);
        assert_eq!(plan.live, some(&[0, 1], 97, 97), "the source that has its last block takes no part");
        assert_eq!(bounded(&[(5, 20), (5, 9), (10, 9)]).history, some(&[0, 1], 5, 9));
    }

    #[test]
    fn a_source_at_its_end_holds_nothing_up() {
        let nothing_pending = bounded(&[(97, 96), (12, 11)]);
        assert_eq!(nothing_pending, ReadPlan::default());
        let plan = bounded(&[(50, 49), (40, u64::MAX)]);
        assert_eq!(plan.live, some(&[1], 40, 98), "no source joins at a block that is not read");
        assert_eq!(bounded(&[(99, 99), (99, u64::MAX)]).pending, some(&[0, 1], 99, 99));
    }

    #[test]
    fn a_tag_far_behind_leaves_only_the_window_as_pending() {
        assert_eq!(pending_at(&[(6, 0)], Some(5), 37), some(&[0], 37, 100));
        assert_eq!(pending_at(&[(5, 0)], Some(5), 37), None);
    }
}
