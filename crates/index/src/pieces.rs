//! Splits blocks that were read again, so that each comparison takes the database only a short time.

use std::ops::Range;

use chainflume_core::domain::BlockRange;
use chainflume_store::Backfill;

/// Maximum number of events in a piece, unless a single block has more: some milliseconds for the database.
const MAX_EVENTS: usize = 500;

/// Sorts the events in chain order, and splits the blocks into pieces with few events each. Returns each piece with
/// the positions of its events. Dead letters are not compared.
pub(super) fn pieces(read: &mut Backfill) -> Vec<(BlockRange, Range<usize>)> {
    read.events.sort_unstable_by_key(|event| event.place);
    let blocks: Vec<u64> = read.events.iter().map(|event| event.place.block_number).collect();
    let (mut pieces, mut rest, mut from) = (Vec::new(), Some(read.range), 0);
    while let Some(left) = rest {
        let full = (from + MAX_EVENTS).min(blocks.len());
        let to = match full.checked_sub(1) {
            Some(last) => full + blocks[full..].iter().take_while(|block| **block == blocks[last]).count(),
            None => full,
        };
        // Blocks without events after a piece belong to it.
        let next = blocks.get(to).map(|block| block - left.from());
        let (range, after) = left.split_at_width(next.unwrap_or(left.width()));
        rest = after;
        pieces.push((range, from..to));
        from = to;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use chainflume_core::domain::{Address, B256, Event, Fact, KindIndex, Place};

    use super::*;

    fn event(block_number: u64, log_index: u32) -> Event {
        let fact = Fact {
            kind: KindIndex(0),
            account: None,
            counterparty: None,
            amount: None,
            token_id: None,
            args: None,
        };
        let place = Place { block_number, tx_index: 0, log_index };
        let (block_hash, tx_hash, address) = (B256::ZERO, B256::ZERO, Address::ZERO);
        Event { place, block_hash, block_time: 0, tx_hash, address, fact }
    }

    fn cut(range: (u64, u64), events: Vec<Event>) -> Vec<((u64, u64), usize)> {
        let range = BlockRange::new(range.0, range.1).expect("ascending");
        let mut read = Backfill { source: "token".into(), range, reorgs: 0, events, dead_letters: vec![] };
        let pieces = pieces(&mut read).into_iter();
        pieces.map(|(range, of_events)| ((range.from(), range.to()), of_events.len())).collect()
    }

    #[test]
    fn pieces_cover_every_block_once_and_cut_none_in_two() {
        assert_eq!(cut((5, 9), vec![]), [((5, 9), 0)]);
        assert_eq!(cut((5, 9), vec![event(6, 0)]), [((5, 9), 1)]);
        // 400 events in each of three blocks, in reverse order; there are empty blocks around them.
        let mut busy: Vec<Event> = [10, 12, 13]
            .into_iter()
            .flat_map(|block| (0..400).map(move |index| event(block, index)))
            .collect();
        busy.reverse();
        assert_eq!(cut((8, 20), busy), [((8, 12), 800), ((13, 20), 400)]);
        let one = (0..1200).map(|index| event(7, index)).chain([event(8, 0)]).collect();
        assert_eq!(cut((7, 8), one), [((7, 7), 1200), ((8, 8), 1)]);
    }
}
