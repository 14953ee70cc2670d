//! Whole tables as text, without what is random or tells the time of day.

use std::collections::BTreeMap;

use chainflume::devchain::DevChain;
use sqlx::postgres::PgPool;

use super::ground::Ground;

/// Table to rows, each row as JSON.
type Tables = BTreeMap<&'static str, Vec<String>>;

/// Kinds have ids in the order in which a database met them; here they go by name.
const QUERIES: [(&str, &str); 12] = [
    (
        "events",
        "select (to_jsonb(e) - 'kind_id') || jsonb_build_object('source', k.source, 'type', k.type, \
         'event', k.event, 'signature', k.signature, 'kind_projection', k.projection) \
         from events e join event_kinds k on k.id = e.kind_id",
    ),
    ("event_kinds", "select to_jsonb(t) - 'id' from event_kinds t"),
    ("dead_letters", "select to_jsonb(t) - '{id,first_seen,last_seen}'::text[] from dead_letters t"),
    ("checkpoints", "select to_jsonb(t) - 'updated_at' from checkpoints t"),
    // Announcements begin at the head that was first seen.
    ("sources", "select to_jsonb(t) - '{id,publish_from}'::text[] from sources t"),
    // A genesis hash is only known where the node told it at the first start.
    ("chains", "select to_jsonb(t) - '{reorgs,epoch,genesis_hash,final_number}'::text[] from chains t"),
    ("stakes", "select to_jsonb(t) from stakes t"),
    ("users", "select to_jsonb(t) - '{id,created_at}'::text[] from users t"),
    ("token_balances", "select to_jsonb(t) from token_balances t"),
    ("token_allowances", "select to_jsonb(t) from token_allowances t"),
    ("nft_owners", "select to_jsonb(t) from nft_owners t"),
    ("nft_balances", "select to_jsonb(t) from nft_balances t"),
];

/// All tables, and the reorg window above block `above`: what history leaves below depends on how it was cut.
pub async fn read(pool: &PgPool, above: u64) -> Tables {
    let window = format!("select to_jsonb(t) from blocks t where number > {above}");
    let mut tables = Tables::new();
    for (table, query) in QUERIES.into_iter().chain([("blocks", window.as_str())]) {
        let sql = format!("select row::text from ({query}) as t (row) order by 1");
        let rows = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(pool).await;
        tables.insert(table, rows.expect("tables can be read"));
    }
    tables
}

/// Every row that only one side has, a few of them.
pub fn difference(lived: &Tables, fresh: &Tables) -> Option<String> {
    let mut told = String::new();
    for (table, rows) in lived {
        let other = &fresh[table];
        let only = |rows: &[String], other: &[String]| {
            let mut left = rows.to_vec();
            for row in other {
                if let Some(at) = left.iter().position(|mine| mine == row) {
                    left.remove(at);
                }
            }
            left
        };
        for (side, rows) in [("lived", only(rows, other)), ("fresh", only(other, rows))] {
            for row in rows.iter().take(4) {
                told += &format!("  {table}, only {side} ({} of them): {row}\n", rows.len());
            }
        }
    }
    (!told.is_empty()).then_some(told)
}

/// What a fresh sync cannot be compared with: the reorg window and the record of what was orphaned.
pub async fn implausible(pool: &PgPool, chain: &DevChain, ground: &Ground) -> Option<String> {
    let window: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("select number, hash from blocks").fetch_all(pool).await.expect("a table");
    for (number, hash) in window {
        let canonical = chain.block(number.cast_unsigned()).map(|block| block.hash.to_vec());
        if canonical.as_ref() != Some(&hash) {
            return Some(format!("blocks holds another block {number} than the chain"));
        }
    }
    let orphaned: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("select distinct block_number, block_hash from orphaned_events")
            .fetch_all(pool)
            .await
            .expect("a table");
    let wrongly = orphaned.into_iter().find(|(_, hash)| !ground.is_gone(&hash_of(hash)));
    wrongly.map(|(number, _)| format!("events of block {number} were undone, and it was never dropped"))
}

pub fn hash_of(bytes: &[u8]) -> alloy_primitives::B256 {
    alloy_primitives::B256::try_from(bytes).expect("a hash has 32 bytes")
}
