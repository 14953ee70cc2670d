use std::collections::BTreeMap;

use chainflume_core::domain::{Address, SignedSum};

use super::super::open::OpenChain;
use super::{all_found, entries, net};
use chainflume_db::StoreError;
use chainflume_db::convert::seconds;
use chainflume_db::transaction::Tx;

pub(super) type Stakes = BTreeMap<(Address, Address), (SignedSum, u64)>;

pub(super) async fn apply(tx: &mut Tx, chain: &OpenChain, stakes: &Stakes) -> Result<(), StoreError> {
    if stakes.is_empty() {
        return Ok(());
    }
    let keys = StakeArrays::new(stakes)?;
    sqlx::query(
        r"
        insert into stakes as s (chain_id, contract, account, amount, events, last_at)
        select $1, contract, account, amount::numeric, events, to_timestamp(last_at)
        from unnest($2::bytea[], $3::bytea[], $4::text[], $5::bigint[], $6::bigint[])
            as d (contract, account, amount, events, last_at)
        on conflict on constraint stakes_pkey do update set
            amount = s.amount + excluded.amount,
            events = s.events + excluded.events,
            last_at = greatest(s.last_at, excluded.last_at)
        ",
    )
    .bind(chain.id)
    .bind(keys.contracts)
    .bind(keys.accounts)
    .bind(keys.sums)
    .bind(keys.events)
    .bind(keys.last_at)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The inverse of [`apply`]. A latest time cannot be subtracted, so it is read again from the events that remain. A row without
/// remaining events stays while a later page still has events of it; that page deletes the row.
pub(super) async fn undo(tx: &mut Tx, chain: &OpenChain, stakes: &Stakes) -> Result<(), StoreError> {
    if stakes.is_empty() {
        return Ok(());
    }
    let keys = StakeArrays::new(stakes)?;
    let undone = sqlx::query(
        r"
        update stakes s set amount = s.amount - d.amount::numeric, events = s.events - d.events
        from unnest($2::bytea[], $3::bytea[], $4::text[], $5::bigint[]) as d (contract, account, amount, events)
        where s.chain_id = $1 and s.contract = d.contract and s.account = d.account
        ",
    )
    .bind(chain.id)
    .bind(&keys.contracts)
    .bind(&keys.accounts)
    .bind(keys.sums)
    .bind(keys.events)
    .execute(&mut **tx)
    .await?;
    all_found("stakes", undone.rows_affected(), stakes.len())?;
    sqlx::query(
        r"
        delete from stakes s using unnest($2::bytea[], $3::bytea[]) as d (contract, account)
        where s.chain_id = $1 and s.contract = d.contract and s.account = d.account and s.events = 0
        ",
    )
    .bind(chain.id)
    .bind(&keys.contracts)
    .bind(&keys.accounts)
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        r"
        update stakes s set last_at = coalesce((
            select max(e.block_time) from events e
            where e.projection = 's' and e.account = s.account and e.address = s.contract
                and e.chain_id = s.chain_id and e.amount is not null
        ), s.last_at)
        from unnest($2::bytea[], $3::bytea[]) as d (contract, account)
        where s.chain_id = $1 and s.contract = d.contract and s.account = d.account
        ",
    )
    .bind(chain.id)
    .bind(keys.contracts)
    .bind(keys.accounts)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// One array a column, in key order.
struct StakeArrays<'a> {
    contracts: Vec<&'a [u8]>,
    accounts: Vec<&'a [u8]>,
    sums: Vec<String>,
    events: Vec<i64>,
    last_at: Vec<i64>,
}

impl<'a> StakeArrays<'a> {
    fn new(stakes: &'a Stakes) -> Result<Self, StoreError> {
        Ok(Self {
            contracts: stakes.keys().map(|(contract, _)| contract.as_slice()).collect(),
            accounts: stakes.keys().map(|(_, account)| account.as_slice()).collect(),
            sums: stakes.values().map(|(delta, _)| net(delta)).collect(),
            events: stakes.values().map(|(delta, _)| entries(delta)).collect::<Result<_, _>>()?,
            last_at: stakes.values().map(|(_, at)| seconds(*at)).collect::<Result<_, _>>()?,
        })
    }
}
