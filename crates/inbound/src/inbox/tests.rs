use std::time::Duration;

use sqlx::Row as _;

use super::*;
use crate::Comparison;
use crate::testing::{delivery, endpoint, migrated, quiet, signed};

#[tokio::test]
async fn a_delivery_is_stored_once_with_its_hints() {
    let database = migrated().await;
    let inbox = InboundDeliveries::new(&database, vec![endpoint("alchemy", Some(1))], 1 << 20, quiet());
    let body = delivery("whevt_1", 16, 2);
    for _ in 0..3 {
        assert_eq!(inbox.receive("alchemy", &signed(&body), &body, 7).await, InboundAnswer::Stored);
    }
    // Another body under the same id: the first is kept.
    let other = delivery("whevt_1", 17, 1);
    assert_eq!(inbox.receive("alchemy", &signed(&other), &other, 7).await, InboundAnswer::Stored);
    let row =
        sqlx::query("select delivery_id, headers, body from inbound_deliveries").fetch_one(database.pool());
    let row = row.await.expect("one row");
    assert_eq!(row.get::<&str, _>("delivery_id"), "whevt_1");
    assert_eq!(row.get::<Vec<u8>, _>("body"), body);
    let headers = row.get::<Value, _>("headers");
    assert!(headers["x-alchemy-signature"].is_string() && headers["authorization"].is_null(), "{headers}");
    let hints: Vec<(String, i64, i64)> =
        sqlx::query_as("select kind, block_number, log_index from inbound_hints order by id")
            .fetch_all(database.pool())
            .await
            .expect("rows");
    assert_eq!(hints, [("erc20_transfer".to_owned(), 16, 0), ("erc20_transfer".to_owned(), 16, 1)]);
}

#[tokio::test]
async fn what_is_not_signed_or_not_stored_is_answered_so() {
    let database = migrated().await;
    let inbox = InboundDeliveries::new(&database, vec![endpoint("alchemy", None)], 1_000, quiet());
    let body = delivery("whevt_1", 16, 1);
    assert_eq!(inbox.receive("other", &signed(&body), &body, 7).await, InboundAnswer::NotFound);
    assert_eq!(inbox.receive("alchemy", &Headers::new(), &body, 7).await, InboundAnswer::InvalidSignature);
    assert_eq!(inbox.receive("alchemy", &signed(b"other"), &body, 7).await, InboundAnswer::InvalidSignature);
    let large = vec![b' '; 1_001];
    assert_eq!(inbox.receive("alchemy", &signed(&large), &large, 7).await, InboundAnswer::TooLarge);
    let count =
        || sqlx::query_scalar::<_, i64>("select count(*) from inbound_deliveries").fetch_one(database.pool());
    assert_eq!(count().await.expect("a count"), 0);
    assert_eq!(inbox.receive("alchemy", &signed(&body), &body, 7).await, InboundAnswer::Stored);
    assert_eq!(count().await.expect("a count"), 1);
    let hints: i64 = sqlx::query_scalar("select count(*) from inbound_hints")
        .fetch_one(database.pool())
        .await
        .expect("a count");
    assert_eq!(hints, 0, "without a chain nothing is compared");
    database.close().await;
    assert_eq!(inbox.receive("alchemy", &signed(&body), &body, 7).await, InboundAnswer::Failed);
}

#[tokio::test]
async fn old_deliveries_are_deleted_once_their_hints_are_compared() {
    let database = migrated().await;
    let inbox = InboundDeliveries::new(&database, vec![endpoint("alchemy", Some(1))], 1 << 20, quiet());
    for id in ["whevt_1", "whevt_2", "whevt_3"] {
        let body = delivery(id, 16, 1);
        assert_eq!(inbox.receive("alchemy", &signed(&body), &body, 7).await, InboundAnswer::Stored);
    }
    for sql in [
        "update inbound_deliveries set received_at = now() - interval '31 days' where delivery_id <> 'whevt_3'",
        "update inbound_hints set state = 'confirmed' where delivery = (select min(id) from inbound_deliveries)",
    ] {
        sqlx::query(sql).execute(database.pool()).await.expect("rows change");
    }
    assert!(
        !Comparison::of(&database).sweep(Duration::from_hours(30 * 24)).await.expect("the database is there")
    );
    let left: Vec<String> = sqlx::query_scalar("select delivery_id from inbound_deliveries order by id")
        .fetch_all(database.pool())
        .await
        .expect("rows");
    assert_eq!(left, ["whevt_2", "whevt_3"], "an open one is kept, and so is a new one");
    let hints: i64 = sqlx::query_scalar("select count(*) from inbound_hints")
        .fetch_one(database.pool())
        .await
        .expect("a count");
    assert_eq!(hints, 2);
}

#[test]
fn answers_are_what_providers_expect() {
    let of = |answer: InboundAnswer| (answer.status(), answer.body());
    assert_eq!(of(InboundAnswer::Stored), (200, r#"{"success":true}"#));
    assert_eq!(of(InboundAnswer::InvalidSignature), (401, r#"{"error":"Invalid signature"}"#));
    assert_eq!(of(InboundAnswer::MethodNotAllowed), (405, r#"{"error":"Method not allowed"}"#));
    assert_eq!(of(InboundAnswer::Failed), (500, r#"{"error":"Internal server error"}"#));
}
