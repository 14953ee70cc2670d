use serde_json::{Value, json};

use super::fixture::*;
use crate::{ActivityChange, ActivityStatus, ChangeKind, ChangedBy};
use chainflume_core::domain::B256;

async fn begin(publisher: &crate::Publisher) -> String {
    let sent = json!({ "userId": "7", "type": "send", "title": "Send 5 USDC", "data": { "amount": "5", "to": "bob" } });
    let (status, answer) = ask(publisher, "POST /v1/activities", sent).await.expect("stored");
    assert_eq!(status, 201);
    answer["eventId"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn an_activity_ends_once_and_each_change_is_a_message() {
    let (publisher, database) = publisher().await;
    let id = begin(&publisher).await;
    let (one, end) = (format!("PATCH /v1/activities/{id}"), format!("POST /v1/activities/{id}/complete"));
    let patch = json!({ "status": "in_progress", "data": { "fee": "1", "to": null } });
    let (_, patched) = ask(&publisher, &one, patch.clone()).await.expect("changed");
    assert_eq!((&patched["data"], &patched["changes"]), (&json!({ "amount": "5", "fee": "1" }), &json!(2)));
    // Nothing differs, so nothing is published.
    let (_, same) = ask(&publisher, &one, json!({ "status": "in_progress" })).await.expect("answered");
    assert_eq!(same["changes"], 2);
    let refusal = ask(&publisher, &one, json!({ "status": "pending" })).await.expect_err("not back");
    assert_eq!((refusal.status, refusal.code), (409, "wrong_transition"));
    let (_, ended) = ask(&publisher, &end, json!({ "title": "Sent" })).await.expect("ended");
    assert_eq!((&ended["status"], &ended["title"]), (&json!("completed"), &json!("Sent")));
    for (line, body) in [
        (&end, json!({})),
        (&one, json!({ "title": "Late" })),
        (&format!("POST /v1/activities/{id}/fail"), json!({})),
    ] {
        let refusal = ask(&publisher, line, body).await.expect_err("final");
        assert_eq!((refusal.status, refusal.code), (409, "activity_final"), "{line}");
    }
    let messages = messages(&database).await;
    let published: Vec<(&str, &str)> = messages
        .iter()
        .map(|message| {
            (message["type"].as_str().expect("a type"), message["payload"]["status"].as_str().expect("one"))
        })
        .collect();
    assert_eq!(
        published,
        [
            ("activity.created", "pending"),
            ("activity.updated", "in_progress"),
            ("activity.completed", "completed")
        ]
    );
    assert!(
        messages
            .iter()
            .all(|message| message["metadata"]["userId"] == "7"
                && message["aggregateId"].as_str() == Some(&id))
    );
    assert_eq!(ended["updatedAt"], messages[2]["timestamp"]);
    let (_, read) = ask(&publisher, &format!("GET /v1/activities/{id}"), Value::Null).await.expect("read");
    let times = (&messages[0]["timestamp"], &messages[2]["timestamp"]);
    assert_eq!((&read["createdAt"], &read["updatedAt"]), times);
    let (_, trail) =
        ask(&publisher, &format!("GET /v1/activities/{id}/changes"), Value::Null).await.expect("read");
    let kinds: Vec<&Value> =
        trail["changes"].as_array().expect("changes").iter().map(|change| &change["kind"]).collect();
    assert_eq!(kinds, [&json!("created"), &json!("updated"), &json!("completed")]);
    assert_eq!(
        trail["changes"][1]["changed"],
        json!({ "status": "in_progress", "data": { "amount": "5", "fee": "1" } })
    );
    assert_eq!((&trail["changes"][2]["by"], &trail["changes"][2]["timestamp"]), (&json!("local"), times.1));
}

#[tokio::test]
async fn a_change_by_user_and_type_is_refused() {
    let (publisher, database) = publisher().await;
    let id = begin(&publisher).await;
    let refusal =
        ask(&publisher, "PATCH /v1/activities?userId=7&type=send", json!({ "status": "failed" })).await;
    let refusal = refusal.expect_err("by user and type");
    assert_eq!((refusal.status, refusal.code), (400, "update_by_id_only"));
    assert!(refusal.detail.contains("PATCH /v1/activities/<eventId>"), "{}", refusal.detail);
    let line = format!("PATCH /v1/activities/{id}");
    let refusal = ask(&publisher, &line, json!({ "userId": "8" })).await.expect_err("immutable");
    assert_eq!((refusal.code, refusal.pointer.as_deref()), ("immutable_field", Some("/userId")));
    assert_eq!(messages(&database).await.len(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_an_activity_has_a_code_and_a_place() {
    let (publisher, database) = publisher().await;
    let right = json!({ "userId": "7", "type": "send", "title": "Send" });
    let hash = format!("0x{}", "ab".repeat(32));
    for (pointer, value, code) in [
        ("/userId", json!("a b"), "bad_user_id"),
        ("/userId", Value::Null, "bad_body"),
        ("/type", json!("dance"), "unknown_activity_type"),
        ("/title", json!("x".repeat(201)), "bad_body"),
        ("/status", json!("done"), "bad_status"),
        ("/data", json!([1]), "bad_body"),
        ("/data", json!({ "x": "y".repeat(5_000) }), "payload_too_large"),
        ("/transaction/chainId", json!({ "chainId": 5, "hash": hash }), "unknown_chain"),
        ("/transaction/hash", json!({ "chainId": 1337, "hash": "0xabc" }), "bad_hash"),
        ("/transaction/hash", json!({ "chainId": 1337, "hash": &hash[2..] }), "bad_hash"),
        ("/surprise", json!(1), "bad_body"),
    ] {
        let mut sent = right.clone();
        let field = pointer.split('/').nth(1).expect("a field");
        sent[field] = value;
        let refusal = ask(&publisher, "POST /v1/activities", sent).await.expect_err(pointer);
        assert_eq!((refusal.code, refusal.pointer.as_deref()), (code, Some(pointer)));
    }
    for line in ["GET /v1/activities/7", "GET /v1/activities/00000000-0000-4000-8000-000000000001"] {
        assert_eq!(ask(&publisher, line, Value::Null).await.expect_err("none").code, "not_found");
    }
    assert_eq!(messages(&database).await, Vec::<Value>::new());
}

#[tokio::test]
async fn activities_are_read_by_page_the_newest_first() {
    let (publisher, _database) = publisher().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(begin(&publisher).await);
    }
    ids.reverse();
    let page = async |query: &str| {
        let (_, page) =
            ask(&publisher, &format!("GET /v1/activities?{query}"), Value::Null).await.expect("a page");
        let found = page["activities"].as_array().expect("activities").clone();
        let found: Vec<String> =
            found.iter().filter_map(|one| one["eventId"].as_str().map(str::to_owned)).collect();
        (found, page["next"].as_str().map(str::to_owned))
    };
    let (first, next) = page("userId=7&limit=3").await;
    let (rest, end) = page(&format!("userId=7&limit=3&before={}", next.expect("more"))).await;
    let mut all: Vec<String> = [first, rest].concat();
    assert_eq!((all.len(), end), (5, None));
    // Those of one millisecond are in the order of their ids.
    all.sort();
    ids.sort();
    assert_eq!(all, ids);
    assert_eq!(page("userId=8&limit=3").await, (Vec::new(), None));
    assert_eq!(page("status=completed").await.0.len(), 0);
    assert_eq!(page("type=send&status=pending").await.0.len(), 5);
    for query in ["userId=", "userId=7&before=x", "userId=7&before=00000000-0000-4000-8000-00000000ffff"] {
        let line = format!("GET /v1/activities?{query}");
        assert_eq!(
            ask(&publisher, &line, Value::Null).await.expect_err("no page").code,
            "bad_query",
            "{query}"
        );
    }
}

#[tokio::test]
async fn changes_are_read_by_page_the_oldest_first() {
    let (publisher, _database) = publisher().await;
    let id = begin(&publisher).await;
    for n in 2..=5 {
        let patch = json!({ "data": { "n": n } });
        ask(&publisher, &format!("PATCH /v1/activities/{id}"), patch).await.expect("changed");
    }
    let page = async |query: &str| {
        let line = format!("GET /v1/activities/{id}/changes{query}");
        let (_, page) = ask(&publisher, &line, Value::Null).await.expect("a page");
        let numbers = page["changes"].as_array().expect("changes").iter();
        (numbers.filter_map(|change| change["number"].as_u64()).collect::<Vec<_>>(), page["next"].as_u64())
    };
    assert_eq!(page("?limit=2").await, (vec![1, 2], Some(2)));
    assert_eq!(page("?limit=2&after=2").await, (vec![3, 4], Some(4)));
    assert_eq!(page("?limit=2&after=4").await, (vec![5], None));
    assert_eq!(page("?limit=5").await, (vec![1, 2, 3, 4, 5], Some(5)));
    assert_eq!(page("?after=5").await, (Vec::new(), None));
    assert_eq!(page("").await, (vec![1, 2, 3, 4, 5], None));
    for query in ["after=6", "after=0", "after=-1", "after=x", "limit=0", "limit=201", "limit=x"] {
        let line = format!("GET /v1/activities/{id}/changes?{query}");
        assert_eq!(
            ask(&publisher, &line, Value::Null).await.expect_err("no page").code,
            "bad_query",
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_repeated_begin_and_a_follower_leave_one_activity() {
    let (publisher, database) = publisher().await;
    let sent = json!({ "userId": "7", "type": "deposit", "title": "Deposit" });
    let begin = async || {
        ask_with(&publisher, "POST /v1/activities", (sent.clone(), Some("k"))).await.expect("stored").1
    };
    let (first, again) = (begin().await, begin().await);
    assert_eq!(first, again);
    let id = first["eventId"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let to = |status| ActivityChange { status: Some(status), ..ActivityChange::default() };
    for status in [ActivityStatus::InProgress, ActivityStatus::Completed, ActivityStatus::InProgress] {
        publisher.change_activity(id, &to(status), &ChangedBy::Follower).await.expect("changes");
    }
    let types: Vec<Value> = messages(&database).await.iter().map(|message| message["type"].clone()).collect();
    assert_eq!(types, ["activity.created", "activity.updated", "activity.completed", "activity.updated"]);
}

#[tokio::test]
async fn a_follower_ends_an_activity_whose_data_is_full() {
    let (publisher, database) = publisher().await;
    // 4,096 bytes of JSON are allowed.
    let sent = json!({ "userId": "7", "type": "deposit", "title": "Deposit", "data": { "text": "x".repeat(4_085) } });
    let (_, begun) = ask(&publisher, "POST /v1/activities", sent).await.expect("it fits");
    let id = begun["eventId"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let data = json!({ "transactionState": "succeeded" }).as_object().cloned();
    let change =
        ActivityChange { status: Some(ActivityStatus::Completed), data, ..ActivityChange::default() };
    let mut tx = chainflume_db::transaction::begin_bounded(database.pool()).await.expect("begins");
    let kind = publisher.follow_activity(&mut tx, id, &change).await.expect("changes");
    tx.commit().await.expect("commits");
    let activity = publisher.activity(id).await.expect("read").expect("there");
    // Open, it would be followed again and again.
    assert_eq!((kind, activity.now.status), (Some(ChangeKind::Completed), ActivityStatus::Completed));
    assert_eq!(activity.now.data.get("transactionState"), None);
}

#[tokio::test]
async fn a_hint_moves_pending_activities_of_its_transaction() {
    let (publisher, database) = publisher().await;
    let hash = B256::repeat_byte(7);
    let sent = json!({ "userId": "7", "type": "send", "title": "Send", "transaction": { "chainId": 1337, "hash": hash } });
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (_, begun) = ask(&publisher, "POST /v1/activities", sent.clone()).await.expect("begun");
        ids.push(begun["eventId"].as_str().expect("an id").to_owned());
    }
    ask(&publisher, &format!("POST /v1/activities/{}/complete", ids[1]), json!({})).await.expect("completed");
    let other = B256::repeat_byte(8);
    assert_eq!(publisher.hint_activities(1, &[hash], "alchemy").await.expect("looks"), 0, "another chain");
    assert_eq!(publisher.hint_activities(1337, &[other, hash], "alchemy").await.expect("moves"), 1);
    assert_eq!(publisher.hint_activities(1337, &[hash], "alchemy").await.expect("looks"), 0, "again");
    let (_, page) = ask(&publisher, &format!("GET /v1/activities/{}/changes", ids[0]), Value::Null)
        .await
        .expect("changes");
    let last = &page["changes"][1];
    assert_eq!((&last["by"], &last["changed"]), (&json!("alchemy"), &json!({ "status": "in_progress" })));
    assert_eq!(messages(&database).await.len(), 4);
}

#[tokio::test]
async fn an_activity_is_named_by_its_type_and_status() {
    let (publisher, database) = publisher().await;
    let sent = json!({ "userId": "7", "type": "deposit", "title": "Deposit" });
    let (_, begun) = ask(&publisher, "POST /v1/activities", sent.clone()).await.expect("begun");
    let text = |status, title: &str| crate::ActivityText {
        activity_type: "deposit".to_owned(),
        status,
        title: crate::ActivityTemplate::parse(title).ok(),
        description: None,
    };
    let texts = vec![
        text(ActivityStatus::Pending, "Depositing {data.amount}"),
        text(ActivityStatus::Completed, "Deposited {data.amount}: {data.transactionState}"),
    ];
    let publisher = publisher_with(&database, texts);
    let id = begun["eventId"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let titled = async |change: ActivityChange| {
        publisher
            .change_activity(id, &change, &ChangedBy::Follower)
            .await
            .expect("changes")
            .activity
            .now
            .title
    };
    let data = |value: Value| value.as_object().cloned();
    let to = |status| ActivityChange { status: Some(status), ..ActivityChange::default() };
    // It has no amount yet, and there is no text for `in_progress`.
    assert_eq!(titled(to(ActivityStatus::Completed)).await, "Deposit");
    assert_eq!(titled(to(ActivityStatus::InProgress)).await, "Deposit");
    let done = data(json!({ "amount": 5, "transactionState": "succeeded" }));
    assert_eq!(
        titled(ActivityChange { data: done, ..to(ActivityStatus::Completed) }).await,
        "Deposited 5: succeeded"
    );
    let own = ActivityChange { title: Some("Mine".to_owned()), ..to(ActivityStatus::InProgress) };
    assert_eq!(titled(own).await, "Mine");
    let mut sent = json!({ "userId": "7", "type": "deposit", "data": { "amount": "7" } });
    let (_, begun) = ask(&publisher, "POST /v1/activities", sent.clone()).await.expect("begun");
    let line = format!("GET /v1/activities/{}", begun["eventId"].as_str().expect("an id"));
    assert_eq!(ask(&publisher, &line, Value::Null).await.expect("read").1["title"], "Depositing 7");
    sent["data"] = json!({});
    let refusal = ask(&publisher, "POST /v1/activities", sent).await.expect_err("nothing names it");
    assert_eq!((refusal.code, refusal.pointer.as_deref()), ("bad_body", Some("/title")));
}
