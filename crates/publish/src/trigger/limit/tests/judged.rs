//! What steps of a balance make of a limit, without a database.

use super::*;
use crate::trigger::limit::judge::steps;

/// A movement of the block with this number on this branch.
fn movement(seq: u64, (number, fork): (u64, u8), (from, to, amount): (Address, Address, u64)) -> Movement {
    Movement {
        seq,
        id: uuid::Uuid::from_u128(seq.into()),
        is_retracted: false,
        timestamp: String::new(),
        chain_id: 1337,
        token: TOKEN,
        from,
        to,
        amount: U256::from(amount),
        block_number: number,
        block_hash: block_hash((number, fork)),
        transaction: B256::ZERO,
    }
}

fn block_hash((number, fork): (u64, u8)) -> B256 {
    B256::with_last_byte(u8::try_from(number).expect("small") * 10 + fork)
}

fn retracted(movement: Movement) -> Movement {
    Movement { is_retracted: true, ..movement }
}

fn sum(amount: i64) -> BalanceSum {
    BalanceSum::try_from(amount).expect("small")
}

/// The steps of a person whose wallet has `balance` after these movements.
fn steps_to(balance: i64, movements: &[Movement]) -> Vec<BalanceStep> {
    steps(&movements.iter().collect::<Vec<_>>(), &[OWN].into(), sum(balance))
}

/// What they make of the limit 50, with these crossings before them.
fn judged(crossings: &[LimitCrossing], steps: &[BalanceStep]) -> Vec<LimitTurn> {
    let rule = LimitRule::of_threshold(&threshold(50), 0);
    judge(&rule, crossings.to_vec(), steps, |cause| cause.id)
}

fn crossing(is_beyond: bool, block: Option<(u64, u8)>) -> LimitCrossing {
    LimitCrossing { is_beyond, block: block.map(|block| (block.0, block_hash(block))), event: None }
}

#[test]
fn what_a_block_did_and_its_undoing_are_two_steps() {
    let fall = movement(1, (2, 0), (OWN, OTHER, 60));
    let found = steps_to(100, &[fall.clone(), retracted(Movement { seq: 2, ..fall })]);
    let shown: Vec<_> =
        found.iter().map(|step| (step.cause.is_retracted, step.balance, step.change)).collect();
    assert_eq!(shown, [(false, sum(40), sum(-60)), (true, sum(100), sum(60))]);
    let turns = judged(&[], &found);
    assert!(matches!(turns.as_slice(), [LimitTurn::Cross(..), LimitTurn::Undo(..)]), "{turns:?}");
}

#[test]
fn movements_of_one_block_are_one_step_whose_cause_is_the_last() {
    let block = (2, 0);
    let movements = [movement(1, block, (OWN, OTHER, 90)), movement(2, block, (OTHER, OWN, 30))];
    let found = steps_to(40, &movements);
    let expected = BalanceStep { cause: movements[1].clone(), balance: sum(40), change: sum(-60) };
    assert_eq!(found, [expected]);
}

#[test]
fn a_side_that_changed_without_a_movement_is_only_noted() {
    // A wallet with 60 was linked: 40 became 100.
    let found = steps_to(101, &[movement(1, (3, 0), (OTHER, OWN, 1))]);
    let below = crossing(true, Some((2, 0)));
    let noted = LimitTurn::Cross(crossing(false, None), None);
    assert_eq!(judged(&[below], &found), std::slice::from_ref(&noted));
    // A reorg that takes the movement back leaves the side that was noted.
    let gain = movement(1, (3, 0), (OTHER, OWN, 1));
    let next = movement(3, (3, 1), (OWN, OTHER, 5));
    let undone = steps_to(95, &[gain.clone(), retracted(Movement { seq: 2, ..gain }), next]);
    assert_eq!(judged(&[crossing(true, Some((2, 0)))], &undone), [noted]);
    // Without a change of the side, and without a crossing before, there is nothing to note.
    assert_eq!(judged(&[crossing(false, Some((2, 0)))], &found), []);
    assert_eq!(judged(&[], &found), []);
}

#[test]
fn after_a_reorg_the_last_crossing_that_is_left_decides() {
    // Block 3 raised the balance before the limit was set, so it has no crossing of its own.
    let fall = retracted(movement(1, (3, 0), (OTHER, OWN, 60)));
    let next = movement(2, (3, 1), (OWN, OTHER, 1));
    let found = steps_to(39, &[fall, next]);
    let turns = judged(&[crossing(false, Some((2, 0)))], &found);
    let event = Some(uuid::Uuid::from_u128(2));
    let expected = LimitCrossing { event, ..crossing(true, Some((3, 1))) };
    assert_eq!(turns, [LimitTurn::Cross(expected, Some(found[1].clone()))]);
    // Where no crossing is left, it is the side of the balance.
    assert_eq!(judged(&[], &found), []);
}
