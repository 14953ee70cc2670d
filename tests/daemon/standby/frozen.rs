//! A leader that freezes and wakes up again: as a virtual machine does that is moved, or a process that swaps.

use rustix::process::Signal;
use sqlx::AssertSqlSafe;

use super::*;
use crate::wait::until_ok;

/// Writes down who moves checkpoints: each daemon comes as a role of its own.
const WITNESS: &str = "\
    create table moves (id bigint generated always as identity, who text default session_user); \
    create function witness() returns trigger language plpgsql as \
        $$ begin insert into moves default values; return null; end $$; \
    create trigger witness after insert or update or delete on source_groups \
        for each statement execute function witness();";

/// The url of a role of its own, which is allowed everything.
async fn as_role(pool: &PgPool, url: &str, name: &str) -> String {
    let database = url.split(['/', '?']).find(|part| part.starts_with("test_")).expect("its name");
    let role = format!("{name}_{database}");
    let sql = format!("create role {role} superuser login");
    sqlx::query(AssertSqlSafe(sql)).execute(pool).await.expect("a role");
    url.replace("user=postgres", &format!("user={role}"))
}

/// Who moved checkpoints, without repeats.
async fn movers(pool: &PgPool) -> Vec<String> {
    let moves: Vec<String> = sqlx::query_scalar("select split_part(who, '_', 1) from moves order by id")
        .fetch_all(pool)
        .await
        .expect("reads");
    let mut movers = moves;
    movers.dedup();
    movers
}

/// Waits until there is a session on this database of which this is true.
async fn until_sessions(pool: &PgPool, what: &str) {
    let sql = format!("select count(*) from pg_stat_activity where datname = current_database() and {what}");
    until_async(&format!("there is a session with {what}"), async || {
        let count = sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql.as_str())).fetch_one(pool).await;
        count.expect("a count") > 0
    })
    .await;
}

/// Who leads the chain.
async fn holder(pool: &PgPool) -> String {
    let sql = "select holder from leases where name = 'chain 31337'";
    sqlx::query_scalar(sql).fetch_one(pool).await.expect("one")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_frozen_inside_a_commit_is_replaced() {
    let url = postgres::database().await;
    let pool = connect(&url).await;
    sqlx::raw_sql(WITNESS).execute(&pool).await.expect("runs");
    let (chain, server) = devchain(411, 30).await;
    let lease = "[standby]\nlease = \"2s\"";
    let one = home(&server, lease, &as_role(&pool, &url, "one").await);
    let two = home(&server, lease, &as_role(&pool, &url, "two").await);
    let first = one.start();
    first.until_tip(28).await;
    let second = two.start();
    until_standby(&second).await;

    // Its transaction waits for a locked table, with the chain's row locked; then it freezes.
    let mut gate = pool.begin().await.expect("begins");
    sqlx::query("lock table events in exclusive mode").execute(&mut *gate).await.expect("locks");
    chain.mine(3);
    until_sessions(&pool, "usename like 'one%' and wait_event_type = 'Lock'").await;
    first.signal(Signal::STOP);
    let frozen = Instant::now();
    gate.rollback().await.expect("ends");
    let holder = holder(&pool).await;
    let taken = until_taken(&pool, "chain 31337", &holder).await;
    assert!(taken - frozen < AFTER_KILL, "{:?}", taken - frozen);
    second.until_tip(31).await;

    first.signal(Signal::CONT);
    until_standby(&first).await;
    chain.mine(3);
    second.until_tip(34).await;
    assert_eq!(movers(&pool).await, ["one", "two"]);
    first.stop_well().await;
    second.stop_well().await;
    agrees(&chain, &url, 34).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_frozen_leader_are_in_no_other_writers_way() {
    let url = postgres::database().await;
    let pool = connect(&url).await;
    let (chain, server) = devchain(413, 400).await;
    let home = |url: &str| {
        let home = home(&server, "[standby]\nlease = \"2s\"", url);
        let ranges = "chain_id = 31337\nhistory = { initial_range = 20, max_range = 20 }";
        home.rewrite("chain_id = 31337", ranges);
        home
    };
    let (one, two) = (home(&as_role(&pool, &url, "one").await), home(&as_role(&pool, &url, "two").await));
    // Its commit waits for a locked table, and the rows of the next step are written.
    let mut gate = pool.begin().await.expect("begins");
    sqlx::query("lock table token_balances in exclusive mode").execute(&mut *gate).await.expect("locks");
    let first = one.start();
    until_sessions(&pool, "usename like 'one%' and wait_event_type = 'Lock'").await;
    let ahead = "usename like 'one%' and state = 'idle in transaction' \
                 and pid in (select pid from pg_locks where relation = 'events'::regclass)";
    until_sessions(&pool, ahead).await;
    let second = two.start();
    until_standby(&second).await;
    first.signal(Signal::STOP);
    let holder = holder(&pool).await;
    gate.rollback().await.expect("ends");
    until_taken(&pool, "chain 31337", &holder).await;
    second.until_tip(398).await;
    first.signal(Signal::CONT);
    until_standby(&first).await;
    first.stop_well().await;
    second.stop_well().await;
    agrees(&chain, &url, 398).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_that_freeze_at_any_moment_take_turns() {
    let url = postgres::database().await;
    let pool = connect(&url).await;
    sqlx::raw_sql(WITNESS).execute(&pool).await.expect("runs");
    let (chain, server) = devchain(412, 30).await;
    let lease = "[standby]\nlease = \"2s\"";
    let one = home(&server, lease, &as_role(&pool, &url, "one").await);
    let two = home(&server, lease, &as_role(&pool, &url, "two").await);
    let (mut leader, mut standby) = (one.start(), two.start());
    leader.until("ready", |status, _| status == 200).await;
    standby.until("ready", |status, _| status == 200).await;
    if leads(&leader).await != Some(1.0) {
        std::mem::swap(&mut leader, &mut standby);
    }
    let settings = chainflume_devchain::MinerSettings {
        block_time: Duration::from_millis(100),
        reorg_every: Some(7),
        max_reorg_depth: 5,
    };
    let miner = chain.run(settings);
    for turns in 0..3 {
        tokio::time::sleep(Duration::from_millis(200 + 37 * turns as u64)).await;
        let holder = holder(&pool).await;
        leader.signal(Signal::STOP);
        // All it led: a lease that no instance takes in time is still its own when it thaws.
        for lease in ["chain 31337", "audit 31337", "outbox"] {
            until_taken(&pool, lease, &holder).await;
        }
        until_ok("the new leader moves the checkpoint", async || {
            let has_moved = movers(&pool).await.len() >= turns + 2;
            has_moved.then_some(()).ok_or_else(|| standby.log())
        })
        .await;
        leader.signal(Signal::CONT);
        until_standby(&leader).await;
        std::mem::swap(&mut leader, &mut standby);
    }
    drop(miner);
    let tip = chain.head().number - 2;
    leader.until_tip(tip).await;
    let movers = movers(&pool).await;
    assert_eq!(movers.len(), 4, "each led until the other did, and not again: {movers:?}");
    leader.stop_well().await;
    standby.stop_well().await;
    agrees(&chain, &url, tip).await;
}
