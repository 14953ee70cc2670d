//! State folded from events: one statement for each table and direction, and one for each 20,000 tokens of ranges.
//!
//! Sums (stakes, balances) change by a delta, forward and back. Where the last event decides (allowances, owners), forward is an
//! upsert. When events are taken back or arrive late, their keys are computed again from the stored events.

mod allowances;
mod balances;
mod owners;
mod stakes;
mod users;

use alloy_primitives::U512;

use chainflume_core::domain::{ProjectionDelta, SignedSum, U256};

pub(super) use users::undo as undo_users;

use super::open::OpenChain;
use chainflume_db::StoreError;
use chainflume_db::convert::int8;
use chainflume_db::transaction::Tx;

/// Applies events that follow all stored ones. Returns the number of wallets that staked and have no row in `users`.
pub(super) async fn apply(
    tx: &mut Tx,
    chain: &OpenChain,
    folded: &ProjectionDelta,
) -> Result<u64, StoreError> {
    balances::apply(tx, chain, &folded.balances).await?;
    allowances::apply(tx, chain, &folded.allowances).await?;
    owners::apply(tx, chain, folded).await?;
    stakes::apply(tx, chain, &folded.stakes).await?;
    users::apply(tx, chain, &folded.stakes).await
}

/// Applies events that were added late: others of the same keys may follow them.
pub(super) async fn apply_late(
    tx: &mut Tx,
    chain: &OpenChain,
    folded: &ProjectionDelta,
) -> Result<(), StoreError> {
    balances::apply(tx, chain, &folded.balances).await?;
    allowances::recompute(tx, chain, &folded.allowances).await?;
    owners::recompute(tx, chain, folded).await?;
    stakes::apply(tx, chain, &folded.stakes).await?;
    users::apply(tx, chain, &folded.stakes).await?;
    Ok(())
}

/// Undoes what events changed that are no longer stored. Users are left to [`undo_users`], which comes after all pages.
pub(super) async fn undo(tx: &mut Tx, chain: &OpenChain, folded: &ProjectionDelta) -> Result<(), StoreError> {
    balances::undo(tx, chain, &folded.balances).await?;
    allowances::recompute(tx, chain, &folded.allowances).await?;
    owners::recompute(tx, chain, folded).await?;
    stakes::undo(tx, chain, &folded.stakes).await
}

/// Incoming minus outgoing amounts, in decimal digits, exact at any size.
fn net(delta: &SignedSum) -> String {
    let whole = |(high, low): (U256, U256)| (U512::from(high) << 256_usize) | U512::from(low);
    let (gained, lost) = delta.halves();
    let (gained, lost) = (whole(gained), whole(lost));
    if gained >= lost { (gained - lost).to_string() } else { format!("-{}", lost - gained) }
}

fn entries(delta: &SignedSum) -> Result<i64, StoreError> {
    int8("events", delta.entries)
}

/// An error unless each undone key has its row: otherwise another program wrote to the table.
fn all_found(table: &'static str, found: u64, wanted: usize) -> Result<(), StoreError> {
    if found == wanted as u64 {
        return Ok(());
    }
    Err(StoreError::Corrupt { table, what: format!("{wanted} rows to undo, {found} found") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainflume_core::domain::{Address, ProjectionChange};

    #[test]
    fn a_net_sum_is_exact_on_both_sides_of_zero_and_beyond_256_bits() {
        let (token, holder) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let sum = |moves: &[(bool, U256)]| {
            let mut folded = ProjectionDelta::default();
            for &(gain, amount) in moves {
                let (from, to) = if gain { (None, Some(holder)) } else { (Some(holder), None) };
                folded.push(ProjectionChange::Balance { token, from, to, amount });
            }
            net(&folded.balances[&(token, holder)])
        };
        assert_eq!(sum(&[(true, U256::from(5)), (false, U256::from(5))]), "0");
        assert_eq!(sum(&[(true, U256::from(5)), (false, U256::from(7))]), "-2");
        assert_eq!(
            sum(&[(true, U256::MAX), (true, U256::MAX)]),
            "231584178474632390847141970017375815706539969331281128078915168015826259279870"
        );
        assert_eq!(
            sum(&[(false, U256::MAX), (false, U256::from(1))]),
            "-115792089237316195423570985008687907853269984665640564039457584007913129639936"
        );
    }
}
