use serde_json::{Value, json};

use super::fixture::*;

#[tokio::test]
async fn a_repeat_that_finds_its_change_made_is_answered_as_the_first() {
    let (publisher, database) = publisher().await;
    let sent = json!({ "userId": "7", "type": "send", "title": "Send" });
    let (_, begun) = ask(&publisher, "POST /v1/activities", sent).await.expect("begun");
    let line = format!("/v1/activities/{}", begun["eventId"].as_str().expect("an id"));
    let (complete, fail) = (format!("POST {line}/complete"), format!("POST {line}/fail"));
    let last = json!({ "title": "Sent", "data": { "fee": "1" } });
    let (_, first) = ask(&publisher, &complete, last.clone()).await.expect("completed");
    assert_eq!(repeat(&publisher, &complete, last.clone()).await, Ok((200, first.clone())));
    let patch = json!({ "status": "completed", "title": "Sent" });
    assert_eq!(repeat(&publisher, &format!("PATCH {line}"), patch).await, Ok((200, first.clone())));
    // A change that was never made is refused however often it comes, and so is a later one.
    for (line, body) in [
        (&fail, json!({ "title": "Sent", "data": { "fee": "1" } })),
        (&complete, json!({ "title": "Paid" })),
        (&complete, json!({ "data": { "fee": null } })),
    ] {
        let refusal = repeat(&publisher, line, body).await.expect_err("another change");
        assert_eq!((refusal.status, refusal.code), (409, "activity_final"), "{line}");
    }
    assert_eq!(ask(&publisher, &complete, last).await.expect_err("no repeat").code, "activity_final");
    assert_eq!(messages(&database).await.len(), 2);
}

#[tokio::test]
async fn a_repeat_that_finds_a_person_erased_is_answered_as_the_first() {
    let (publisher, database) = publisher().await;
    ask(&publisher, "PUT /v1/users/7", json!({ "email": "ada@example.org" })).await.expect("written");
    let first = ask(&publisher, "DELETE /v1/users/7", Value::Null).await.expect("erased");
    assert_eq!(repeat(&publisher, "DELETE /v1/users/7", Value::Null).await, Ok(first));
    let refusal = ask(&publisher, "DELETE /v1/users/7", Value::Null).await.expect_err("no repeat");
    assert_eq!((refusal.status, refusal.code), (404, "not_found"));
    assert_eq!(messages(&database).await.len(), 1);
}
