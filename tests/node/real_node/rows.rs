//! Compares the tables with the receipts and with the contracts themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use alloy_dyn_abi::DynSolValue;
use alloy_primitives::{Address, Bytes, U256, U512};
use serde_json::json;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{AssertSqlSafe, Row as _};

use super::truth::{Cell, Place, Row, Truth};
use super::world::{World, address};
use crate::anvil::Contract;
use crate::flume::WAIT_LIMIT;

/// Waits until every checkpoint is the node's block `number`, by hash.
pub async fn until_at(world: &World, pool: &PgPool, number: u64) {
    let hash = world.anvil.block(number).await["hash"].clone();
    let deadline = Instant::now() + WAIT_LIMIT;
    loop {
        let at: Vec<(i64, String)> =
            sqlx::query_as("select block_number, '0x' || encode(block_hash, 'hex') from checkpoints")
                .fetch_all(pool)
                .await
                .expect("checkpoints are there");
        let there = |(n, h): &(i64, String)| u64::try_from(*n) == Ok(number) && hash == *h.as_str();
        if !at.is_empty() && at.iter().all(there) {
            return;
        }
        assert!(Instant::now() < deadline, "not at {number} {hash}, but {at:?}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Every table against the chain up to `top`.
pub async fn compare(world: &World, pool: &PgPool, top: u64) -> Truth {
    let truth = Truth::read(world, top).await;
    assert_eq!(dead_letters(pool).await, truth.dead_letters);
    events(pool, &truth).await;
    views(pool, &truth).await;
    stakes(pool, &truth).await;
    balances(world, pool, top).await;
    allowances(world, pool, &truth, top).await;
    owners(world, pool, &truth, top).await;
    truth
}

fn place(row: &PgRow) -> Place {
    let get = |name: &str| u64::try_from(row.get::<i64, _>(name)).expect("not negative");
    Place { block: get("block_number"), tx: get("tx_index"), log: get("log_index") }
}

async fn dead_letters(pool: &PgPool) -> Vec<(Place, String)> {
    let query = "select block_number, tx_index, log_index, '0x' || encode(block_hash, 'hex') as hash \
                 from dead_letters where kind = 'decode' and source = 'odd' and resolved_at is null \
                 order by block_number, tx_index, log_index";
    let rows = sqlx::query(query).fetch_all(pool).await.expect("a table");
    rows.iter().map(|row| (place(row), row.get("hash"))).collect()
}

async fn events(pool: &PgPool, truth: &Truth) {
    let query = "select block_number, tx_index, log_index, '0x' || encode(block_hash, 'hex') as block_hash, \
                 extract(epoch from block_time)::bigint as time, '0x' || encode(tx_hash, 'hex') as tx_hash, \
                 '0x' || encode(address, 'hex') as contract, k.type as kind, \
                 '0x' || encode(account, 'hex') as account, '0x' || encode(counterparty, 'hex') as counterparty, \
                 amount::text as amount, token_id::text as token_id, args::text as args \
                 from events e join event_kinds k on k.id = e.kind_id \
                 order by block_number, tx_index, log_index";
    let rows = sqlx::query(query).fetch_all(pool).await.expect("a table");
    let read = |(row, wanted): (&PgRow, &Row)| Row {
        place: place(row),
        block_hash: row.get("block_hash"),
        block_time: u64::try_from(row.get::<i64, _>("time")).expect("not negative"),
        tx_hash: row.get("tx_hash"),
        contract: row.get("contract"),
        kind: row.get("kind"),
        account: row.get("account"),
        counterparty: row.get("counterparty"),
        amount: row.get("amount"),
        token_id: row.get("token_id"),
        args: row.get::<Option<String>, _>("args").map(|args| serde_json::from_str(&args).expect("json")),
        ..wanted.clone()
    };
    assert_eq!(rows.len(), truth.rows.len());
    for pair in rows.iter().zip(&truth.rows) {
        assert_eq!(read(pair), *pair.1);
    }
}

/// Each by its name and with its columns by theirs.
async fn views(pool: &PgPool, truth: &Truth) {
    let mut by_view: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in &truth.rows {
        by_view.entry(&row.view).or_default().push(row);
    }
    for (view, wanted) in by_view {
        let names: Vec<String> =
            wanted[0].cells.iter().map(|(name, _)| format!("\"{name}\"::text")).collect();
        let query = format!(
            "select block_number, tx_index, log_index, \
                 concat_ws(' ', chain_id, '0x' || encode(block_hash, 'hex'), extract(epoch from block_time)::bigint, \
                     '0x' || encode(tx_hash, 'hex'), '0x' || encode(contract, 'hex'), type) as base, {} \
             from {view} order by block_number, tx_index, log_index",
            names.join(", ")
        );
        let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(pool).await.expect("the view is there");
        assert_eq!(rows.len(), wanted.len(), "{view}");
        for (row, wanted) in rows.iter().zip(wanted) {
            let Row { block_hash, block_time, tx_hash, contract, kind, .. } = wanted;
            let base = format!("31337 {block_hash} {block_time} {tx_hash} {contract} {kind}");
            assert_eq!((place(row), row.get::<String, _>("base")), (wanted.place.clone(), base), "{view}");
            let cells = wanted.cells.iter().enumerate().map(|(index, (name, cell))| {
                let text: String = row.get(index + 4);
                let found = match cell {
                    Cell::Text(_) => Cell::Text(text),
                    Cell::Json(_) => Cell::Json(serde_json::from_str(&text).expect("json")),
                };
                (name.clone(), found)
            });
            assert_eq!(cells.collect::<Vec<_>>(), wanted.cells, "{view}");
        }
    }
}

/// Amount, number of events and last time of each stake of an account.
type Stakes = BTreeMap<String, (String, i64, i64)>;

async fn stakes(pool: &PgPool, truth: &Truth) {
    // Sums of 256-bit numbers need more bits.
    let mut sums: BTreeMap<String, (U512, i64, u64)> = BTreeMap::new();
    for row in truth.rows.iter().filter(|row| row.kind == "stake.staked") {
        let account = row.account.clone().expect("a stake has an account");
        let amount: U512 = row.amount.as_deref().expect("an amount").parse().expect("a number");
        for key in [account.clone(), format!("{} {account}", row.contract)] {
            let (sum, count, last) = sums.entry(key).or_default();
            (*sum, *count, *last) = (*sum + amount, *count + 1, row.block_time.max(*last));
        }
    }
    let wanted: Stakes = sums
        .into_iter()
        .map(|(key, (sum, count, last))| {
            (key, (sum.to_string(), count, i64::try_from(last).expect("a time")))
        })
        .collect();
    let by_vault: Vec<(String, String, i64, i64)> = sqlx::query_as(
        "select concat('0x', encode(contract, 'hex'), ' 0x', encode(account, 'hex')), amount::text, events, \
             extract(epoch from last_at)::bigint from stakes",
    )
    .fetch_all(pool)
    .await
    .expect("a table");
    let users: Vec<(String, String, i64, i64)> = sqlx::query_as(
        "select v.address, v.stake_amount::text, \
             (select sum(events)::bigint from stakes s where s.account = v.wallet), \
             extract(epoch from v.staked_at)::bigint \
         from user_stakes v where status = 'active' and stake_amount_scaled * 1000000 = stake_amount and decimals = 6",
    )
    .fetch_all(pool)
    .await
    .expect("a view");
    let found: Stakes =
        by_vault.into_iter().chain(users).map(|(key, sum, count, last)| (key, (sum, count, last))).collect();
    assert_eq!(found, wanted);
}

/// What the contract itself answers at block `top`; `None` when it reverts.
async fn ask(
    world: &World,
    contract: &Contract,
    name: &str,
    arguments: &[DynSolValue],
    top: u64,
) -> Option<U256> {
    let call = json!({ "to": contract.address, "data": contract.call(name, arguments) });
    let answer = world.anvil.try_rpc("eth_call", json!([call, format!("{top:#x}")])).await.ok()?;
    let answer: Bytes = serde_json::from_value(answer).expect("bytes");
    Some(U256::from_be_slice(&answer))
}

fn person(bytes: &[u8]) -> DynSolValue {
    address(Address::from_slice(bytes))
}

async fn balances(world: &World, pool: &PgPool, top: u64) {
    let rows: Vec<(Vec<u8>, String)> = sqlx::query_as(
        "select account, balance::text from token_balances where token = $1 and chain_id = 31337",
    )
    .bind(world.token.address.as_slice())
    .fetch_all(pool)
    .await
    .expect("a table");
    let held: BTreeMap<Vec<u8>, String> = rows.into_iter().collect();
    let accounts = world.anvil.accounts().iter().map(|account| account.to_vec());
    for account in held.keys().cloned().chain(accounts).collect::<BTreeSet<_>>() {
        let theirs =
            ask(world, &world.token, "balanceOf", &[person(&account)], top).await.expect("a balance");
        let ours = held.get(&account).map_or("0", String::as_str);
        assert_eq!(ours, theirs.to_string(), "balance of {account:x?} at {top}");
    }
}

/// Spending lowers an allowance without an event: what was spent since the last approval lies between.
async fn allowances(world: &World, pool: &PgPool, truth: &Truth, top: u64) {
    let rows: Vec<(Vec<u8>, Vec<u8>, String)> =
        sqlx::query_as("select owner, spender, amount::text from token_allowances where token = $1")
            .bind(world.token.address.as_slice())
            .fetch_all(pool)
            .await
            .expect("a table");
    let approved = truth.rows.iter().filter(|row| row.kind == "erc20.approval");
    let pairs: BTreeSet<_> = approved.map(|row| (row.account.clone(), row.counterparty.clone())).collect();
    assert_eq!(rows.len(), pairs.len());
    let mut spent = Vec::new();
    for (owner, spender, ours) in rows {
        let pair = [person(&owner), person(&spender)];
        let theirs = ask(world, &world.token, "allowance", &pair, top).await.expect("an allowance");
        let difference = ours.parse::<U256>().expect("a number") - theirs;
        spent.extend((difference != U256::ZERO).then_some((owner, spender, difference)));
    }
    let (owner, spender) = (world.account(1).to_vec(), world.account(3).to_vec());
    assert!(spent.iter().all(|pair| *pair == (owner.clone(), spender.clone(), U256::from(40))), "{spent:?}");
}

async fn owners(world: &World, pool: &PgPool, truth: &Truth, top: u64) {
    let rows: Vec<(String, Vec<u8>)> =
        sqlx::query_as("select token_id::text, owner from nft_owners where contract = $1")
            .bind(world.nft.address.as_slice())
            .fetch_all(pool)
            .await
            .expect("a table");
    let mut held: BTreeMap<String, Vec<u8>> = rows.into_iter().collect();
    let of_nft = truth.rows.iter().filter(|row| row.view == "nft_transfer");
    for id in of_nft.filter_map(|row| row.token_id.clone()).collect::<BTreeSet<_>>() {
        let token = DynSolValue::Uint(id.parse().expect("a number"), 256);
        let theirs = ask(world, &world.nft, "ownerOf", &[token], top).await;
        let ours = held.remove(&id).map(|owner| U256::from_be_slice(&owner));
        assert_eq!(ours, theirs, "owner of {id} at {top}");
    }
    assert_eq!(held, BTreeMap::new());
    let counts: Vec<(Vec<u8>, i64)> =
        sqlx::query_as("select owner, tokens from nft_balances").fetch_all(pool).await.expect("a view");
    let counts: BTreeMap<Vec<u8>, i64> = counts.into_iter().collect();
    for account in world.anvil.accounts() {
        let theirs = ask(world, &world.nft, "balanceOf", &[address(*account)], top).await.expect("a count");
        let ours = counts.get(account.as_slice()).copied().unwrap_or_default();
        assert_eq!(ours.to_string(), theirs.to_string(), "tokens of {account} at {top}");
    }
}
