//! Compares all tables, row by row, with the chain itself and with another database.

use std::collections::BTreeMap;

use alloy_primitives::{Address, U256, hex};
use chainflume_core::domain::BlockRange;
use chainflume_devchain::{DEMO_NFT, DEMO_TOKEN, DevChain, STAKE_VAULT};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgPool;

/// Each table, with the parts of its rows that do not depend on time and order of writing. Kinds are compared by name,
/// since their ids follow the order of their first occurrence. Two tables are left out: `blocks`, which holds blocks
/// near the head, and the record of orphaned events.
const TABLES: [(&str, &str); 12] = [
    // The genesis hash is known only if the node returned it at the first start.
    ("chains", "select to_jsonb(t) - '{reorgs,epoch,genesis_hash,final_number}'::text[] from chains t"),
    // Publishing begins at the head of the first start, and the audit depends on the time. Only commands use the record
    // of who followed a source last.
    (
        "sources",
        "select to_jsonb(t) - '{id,publish_from,verified_to,followed_as,group_id}'::text[] from sources t",
    ),
    ("checkpoints", "select to_jsonb(t) - 'updated_at' from checkpoints t"),
    ("event_kinds", "select to_jsonb(t) - 'id' from event_kinds t"),
    (
        "events",
        "select to_jsonb(t) - 'kind_id' || jsonb_build_object('kind', to_jsonb(k) - 'id' - 'events') \
         from events t join event_kinds k on k.id = t.kind_id",
    ),
    ("dead_letters", "select to_jsonb(t) - '{id,first_seen,last_seen}'::text[] from dead_letters t"),
    ("stakes", "select to_jsonb(t) from stakes t"),
    ("users", "select to_jsonb(t) - '{id,created_at}'::text[] from users t"),
    ("token_balances", "select to_jsonb(t) from token_balances t"),
    ("token_allowances", "select to_jsonb(t) from token_allowances t"),
    ("nft_owners", "select to_jsonb(t) from nft_owners t"),
    ("nft_balances", "select to_jsonb(t) from nft_balances t"),
];

/// Rows by table.
pub type Rows = BTreeMap<String, Vec<String>>;

/// Every row of every table as text.
pub async fn all(pool: &PgPool) -> Rows {
    let mut rows = Rows::new();
    for (table, sql) in TABLES {
        rows.insert(table.to_owned(), read(pool, &format!("select r::text from ({sql}) as t (r)")).await);
    }
    rows
}

/// As [`all`], with the blocks above `above`: the blocks that history leaves below depend on its ranges.
pub async fn all_with_window(pool: &PgPool, above: u64) -> Rows {
    let sql = format!("select to_jsonb(t)::text from blocks t where number > {above}");
    let mut rows = all(pool).await;
    rows.insert("blocks".to_owned(), read(pool, &sql).await);
    rows
}

/// Every row of one chain, to check that none changed.
pub async fn of_chain(pool: &PgPool, chain_id: u64) -> Rows {
    let mut rows = Rows::new();
    for table in
        ["chains", "sources", "checkpoints", "blocks", "events", "stakes", "orphaned_events", "reorgs"]
    {
        let sql = format!("select to_jsonb(t)::text from {table} t where chain_id = {chain_id}");
        rows.insert(table.to_owned(), read(pool, &sql).await);
    }
    rows
}

/// A line for each row that only one database has, or has more often.
pub fn differences(found: &Rows, expected: &Rows) -> Vec<String> {
    let mut differences = Vec::new();
    for (table, expected) in expected {
        let mut lacking = BTreeMap::<&str, i64>::new();
        expected.iter().for_each(|row| *lacking.entry(row).or_default() += 1);
        found[table].iter().for_each(|row| *lacking.entry(row).or_default() -= 1);
        differences.extend(lacking.into_iter().filter(|(_, count)| *count != 0).map(|(row, count)| {
            let word = if count > 0 { "lacks" } else { "has" };
            format!("{table} {word} {row}")
        }));
    }
    differences
}

/// Panics and lists every row that only one database has.
pub fn assert_same(what: &str, found: &Rows, expected: &Rows) {
    let differences = differences(found, expected);
    let first = differences.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} rows differ from {what}:\n{first}", differences.len());
}

/// Compares the rows of three sources from genesis up to block `tip` with the chain's own logs and ledger.
pub async fn assert_equals_chain(pool: &PgPool, chain: &DevChain, tip: u64) {
    let mut found = Rows::new();
    for (table, sql) in WITNESSED {
        found.insert(table.to_owned(), read(pool, sql).await);
    }
    assert_same("the chain", &found, &witness(chain, tip));
    assert_canonical(pool, chain).await;
}

/// Checks that every stored block is a block of the chain.
async fn assert_canonical(pool: &PgPool, chain: &DevChain) {
    let held: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "select number, hash from blocks where chain_id = $1 \
         union all select block_number, block_hash from checkpoints where chain_id = $1",
    )
    .bind(chain.settings().chain_id.cast_signed())
    .fetch_all(pool)
    .await
    .expect("the tables are there");
    for (number, hash) in held {
        let block = chain.block(number.cast_unsigned()).expect("no block above the head is held");
        assert_eq!(hash, block.hash.as_slice(), "another block {number} is held");
    }
}

const WITNESSED: [(&str, &str); 6] = [
    (
        "events",
        "select concat_ws(' ', block_number, tx_index, log_index, encode(block_hash, 'hex'), encode(tx_hash, 'hex'), \
             encode(address, 'hex'), extract(epoch from block_time)::bigint) from events",
    ),
    (
        "stakes",
        "select concat_ws(' ', encode(contract, 'hex'), encode(account, 'hex'), amount, events, \
             extract(epoch from last_at)::bigint) from stakes",
    ),
    (
        "users",
        "select concat_ws(' ', encode(wallet, 'hex'), stake_amount, extract(epoch from staked_at)::bigint, status) \
             from users",
    ),
    (
        "token_balances",
        "select concat_ws(' ', encode(token, 'hex'), encode(account, 'hex'), balance) from token_balances",
    ),
    (
        "token_allowances",
        "select concat_ws(' ', encode(token, 'hex'), encode(owner, 'hex'), encode(spender, 'hex'), amount) \
             from token_allowances",
    ),
    (
        "nft_owners",
        "select concat_ws(' ', encode(contract, 'hex'), token_id, encode(owner, 'hex')) from nft_owners",
    ),
];

/// The same rows, computed from the chain.
fn witness(chain: &DevChain, tip: u64) -> Rows {
    let logs = chain.canonical_logs(BlockRange::new(0, tip).expect("from genesis"));
    let ledger = chain.ledger(tip);
    let hex = |address: &Address| hex::encode(address);
    let (vault, token, nft) = (hex(&STAKE_VAULT), hex(&DEMO_TOKEN), hex(&DEMO_NFT));
    let event = |log: &chainflume_core::domain::Log| {
        let block = chain.block(log.place.block_number).expect("it has a log");
        let (place, tx) = (log.place, hex::encode(log.tx_hash));
        format!(
            "{} {} {} {} {tx} {} {}",
            place.block_number,
            place.tx_index,
            place.log_index,
            hex::encode(log.block_hash),
            hex(&log.address),
            block.timestamp
        )
    };
    let owned =
        |(id, owner): (&U256, &Option<Address>)| owner.map(|owner| format!("{nft} {id} {}", hex(&owner)));
    let stakes = || ledger.stakes.iter();
    [
        ("events", logs.iter().map(event).collect()),
        (
            "stakes",
            stakes()
                .map(|(who, s)| format!("{vault} {} {} {} {}", hex(who), s.sum, s.count, s.last))
                .collect(),
        ),
        ("users", stakes().map(|(who, s)| format!("{} {} {} active", hex(who), s.sum, s.last)).collect()),
        (
            "token_balances",
            ledger.balances.iter().map(|(who, sum)| format!("{token} {} {sum}", hex(who))).collect(),
        ),
        (
            "token_allowances",
            ledger
                .allowances
                .iter()
                .map(|((a, b), sum)| format!("{token} {} {} {sum}", hex(a), hex(b)))
                .collect(),
        ),
        ("nft_owners", ledger.nft_owners.iter().filter_map(owned).collect()),
    ]
    .map(|(table, rows): (&str, Vec<String>)| (table.to_owned(), rows))
    .into()
}

async fn read(pool: &PgPool, sql: &str) -> Vec<String> {
    let rows = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(pool).await;
    rows.expect("the table is there")
}
