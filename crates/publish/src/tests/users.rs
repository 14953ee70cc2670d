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

#[tokio::test]
async fn a_wallet_of_another_person_is_refused_and_nothing_changes() {
    let (publisher, _database) = publisher().await;
    ask(&publisher, "PUT /v1/users/7", json!({ "wallets": [ONE] })).await.expect("written");
    let refusal = ask(&publisher, "PUT /v1/users/8", json!({ "wallets": [TWO, ONE], "locale": "de" }))
        .await
        .expect_err("taken");
    assert_eq!((refusal.status, refusal.code), (409, "wallet_taken"));
    assert_eq!(ask(&publisher, "GET /v1/users/8", Value::Null).await.expect_err("none").code, "not_found");
    ask(&publisher, "PUT /v1/users/7", json!({ "wallets": [] })).await.expect("written");
    ask(&publisher, "PUT /v1/users/8", json!({ "wallets": [ONE] })).await.expect("free now");
}

#[tokio::test]
async fn an_erased_person_is_gone_with_contacts_and_links() {
    let (publisher, _database) = publisher().await;
    ask(&publisher, "PUT /v1/users/7", json!({ "wallets": [ONE], "phone": "+4915112345678" }))
        .await
        .expect("written");
    let (status, _) = ask(&publisher, "DELETE /v1/users/7", Value::Null).await.expect("erased");
    assert_eq!(status, 200);
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
