//! Dead letters about logs. The outbox writes those about deliveries to the same table.

mod kept;
mod raw;

use std::collections::BTreeMap;

use chainflume_core::domain::{DeadLetter, Event};

use super::open::OpenChain;
use super::{Backfill, ProvenBlocks};
use chainflume_db::StoreError;
use chainflume_db::convert::int8;
use chainflume_db::transaction::Tx;

pub use kept::{DeadLetterQuery, DeadLetterSubject, FailedRetry, LogRef, StoredDeadLetter};
use raw::DeadLog;

/// Stores letters. A letter that is stored already counts one more attempt and gets the new reason.
pub(super) async fn insert(tx: &mut Tx, chain: &OpenChain, letters: &[DeadLetter]) -> Result<(), StoreError> {
    if letters.is_empty() {
        return Ok(());
    }
    // One row for each place, kind and source: a statement must not change a row twice.
    let distinct: BTreeMap<_, &DeadLetter> = letters
        .iter()
        .map(|letter| {
            ((letter.log.place, letter.log.block_hash, letter.source.as_str(), letter.kind.as_str()), letter)
        })
        .collect();
    let letters: Vec<&DeadLetter> = distinct.into_values().collect();
    let numbers = letters
        .iter()
        .map(|letter| int8("block number", letter.log.place.block_number))
        .collect::<Result<Vec<_>, _>>()?;
    let raw = letters.iter().map(|letter| serde_json::to_string(&DeadLog::new(&letter.log)));
    let raw = raw.collect::<Result<Vec<_>, _>>();
    let raw = raw.map_err(|error| StoreError::invalid(format!("a log is no JSON: {error}")))?;
    sqlx::query(
        r"
        insert into dead_letters as d
            (kind, chain_id, source, block_number, block_hash, tx_index, log_index, reason, raw)
        select kind, $1, source, block_number, block_hash, tx_index, log_index, reason, raw::jsonb
        from unnest($2::text[], $3::text[], $4::bigint[], $5::bytea[], $6::bigint[], $7::bigint[], $8::text[],
            $9::text[]) as g (kind, source, block_number, block_hash, tx_index, log_index, reason, raw)
        on conflict on constraint dead_letters_place_key
        do update set last_seen = now(), attempts = d.attempts + 1, reason = excluded.reason
        ",
    )
    .bind(chain.id)
    .bind(letters.iter().map(|letter| letter.kind.as_str()).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.source.as_str()).collect::<Vec<_>>())
    .bind(numbers)
    .bind(letters.iter().map(|letter| letter.log.block_hash.as_slice()).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| i64::from(letter.log.place.tx_index)).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| i64::from(letter.log.place.log_index)).collect::<Vec<_>>())
    // PostgreSQL's text holds no NUL, and a reason may quote data of the chain.
    .bind(letters.iter().map(|letter| letter.reason.replace('\0', "\u{fffd}")).collect::<Vec<_>>())
    .bind(raw)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Deletes the letters of orphaned blocks: the chain does not have these logs any more.
pub(super) async fn rewind(tx: &mut Tx, chain: &OpenChain, above: u64) -> Result<(), StoreError> {
    sqlx::query("delete from dead_letters where chain_id = $1 and block_number > $2")
        .bind(chain.id)
        .bind(int8("block number", above)?)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Deletes the open letters of proven blocks that are not among the given letters: these blocks have no such log.
pub(super) async fn forget_others(
    tx: &mut Tx,
    chain: &OpenChain,
    reread: &Backfill,
    proven: &ProvenBlocks,
) -> Result<(), StoreError> {
    let letters = &reread.dead_letters;
    let numbers = letters
        .iter()
        .map(|letter| int8("block number", letter.log.place.block_number))
        .collect::<Result<Vec<_>, _>>()?;
    sqlx::query(
        r"
        delete from dead_letters where chain_id = $1 and source = $2 and block_number = any($3)
        and resolved_at is null
        and (block_number, tx_index, log_index, block_hash) not in (
            select * from unnest($4::bigint[], $5::bigint[], $6::bigint[], $7::bytea[])
        )
        ",
    )
    .bind(chain.id)
    .bind(&reread.source)
    .bind(proven.blocks.iter().map(|number| int8("block number", *number)).collect::<Result<Vec<_>, _>>()?)
    .bind(numbers)
    .bind(letters.iter().map(|letter| i64::from(letter.log.place.tx_index)).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| i64::from(letter.log.place.log_index)).collect::<Vec<_>>())
    .bind(letters.iter().map(|letter| letter.log.block_hash.as_slice()).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Marks the letters of logs that became events as resolved.
pub(super) async fn resolve(tx: &mut Tx, chain: &OpenChain, events: &[&Event]) -> Result<(), StoreError> {
    let numbers = events
        .iter()
        .map(|event| int8("block number", event.place.block_number))
        .collect::<Result<Vec<_>, _>>()?;
    if events.is_empty() {
        return Ok(());
    }
    sqlx::query(
        r"
        update dead_letters d set resolved_at = now(), last_seen = now(), attempts = d.attempts + 1
        from unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], $6::text[])
            as g (block_number, tx_index, log_index, block_hash, source)
        where d.chain_id = $1 and d.block_number = g.block_number and d.tx_index = g.tx_index
            and d.log_index = g.log_index and d.block_hash = g.block_hash and d.source = g.source
            and d.resolved_at is null
        ",
    )
    .bind(chain.id)
    .bind(numbers)
    .bind(events.iter().map(|event| i64::from(event.place.tx_index)).collect::<Vec<_>>())
    .bind(events.iter().map(|event| i64::from(event.place.log_index)).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.block_hash.as_slice()).collect::<Vec<_>>())
    .bind(
        events
            .iter()
            .map(|event| chain.kind(event.fact.kind).map(|kind| kind.source.as_str()))
            .collect::<Result<Vec<_>, _>>()?,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
