use std::collections::BTreeSet;

use alloy_primitives::{Address, B256, U512};
use uuid::Uuid;

use super::{BalanceSum, LimitRule, Movement};

/// The balance of a person after the movements of a block, or after a reorg took them back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalanceStep {
    /// The last of the movements.
    pub cause: Movement,
    /// After them.
    pub balance: BalanceSum,
    /// What they changed.
    pub change: BalanceSum,
}

/// A crossing of a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitCrossing {
    /// Whether the balance is beyond the limit from here on.
    pub is_beyond: bool,
    /// Height and hash of the block in which it crossed; `None` where no message has it.
    pub block: Option<(u64, B256)>,
    /// The event that was published about it.
    pub event: Option<Uuid>,
}

/// What becomes of a rule and a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitTurn {
    /// The balance crossed the limit in this step.
    Cross(LimitCrossing, Option<BalanceStep>),
    /// A reorg took away the crossings of this block.
    Undo(Movement, Vec<LimitCrossing>),
}

/// The steps of a person with these wallets, who has `balance` after all movements. Movements in one block are one step: what is within
/// a block is no balance that anyone had.
pub(super) fn steps(
    movements: &[&Movement],
    wallets: &BTreeSet<Address>,
    balance: BalanceSum,
) -> Vec<BalanceStep> {
    let mut steps: Vec<BalanceStep> = Vec::new();
    for movement in movements {
        let amount = BalanceSum::try_from(U512::from(movement.amount)).unwrap_or(BalanceSum::MAX);
        let part = |is_own: bool| if is_own { amount } else { BalanceSum::ZERO };
        let change = part(wallets.contains(&movement.to)) - part(wallets.contains(&movement.from));
        let change = if movement.is_retracted { -change } else { change };
        let same = |step: &&mut BalanceStep| {
            step.cause.block_hash == movement.block_hash && step.cause.is_retracted == movement.is_retracted
        };
        match steps.last_mut().filter(same) {
            Some(step) => {
                step.change += change;
                step.cause = (*movement).clone();
            }
            None => steps.push(BalanceStep { cause: (*movement).clone(), balance: BalanceSum::ZERO, change }),
        }
    }
    let mut after = balance;
    for step in steps.iter_mut().rev() {
        step.balance = after;
        after -= step.change;
    }
    steps
}

/// What these steps make of a rule, of a person with these crossings, the oldest first. `event` is the id of the event about a crossing
/// that a movement caused.
pub fn judge(
    rule: &LimitRule,
    mut crossings: Vec<LimitCrossing>,
    steps: &[BalanceStep],
    event: impl Fn(&Movement) -> Uuid,
) -> Vec<LimitTurn> {
    let steps: Vec<&BalanceStep> = steps.iter().filter(|step| step.cause.seq > rule.after_seq).collect();
    let Some(first) = steps.first() else { return Vec::new() };
    let mut turns = Vec::new();
    let before = rule.limit.is_beyond(first.balance - first.change);
    if crossings.last().is_some_and(|last| last.is_beyond != before) {
        let crossing = LimitCrossing { is_beyond: before, block: None, event: None };
        crossings.push(crossing.clone());
        turns.push(LimitTurn::Cross(crossing, None));
    }
    let mut is_beyond = before;
    for step in steps {
        let after = rule.limit.is_beyond(step.balance);
        let cause = &step.cause;
        if cause.is_retracted {
            let of_block =
                |crossing: &LimitCrossing| crossing.block.is_some_and(|(_, hash)| hash == cause.block_hash);
            let (undone, left): (Vec<_>, Vec<_>) = crossings.into_iter().partition(of_block);
            crossings = left;
            is_beyond = crossings.last().map_or(after, |last| last.is_beyond);
            if !undone.is_empty() {
                turns.push(LimitTurn::Undo(cause.clone(), undone));
            }
        } else if after != is_beyond {
            is_beyond = after;
            let block = Some((cause.block_number, cause.block_hash));
            let event = after.then(|| event(cause));
            let crossing = LimitCrossing { is_beyond, block, event };
            crossings.push(crossing.clone());
            turns.push(LimitTurn::Cross(crossing, Some(step.clone())));
        }
    }
    turns
}
