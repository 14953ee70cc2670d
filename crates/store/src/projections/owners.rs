use std::collections::BTreeMap;

use chainflume_core::domain::{Address, U256};

use super::super::open::OpenChain;
use chainflume_db::StoreError;
use chainflume_db::transaction::Tx;

type Owners = BTreeMap<(Address, U256), Option<Address>>;

/// The statement that gives tokens the owners that the query `$last` names. A token that was burned has no row. The two
/// halves of the statement touch different keys, so their order does not matter.
macro_rules! set_owners {
    ($last:literal) => {
        concat!(
            "with last as (",
            $last,
            r"), burned as (
                delete from nft_owners o using last l
                where o.chain_id = $1 and o.contract = l.contract and o.token_id = l.token_id and l.owner is null
            )
            insert into nft_owners (chain_id, contract, token_id, owner)
            select $1, contract, token_id, owner from last where owner is not null
            on conflict on constraint nft_owners_pkey do update set owner = excluded.owner
            "
        )
    };
}

/// The owners after these transfers, the last of each token.
pub(super) async fn apply(tx: &mut Tx, chain: &OpenChain, owners: &Owners) -> Result<(), StoreError> {
    if owners.is_empty() {
        return Ok(());
    }
    let (contracts, tokens) = keys(owners);
    sqlx::query(set_owners!(
        r"
        select contract, token_id::numeric as token_id, owner
        from unnest($2::bytea[], $3::text[], $4::bytea[]) as d (contract, token_id, owner)
        "
    ))
    .bind(chain.id)
    .bind(contracts)
    .bind(tokens)
    .bind(owners.values().map(|owner| owner.as_ref().map(|owner| owner.as_slice())).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Reads the last transfer of these tokens from the events there are; none left, no row.
pub(super) async fn recompute(tx: &mut Tx, chain: &OpenChain, owners: &Owners) -> Result<(), StoreError> {
    if owners.is_empty() {
        return Ok(());
    }
    let (contracts, tokens) = keys(owners);
    sqlx::query(set_owners!(
        r"
        select d.contract, d.token_id::numeric as token_id, nullif(l.counterparty, $4) as owner
        from unnest($2::bytea[], $3::text[]) as d (contract, token_id)
        left join lateral (
            select e.counterparty from events e
            where e.projection = 'o' and e.address = d.contract and e.token_id = d.token_id::numeric
                and e.chain_id = $1
            order by e.block_number desc, e.tx_index desc, e.log_index desc limit 1
        ) l on true
        "
    ))
    .bind(chain.id)
    .bind(contracts)
    .bind(tokens)
    .bind(Address::ZERO.as_slice())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn keys(owners: &Owners) -> (Vec<&[u8]>, Vec<String>) {
    (
        owners.keys().map(|(contract, _)| contract.as_slice()).collect(),
        owners.keys().map(|(_, token)| token.to_string()).collect(),
    )
}
