use std::collections::BTreeMap;

use chainflume_core::domain::{Address, OwnerRange, ProjectionDelta, TokenRange, U256};

use super::super::open::OpenChain;
use chainflume_db::StoreError;
use chainflume_db::transaction::Tx;

type Owners = BTreeMap<(Address, U256), Option<Address>>;

/// Ranges of one statement: 200,000 tokens at most, so that no statement runs for minutes. Small in tests, to have several.
const RANGES: usize = if cfg!(test) { 2 } else { 20 };

/// The statement that gives tokens the owners that the query `$last` names. A token that was burned has no row. The two
/// halves of the statement touch different keys, so their order does not matter.
macro_rules! set_owners {
    ($($last:expr),+) => {
        concat!(
            "with last as (",
            $($last),+,
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

/// The statement that reads the last event of the tokens that the query `$tokens` names: a transfer of the token, or of a range
/// that has it. Such a range begins at most `$4` ids below the token, which keeps the search short. Its key is
/// [`TokenRange::LAST_KEY`].
macro_rules! recompute {
    ($tokens:literal) => {
        set_owners!(
            "select d.contract, d.token_id, nullif(l.counterparty, $5) as owner from (",
            $tokens,
            r") as d
            left join lateral (
                select counterparty from (
                    (select e.counterparty, e.block_number, e.tx_index, e.log_index from events e
                    where e.projection = 'o' and e.address = d.contract and e.token_id = d.token_id and e.chain_id = $1
                    order by e.block_number desc, e.tx_index desc, e.log_index desc limit 1)
                    union all
                    (select e.counterparty, e.block_number, e.tx_index, e.log_index from events e
                    where e.projection = 'r' and e.address = d.contract
                        and e.token_id between d.token_id - $4::bigint and d.token_id
                        and (e.args ->> 'toTokenId')::numeric >= d.token_id and e.chain_id = $1
                    order by e.block_number desc, e.tx_index desc, e.log_index desc limit 1)
                ) as newest order by block_number desc, tx_index desc, log_index desc limit 1
            ) l on true
            "
        )
    };
}

/// The owners after these transfers, the last of each token.
pub(super) async fn apply(
    tx: &mut Tx,
    chain: &OpenChain,
    folded: &ProjectionDelta,
) -> Result<(), StoreError> {
    for ranges in folded.owner_ranges.chunks(RANGES) {
        apply_ranges(tx, chain, ranges).await?;
    }
    let owners = &folded.owners;
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

/// The server writes a row for each token; the last range of a token decides.
async fn apply_ranges(tx: &mut Tx, chain: &OpenChain, ranges: &[OwnerRange]) -> Result<(), StoreError> {
    let (contracts, first, last) = bounds(ranges);
    sqlx::query(set_owners!(
        r"
        select distinct on (d.contract, t.token_id) d.contract, t.token_id, d.owner
        from unnest($2::bytea[], $3::text[], $4::text[], $5::bytea[]) with ordinality
            as d (contract, first, last, owner, place),
            generate_series(d.first::numeric, d.last::numeric) as t (token_id)
        order by d.contract, t.token_id, d.place desc
        "
    ))
    .bind(chain.id)
    .bind(contracts)
    .bind(first)
    .bind(last)
    .bind(ranges.iter().map(|range| range.owner.as_ref().map(|owner| owner.as_slice())).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Sets these tokens to the owner of the last stored transfer, and deletes tokens without one.
pub(super) async fn recompute(
    tx: &mut Tx,
    chain: &OpenChain,
    folded: &ProjectionDelta,
) -> Result<(), StoreError> {
    for ranges in folded.owner_ranges.chunks(RANGES) {
        let (contracts, first, last) = bounds(ranges);
        sqlx::query(recompute!(
            r"
            select distinct r.contract, t.token_id
            from unnest($2::bytea[], $3::text[], $6::text[]) as r (contract, first, last),
                generate_series(r.first::numeric, r.last::numeric) as t (token_id)
            "
        ))
        .bind(chain.id)
        .bind(contracts)
        .bind(first)
        .bind(REACH)
        .bind(Address::ZERO.as_slice())
        .bind(last)
        .execute(&mut **tx)
        .await?;
    }
    if folded.owners.is_empty() {
        return Ok(());
    }
    let (contracts, tokens) = keys(&folded.owners);
    sqlx::query(recompute!(
        r"
        select contract, token_id::numeric as token_id
        from unnest($2::bytea[], $3::text[]) as t (contract, token_id)
        "
    ))
    .bind(chain.id)
    .bind(contracts)
    .bind(tokens)
    .bind(REACH)
    .bind(Address::ZERO.as_slice())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// How far below a token a range that contains it can begin.
const REACH: i64 = TokenRange::MAX.cast_signed() - 1;

fn keys(owners: &Owners) -> (Vec<&[u8]>, Vec<String>) {
    (
        owners.keys().map(|(contract, _)| contract.as_slice()).collect(),
        owners.keys().map(|(_, token)| token.to_string()).collect(),
    )
}

/// One array for each of contract, first and last token.
fn bounds(ranges: &[OwnerRange]) -> (Vec<&[u8]>, Vec<String>, Vec<String>) {
    (
        ranges.iter().map(|range| range.contract.as_slice()).collect(),
        ranges.iter().map(|range| range.tokens.first.to_string()).collect(),
        ranges.iter().map(|range| range.tokens.last.to_string()).collect(),
    )
}
