use serde_json::{Value, json};

use super::fixture::*;

const ONE: &str = "0x00000000000000000000000000000000000000aa";
const TWO: &str = "0x00000000000000000000000000000000000000bb";

#[tokio::test]
async fn a_person_keeps_what_a_request_leaves_out() {
    let (publisher, database) = publisher().await;
    let sent = json!({ "wallets": [ONE, TWO], "email": "ada@example.org", "zone": "Europe/Berlin", "devices": [{ "kind": "fcm", "token": "t" }] });
    let (status, user) = ask(&publisher, "PUT /v1/users/7", sent).await.expect("written");
    assert_eq!(
        (status, &user["email"], &user["zone"]),
        (201, &json!("ada@example.org"), &json!("Europe/Berlin"))
    );
    let in_order = "select bool_and(created_at <= updated_at) from application_users";
    let in_order: bool = sqlx::query_scalar(in_order).fetch_one(database.pool()).await.expect("reads");
    assert!(in_order, "written before it was there");
    let (status, user) =
        ask(&publisher, "PUT /v1/users/7", json!({ "email": null, "locale": "de" })).await.expect("written");
    assert_eq!((status, &user["email"], &user["locale"]), (200, &Value::Null, &json!("de")));
    assert_eq!(user["devices"], json!([{ "kind": "fcm", "token": "t" }]));
    let addresses: Vec<&Value> =
        user["wallets"].as_array().expect("wallets").iter().map(|wallet| &wallet["address"]).collect();
    assert_eq!(addresses, [ONE, TWO]);
    // The staking record of a wallet and the person are one.
    sqlx::query("insert into users (wallet, stake_amount, status) values (decode('00000000000000000000000000000000000000aa', 'hex'), 25, 'active')")
        .execute(database.pool())
        .await
        .expect("inserted");
    let (_, user) = ask(&publisher, "GET /v1/users/7", Value::Null).await.expect("read");
    let wallet = &user["wallets"][0];
    assert_eq!((&wallet["stakeAmount"], &wallet["status"]), (&json!("25"), &json!("active")));
    let known =
        publisher.ids_of(wallet["userId"].as_str().expect("an id")).await.expect("read").expect("known");
    assert_eq!((known.len(), known[0].as_str()), (5, "7"));
    assert_eq!(publisher.ids_of(TWO).await.expect("read"), Some(known));
    assert_eq!(publisher.ids_of("8").await.expect("read"), None);
    let (_, by_wallet) = ask(&publisher, &format!("GET /v1/users/{TWO}"), Value::Null).await.expect("read");
    assert_eq!(by_wallet, user);
}

/// Payloads of the messages about ids.
async fn about_ids(database: &chainflume_db::Database) -> Vec<Value> {
    let all = messages(database).await.into_iter();
    let updates = all.filter(|message| message["type"] == "user.updated");
    updates.map(|message| message["payload"].clone()).collect()
}

/// The id of the chain's record of a wallet.
async fn record_of(database: &chainflume_db::Database, wallet: &str) -> String {
    let sql = "select user_id(decode(substr($1, 3), 'hex'))::text";
    sqlx::query_scalar(sql).bind(wallet).fetch_one(database.pool()).await.expect("an id")
}

#[tokio::test]
async fn two_people_with_one_wallet_are_one_person() {
    let (publisher, database) = publisher().await;
    let seven = json!({ "wallets": [ONE], "locale": "de", "devices": [{ "kind": "fcm", "token": "a" }] });
    ask(&publisher, "PUT /v1/users/7", seven).await.expect("written");
    let activity = json!({ "userId": "8", "type": "send", "title": "Send" });
    let eight = json!({ "wallets": [TWO], "locale": "en", "phone": "+4915112345678", "devices": [{ "kind": "fcm", "token": "b" }] });
    ask(&publisher, "PUT /v1/users/8", eight).await.expect("written");
    let (_, made) = ask(&publisher, "POST /v1/activities", activity).await.expect("begun");

    let (status, user) = ask(&publisher, "PUT /v1/users/8", json!({ "wallets": [TWO, ONE], "zone": "UTC" }))
        .await
        .expect("merged");
    assert_eq!((status, &user["id"], &user["aliases"]), (200, &json!("7"), &json!(["8"])));
    // Values of the older one stay, its absent ones come from the other, and what was sent counts before both.
    assert_eq!(
        [&user["locale"], &user["phone"], &user["zone"]],
        [&json!("de"), &json!("+4915112345678"), &json!("UTC")]
    );
    assert_eq!(
        (user["devices"].as_array().map(Vec::len), user["wallets"].as_array().map(Vec::len)),
        (Some(2), Some(2))
    );
    for id in ["7", "8", ONE, TWO] {
        let (_, same) = ask(&publisher, &format!("GET /v1/users/{id}"), Value::Null).await.expect("read");
        assert_eq!(same, user, "{id}");
        let line = format!("GET /v1/activities?userId={id}");
        let (_, page) = ask(&publisher, &line, Value::Null).await.expect("a page");
        assert_eq!(page["activities"][0]["eventId"], made["eventId"], "{id}");
    }
    let (one, two) = (record_of(&database, ONE).await, record_of(&database, TWO).await);
    let published = about_ids(&database).await;
    assert_eq!(
        published,
        [
            json!({ "ids": ["7", ONE, one], "joined": [ONE, one], "left": [] }),
            json!({ "ids": ["8", TWO, two], "joined": [TWO, two], "left": [] }),
            json!({ "ids": ["7", "8", ONE, TWO, one, two], "joined": ["8", TWO, two], "left": [] }),
        ]
    );
    // The same again changes nothing, and the other id writes the same person.
    let again = json!({ "wallets": [ONE, TWO] });
    ask(&publisher, "PUT /v1/users/8", again).await.expect("written");
    let (_, user) = ask(&publisher, "PUT /v1/users/8", json!({ "locale": "fr" })).await.expect("written");
    assert_eq!(
        (&user["id"], &user["locale"], about_ids(&database).await.len()),
        (&json!("7"), &json!("fr"), 3)
    );
    let (_, user) = ask(&publisher, "PUT /v1/users/7", json!({ "wallets": [] })).await.expect("written");
    assert_eq!((&user["aliases"], &user["wallets"]), (&json!(["8"]), &json!([])));
    let left = about_ids(&database).await.pop().expect("a message");
    assert_eq!(left, json!({ "ids": ["7", "8"], "joined": [], "left": [ONE, TWO, one, two] }));
    ask(&publisher, "DELETE /v1/users/8", Value::Null).await.expect("erased by any id");
    for id in ["7", "8"] {
        let line = format!("GET /v1/users/{id}");
        assert_eq!(ask(&publisher, &line, Value::Null).await.expect_err("gone").code, "not_found");
    }
}

/// Users whose tokens are revoked, with the minutes since 2026 up to which they are.
async fn revoked(database: &chainflume_db::Database) -> Vec<(String, i64)> {
    let sql = "select name, (extract(epoch from revoked_at - '2026-01-01Z') / 60)::bigint from revocations where kind = 'sub' order by name";
    sqlx::query_as(sql).fetch_all(database.pool()).await.expect("reads")
}

async fn revoke(database: &chainflume_db::Database, id: &str, minutes: i32) {
    let sql = "insert into revocations (kind, name, revoked_at, number)
        values ('sub', $1, '2026-01-01Z'::timestamptz + make_interval(mins => $2), nextval('revocation_numbers'))";
    sqlx::query(sql).bind(id).bind(minutes).execute(database.pool()).await.expect("inserted");
}

#[tokio::test]
async fn what_was_revoked_of_one_is_revoked_of_both_when_two_are_one() {
    let (publisher, database) = publisher().await;
    let link = async |id: &str, wallets: &[&str]| {
        let body = json!({ "wallets": wallets });
        ask(&publisher, &format!("PUT /v1/users/{id}"), body).await.expect("written");
    };
    let sorted = |mut all: Vec<(&str, i64)>| {
        all.sort_unstable();
        all.into_iter().map(|(id, minutes)| (id.to_owned(), minutes)).collect::<Vec<_>>()
    };
    for (id, minutes) in [("7", 10), ("8", 20), ("stranger", 30)] {
        revoke(&database, id, minutes).await;
    }
    // A wallet that is linked gets what was revoked of its person.
    link("7", &[ONE]).await;
    let one = record_of(&database, ONE).await;
    let linked = sorted(vec![("7", 10), (ONE, 10), (&one, 10), ("8", 20), ("stranger", 30)]);
    assert_eq!(revoked(&database).await, linked);
    // Of two people the newer revocation counts for both, whichever of them stays.
    let newest = sqlx::query_scalar("select max(number) from revocations").fetch_one(database.pool());
    let newest: i64 = newest.await.expect("reads");
    link("8", &[ONE]).await;
    let merged = sorted(vec![("7", 20), ("8", 20), (ONE, 20), (&one, 20), ("stranger", 30)]);
    assert_eq!(revoked(&database).await, merged);
    // A server that reads on from the newest number finds what is new.
    let new = sqlx::query_scalar("select count(*) from revocations where number > $1").bind(newest);
    assert_eq!(new.fetch_one(database.pool()).await.ok(), Some(3_i64));
    // They stay when the person is erased, and people of whom nothing was revoked get nothing.
    ask(&publisher, "DELETE /v1/users/7", Value::Null).await.expect("erased");
    link("10", &[TWO]).await;
    link("11", &[TWO]).await;
    assert_eq!(revoked(&database).await, merged);
}

#[tokio::test]
async fn a_merged_person_is_the_same_caller_by_each_id() {
    let (publisher, _database) = publisher().await;
    ask(&publisher, "PUT /v1/users/7", json!({ "wallets": [ONE] })).await.expect("written");
    ask(&publisher, "PUT /v1/users/8", json!({ "wallets": [ONE] })).await.expect("merged");
    let activity = json!({ "userId": "7", "type": "send", "title": "Send" });
    let (_, made) = ask(&publisher, "POST /v1/activities", activity).await.expect("begun");
    let lines = [
        "GET /v1/users/7".to_owned(),
        "GET /v1/users/8".to_owned(),
        "GET /v1/activities?userId=7".to_owned(),
        format!("GET /v1/activities/{}", made["eventId"].as_str().expect("an id")),
        "PUT /v1/users/7".to_owned(),
        "PUT /v1/users/8".to_owned(),
    ];
    for line in &lines {
        for own in ["7", "8", ONE] {
            let asked = ask_as(&publisher, line, (json!({ "locale": "de" }), None, user(own, ""))).await;
            assert!(asked.is_ok(), "{own} {line} {asked:?}");
        }
        // The scope `read` of a token opens nothing of another user.
        for scopes in ["", "read admin"] {
            let asked = ask_as(&publisher, line, (json!({ "locale": "fr" }), None, user("9", scopes))).await;
            let code = asked.expect_err(line).code;
            assert!(["forbidden", "not_found"].contains(&code), "{line} {code}");
        }
    }
}

#[tokio::test]
async fn two_people_with_records_are_strangers_to_each_other() {
    let (publisher, _database) = publisher().await;
    ask(&publisher, "PUT /v1/users/7", json!({ "wallets": [ONE] })).await.expect("written");
    ask(&publisher, "PUT /v1/users/9", json!({ "wallets": [TWO] })).await.expect("written");
    // A person without a record makes it with the own token.
    let (status, _) =
        ask_as(&publisher, "PUT /v1/users/10", (json!({ "locale": "de" }), None, user("10", "")))
            .await
            .expect("made");
    assert_eq!(status, 201);
    for (line, body) in [("PUT /v1/users/7", json!({ "locale": "fr" })), ("GET /v1/users/7", Value::Null)] {
        for other in ["9", TWO] {
            let asked = ask_as(&publisher, line, (body.clone(), None, user(other, ""))).await;
            assert_eq!(asked.expect_err(line).code, "forbidden", "{other} {line}");
        }
    }
}

#[tokio::test]
async fn a_token_of_a_user_links_no_wallet() {
    let (publisher, _database) = publisher().await;
    ask(&publisher, "PUT /v1/users/7", json!({ "wallets": [ONE] })).await.expect("written");
    for wallets in [json!([TWO]), json!([]), json!([ONE]), Value::Null] {
        let sent = (json!({ "wallets": wallets, "locale": "de" }), None, user("7", ""));
        let refusal = ask_as(&publisher, "PUT /v1/users/7", sent).await.expect_err("a wallet opens rooms");
        assert_eq!(
            (refusal.status, refusal.code, refusal.pointer.as_deref()),
            (403, "forbidden", Some("/wallets"))
        );
    }
    let (_, kept) = ask(&publisher, "GET /v1/users/7", Value::Null).await.expect("read");
    assert_eq!((&kept["wallets"][0]["address"], &kept["locale"]), (&json!(ONE), &Value::Null));
    // A token with the scope is a back end's.
    let sent = (json!({ "wallets": [ONE, TWO] }), None, user("7", "publish"));
    ask_as(&publisher, "PUT /v1/users/7", sent).await.expect("linked");
}

#[tokio::test]
async fn a_record_of_the_chain_and_a_wallet_as_id_are_adopted() {
    let (publisher, database) = publisher().await;
    let sql = "insert into users (wallet, stake_amount, status) values (decode(substr($1, 3), 'hex'), 25, 'active') returning id::text";
    let record: String =
        sqlx::query_scalar(sql).bind(ONE).fetch_one(database.pool()).await.expect("inserted");
    ask(&publisher, &format!("PUT /v1/users/{ONE}"), json!({ "locale": "de" })).await.expect("written");
    let (status, user) =
        ask(&publisher, "PUT /v1/users/7", json!({ "wallets": [ONE] })).await.expect("merged");
    // An id of the application stays, although the wallet as an id was there before.
    assert_eq!((status, &user["id"], &user["locale"]), (201, &json!("7"), &json!("de")));
    let published = about_ids(&database).await;
    assert_eq!(published, [json!({ "ids": ["7", ONE, record], "joined": [ONE, record], "left": [] })]);
    let (_, user) =
        ask(&publisher, &format!("PUT /v1/users/{record}"), json!({ "zone": "UTC" })).await.expect("written");
    assert_eq!((&user["id"], &user["zone"]), (&json!("7"), &json!("UTC")));
}

#[tokio::test(flavor = "multi_thread")]
async fn people_who_claim_each_others_wallets_end_as_one() {
    let (publisher, database) = publisher().await;
    let put = |id: usize| {
        let publisher = publisher.clone();
        tokio::spawn(async move {
            let wallets = json!({ "wallets": [if id.is_multiple_of(2) { ONE } else { TWO }, format!("0x{id:040x}"), ONE] });
            ask(&publisher, &format!("PUT /v1/users/p{id}"), wallets).await.expect("written");
        })
    };
    let all: Vec<_> = (0..12).map(put).collect();
    for one in all {
        one.await.expect("no panic");
    }
    let people: i64 = sqlx::query_scalar("select count(*) from application_users")
        .fetch_one(database.pool())
        .await
        .expect("a count");
    let ids = publisher.ids_of(ONE).await.expect("read").expect("known");
    // Each id once: twelve of the application, fourteen wallets and their records.
    assert_eq!((people, ids.len()), (1, 12 + 14 + 14), "{ids:?}");
    // A reader of the messages in order knows the same.
    let last = about_ids(&database).await.pop().expect("a message");
    assert_eq!(last["ids"], json!(ids));
}

#[tokio::test]
async fn a_person_with_too_many_wallets_is_not_made() {
    let (publisher, database) = publisher().await;
    let wallets = |from: usize| (from..from + 60).map(|n| format!("0x{n:040x}")).collect::<Vec<_>>();
    ask(&publisher, "PUT /v1/users/7", json!({ "wallets": wallets(100) })).await.expect("written");
    ask(&publisher, "PUT /v1/users/8", json!({ "wallets": wallets(200) })).await.expect("written");
    let refusal =
        ask(&publisher, "PUT /v1/users/8", json!({ "wallets": wallets(159) })).await.expect_err("119");
    assert_eq!((refusal.status, refusal.code), (409, "user_too_large"));
    let (_, user) = ask(&publisher, "GET /v1/users/8", Value::Null).await.expect("read");
    assert_eq!((&user["id"], user["wallets"].as_array().map(Vec::len)), (&json!("8"), Some(60)));
    assert_eq!(about_ids(&database).await.len(), 2);
}

#[tokio::test]
async fn an_erased_person_is_gone_with_contacts_and_links() {
    let (publisher, database) = publisher().await;
    ask(&publisher, "PUT /v1/users/7", json!({ "wallets": [ONE], "phone": "+4915112345678" }))
        .await
        .expect("written");
    let record = record_of(&database, ONE).await;
    let (status, _) = ask(&publisher, "DELETE /v1/users/7", Value::Null).await.expect("erased");
    assert_eq!(status, 200);
    let left = json!({ "ids": [], "joined": [], "left": ["7", ONE, record] });
    assert_eq!(about_ids(&database).await.last(), Some(&left));
    for line in ["GET /v1/users/7", "DELETE /v1/users/7"] {
        assert_eq!(ask(&publisher, line, Value::Null).await.expect_err("gone").code, "not_found", "{line}");
    }
    ask(&publisher, "PUT /v1/users/8", json!({ "wallets": [ONE] })).await.expect("the wallet is free");
}

#[tokio::test]
async fn what_is_wrong_with_a_person_has_a_code_and_a_place() {
    let (publisher, _database) = publisher().await;
    for (pointer, value, code) in [
        ("/email", json!("ada"), "bad_contact"),
        ("/phone", json!(7), "bad_contact"),
        ("/zone", json!("Berlin"), "bad_contact"),
        ("/wallets", json!(ONE), "bad_wallet"),
        ("/wallets/1", json!([ONE, "0xaa"]), "bad_wallet"),
        ("/devices/0", json!([{ "kind": "F C M", "token": "t" }]), "bad_device"),
        ("/name", json!("Ada"), "bad_body"),
    ] {
        let field = pointer.split('/').nth(1).expect("a field");
        let refusal = ask(&publisher, "PUT /v1/users/7", json!({ field: value })).await.expect_err(pointer);
        assert_eq!((refusal.code, refusal.pointer.as_deref()), (code, Some(pointer)));
    }
    assert_eq!(ask(&publisher, "GET /v1/users/7", Value::Null).await.expect_err("none").code, "not_found");
}
