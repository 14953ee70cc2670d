//! Owners of tokens. A range of tokens (ERC-2309) is expanded by the server: no token of it is held here.

mod stretches;

use std::collections::BTreeMap;

use futures_util::TryStreamExt;

use chainflume_core::domain::{Address, OwnerRange, ProjectionDelta, TokenRange, U256};

use super::super::open::OpenChain;
use chainflume_db::StoreError;
use chainflume_db::convert::{address, u256};
use chainflume_db::transaction::Tx;
use stretches::{Stretch, Stretches, spans};

type Owners = BTreeMap<(Address, U256), Option<Address>>;

/// Tokens of one statement: some tenths of a second, and two of the longest ranges. It bounds what the server keeps for the statement,
/// and what is held here: where each token has a stored range of its own, some 10 MB. Tests go over the edge.
const TOKENS: u64 = if cfg!(test) { 5 } else { 20_000 };

/// How far below a token a range of it can begin.
const REACH: u64 = TokenRange::MAX - 1;

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
pub(super) async fn apply(
    tx: &mut Tx,
    chain: &OpenChain,
    folded: &ProjectionDelta,
) -> Result<(), StoreError> {
    apply_ranges(tx, chain, &folded.owner_ranges).await?;
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
    let mut owned = Stretches::default();
    for OwnerRange { contract, tokens, owner } in ranges {
        owned.set(*contract, *tokens, *owner);
    }
    for part in owned.parts(TOKENS) {
        let (contracts, first, last) = bounds(part.iter().map(|one| (&one.contract, &one.tokens)));
        sqlx::query(set_owners!(
            r"
            select d.contract, t.token_id, d.owner
            from unnest($2::bytea[], $3::text[], $4::text[], $5::bytea[]) as d (contract, first, last, owner)
            cross join generate_series(d.first::numeric, d.last::numeric) as t (token_id)
            "
        ))
        .bind(chain.id)
        .bind(contracts)
        .bind(first)
        .bind(last)
        .bind(part.iter().map(|one| one.value.as_ref().map(|owner| owner.as_slice())).collect::<Vec<_>>())
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// Sets these tokens to the owner of the last stored transfer, and deletes tokens without one.
pub(super) async fn recompute(
    tx: &mut Tx,
    chain: &OpenChain,
    folded: &ProjectionDelta,
) -> Result<(), StoreError> {
    let mut touched = Stretches::default();
    for OwnerRange { contract, tokens, .. } in &folded.owner_ranges {
        touched.set(*contract, *tokens, None);
    }
    for (contract, token) in folded.owners.keys() {
        touched.set(*contract, TokenRange { first: *token, last: *token }, None);
    }
    for part in touched.parts(TOKENS) {
        for part in by_range(tx, chain, part).await?.parts(TOKENS) {
            recompute_part(tx, chain, &part).await?;
        }
    }
    Ok(())
}

/// A stored range of tokens.
#[derive(Clone, Debug, sqlx::FromRow)]
struct StoredRange {
    contract: Vec<u8>,
    first: String,
    last: String,
    owner: Option<Vec<u8>>,
    block_number: i64,
    tx_index: i64,
    log_index: i64,
}

/// The newest stored range of each of these tokens, if one has it.
///
/// Ranges are read once for all tokens near them. Read once for each token, as many ranges of few tokens would be read for
/// each of as many tokens.
async fn by_range(
    tx: &mut Tx,
    chain: &OpenChain,
    touched: Vec<Stretch<Option<StoredRange>>>,
) -> Result<Stretches<Option<StoredRange>>, StoreError> {
    let spans = spans(&touched, REACH);
    let mut newest: Stretches<Option<StoredRange>> = touched.into_iter().collect();
    let (contracts, low, high) = bounds(spans.iter().map(|(contract, span)| (contract, span)));
    // `offset 0`: the server looks each span up by the index. Joined, it would compare all ranges with all spans.
    let mut ranges = sqlx::query_as::<_, StoredRange>(
        r"
        select s.contract, e.token_id::text as first, e.last::text as last, e.counterparty as owner,
            e.block_number, e.tx_index, e.log_index
        from unnest($2::bytea[], $3::text[], $4::text[]) as s (contract, low, high)
        cross join lateral (
            select *, (args ->> 'toTokenId')::numeric as last from events
            where projection = 'r' and address = s.contract and chain_id = $1
                and token_id between s.low::numeric - $5::bigint and s.high::numeric
            offset 0
        ) as e
        where e.last >= s.low::numeric
        order by e.block_number, e.tx_index, e.log_index
        ",
    )
    .bind(chain.id)
    .bind(contracts)
    .bind(low)
    .bind(high)
    .bind(REACH.cast_signed())
    .fetch(&mut **tx);
    while let Some(range) = ranges.try_next().await? {
        let tokens = TokenRange { first: u256(&range.first)?, last: u256(&range.last)? };
        newest.replace(address(&range.contract)?, tokens, &Some(range));
    }
    drop(ranges);
    Ok(newest)
}

/// The newest transfer of each token, or the range of it where that is newer.
async fn recompute_part(
    tx: &mut Tx,
    chain: &OpenChain,
    part: &[Stretch<Option<StoredRange>>],
) -> Result<(), StoreError> {
    let (contracts, first, last) = bounds(part.iter().map(|one| (&one.contract, &one.tokens)));
    let ranges = || part.iter().map(|one| one.value.as_ref());
    let index = |of: fn(&StoredRange) -> i64| ranges().map(|range| range.map(of)).collect::<Vec<_>>();
    sqlx::query(set_owners!(
        r"
        select d.contract, t.token_id, nullif(
            case when o.block_number is null
                or (d.block_number, d.tx_index, d.log_index) > (o.block_number, o.tx_index, o.log_index)
            then d.owner else o.counterparty end, $9) as owner
        from unnest($2::bytea[], $3::text[], $4::text[], $5::bytea[], $6::bigint[], $7::bigint[], $8::bigint[])
            as d (contract, first, last, owner, block_number, tx_index, log_index)
        cross join generate_series(d.first::numeric, d.last::numeric) as t (token_id)
        left join lateral (
            select e.counterparty, e.block_number, e.tx_index, e.log_index from events e
            where e.projection = 'o' and e.address = d.contract and e.token_id = t.token_id and e.chain_id = $1
            order by e.block_number desc, e.tx_index desc, e.log_index desc limit 1
        ) o on true
        "
    ))
    .bind(chain.id)
    .bind(contracts)
    .bind(first)
    .bind(last)
    .bind(ranges().map(|range| range?.owner.as_deref()).collect::<Vec<_>>())
    .bind(index(|range| range.block_number))
    .bind(index(|range| range.tx_index))
    .bind(index(|range| range.log_index))
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

/// One array for each of contract, first and last token.
fn bounds<'a>(
    tokens: impl Iterator<Item = (&'a Address, &'a TokenRange)> + Clone,
) -> (Vec<&'a [u8]>, Vec<String>, Vec<String>) {
    (
        tokens.clone().map(|(contract, _)| contract.as_slice()).collect(),
        tokens.clone().map(|(_, tokens)| tokens.first.to_string()).collect(),
        tokens.map(|(_, tokens)| tokens.last.to_string()).collect(),
    )
}
