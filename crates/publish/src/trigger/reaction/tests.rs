use super::*;
use crate::tests::fixture::database;
use crate::{EventSchemas, FactLimits, Settings};

async fn reaction(event_type: Option<&str>) -> (Reaction, Database) {
    let database = database().await;
    let settings = Settings {
        schemas: EventSchemas::default(),
        activity_types: Vec::new(),
        activity_texts: Vec::new(),
        chains: Vec::new(),
        limits: FactLimits { payload_bytes: 4096, ..FactLimits::default() },
    };
    let publisher = Publisher::new(&database, settings);
    (Reaction::new(&database, publisher, "ship".to_owned(), event_type.map(str::to_owned)), database)
}

fn message(id: &str, cause: Option<&str>) -> String {
    json!({
        "id": id, "seq": 7, "state": "confirmed", "type": "order.paid", "aggregateType": "order", "aggregateId": "9",
        "payload": {}, "metadata": { "userId": "u7", "correlationId": null, "causationId": cause, "source": "backend" },
    })
    .to_string()
}

const ID: &str = "5d0b9c4e-7c1a-4d52-9d62-3f1f7a1e2b3c";

/// Type, aggregate, user, cause and correlation of each event.
async fn stored(database: &Database) -> Vec<String> {
    let sql = "select concat_ws(' ', type, aggregate_type || '-' || aggregate_id, user_id, causation_id = $1, correlation_id = $1, source, payload) \
        from domain_events order by seq";
    sqlx::query_scalar(sql).bind(ID).fetch_all(database.pool()).await.expect("reads")
}

#[tokio::test]
async fn an_answer_is_published_once_with_its_cause() {
    let (reaction, database) = reaction(None).await;
    let answer = json!([
        { "type": "order.shipped", "aggregateType": "order", "aggregateId": "9", "payload": { "n": 1 } },
        { "type": "stock.low", "aggregateType": "item", "aggregateId": "3", "metadata": { "causationId": "other", "correlationId": "c" } },
    ])
    .to_string();
    for _ in 0..2 {
        assert_eq!(
            reaction.take(&message(ID, None), answer.as_bytes()).await,
            Ok(2),
            "an answer may come again"
        );
    }
    let expected =
        ["order.shipped order-9 t t reaction:ship {\"n\": 1}", "stock.low item-3 t f reaction:ship {}"];
    assert_eq!(stored(&database).await, expected);
    for empty in ["", " \n", "null", "[]"] {
        assert_eq!(reaction.take(&message(ID, None), empty.as_bytes()).await, Ok(0), "{empty:?}");
    }
}

#[tokio::test]
async fn an_answer_may_be_the_payload_of_a_configured_type() {
    let (reaction, database) = reaction(Some("order.rated")).await;
    assert_eq!(reaction.take(&message(ID, None), b"{\"stars\":5}").await, Ok(1));
    let token = message(ID, None)
        .replace("\"order\"", "\"token\"")
        .replace(ID, "5d0b9c4e-7c1a-4d52-9d62-000000000000");
    assert_eq!(reaction.take(&token, b"{}").await, Ok(1), "about a token only the chain speaks");
    let expected = [
        "order.rated order-9 u7 t t reaction:ship {\"stars\": 5}",
        "order.rated reaction-ship u7 f f reaction:ship {}",
    ];
    assert_eq!(stored(&database).await, expected);
}

#[tokio::test]
async fn an_answer_that_is_no_event_is_unusable_and_stores_nothing() {
    let (reaction, database) = reaction(None).await;
    let good = json!({ "type": "order.shipped", "aggregateType": "order", "aggregateId": "9" });
    let reserved = json!([good, { "type": "erc20.transfer", "aggregateType": "order", "aggregateId": "9" }]);
    for answer in ["<html>", "7", "{\"a\":1,\"a\":2}", &reserved.to_string()] {
        let outcome = reaction.take(&message(ID, None), answer.as_bytes()).await;
        assert!(matches!(outcome, Err(ReactionError::Unusable(_))), "{answer}: {outcome:?}");
    }
    assert!(stored(&database).await.is_empty());
}

#[tokio::test]
async fn a_loop_of_reactions_ends_at_the_eighth_cause() {
    let (reaction, database) = reaction(None).await;
    let answer = json!({ "type": "order.paid", "aggregateType": "order", "aggregateId": "9" }).to_string();
    let (mut next, mut calls) = (message(ID, None), 0);
    while reaction.wants(&next).await.expect("looks") {
        calls += 1;
        assert!(calls < 20, "it ends");
        reaction.take(&next, answer.as_bytes()).await.expect("published");
        next = sqlx::query_scalar("select message from outbox order by seq desc limit 1")
            .fetch_one(database.pool())
            .await
            .expect("reads");
    }
    assert_eq!(calls, 8, "the message itself, and those that one to seven others caused");
}
