use serde_json::{Value, json};

use super::fixture::*;
use chainflume_db::Database;

/// An event of a chain, in the table of events that are confirmed.
async fn store_event(database: &Database) -> String {
    for sql in [
        "insert into chains (chain_id, name) values (1337, 'dev'), (1, 'other')",
        "insert into sources (name, chain_id, family, start_block) values ('usdc', 1337, 'erc20', 0)",
        "insert into event_kinds (source, chain_id, type, event, signature, projection, layout) values ('usdc', 1337, \
         'erc20.transfer', 'Transfer', 'Transfer(address,address,uint256)', 'balance', '{\"aggregate\": \"token\", \"columns\": []}')",
        "insert into events (chain_id, block_number, tx_index, log_index, block_time, kind_id, projection, block_hash, tx_hash, \
         address) select 1337, 7, 2, 5, '2026-01-01T00:00:00Z', id, 'b', decode(repeat('11', 32), 'hex'), \
         decode(repeat('22', 32), 'hex'), decode(repeat('33', 20), 'hex') from event_kinds",
    ] {
        sqlx::query(sql).execute(database.pool()).await.expect(sql);
    }
    let sql = "select event_id(chain_id, block_number, block_hash, tx_index, log_index)::text from events";
    sqlx::query_scalar(sql).fetch_one(database.pool()).await.expect("an id")
}

#[tokio::test]
async fn a_trace_begins_at_the_event_of_a_chain_that_caused_it() {
    let (publisher, database) = publisher().await;
    let cause = store_event(&database).await;
    let transaction = format!("0x{}", "22".repeat(32));
    let about = |metadata: Value| json!({ "type": "coin.seen", "aggregateType": "coin", "aggregateId": "1", "metadata": metadata });
    let sent =
        json!([about(json!({ "causationId": cause })), about(json!({ "correlationId": transaction }))]);
    let (_, stored) = ask(&publisher, "POST /v1/domain-events", sent).await.expect("stored");
    let id = |n: usize| stored["events"][n]["id"].as_str().expect("an id").to_owned();
    let trace = async |id: &str| {
        ask(&publisher, &format!("GET /v1/messages/{id}/trace"), Value::Null).await.map(|(_, trace)| trace)
    };
    for asked in [id(0), cause.clone()] {
        let trace = trace(&asked).await.expect("read");
        assert_eq!((&trace["messages"], trace["roots"].as_array().map(Vec::len)), (&json!(3), Some(2)));
        let event = &trace["roots"][0];
        assert_eq!((&event["id"], &event["type"]), (&json!(cause), &json!("erc20.transfer")));
        assert_eq!((&event["state"], &event["source"]), (&json!("confirmed"), &json!("usdc")));
        assert_eq!(
            (&event["correlationId"], &event["timestamp"]),
            (&json!(transaction), &json!("2026-01-01T00:00:00.000Z"))
        );
        assert_eq!(
            (&event["aggregateType"], &event["aggregateId"]),
            (&json!("token"), &json!(format!("0x{}", "33".repeat(20))))
        );
        assert_eq!((&event["caused"][0]["id"], &trace["roots"][1]["id"]), (&json!(id(0)), &json!(id(1))));
    }
    // A reorg takes the event away.
    for sql in [
        "insert into reorgs (chain_id, ancestor_number, ancestor_hash, old_tip_number, old_tip_hash, depth, events) \
         values (1337, 6, decode(repeat('00', 32), 'hex'), 7, decode(repeat('00', 32), 'hex'), 1, 1)",
        "with gone as (delete from events returning *) insert into orphaned_events (reorg_id, chain_id, block_number, tx_index, \
         log_index, block_time, kind_id, projection, block_hash, tx_hash, address) select r.id, g.chain_id, block_number, tx_index, \
         log_index, block_time, kind_id, projection, block_hash, tx_hash, address from gone g, reorgs r",
    ] {
        sqlx::query(sql).execute(database.pool()).await.expect(sql);
    }
    assert_eq!(trace(&cause).await.expect("read")["roots"][0]["state"], "retracted");
    // Another block at its place has another id.
    let other = cause.replace("00000000-0700", "00000000-0800");
    assert_eq!(trace(&other).await.expect_err("none").code, "not_found");
}
