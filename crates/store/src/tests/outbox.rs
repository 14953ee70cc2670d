use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::fixture::*;
use crate::{ChainStore, PublishFrom, Store};
use chainflume_core::domain::U256;
use chainflume_outbox::{OutboxRow, PageSize};

async fn outbox(store: &Store) -> Vec<OutboxRow> {
    store.outbox().read_after(0, 10_000).await.expect("reads").expect("of this history")
}

/// Number, type, state and block of each message.
async fn lines(store: &Store) -> Vec<String> {
    let line = |row: OutboxRow| {
        let message: Value = serde_json::from_str(&row.message).expect("json");
        assert_eq!((message["seq"].as_u64(), &message["type"]), (Some(row.seq), &json!(row.message_type)));
        assert_eq!(
            (&message["state"], &message["aggregateType"]),
            (&json!(row.state), &json!(row.aggregate_type))
        );
        format!(
            "{} {} {} {}",
            row.seq,
            row.message_type,
            row.state.as_str(),
            message["metadata"]["blockNumber"]
        )
    };
    outbox(store).await.into_iter().map(line).collect()
}

#[tokio::test]
async fn a_message_has_the_event_its_user_and_its_place() {
    let store = store().await;
    let chain = open(&store).await;
    let at = block(2, 0);
    let mut step = step(None, at, vec![event(at, 0, staked(9, 25_000_001))]);
    step.head = 4;
    chain.advance(&step).await.expect("advances");
    let rows = outbox(&store).await;
    let message: Value = serde_json::from_str(&rows[0].message).expect("json");
    let user: Vec<String> = texts(&store, "select id::text from users").await;
    let hash = format!("{:#x}", at.hash);
    let tx = format!("{:#x}", chainflume_core::domain::B256::with_last_byte(0));
    let id: Vec<String> = texts(
        &store,
        "select event_id(chain_id, block_number, block_hash, tx_index, log_index)::text from events",
    )
    .await;
    assert_eq!(
        message,
        json!({
            "id": id[0], "seq": 1, "version": 1, "type": "stake.staked", "state": "confirmed",
            "timestamp": "2023-11-14T22:13:44Z", "aggregateType": "contract",
            "aggregateId": "0x00000000000000000000000000000000000000c8",
            "payload": {
                "developer": "0x0000000000000000000000000000000000000009",
                "amount": "25000001", "amountFormatted": "25.000001"
            },
            "metadata": {
                "userId": user[0], "correlationId": tx, "causationId": null, "source": "vault", "chainId": CHAIN,
                "blockNumber": 2, "blockHash": hash, "transactionHash": tx, "logIndex": 0, "confirmations": 2
            }
        })
    );
    let activated: Value = serde_json::from_str(&rows[1].message).expect("json");
    assert_eq!(activated["type"], "user.activated");
    assert_eq!(activated["metadata"]["causationId"], json!(id[0]));
    assert_eq!(
        activated["payload"],
        json!({ "stakeAmount": "25000001", "stakeAmountFormatted": "25.000001", "stakedAt": "2023-11-14T22:13:44Z", "status": "active" })
    );
    assert_eq!(rows[1].user_id.map(|id| id.to_string()), Some(user[0].clone()));
}

#[tokio::test]
async fn what_takes_a_user_away_is_retracted_with_its_id() {
    let store = store().await;
    let (chain, one, two) = (open(&store).await, block(1, 0), block(2, 0));
    advance(&chain, None, one, Vec::new()).await.expect("advances");
    let moved = event(two, 2, transfer(1, 2, U256::from(3)));
    advance(&chain, Some(one), two, vec![event(two, 0, staked(1, 5)), event(two, 1, staked(2, 5)), moved])
        .await
        .expect("advances");
    let named = async || -> Vec<(String, Option<String>, Option<String>)> {
        let rows = outbox(&store).await;
        let id = |id: Option<Uuid>| id.map(|id| id.to_string());
        rows.iter()
            .map(|row| (row.message_type.clone(), id(row.user_id), id(row.counterparty_user_id)))
            .collect()
    };
    let mut published = named().await;
    assert!(published.iter().all(|(_, user, _)| user.is_some()), "{published:?}");
    rewind(&chain, one).await.expect("rewinds");
    let mut retracted = named().await.split_off(published.len());
    assert_eq!(texts(&store, "select count(*)::text from users").await, ["0"]);
    published.sort();
    retracted.sort();
    assert_eq!(retracted, published);
}

#[tokio::test]
async fn a_transfer_between_two_users_names_both() {
    let store = store().await;
    let (chain, one, two) = (open(&store).await, block(1, 0), block(2, 0));
    let stakes = vec![event(one, 0, staked(1, 5)), event(one, 1, staked(2, 5))];
    advance(&chain, None, one, stakes).await.expect("advances");
    let moved = |from, to, at| event(two, at, transfer(from, to, U256::from(3)));
    advance(&chain, Some(one), two, vec![moved(1, 2, 0), moved(2, 2, 1), moved(9, 2, 2)])
        .await
        .expect("advances");
    rewind(&chain, one).await.expect("rewinds");
    let ids = texts(&store, "select id::text from users order by wallet").await;
    let (first, second) = (Some(ids[0].clone()), Some(ids[1].clone()));
    let users: Vec<_> = outbox(&store)
        .await
        .into_iter()
        .filter(|row| row.message_type == "erc20.transfer")
        .map(|row| {
            let message: Value = serde_json::from_str(&row.message).expect("json");
            let named = ["userId", "counterpartyUserId"]
                .map(|key| message["metadata"][key].as_str().map(str::to_owned));
            let columns = [row.user_id, row.counterparty_user_id].map(|id| id.map(|id| id.to_string()));
            assert_eq!(named, columns, "{message:#}");
            columns
        })
        .collect();
    let both = [first, second.clone()];
    let alone = [second, None];
    // Confirmed, then retracted, the newest first.
    let expected = [&both, &alone, &alone, &alone, &alone, &both];
    assert_eq!(users.iter().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_reorg_retracts_newest_first_then_publishes_the_new_branch() {
    let store = store().await;
    let chain = open(&store).await;
    let (one, two, other) = (block(1, 0), block(2, 0), block(2, 1));
    advance(&chain, None, one, vec![event(one, 0, staked(9, 5))]).await.expect("advances");
    let orphans = vec![event(two, 0, staked(9, 7)), event(two, 1, staked(8, 1)), event(two, 2, note("{}"))];
    advance(&chain, Some(one), two, orphans).await.expect("advances");
    rewind(&chain, one).await.expect("rewinds");
    advance(&chain, Some(one), other, vec![event(other, 0, staked(8, 2))]).await.expect("advances");
    assert_eq!(
        lines(&store).await,
        [
            "1 stake.staked confirmed 1",
            "2 user.activated confirmed 1",
            "3 stake.staked confirmed 2",
            "4 stake.staked confirmed 2",
            "5 contract.note confirmed 2",
            "6 user.activated confirmed 2",
            "7 user.updated confirmed 2",
            "8 contract.note retracted 2",
            "9 stake.staked retracted 2",
            "10 stake.staked retracted 2",
            "11 user.activated retracted 2",
            "12 user.updated confirmed 2",
            "13 stake.staked confirmed 2",
            "14 user.activated confirmed 2",
        ]
    );
    let ids: Vec<Value> = outbox(&store)
        .await
        .iter()
        .map(|row| serde_json::from_str::<Value>(&row.message).expect("json")["id"].clone())
        .collect();
    let published = [&ids[2], &ids[3], &ids[4], &ids[5]];
    assert_eq!(published, [&ids[9], &ids[8], &ids[7], &ids[10]], "a retraction has the id of its message");
}

/// A chain that is announced from the head on that is seen first.
async fn open_from_head(store: &Store) -> ChainStore {
    let mut record = record();
    for source in &mut record.sources {
        source.publish_from = PublishFrom::Head;
    }
    store.open_chain(&record, &kinds()).await.expect("opens")
}

#[tokio::test]
async fn events_below_the_first_head_are_not_published() {
    let store = store().await;
    let chain = open_from_head(&store).await;
    let (one, two, three) = (block(1, 0), block(2, 0), block(3, 0));
    advance(&chain, None, one, vec![event(one, 0, note("{}"))]).await.expect("advances");
    chain.decide_by_head(2).await.expect("decides");
    chain.decide_by_head(0).await.expect("decides once");
    advance(&chain, Some(one), two, vec![event(two, 0, note("{}"))]).await.expect("advances");
    advance(&chain, Some(two), three, vec![event(three, 0, note("{}"))]).await.expect("advances");
    rewind(&chain, one).await.expect("rewinds");
    assert_eq!(lines(&store).await, ["1 contract.note confirmed 3", "2 contract.note retracted 3"]);
}

#[tokio::test]
async fn an_activation_that_was_not_published_is_not_retracted() {
    let store = store().await;
    let chain = open_from_head(&store).await;
    let (one, two, three) = (block(1, 0), block(2, 0), block(3, 0));
    advance(&chain, None, one, vec![]).await.expect("advances");
    chain.decide_by_head(2).await.expect("decides");
    advance(&chain, Some(one), two, vec![event(two, 0, staked(9, 5))]).await.expect("advances");
    let both = vec![event(three, 0, staked(9, 7)), event(three, 1, staked(8, 1))];
    advance(&chain, Some(two), three, both).await.expect("advances");
    rewind(&chain, one).await.expect("rewinds");
    assert_eq!(
        lines(&store).await,
        [
            "1 stake.staked confirmed 3",
            "2 stake.staked confirmed 3",
            "3 user.activated confirmed 3",
            "4 user.updated confirmed 3",
            "5 stake.staked retracted 3",
            "6 stake.staked retracted 3",
            "7 user.activated retracted 3",
            "8 user.updated confirmed 3",
        ]
    );
}

/// Two chains write at once while a reader follows by number alone. With a plain sequence a reader that has
/// seen 5 misses a 4 that commits later.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_by_number_misses_nothing_however_writers_overlap() {
    const STEPS: u64 = 60;
    let store = store().await;
    let mut writers = tokio::task::JoinSet::new();
    for id in 1..=3 {
        let mut record = record();
        record.chain_id = id;
        for source in &mut record.sources {
            source.name = format!("{}_{id}", source.name);
        }
        let mut kinds = kinds();
        for kind in &mut kinds {
            (kind.source, kind.view) = (format!("{}_{id}", kind.source), format!("{}_{id}", kind.view));
        }
        let chain = store.open_chain(&record, &kinds).await.expect("opens");
        writers.spawn(async move {
            let mut from = None;
            for number in 1..=STEPS {
                let to = block(number, u8::try_from(id).expect("small"));
                let events =
                    (0..number % 5).map(|log| event(to, u32::try_from(log).expect("small"), note("{}")));
                let mut step = step(from, to, events.collect());
                for checkpoint in &mut step.expected {
                    checkpoint.source = format!("{}_{id}", checkpoint.source);
                }
                chain.advance(&step).await.expect("advances");
                from = Some(to);
            }
        });
    }
    let mut seen = Vec::new();
    loop {
        // Asked before reading: what is read after the last commit is everything.
        while let Some(writer) = writers.try_join_next() {
            writer.expect("no writer fails");
        }
        let is_over = writers.is_empty();
        let rows = store.outbox().read_after(seen.last().copied().unwrap_or(0), 7).await.expect("reads");
        let rows = rows.expect("of this history");
        if is_over && rows.is_empty() {
            break;
        }
        seen.extend(rows.iter().map(|row| row.seq));
        tokio::task::yield_now().await;
    }
    let wanted: u64 = 3 * (1..=STEPS).map(|number| number % 5).sum::<u64>();
    assert_eq!(seen, (1..=wanted).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_commit_wakes_the_listener() {
    let store = store().await;
    let chain = open(&store).await;
    let mut listener = store.outbox().listen().await.expect("listens");
    let at = block(1, 0);
    advance(&chain, None, at, vec![event(at, 0, note("{}"))]).await.expect("advances");
    tokio::time::timeout(Duration::from_secs(5), listener.changed())
        .await
        .expect("in time")
        .expect("publishes");
}

#[tokio::test]
async fn only_what_is_old_and_delivered_everywhere_is_trimmed() {
    let store = store().await;
    let chain = open(&store).await;
    let at = block(1, 0);
    let events = (0..10).map(|log| event(at, log, transfer(1, 2, U256::from(log)))).collect();
    advance(&chain, None, at, events).await.expect("advances");
    assert_eq!(store.outbox().index_rooms(100).await.expect("indexes"), 10);
    let sinks = ["a".to_owned(), "b".to_owned()];
    let trim =
        async |age, limit| store.outbox().trim(Duration::from_secs(age), &sinks, limit).await.expect("trims");
    store.outbox().set_sink_cursor("a", 8).await.expect("notes");
    assert_eq!(trim(0, 100).await, 0, "b has not begun");
    store.outbox().set_sink_cursor("b", 4).await.expect("notes");
    assert_eq!(trim(3600, 100).await, 0, "nothing is an hour old");
    assert_eq!(trim(0, 3).await, 3);
    assert_eq!(trim(0, 100).await, 1);
    let state = store.outbox().state().await.expect("reads");
    assert_eq!((state.first, state.last), (5, 10));
    assert_eq!(store.outbox().sink_cursor("b").await.expect("reads"), Some(4));
    assert_eq!(store.outbox().sink_cursor("c").await.expect("reads"), None);
}

#[tokio::test]
async fn a_stream_s_end_is_found_by_its_type() {
    let store = store().await;
    let chain = open(&store).await;
    let (one, two) = (block(1, 0), block(2, 0));
    advance(&chain, None, one, vec![event(one, 0, staked(9, 5))]).await.expect("advances");
    advance(&chain, Some(one), two, vec![event(two, 0, note("{}"))]).await.expect("advances");
    let ends = async |upto| Vec::from_iter(store.outbox().lineage("a", upto, &[]).await.expect("reads").ends);
    let contract = |seq| ("contract".to_owned(), seq);
    assert_eq!(ends(0).await, []);
    assert_eq!(ends(1).await, [contract(1)]);
    assert_eq!(ends(2).await, [contract(1), ("user".to_owned(), 2)]);
    assert_eq!(ends(9).await, [contract(3), ("user".to_owned(), 2)]);
}

#[tokio::test]
async fn a_few_enormous_messages_are_read_one_by_one() {
    let store = store().await;
    sqlx::query(
        "with head as (update outbox_head set seq = 5) \
         insert into outbox (seq, chain_id, aggregate_type, type, state, message) \
         select n, 1, 'contract', 'contract.note', 'confirmed', repeat('x', 5 << 20) from generate_series(1, 5) n",
    )
    .execute(&store.pool)
    .await
    .expect("inserts");
    let read = async |after| -> Vec<u64> {
        let rows = store.outbox().read_after(after, 500).await.expect("reads").expect("of this history");
        rows.iter().map(|row| row.seq).collect()
    };
    assert_eq!((read(0).await, read(2).await, read(4).await), (vec![1, 2], vec![3, 4], vec![5]));
    // A smaller page still has a message.
    let small = PageSize { messages: 500, bytes: 1 << 20 };
    let rows = store.outbox().read_after(0, small).await.expect("reads").expect("of this history");
    assert_eq!(rows.len(), 1);
}

/// A store whose commits wait for the disk, unlike those of the other tests, and `seen`, with what each statement on
/// `table` finds set.
async fn durable(table: &str) -> Store {
    durable_as(table, "local").await
}

/// The same for a role with another setting of `synchronous_commit`.
async fn durable_as(table: &str, setting: &str) -> Store {
    let url =
        chainflume_testkit::postgres::database().await + "&options=-c%20synchronous_commit%3D" + setting;
    let store = connect(&url).await;
    let sql = format!(
        "create table seen (setting text not null); \
         create function see() returns trigger language plpgsql as $$ begin \
             insert into seen values (current_setting('synchronous_commit')); return null; end $$; \
         create trigger see after insert or update on {table} for each row execute function see();"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&store.pool).await.expect("a trigger");
    store
}

#[tokio::test]
async fn published_messages_wait_for_the_disk_even_in_history() {
    let store = durable("outbox").await;
    let chain = open(&store).await;
    let at = block(1, 0);
    let mut step = step(None, at, vec![event(at, 0, note("{}"))]);
    step.durable = false;
    chain.advance(&step).await.expect("advances");
    assert_eq!(texts(&store, "select setting from seen").await, ["on"], "`local` promises less");
}

#[tokio::test]
async fn commits_whose_numbers_leave_wait_for_the_disk_for_any_role() {
    for (setting, expected) in
        [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply"), ("on", "on")]
    {
        let store = durable_as("outbox", setting).await;
        let chain = open(&store).await;
        let at = block(1, 0);
        chain.advance(&step(None, at, vec![event(at, 0, note("{}"))])).await.expect("advances");
        assert_eq!(texts(&store, "select setting from seen").await, [expected], "{setting}");
    }
    for setting in ["off", "local"] {
        let store = durable_as("sink_cursors", setting).await;
        assert_eq!(store.outbox().take_replay_numbers("replay:", 3).await.expect("takes"), 1);
        assert_eq!(store.outbox().take_replay_numbers("replay:", 3).await.expect("takes"), 4);
        assert_eq!(texts(&store, "select setting from seen").await, ["on", "on"], "{setting}");
    }
}

#[tokio::test]
async fn a_cursor_does_not_wait_for_the_disk() {
    let store = durable("sink_cursors").await;
    store.outbox().set_sink_cursor("a", 8).await.expect("notes");
    store.outbox().set_sink_cursor("a", 4).await.expect("goes back too");
    assert_eq!(texts(&store, "select setting from seen").await, ["off", "off"]);
    assert_eq!(texts(&store, "show synchronous_commit").await, ["local"], "for this alone");
    assert_eq!(store.outbox().sink_cursor("a").await.expect("reads"), Some(4));
}
