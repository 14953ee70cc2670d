//! Messages of the outbox by the addresses and users that they name.

use std::time::{Duration, Instant};

use super::fixture::*;
use crate::Store;
use chainflume_core::domain::U256;
use chainflume_db::transaction;
use chainflume_outbox::{
    INDEX_ROOMS, OutboxEpoch, Position, ROOM_PAGE, RoomPage, RoomRead, append, drafts, room_key,
};

fn wallet(id: u64) -> String {
    format!("0x{id:040x}")
}

async fn page(store: &Store, after: u64, ids: &[&str], limit: u32) -> RoomPage {
    let keys: Vec<i64> = ids.iter().map(|id| room_key(id)).collect();
    let at = Position { seq: after, epoch: None };
    match store.outbox().read_rooms_after(&at, &keys, limit).await.expect("reads") {
        RoomRead::Page(page) => page,
        other => panic!("{other:?}"),
    }
}

fn seqs(page: &RoomPage) -> Vec<u64> {
    page.rows.iter().map(|row| row.seq).collect()
}

/// A message about a transfer of nothing between two wallets.
fn transfer_between(from: u64, to: u64) -> chainflume_core::domain::Message {
    let zero = "0x0000000000000000000000000000000000000000000000000000000000000000";
    serde_json::from_value(serde_json::json!({
        "id": "5d0b9c4e-0000-8000-8000-000000000000", "seq": 0, "version": 1, "type": "erc20.transfer",
        "state": "confirmed", "timestamp": "2026-01-01T00:00:00Z", "aggregateType": "token",
        "aggregateId": wallet(200), "payload": { "from": wallet(from), "to": wallet(to), "value": "0" },
        "metadata": {
            "userId": null, "correlationId": zero, "causationId": null, "source": "token", "chainId": 1,
            "blockNumber": 7, "blockHash": zero, "transactionHash": zero, "logIndex": 0, "confirmations": 2
        }
    }))
    .expect("a message")
}

async fn append_all(store: &Store, messages: Vec<chainflume_core::domain::Message>) {
    let mut tx = transaction::begin(&store.pool).await.expect("begins");
    append(&mut tx, 1, drafts(messages).expect("JSON"), None).await.expect("appends");
    tx.commit().await.expect("commits");
}

/// Indexes every message. Returns their number.
async fn index(store: &Store) -> u64 {
    index_by(store, 1_000).await
}

/// As [`index`], so many at a time.
async fn index_by(store: &Store, count: u32) -> u64 {
    let mut indexed = 0;
    loop {
        match store.outbox().index_rooms(count).await.expect("indexes") {
            0 => return indexed,
            count => indexed += count,
        }
    }
}

#[tokio::test]
async fn messages_are_found_by_what_they_name_in_order_and_in_pages() {
    let store = store().await;
    let chain = open(&store).await;
    let at = block(1, 0);
    let pairs = [(1, 2), (3, 4), (2, 3), (5, 6), (1, 2)];
    let events =
        pairs.iter().zip(0..).map(|((from, to), log)| event(at, log, transfer(*from, *to, U256::ONE)));
    advance(&chain, None, at, events.collect()).await.expect("advances");
    assert_eq!(index(&store).await, 5);
    let (one, two) = (wallet(1), wallet(2));
    let whole = page(&store, 0, &[&two], 10).await;
    assert_eq!((seqs(&whole), whole.next.seq), (vec![1, 3, 5], 5));
    assert!(
        whole.next.epoch.is_some()
            && whole.rows.iter().all(|row| Some(&row.epoch.epoch) == whole.next.epoch.as_ref())
    );
    // Each message once, whatever it is found by.
    assert_eq!(seqs(&page(&store, 0, &[&one, &two], 10).await), [1, 3, 5]);
    let first = page(&store, 0, &[&two], 2).await;
    assert_eq!((seqs(&first), first.next.seq), (vec![1, 3], 3));
    let second = page(&store, 3, &[&two], 2).await;
    assert_eq!((seqs(&second), second.next.seq), (vec![5], 5));
    let nothing = page(&store, 0, &[&wallet(99)], 2).await;
    assert_eq!((seqs(&nothing), nothing.next.seq, nothing.first.expect("kept").0), (vec![], 5, 1));
    // The same by `COPY`, which many messages take.
    append_all(&store, (0..2_500).map(|n| transfer_between(7 + n % 3, 50)).collect()).await;
    assert_eq!(index(&store).await, 2_500);
    let many = page(&store, 5, &[&wallet(8)], 10_000).await;
    assert_eq!(seqs(&many), (5..2_505).filter(|n| (n - 5) % 3 == 1).map(|n| n + 1).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_index_forgets_trimmed_messages_and_skips_older_ones() {
    let store = store().await;
    append_all(&store, (0..10).map(|n| transfer_between(n % 2 + 1, 3)).collect()).await;
    index(&store).await;
    assert_eq!(store.outbox().trim(Duration::ZERO, &[], 4).await.expect("trims"), 4);
    let left: Vec<String> = texts(&store, "select distinct seq::text from outbox_rooms order by 1").await;
    assert_eq!(left, ["10", "5", "6", "7", "8", "9"]);
    let after = page(&store, 1, &[&wallet(1)], 10).await;
    let (first, epoch): (u64, OutboxEpoch) = after.first.clone().expect("kept");
    assert_eq!((seqs(&after), first, epoch.missed(first, 1)), (vec![5, 7, 9], 5, 3));
    // Deleted by another program: what is left in the index is no message.
    sqlx::query("delete from outbox where seq <= 6").execute(&store.pool).await.expect("deletes");
    assert_eq!(seqs(&page(&store, 1, &[&wallet(1)], 10).await), [7, 9]);

    sqlx::query("update outbox_head set rooms_from = 9").execute(&store.pool).await.expect("updates");
    let read = async |seq, epoch: Option<&str>| {
        let at = Position { seq, epoch: epoch.map(str::to_owned) };
        store.outbox().read_rooms_after(&at, &[room_key(&wallet(1))], 10).await.expect("reads")
    };
    assert!(matches!(read(7, None).await, RoomRead::Unindexed));
    assert!(matches!(read(8, None).await, RoomRead::Page(RoomPage { rows, .. }) if rows.len() == 1));
    assert!(matches!(read(8, Some("other")).await, RoomRead::Elsewhere));
    assert!(matches!(read(11, None).await, RoomRead::Elsewhere));
}

#[tokio::test]
async fn messages_that_are_not_indexed_are_neither_found_nor_trimmed() {
    let store = store().await;
    let outbox = store.outbox();
    append_all(&store, (0..6).map(|n| transfer_between(n % 2 + 1, 3)).collect()).await;
    assert_eq!(outbox.index_rooms(4).await.expect("indexes"), 4);
    let read = async |seq| {
        let at = Position { seq, epoch: None };
        outbox.read_rooms_after(&at, &[room_key(&wallet(1))], 10).await.expect("reads")
    };
    // A page ends where the index ends, in the epoch of that number.
    let found = page(&store, 0, &[&wallet(1)], 10).await;
    assert_eq!((seqs(&found), found.next.seq), (vec![1, 3], 4));
    assert_eq!(found.next.epoch, found.rows.first().map(|row| row.epoch.epoch.clone()));
    for seq in [4, 5] {
        assert!(matches!(read(seq).await, RoomRead::Unindexed), "after {seq}");
    }
    assert!(matches!(read(7).await, RoomRead::Elsewhere));
    assert_eq!(outbox.trim(Duration::ZERO, &[], 10).await.expect("trims"), 4);
    assert_eq!(outbox.trim(Duration::ZERO, &[], 10).await.expect("trims"), 0);

    assert_eq!((index(&store).await, index(&store).await), (2, 0));
    let found = page(&store, 4, &[&wallet(1)], 10).await;
    assert_eq!((seqs(&found), found.next.seq), (vec![5], 6));
    assert!(matches!(read(6).await, RoomRead::Page(RoomPage { rows, .. }) if rows.is_empty()));
    assert_eq!(outbox.trim(Duration::ZERO, &[], 10).await.expect("trims"), 2);
    assert_eq!(texts(&store, "select key::text from outbox_rooms").await, Vec::<String>::new());
}

#[tokio::test]
async fn two_at_once_index_each_message_once() {
    let store = store().await;
    append_all(&store, (0..50).map(|n| transfer_between(n, 99)).collect()).await;
    let (one, other) = tokio::join!(index_by(&store, 3), index_by(&store, 7));
    assert_eq!(one + other + index(&store).await, 50);
    let named = "select count(*)::text || ' ' || count(distinct seq) from outbox_rooms";
    // The token, the sender and the receiver of each.
    assert_eq!(texts(&store, named).await, ["150 50"]);
}

/// `count` messages that name so many others, written by the database itself, and their keys.
async fn fill(store: &Store, count: i64, others: i64) {
    sqlx::query(
        "with head as (update outbox_head set seq = seq + $1 returning seq - $1 as before), \
         n as (select before + n as seq, 1000000 + n % $2 as other from head, generate_series(1, $1) n) \
         insert into outbox (seq, chain_id, aggregate_type, type, state, message, room_keys) \
         select seq, 1, 'token', 'erc20.transfer', 'confirmed', repeat('x', 700), \
             case when $2 > 1 then array[other, -other] else array[other] end from n",
    )
    .bind(count)
    .bind(others)
    .execute(&store.pool)
    .await
    .expect("inserts");
    index(store).await;
    sqlx::query("analyze outbox, outbox_rooms").execute(&store.pool).await.expect("analyzes");
}

/// How PostgreSQL reads the messages of one wallet.
async fn plan_of(store: &Store) -> String {
    let plan: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("explain {ROOM_PAGE}")))
        .bind(0_i64)
        .bind(500_i64)
        .bind(8_000_000_i64)
        .bind(None::<String>)
        .bind(vec![room_key(&wallet(1))])
        .fetch_all(&store.pool)
        .await
        .expect("a plan");
    plan.join("\n")
}

#[tokio::test]
async fn a_sparse_room_is_read_through_its_own_index() {
    // Beside many rooms, and beside one that has nearly all messages.
    for others in [5_000, 1] {
        let store = store().await;
        append_all(&store, vec![transfer_between(1, 2)]).await;
        fill(&store, 20_000, others).await;
        append_all(&store, vec![transfer_between(1, 2)]).await;
        index(&store).await;
        assert_eq!(seqs(&page(&store, 0, &[&wallet(1)], 500).await), [1, 20_002]);
        let plan = plan_of(&store).await;
        assert!(plan.contains("outbox_rooms_pkey"), "{plan}");
        assert!(
            !plan.contains("Seq Scan on outbox ") && !plan.contains("Seq Scan on outbox_rooms"),
            "{plan}"
        );
    }
}

#[tokio::test]
async fn without_statistics_no_statement_about_rooms_is_compiled() {
    let store = store().await;
    let index: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("explain {INDEX_ROOMS}")))
        .bind(500_i64)
        .fetch_all(&store.pool)
        .await
        .expect("a plan");
    for plan in [index.join("\n"), plan_of(&store).await] {
        let (_, cost) = plan.lines().next().and_then(|line| line.split_once("..")).expect("a cost");
        let cost: f64 = cost.split(' ').next().and_then(|cost| cost.parse().ok()).expect("a number");
        // PostgreSQL compiles a statement from a cost of 100,000 on (`jit_above_cost`).
        assert!(cost < 50_000.0, "{plan}");
    }
}

/// Figures: `cargo test --release --lib -- --ignored --nocapture rooms_cost`.
#[tokio::test]
#[ignore = "prints figures; takes a minute"]
async fn rooms_cost() {
    let store = store().await;
    append_all(&store, (0..5).map(|_| transfer_between(1, 2)).collect()).await;
    fill(&store, 1_000_000, 5_000).await;
    append_all(&store, (0..5).map(|_| transfer_between(1, 2)).collect()).await;
    index(&store).await;
    for _ in 0..3 {
        let begun = Instant::now();
        let read = page(&store, 0, &[&wallet(1)], 500).await;
        println!("10 messages among 1,000,000 others: {} in {:?}", read.rows.len(), begun.elapsed());
    }
    let (begun, mut after, mut read) = (Instant::now(), 0, 0);
    while read < 10_000 {
        let rows = store.outbox().read_after(after, 500).await.expect("reads").expect("of this history");
        (after, read) = (rows.last().expect("more").seq, read + rows.len());
    }
    println!("10,000 missed messages of a dense room: {:?}", begun.elapsed());
    for (count, what) in [(10_000, "copied"), (1_000, "inserted")] {
        let messages: Vec<_> = (0..count).map(|n| transfer_between(n, n + 1)).collect();
        let begun = Instant::now();
        append_all(&store, messages).await;
        println!("{count} messages {what}: {:?}", begun.elapsed());
        let begun = Instant::now();
        println!("{} of them indexed: {:?}", index(&store).await, begun.elapsed());
    }
    let size: Vec<String> = texts(
        &store,
        "select relname || ' ' || pg_size_pretty(pg_total_relation_size(oid)) from pg_class \
         where relname in ('outbox', 'outbox_rooms') order by 1",
    )
    .await;
    println!("{size:?}");
}
