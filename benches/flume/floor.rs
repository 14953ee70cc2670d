//! The floor: one process writes the same rows, keys, indexes and state in the best order and does nothing else. All
//! data is computed and encoded before the clock starts.

use std::time::{Duration, Instant};

use anyhow::ensure;
use chainflume_core::domain::{ProjectionDelta, SignedSum};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::copy;
use super::database::{Database, Postgres};
use super::source::{CHAIN_ID, Settings};
use super::workload::{LOGS_PER_BLOCK, Workload};

/// Events written between two upserts. A larger number would join more transfers of one wallet, and would need more
/// memory than a daemon may use.
const BATCH: u64 = 50_000;

/// The measured cost.
pub struct Floor {
    pub took: Duration,
    pub postgres_cpu: f64,
}

/// The data of one commit.
struct Batch {
    rows: Vec<u8>,
    /// Key columns and the sum of each.
    upserts: Vec<(&'static str, Keys)>,
}

#[derive(Default)]
struct Keys {
    first: Vec<Vec<u8>>,
    second: Vec<Vec<u8>>,
    numbers: Vec<String>,
    counts: Vec<i64>,
}

/// Writes the workload into `database`, which has the tables without rows.
pub async fn write(
    postgres: &Postgres,
    database: &Database,
    (workload, logs): (Workload, u64),
) -> anyhow::Result<Floor> {
    let blocks = Settings::new(workload, logs).blocks();
    let step = BATCH / LOGS_PER_BLOCK;
    let starts = (1..=blocks).step_by(usize::try_from(step)?);
    let batches: Vec<Batch> =
        starts.map(|from| Batch::new(workload, from..=(from + step - 1).min(blocks))).collect();
    let mut connection = PgConnection::connect(&database.url).await?;
    let sql = "select indexdef, indexname from pg_indexes \
               where tablename in ('events', 'token_balances', 'nft_owners') and indexdef not like 'CREATE UNIQUE%'";
    let indexes: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&mut connection).await?;
    for (_, name) in &indexes {
        connection.execute(AssertSqlSafe(format!("drop index {name}"))).await?;
    }

    let (started, cpu) = (Instant::now(), postgres.cpu()?);
    connection.execute("set synchronous_commit = off").await?;
    for batch in &batches {
        let mut tx = connection.begin().await?;
        let statement = format!("copy events ({}) from stdin (format binary)", copy::COLUMNS);
        let mut copying = tx.copy_in_raw(&statement).await?;
        for chunk in batch.rows.chunks(256 * 1024) {
            copying.send(chunk).await?;
        }
        copying.finish().await?;
        for (sql, keys) in &batch.upserts {
            let query = sqlx::query(*sql).bind(i64::try_from(CHAIN_ID)?).bind(workload.address().to_vec());
            let query = query.bind(&keys.first).bind(&keys.second).bind(&keys.numbers).bind(&keys.counts);
            query.execute(&mut *tx).await?;
        }
        tx.commit().await?;
    }
    for (definition, _) in &indexes {
        connection.execute(AssertSqlSafe(definition.clone())).await?;
    }
    let floor = Floor { took: started.elapsed(), postgres_cpu: postgres.cpu()? - cpu };
    connection.close().await?;
    ensure!(
        database.events().await? == i64::try_from(blocks * LOGS_PER_BLOCK)?,
        "the floor wrote other rows"
    );
    Ok(floor)
}

impl Batch {
    fn new(workload: Workload, blocks: std::ops::RangeInclusive<u64>) -> Self {
        let mut rows = copy::HEADER.to_vec();
        let mut folded = ProjectionDelta::default();
        for number in blocks {
            for index in 0..LOGS_PER_BLOCK {
                copy::row(&mut rows, workload, number, index);
                if let Some(change) = workload.change(number, index) {
                    folded.push(change);
                }
            }
        }
        rows.extend(copy::TRAILER);
        Self { rows, upserts: upserts(&folded) }
    }
}

fn upserts(folded: &ProjectionDelta) -> Vec<(&'static str, Keys)> {
    let mut upserts = [BALANCES, ALLOWANCES, OWNERS, STAKES, USERS].map(|sql| (sql, Keys::default()));
    for ((_, account), delta) in &folded.balances {
        upserts[0].1.push(account.as_slice(), &[], net(delta), delta.entries);
    }
    for ((_, owner, spender), amount) in &folded.allowances {
        upserts[1].1.push(owner.as_slice(), spender.as_slice(), amount.to_string(), 0);
    }
    for ((_, token), owner) in &folded.owners {
        let owner = owner.map_or_else(Vec::new, |owner| owner.to_vec());
        upserts[2].1.push(&owner, &[], token.to_string(), 0);
    }
    for ((_, account), (delta, _)) in &folded.stakes {
        for keys in [3, 4] {
            upserts[keys].1.push(account.as_slice(), &[], net(delta), delta.entries);
        }
    }
    upserts.into_iter().filter(|(_, keys)| !keys.first.is_empty()).collect()
}

impl Keys {
    fn push(&mut self, first: &[u8], second: &[u8], number: String, count: u64) {
        self.first.push(first.to_vec());
        self.second.push(second.to_vec());
        self.numbers.push(number);
        self.counts.push(i64::try_from(count).expect("fewer than 2^63 events"));
    }
}

/// Received less sent amounts; the sums of the bench are far below 2^256.
fn net(delta: &SignedSum) -> String {
    let ((_, gained), (_, lost)) = delta.halves();
    if gained >= lost { (gained - lost).to_string() } else { format!("-{}", lost - gained) }
}

/// All statements have the parameters chain, contract, two keys, a number and a count, and may ignore some.
macro_rules! from_keys {
    ($select:literal, $then:literal) => {
        concat!(
            $select,
            " from (select $1::bigint as chain, $2::bytea as contract) as c cross join ",
            "unnest($3::bytea[], $4::bytea[], $5::text[], $6::bigint[]) as k (first, second, number, count) ",
            $then
        )
    };
}

const BALANCES: &str = from_keys!(
    "insert into token_balances as b (chain_id, token, account, balance, events) \
     select chain, contract, first, number::numeric, count",
    "on conflict on constraint token_balances_pkey \
     do update set balance = b.balance + excluded.balance, events = b.events + excluded.events"
);
const ALLOWANCES: &str = from_keys!(
    "insert into token_allowances (chain_id, token, owner, spender, amount) \
     select chain, contract, first, second, number::numeric",
    "on conflict on constraint token_allowances_pkey do update set amount = excluded.amount"
);
const OWNERS: &str = from_keys!(
    "insert into nft_owners (chain_id, contract, token_id, owner) select chain, contract, number::numeric, first",
    "on conflict on constraint nft_owners_pkey do update set owner = excluded.owner"
);
const STAKES: &str = from_keys!(
    "insert into stakes as s (chain_id, contract, account, amount, events, last_at) \
     select chain, contract, first, number::numeric, count, now()",
    "on conflict on constraint stakes_pkey do update set \
     amount = s.amount + excluded.amount, events = s.events + excluded.events, last_at = excluded.last_at"
);
const USERS: &str = from_keys!(
    "insert into users as u (id, wallet, stake_amount, staked_at, status, origin) \
     select user_id(first), first, number::numeric, now(), 'active', 'chain'",
    "on conflict on constraint users_wallet_key do update set \
     stake_amount = u.stake_amount + excluded.stake_amount, staked_at = excluded.staked_at"
);
