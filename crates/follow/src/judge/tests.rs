use super::*;

const TIMEOUT: Duration = Duration::from_secs(600);
const LIMITS: WatchLimits = WatchLimits { timeout: TIMEOUT, late: Duration::from_secs(6_000) };

fn block(number: u64, branch: u8) -> BlockId {
    BlockId { number, hash: B256::repeat_byte(branch) }
}

fn watch(state: WatchState, block: Option<BlockId>) -> TransactionWatch {
    TransactionWatch {
        id: 1,
        subject: Uuid::nil(),
        transaction: B256::repeat_byte(0xaa),
        state,
        block,
        sender: Some(sender()),
        replaced_at: None,
        is_doubted: false,
        unknown_for: Duration::ZERO,
    }
}

fn sender() -> SeenSender {
    SeenSender { account: Address::repeat_byte(1), nonce: 7 }
}

fn receipt(block: BlockId, succeeded: bool) -> TransactionSighting {
    TransactionSighting { receipt: Some(SeenReceipt { block, succeeded }), ..TransactionSighting::default() }
}

/// Two confirmations, final 10 blocks below the head.
fn look(watch: &TransactionWatch, sighting: &TransactionSighting, head: u64) -> WatchVerdict {
    let confirmed = head.checked_sub(2);
    let depths = ChainDepths { head, confirmed, final_number: head.saturating_sub(10) };
    judge(watch, sighting, &depths, &LIMITS)
}

#[test]
fn a_receipt_is_mined_then_confirmed_then_final() {
    for (succeeded, end) in [(true, WatchState::Succeeded), (false, WatchState::Reverted)] {
        let sighting = receipt(block(100, 1), succeeded);
        let waiting = watch(WatchState::Waiting, None);
        let at = |head| {
            let verdict = look(&waiting, &sighting, head);
            (verdict.state, verdict.is_over)
        };
        assert_eq!(at(100), (WatchState::Mined, false));
        assert_eq!(at(101), (WatchState::Mined, false));
        assert_eq!(at(102), (end, false));
        assert_eq!(at(110), (end, true));
        assert!(look(&waiting, &sighting, 100).is_known);
    }
}

#[test]
fn a_block_that_is_gone_lets_the_transaction_wait_again() {
    for state in [WatchState::Mined, WatchState::Succeeded, WatchState::Reverted] {
        let watch = watch(state, Some(block(100, 1)));
        let canonical = |hash| TransactionSighting { canonical: hash, ..TransactionSighting::default() };
        let gone = look(&watch, &canonical(Some(B256::repeat_byte(2))), 103);
        assert_eq!((gone.state, gone.block), (WatchState::Waiting, None));
        assert!(gone.is_known, "the time until it has timed out begins now");
        for says_nothing in [None, Some(B256::repeat_byte(1))] {
            let kept = look(&watch, &canonical(says_nothing), 103);
            assert_eq!(
                (kept.state, kept.block),
                (state, Some(block(100, 1))),
                "a node behind proves nothing"
            );
        }
        let moved = look(&watch, &receipt(block(104, 2), true), 105);
        assert_eq!((moved.state, moved.block), (WatchState::Mined, Some(block(104, 2))));
    }
}

#[test]
fn a_used_nonce_counts_when_it_is_seen_twice() {
    let used = TransactionSighting { next_nonce: Some(8), ..TransactionSighting::default() };
    let first = look(&watch(WatchState::Waiting, None), &used, 100);
    assert_eq!((first.state, first.is_doubted), (WatchState::Waiting, true));
    let doubted = TransactionWatch { is_doubted: true, ..watch(WatchState::Waiting, None) };
    let second = look(&doubted, &used, 100);
    assert_eq!((second.state, second.replaced_at, second.is_over), (WatchState::Replaced, Some(100), false));
    let replaced =
        TransactionWatch { state: WatchState::Replaced, replaced_at: Some(100), ..doubted.clone() };
    assert!(!look(&replaced, &used, 109).is_over);
    assert!(look(&replaced, &used, 110).is_over);
    let unused = TransactionSighting { next_nonce: Some(7), ..TransactionSighting::default() };
    assert_eq!(look(&replaced, &unused, 101).state, WatchState::Waiting, "a reorg took the other one away");
    let known = TransactionSighting { known: Some(sender()), ..TransactionSighting::default() };
    assert_eq!(look(&replaced, &known, 101).state, WatchState::Waiting, "it is back");
    let mined = look(&replaced, &receipt(block(101, 1), true), 101);
    assert_eq!((mined.state, mined.replaced_at), (WatchState::Mined, None));
    let says_nothing = TransactionSighting::default();
    assert_eq!(look(&replaced, &says_nothing, 101).state, WatchState::Replaced);
    let after = look(&doubted, &receipt(block(100, 1), true), 100);
    assert_eq!((after.state, after.is_doubted), (WatchState::Mined, false), "it was this one that used it");
}

#[test]
fn what_no_node_knows_times_out_and_may_still_be_mined() {
    let unknown = TransactionSighting::default();
    let for_so_long =
        |state, seconds| TransactionWatch { unknown_for: Duration::from_secs(seconds), ..watch(state, None) };
    assert_eq!(look(&for_so_long(WatchState::Waiting, 599), &unknown, 100).state, WatchState::Waiting);
    assert_eq!(look(&for_so_long(WatchState::Waiting, 600), &unknown, 100).state, WatchState::TimedOut);
    let known = TransactionSighting { known: Some(sender()), ..unknown };
    let waits = look(&for_so_long(WatchState::Waiting, 600), &known, 100);
    assert_eq!((waits.state, waits.is_known), (WatchState::Waiting, true));
    let late = for_so_long(WatchState::TimedOut, 6_599);
    assert_eq!(
        (look(&late, &unknown, 100).state, look(&late, &unknown, 100).is_over),
        (WatchState::TimedOut, false)
    );
    assert!(look(&for_so_long(WatchState::TimedOut, 6_600), &unknown, 100).is_over);
    assert_eq!(look(&late, &receipt(block(98, 1), true), 100).state, WatchState::Succeeded);
}

#[test]
fn without_a_confirmed_block_nothing_ends() {
    let depths = ChainDepths { head: 1, confirmed: None, final_number: 0 };
    let verdict = judge(&watch(WatchState::Waiting, None), &receipt(block(0, 1), true), &depths, &LIMITS);
    assert_eq!((verdict.state, verdict.is_over), (WatchState::Mined, false));
}
