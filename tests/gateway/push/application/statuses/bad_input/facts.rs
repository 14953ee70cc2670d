//! What is wrong with a fact, a user or an alert, route by route.

use super::*;

/// A body of a route that is wrong at this place.
type BadBody = (Value, u16, &'static str, &'static str);

/// Every fault that a route finds in its body, with its place; none where the fault is of no place.
pub(super) fn bad_facts(activities: &[String], bearer: &str) -> Vec<BadAsk> {
    let one = |n: usize, rest: &str| format!("/v1/activities/{}{rest}", activities[n]);
    let unknown = format!("/v1/activities/{UNKNOWN}");
    let mut all = Vec::new();
    let mut add = |line: String, bodies: Vec<BadBody>| {
        for (body, status, code, pointer) in bodies {
            let ask = Ask::new(line.clone(), &body).with("authorization", bearer);
            let pointer = Some(pointer).filter(|pointer| !pointer.is_empty());
            all.push(BadAsk { pointer, ..BadAsk::new(ask, status, code) });
        }
    };
    add("POST /v1/domain-events".to_owned(), bad_events());
    add("POST /v1/activities".to_owned(), bad_activities());
    add(format!("PATCH {}", one(0, "")), bad_changes());
    add(format!("PATCH {}", one(4, "")), bad_transitions());
    for end in ["/complete", "/fail"] {
        let wrong = vec![
            (json!({ "status": "failed" }), 400, "bad_body", "/status"),
            (json!({ "title": "" }), 400, "bad_body", "/title"),
            (json!({ "data": [] }), 400, "bad_body", "/data"),
        ];
        add(format!("POST {}", one(0, end)), wrong);
        add(format!("POST {}", one(3, end)), vec![(json!({}), 409, "activity_final", "")]);
        add(format!("POST {unknown}{end}"), vec![(json!({}), 404, "not_found", "")]);
    }
    add(format!("PATCH {}", one(3, "")), vec![(json!({ "title": "Late" }), 409, "activity_final", "")]);
    add(format!("PATCH {unknown}"), vec![(json!({}), 404, "not_found", "")]);
    add("PATCH /v1/activities/7".to_owned(), vec![(json!({}), 404, "not_found", "")]);
    for query in ["", "?userId=u7", "?userId=u7&type=send", "?status=pending"] {
        let body = json!({ "status": "failed" });
        add(format!("PATCH /v1/activities{query}"), vec![(body, 400, "update_by_id_only", "")]);
    }
    add("PUT /v1/users/u7".to_owned(), bad_users());
    add("PUT /v1/users/a%20b".to_owned(), vec![(json!({}), 400, "bad_user_id", "")]);
    add("DELETE /v1/users/nobody".to_owned(), vec![(Value::Null, 404, "not_found", "")]);
    add("PUT /v1/users/u7/alerts".to_owned(), bad_alerts());
    add("PUT /v1/users/nobody/alerts".to_owned(), vec![(json!([]), 404, "not_found", "")]);
    // The token of a user writes that user's contacts and nothing that opens a room.
    let own = Ask::new("PUT /v1/users/u7", &json!({ "wallets": [] })).with("authorization", user("u7"));
    all.push(BadAsk { pointer: Some("/wallets"), ..BadAsk::new(own, 403, "forbidden") });
    all
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

fn bad_events() -> Vec<BadBody> {
    let event = || event(9, "9", "u7");
    let metadata = |field: &str, value: Value| with(event(), "metadata", json!({ field: value }));
    let mut all = vec![
        (json!([]), 400, "too_many_events", ""),
        (Value::Array(vec![json!(0); 501]), 400, "too_many_events", ""),
        (json!("text"), 400, "bad_body", ""),
        (with(event(), "id", json!("7")), 400, "bad_event_id", "/id"),
        (with(event(), "aggregateId", json!("a b")), 400, "bad_aggregate", "/aggregateId"),
        (with(event(), "aggregateType", json!("Order")), 400, "bad_aggregate", "/aggregateType"),
        (with(event(), "payload", json!([1])), 400, "bad_body", "/payload"),
        (
            with(event(), "payload", json!({ "text": "x".repeat(1_100) })),
            413,
            "payload_too_large",
            "/payload",
        ),
        (with(event(), "timestamp", json!("yesterday")), 400, "bad_timestamp", "/timestamp"),
        (metadata("userId", json!("a b")), 400, "bad_user_id", "/metadata/userId"),
        (metadata("chainId", json!(1)), 400, "bad_body", "/metadata/chainId"),
        // One bad event among good ones.
        (json!([event(), with(event(), "type", json!("order"))]), 400, "bad_event_type", "/1/type"),
    ];
    for name in ["", "order", "order.", ".paid", "order..paid", "order.pa id", "1.order", "order.*"] {
        let code = if name.is_empty() { "bad_body" } else { "bad_event_type" };
        all.push((with(event(), "type", json!(name)), 400, code, "/type"));
    }
    for name in [
        "stake.staked",
        "erc20.transfer",
        "ERC721.transfer",
        "erc1155.single",
        "contract.Ping",
        "user.activated",
        "user.updated",
        "activity.created",
        "entity.ticket.updated",
        "inbound.unconfirmed",
        "notification.sent",
    ] {
        all.push((with(event(), "type", json!(name)), 400, "reserved_type", "/type"));
    }
    for kind in ["all", "user", "type", "chain", "address", "contract", "token", "nft"] {
        all.push((with(event(), "aggregateType", json!(kind)), 400, "reserved_aggregate", "/aggregateType"));
    }
    let paid =
        |items: Value| with(with(event(), "type", json!("order.paid")), "payload", json!({ "items": items }));
    all.push((paid(json!([1, "2"])), 422, "schema_violation", "/payload/items/1"));
    all.push((json!([event(), paid(json!([{}]))]), 422, "schema_violation", "/1/payload/items/0"));
    for field in ["type", "aggregateType", "aggregateId"] {
        all.push((with(event(), field, Value::Null), 400, "bad_body", ""));
    }
    all
}

fn bad_activities() -> Vec<BadBody> {
    let new = || json!({ "userId": "u7", "type": "send", "title": "Send" });
    let mut all = vec![
        (json!([]), 400, "bad_body", ""),
        (with(new(), "userId", Value::Null), 400, "bad_body", "/userId"),
        (with(new(), "userId", json!("a b")), 400, "bad_user_id", "/userId"),
        (with(new(), "type", Value::Null), 400, "bad_body", "/type"),
        (with(new(), "type", json!("dance")), 400, "unknown_activity_type", "/type"),
        (with(new(), "title", Value::Null), 400, "bad_body", "/title"),
        (with(new(), "eventId", json!(UNKNOWN)), 400, "bad_body", "/eventId"),
    ];
    let shared = bad_fields()
        .into_iter()
        .map(|(field, value, status, code, at)| (with(new(), field, value), status, code, at));
    all.extend(shared);
    all
}

fn bad_changes() -> Vec<BadBody> {
    let mut all = vec![
        (json!([]), 400, "bad_body", ""),
        (json!({ "userId": "u8" }), 400, "immutable_field", "/userId"),
        (json!({ "type": "deposit" }), 400, "immutable_field", "/type"),
        (json!({ "eventId": UNKNOWN }), 400, "immutable_field", "/eventId"),
        (json!({ "createdAt": "2026-01-01T00:00:00Z" }), 400, "immutable_field", "/createdAt"),
    ];
    let shared = bad_fields()
        .into_iter()
        .map(|(field, value, status, code, at)| (json!({ field: value }), status, code, at));
    all.extend(shared);
    all
}

/// Fields that a new activity and a change share.
fn bad_fields() -> Vec<(&'static str, Value, u16, &'static str, &'static str)> {
    let hash = "ab".repeat(32);
    let follow = |chain: u64, hash: String| json!({ "chainId": chain, "hash": hash });
    let (chain, place) = (31337, "/transaction/hash");
    vec![
        ("title", json!("x".repeat(201)), 400, "bad_body", "/title"),
        ("title", json!(7), 400, "bad_body", "/title"),
        ("description", json!("x".repeat(2_001)), 400, "bad_body", "/description"),
        ("status", json!("done"), 400, "bad_status", "/status"),
        ("data", json!([1]), 400, "bad_body", "/data"),
        ("data", json!({ "text": "x".repeat(1_100) }), 413, "payload_too_large", "/data"),
        ("transaction", follow(5, format!("0x{hash}")), 400, "unknown_chain", "/transaction/chainId"),
        ("transaction", follow(chain, hash.clone()), 400, "bad_hash", place),
        ("transaction", follow(chain, "0xab".to_owned()), 400, "bad_hash", place),
        ("transaction", follow(chain, format!("0x{}", "zz".repeat(32))), 400, "bad_hash", place),
        ("transaction", json!({ "chainId": chain }), 400, "bad_hash", place),
        ("transaction", json!(hash), 400, "bad_body", "/transaction"),
    ]
}

/// Of an activity that is in progress and follows a transaction.
fn bad_transitions() -> Vec<BadBody> {
    let other = json!({ "transaction": { "chainId": 31337, "hash": format!("0x{}", "ab".repeat(32)) } });
    vec![(json!({ "status": "pending" }), 409, "wrong_transition", ""), (other, 409, "other_transaction", "")]
}

fn bad_users() -> Vec<BadBody> {
    let device = |kind: &str, token: &str| json!({ "devices": [{ "kind": kind, "token": token }] });
    vec![
        (json!([]), 400, "bad_body", ""),
        (json!({ "name": "Ada" }), 400, "bad_body", "/name"),
        (json!({ "email": "ada" }), 400, "bad_contact", "/email"),
        (json!({ "phone": "0151" }), 400, "bad_contact", "/phone"),
        (json!({ "locale": "de_DE" }), 400, "bad_contact", "/locale"),
        (json!({ "zone": "Berlin" }), 400, "bad_contact", "/zone"),
        (json!({ "wallets": "0x" }), 400, "bad_wallet", "/wallets"),
        (json!({ "wallets": [format!("0x{}", "aa".repeat(20)), "0xaa"] }), 400, "bad_wallet", "/wallets/1"),
        (json!({ "wallets": vec![format!("0x{}", "aa".repeat(20)); 101] }), 400, "bad_wallet", "/wallets"),
        (device("F C M", "t"), 400, "bad_device", "/devices/0"),
        (device("fcm", ""), 400, "bad_device", "/devices/0"),
        (json!({ "devices": [{ "kind": "fcm", "token": "t", "x": 1 }] }), 400, "bad_body", "/devices/0/x"),
    ]
}

fn bad_alerts() -> Vec<BadBody> {
    let token = format!("0x{}", "aa".repeat(20));
    let alert = |field: &str, value: Value| {
        json!([with(json!({ "token": token, "chainId": 31337, "below": "5" }), field, value)])
    };
    vec![
        (json!({}), 400, "bad_alert", ""),
        (Value::Array(vec![json!(0); 101]), 400, "bad_alert", ""),
        (alert("token", json!("0xaa")), 400, "bad_alert", "/0/token"),
        (alert("chainId", json!(5)), 400, "unknown_chain", "/0/chainId"),
        (alert("above", json!("5")), 400, "bad_alert", "/0"),
        (alert("below", json!("-5")), 400, "bad_alert", "/0/below"),
        (alert("below", json!(0.5)), 400, "bad_alert", "/0/below"),
        (alert("x", json!(1)), 400, "bad_body", "/0/x"),
    ]
}
