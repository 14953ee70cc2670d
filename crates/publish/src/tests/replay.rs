use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::fixture::*;
use crate::{ApplicationEvent, FactQuery, FactReplay, OwnFact, record};
use chainflume_core::domain::TypePattern;
use chainflume_db::Database;
use chainflume_outbox::ReplaySource as _;

fn id(n: u64) -> Uuid {
    format!("00000000-0000-4000-8000-{n:012}").parse().expect("an id")
}

/// What a replay publishes in pages of `limit`: messages with numbers of its own, from 1 on, and the place of the last.
async fn replayed(database: &Database, query: FactQuery, limit: u32) -> (Vec<Value>, Option<i64>) {
    let replay = FactReplay::new(database, query);
    let (mut found, mut after) = (Vec::new(), None);
    while let Some((drafts, last)) = replay.page(after, limit).await.expect("reads") {
        assert!(!drafts.is_empty() && drafts.len() <= limit as usize);
        for draft in drafts {
            let envelope = draft.envelope(found.len() as u64 + 1, "e");
            let message: Value = serde_json::from_str(&envelope.json).expect("JSON");
            assert_eq!(message["aggregateType"], envelope.aggregate_type);
            found.push(message);
        }
        after = Some(last);
    }
    let size: u64 = replay.size().await.expect("counts").values().sum();
    assert_eq!(size, found.len() as u64);
    (found, after)
}

/// The messages as they were published, with the marks of a replay.
async fn published(database: &Database) -> Vec<Value> {
    let all = messages(database).await.into_iter();
    let mut kept: Vec<Value> = all.filter(|message| message["type"] != "user.updated").collect();
    for (index, message) in kept.iter_mut().enumerate() {
        (message["seq"], message["replay"]) = ((index + 1).into(), true.into());
    }
    kept
}

fn types(names: &[&str]) -> Vec<TypePattern> {
    names.iter().map(|name| TypePattern::parse(name).expect("a pattern")).collect()
}

async fn post(publisher: &crate::Publisher, line: &str, body: Value) -> Value {
    ask(publisher, line, body).await.expect(line).1
}

#[tokio::test]
async fn a_replay_has_each_message_as_it_was_published() {
    let (publisher, database) = publisher().await;
    post(&publisher, "PUT /v1/users/7", json!({ "wallets": ["0x00000000000000000000000000000000000000aa"] }))
        .await;
    let event = |n: u64, payload: Value| {
        json!({ "id": id(n), "type": "order.shipped", "aggregateType": "order", "aggregateId": n.to_string(), "payload": payload,
            "metadata": { "userId": "7", "correlationId": "c", "causationId": "x" }, "timestamp": "2026-01-01T00:00:00.250Z" })
    };
    post(&publisher, "POST /v1/domain-events", event(1, json!({ "b": 1.50, "a": ["ä", null, 2.5e3] }))).await;
    let new = json!({ "userId": "7", "type": "send", "title": "Send", "data": { "amount": "5", "deep": { "x": 1 } } });
    let first = post(&publisher, "POST /v1/activities", new).await;
    let second =
        post(&publisher, "POST /v1/activities", json!({ "userId": "8", "type": "send", "title": "Two" }))
            .await;
    let path = |made: &Value| format!("/v1/activities/{}", made["eventId"].as_str().expect("an id"));
    let (one, two) = (path(&first), path(&second));
    let hash = format!("0x{}", "ab".repeat(32));
    let patches = [
        json!({ "status": "in_progress", "description": "on its way" }),
        json!({ "data": { "deep": { "y": 2 } } }),
        json!({ "data": { "amount": null, "deep": null }, "transaction": { "chainId": 1337, "hash": hash } }),
    ];
    for patch in patches {
        post(&publisher, &format!("PATCH {one}"), patch).await;
        post(&publisher, &format!("PATCH {two}"), json!({ "data": { "n": 1 } })).await;
    }
    post(&publisher, "POST /v1/domain-events", json!([event(2, json!({})), event(3, json!({}))])).await;
    post(&publisher, &format!("POST {one}/complete"), json!({ "title": "Sent" })).await;
    post(&publisher, &format!("POST {two}/fail"), json!({ "description": "no" })).await;
    let published = published(&database).await;
    assert_eq!(published.len(), 11);
    for limit in [1, 2, 100] {
        assert_eq!(replayed(&database, FactQuery::default(), limit).await.0, published, "{limit}");
    }
    // Put into the outbox it is found in the same rooms as before.
    let outbox = chainflume_outbox::Outbox::of(&database);
    let replay = FactReplay::new(
        &database,
        FactQuery { types: types(&["activity.completed"]), ..FactQuery::default() },
    );
    let (drafts, _) = replay.page(None, 9).await.expect("reads").expect("one");
    outbox.publish_again(None, drafts).await.expect("appends");
    let again = messages(&database).await.pop().expect("a message");
    assert_eq!((&again["type"], &again["replay"]), (&json!("activity.completed"), &json!(true)));
    let keys: Vec<i64> = sqlx::query_scalar("select count(*) from outbox o, unnest(o.room_keys) as named (key) where o.type = 'activity.completed' group by named.key")
        .fetch_all(database.pool())
        .await
        .expect("reads");
    assert_eq!(keys, [2, 2]);
}

/// Rows of the changes of activities that all sessions read.
async fn changes_read(database: Database) -> i64 {
    let options = database.options();
    // A session counts when it ends.
    database.close().await;
    let mut connection = PgConnection::connect_with(&options).await.expect("connects");
    let others = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    while sqlx::query_scalar::<_, i64>(others).fetch_one(&mut connection).await.expect("reads") > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let read = "select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) from pg_stat_user_tables where relname = 'activity_changes'";
    sqlx::query_scalar(read).fetch_one(&mut connection).await.expect("reads")
}

#[tokio::test]
async fn the_changes_of_an_activity_are_read_once() {
    const CHANGES: i64 = 2_000;
    let (publisher, database) = publisher().await;
    let begun = json!({ "userId": "7", "type": "send", "title": "Send", "data": { "first": true } });
    let id =
        post(&publisher, "POST /v1/activities", begun).await["eventId"].as_str().expect("an id").to_owned();
    sqlx::query(
        "insert into activity_changes (activity_id, number, message_id, kind, made_by, changed, made_at, seq)
        select $1, n, gen_random_uuid(), 'updated', 'backend', jsonb_build_object('data', jsonb_build_object('n', n)),
            now(), n from generate_series(2, $2) as n",
    )
    .bind(id.parse::<Uuid>().expect("an id"))
    .bind(CHANGES)
    .execute(database.pool())
    .await
    .expect("inserted");
    let began = std::time::Instant::now();
    let (found, _) = replayed(&database, FactQuery::default(), 500).await;
    eprintln!("{CHANGES} changes of one activity, replayed in {:.0?}", began.elapsed());
    let shown: Vec<&Value> = found.iter().map(|message| &message["payload"]["data"]["n"]).collect();
    let expected: Vec<Value> = std::iter::once(Value::Null).chain((2..=CHANGES).map(|n| json!(n))).collect();
    assert_eq!(shown, expected.iter().collect::<Vec<_>>());
    assert!(found.iter().all(|message| message["payload"]["title"] == "Send"));
    // A place that no page ended at is begun anew.
    let replay = FactReplay::new(&database, FactQuery { after: Some(CHANGES - 2), ..FactQuery::default() });
    let (drafts, last) = replay.page(None, 1).await.expect("reads").expect("a page");
    let again = replay.page(Some(last - 1), 1).await.expect("reads").expect("a page").0;
    assert_eq!(again[0].envelope(1, "e").json, drafts[0].envelope(1, "e").json);
    drop((replay, publisher));
    let read = changes_read(database).await;
    assert!((CHANGES..20 * CHANGES).contains(&read), "{read} rows of {CHANGES} changes were read");
}

#[tokio::test]
async fn a_replay_selects_by_type_aggregate_time_id_and_place() {
    let (publisher, database) = publisher().await;
    let event = |n: u64, name: &str, order: &str| {
        json!({ "id": id(n), "type": name, "aggregateType": "order", "aggregateId": order,
            "timestamp": format!("2026-01-01T00:00:0{n}Z") })
    };
    let sent = json!([event(1, "order.made", "9"), event(2, "order.paid", "9"), event(3, "order.made", "8")]);
    post(&publisher, "POST /v1/domain-events", sent).await;
    let made =
        post(&publisher, "POST /v1/activities", json!({ "userId": "7", "type": "send", "title": "S" })).await;
    let all = FactQuery::default;
    let ids = async |query: FactQuery| -> Vec<String> {
        let (found, _) = replayed(&database, query, 2).await;
        found.iter().map(|message| message["aggregateId"].as_str().expect("a text").to_owned()).collect()
    };
    let activity = made["eventId"].as_str().expect("an id").to_owned();
    let whole = ["9", "9", "8", &activity].map(str::to_owned);
    assert_eq!(ids(all()).await, whole);
    let of = |names: &[&str]| FactQuery { types: types(names), ..all() };
    assert_eq!(ids(of(&["order.made"])).await, ["9", "8"]);
    assert_eq!(ids(of(&["activity.created", "order.paid"])).await, ["9", activity.as_str()]);
    assert_eq!(ids(of(&["order.*"])).await, ["9", "9", "8"]);
    assert_eq!(ids(of(&["activity.*", "order.paid"])).await, ["9", activity.as_str()]);
    assert_eq!(ids(of(&["order.m.*", "orde.*"])).await, [""; 0], "words are whole");
    let about = |kind: &str, of: Option<&str>| FactQuery {
        aggregate: Some((kind.to_owned(), of.map(str::to_owned))),
        ..all()
    };
    assert_eq!(ids(about("order", None)).await, ["9", "9", "8"]);
    assert_eq!(ids(about("order", Some("9"))).await, ["9", "9"]);
    assert_eq!(ids(about("activity", Some(&activity))).await, [activity.as_str()]);
    assert_eq!(ids(about("nothing", None)).await, [""; 0]);
    let at = |seconds: u64| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600 + seconds));
    assert_eq!(ids(FactQuery { since: at(2), until: at(3), ..all() }).await, ["9"]);
    assert_eq!(ids(FactQuery { until: at(2), ..all() }).await, ["9"]);
    assert_eq!(ids(FactQuery { since: at(3), until: at(60), ..all() }).await, ["8"]);
    let message = messages(&database).await.pop().expect("a message")["id"].as_str().expect("an id").parse();
    assert_eq!(
        ids(FactQuery { ids: vec![id(3), message.expect("a UUID")], ..all() }).await,
        ["8", &activity]
    );
    // A replay that was killed goes on where it was.
    let replay = FactReplay::new(&database, all());
    let (_, place) = replay.page(None, 3).await.expect("reads").expect("a page");
    assert_eq!(ids(FactQuery { after: Some(place), ..all() }).await, [activity.as_str()]);
}

#[tokio::test]
async fn a_query_with_a_name_that_no_fact_has_is_refused() {
    let (publisher, database) = publisher().await;
    let check = async |query: FactQuery| {
        let checked = FactReplay::new(&database, query).check().await;
        checked.map_err(|error| error.to_string()).err().unwrap_or_default()
    };
    let of = |names: &[&str]| FactQuery { types: types(names), ..FactQuery::default() };
    let about = |kind: &str, of: Option<&str>| FactQuery {
        aggregate: Some((kind.to_owned(), of.map(str::to_owned))),
        ..FactQuery::default()
    };
    assert_eq!(
        check(of(&["order.*"])).await,
        "no fact of the application is of type `order.*`; there are: none"
    );
    let event = json!({ "id": id(1), "type": "order.paid", "aggregateType": "order", "aggregateId": "9" });
    post(&publisher, "POST /v1/domain-events", event).await;
    let new = json!({ "userId": "7", "type": "send", "title": "S" });
    let made = post(&publisher, "POST /v1/activities", new).await;
    let activity = made["eventId"].as_str().expect("an id");
    for query in [
        FactQuery::default(),
        of(&["order.*", "activity.created", "order.paid"]),
        about("order", None),
        about("order", Some("9")),
        about("activity", None),
        about("activity", Some(activity)),
        FactQuery { ids: vec![id(1)], ..FactQuery::default() },
    ] {
        assert_eq!(check(query.clone()).await, "", "{query:?}");
    }
    let known = "there are: activity.created, order.paid";
    for name in ["order.shipped", "orde.*", "activity.failed"] {
        let expected = format!("no fact of the application is of type `{name}`; {known}");
        assert_eq!(check(of(&["order.*", name])).await, expected);
    }
    for (query, given) in [
        (about("ordre", None), "ordre"),
        (about("order", Some("8")), "order-8"),
        (about("activity", Some("9")), "activity-9"),
    ] {
        let found = check(query).await;
        assert!(found.starts_with(&format!("no fact of the application is about `{given}`; ")), "{found}");
        assert!(found.ends_with(": activity, order"), "{found}");
    }
    let ids = FactQuery { ids: vec![id(1), id(2)], ..FactQuery::default() };
    assert!(check(ids).await.starts_with(&format!("no fact of the application has the id {}; ", id(2))));
}

fn crossing(n: u64) -> ApplicationEvent {
    ApplicationEvent {
        id: id(n),
        event_type: "account.balance.low".to_owned(),
        aggregate_type: "account".to_owned(),
        aggregate_id: n.to_string(),
        payload: Map::new(),
        user_id: None,
        correlation_id: Some("flow".to_owned()),
        causation_id: None,
        source: "threshold:low".to_owned(),
        timestamp: "2026-01-01T00:00:00.000Z".to_owned(),
    }
}

async fn found(database: &Database, facts: &[OwnFact]) {
    let mut tx = database.pool().begin().await.expect("begins");
    record(&mut tx, facts).await.expect("records");
    tx.commit().await.expect("commits");
}

/// Event `n`: the balance of a person crossed a limit in this block.
async fn crosses(database: &Database, n: u64, block: i64) {
    let sql =
        "insert into limit_crossings (rule, user_id, is_beyond, chain_id, block_number, block_hash, event_id)
        values ('low', '7', true, 1337, $1, decode(repeat('ab', 32), 'hex'), $2)";
    sqlx::query(sql).bind(block).bind(id(n)).execute(database.pool()).await.expect("inserted");
}

#[tokio::test]
async fn what_a_reorg_took_or_may_take_away_is_not_published_again() {
    let (publisher, database) = publisher().await;
    post(&publisher, "PUT /v1/users/7", json!({ "locale": "de" })).await;
    sqlx::query("insert into chains (chain_id, name, final_number) values (1337, 'dev', 10)")
        .execute(database.pool())
        .await
        .expect("inserted");
    let published: Vec<OwnFact> = (1..=4).map(|n| OwnFact::Published(Box::new(crossing(n)))).collect();
    found(&database, &published).await;
    crosses(&database, 3, 10).await;
    crosses(&database, 4, 11).await;
    found(&database, &[OwnFact::Withdrawn(id(1)), OwnFact::Withdrawn(id(2))]).await;
    let about = async |query: FactQuery| -> Vec<Value> {
        replayed(&database, query, 10).await.0.iter().map(|message| message["aggregateId"].clone()).collect()
    };
    assert_eq!(about(FactQuery::default()).await, ["3"]);
    assert_eq!(about(FactQuery { ids: vec![id(1), id(4)], ..FactQuery::default() }).await, [Value::Null; 0]);
    // On the branch that came back it is so again, and comes after what was published meanwhile.
    found(&database, &[OwnFact::Published(Box::new(crossing(1)))]).await;
    sqlx::query("update chains set final_number = 11").execute(database.pool()).await.expect("updated");
    assert_eq!(about(FactQuery::default()).await, ["3", "4", "1"]);
    let (_, trace) =
        ask(&publisher, &format!("GET /v1/messages/{}/trace", id(2)), Value::Null).await.expect("read");
    let states: Vec<[&Value; 2]> = trace["roots"]
        .as_array()
        .expect("roots")
        .iter()
        .map(|root| [&root["aggregateId"], &root["state"]])
        .collect();
    assert!(
        states.contains(&[&json!("2"), &json!("retracted")])
            && states.contains(&[&json!("1"), &json!("confirmed")])
    );
}

#[tokio::test]
async fn an_event_that_a_reorg_may_take_away_outlives_its_retention() {
    let (publisher, database) = publisher().await;
    post(&publisher, "PUT /v1/users/7", json!({ "locale": "de" })).await;
    sqlx::query("insert into chains (chain_id, name) values (1337, 'dev')")
        .execute(database.pool())
        .await
        .expect("inserted");
    found(&database, &[1, 2].map(|n| OwnFact::Published(Box::new(crossing(n))))).await;
    crosses(&database, 2, 5).await;
    sqlx::query("update domain_events set stored_at = now() - interval '91 days'")
        .execute(database.pool())
        .await
        .expect("aged");
    let kept = Duration::from_hours(90 * 24);
    assert_eq!(crate::trim_events(&database, kept, 10).await.expect("trims"), 1);
    found(&database, &[OwnFact::Withdrawn(id(2))]).await;
    let last = messages(&database).await.pop().expect("a message");
    assert_eq!((&last["id"], &last["state"]), (&json!(id(2)), &json!("retracted")));
    sqlx::query("update chains set final_number = 5").execute(database.pool()).await.expect("updated");
    assert_eq!(crate::trim_events(&database, kept, 10).await.expect("trims"), 1);
}
