use serde_json::json;

use super::super::{BalanceKey, KnownBalance, Lookups, changed_balances};
use super::super::{EventName, NameError, PayloadTemplate, RoomTemplate, RoomTemplateError};
use super::*;
use chainflume_core::domain::{TemplateError, TypePattern};

const WALLET: &str = "0x00000000000000000000000000000000000000aa";
const OTHER: &str = "0x00000000000000000000000000000000000000bb";
const TOKEN: &str = "0x00000000000000000000000000000000000000cc";

fn message(message_type: &str, payload: &Value) -> Row {
    let json = json!({
        "id": "i", "seq": 7, "type": message_type, "state": "confirmed", "aggregateType": "token", "aggregateId": TOKEN,
        "payload": payload, "metadata": { "userId": "u", "chainId": 1 }
    });
    row(&json)
}

fn row(json: &Value) -> Row {
    Row::new(7, "e".to_owned(), json.to_string())
}

fn transfer() -> Row {
    message("erc20.transfer", &json!({ "from": WALLET, "to": OTHER, "value": "5" }))
}

fn rule(on: &str, emit: &str, rooms: &[&str]) -> PushRule {
    PushRule {
        on: TypePattern::parse(on).expect("a type"),
        changed: Vec::new(),
        emit: EventName::parse(emit).expect("a name"),
        rooms: rooms.iter().map(|text| RoomTemplate::parse(text).expect("a room")).collect(),
        payload: Vec::new(),
    }
}

fn names(entry: &Entry) -> Vec<(&str, &str)> {
    (0..entry.rooms.len()).map(|index| (entry.rooms[index].room.as_str(), entry.event(index))).collect()
}

fn frame(entry: &Entry, room: &str) -> Value {
    let index = entry.rooms_where(|there| there.as_str() == room)[0];
    serde_json::from_slice(&entry.frame(index)).expect("JSON")
}

#[test]
fn a_transfer_between_two_users_goes_to_both() {
    let mut message: Value = serde_json::from_str(&transfer().json).expect("JSON");
    message["metadata"]["counterpartyUserId"] = json!("v");
    let entry = Entry::new(row(&message), &[]);
    let rooms: Vec<&str> = names(&entry).into_iter().map(|(room, _)| room).collect();
    assert!(rooms.contains(&"user-u") && rooms.contains(&"user-v"), "{rooms:?}");
}

#[test]
fn a_message_goes_to_its_type_chain_contract_user_and_addresses() {
    let entry = Entry::new(transfer(), &[]);
    let expected = [
        "all".to_owned(),
        "type-erc20.transfer".to_owned(),
        "chain-1".to_owned(),
        "user-u".to_owned(),
        format!("contract-{TOKEN}"),
    ];
    let addresses = [TOKEN, WALLET, OTHER].map(|one| [format!("address-{one}"), format!("user-{one}")]);
    let expected: Vec<(String, &str)> =
        expected.into_iter().chain(addresses.into_iter().flatten()).map(|room| (room, "message")).collect();
    let found: Vec<(String, &str)> =
        names(&entry).into_iter().map(|(room, event)| (room.to_owned(), event)).collect();
    assert_eq!(found, expected);
    let whole: Value = serde_json::from_str(&transfer().json).expect("JSON");
    let frame = frame(&entry, "user-u");
    assert_eq!(
        frame,
        json!({ "room": "user-u", "event": "message", "position": "e.7", "id": "i", "state": "confirmed", "data": whole })
    );
}

#[test]
fn in_each_room_the_first_rule_that_reaches_it_names_the_event() {
    let mut paid = rule("erc20.*", "paid", &["user-{user.id}", "order-{payload.value}"]);
    paid.payload = [("amount", "{value}"), ("text", "{from} paid {payload.value}"), ("none", "{payload.x}")]
        .map(|(name, text)| (name.to_owned(), PayloadTemplate::parse(text).expect("a template")))
        .to_vec();
    let rules = [paid, rule("erc20.transfer", "moved", &[]), rule("erc721.*", "never", &[])];
    let entry = Entry::new(transfer(), &rules);
    let found = names(&entry);
    assert_eq!(found[..2], [("user-u", "paid"), ("order-5", "paid")]);
    assert!(found[2..].iter().all(|(_, event)| *event == "moved"), "{found:?}");
    let rooms: std::collections::BTreeSet<&str> = found.iter().map(|(room, _)| *room).collect();
    assert_eq!(rooms.len(), found.len(), "each room once");
    let data = json!({ "amount": "5", "text": format!("{WALLET} paid 5"), "none": null });
    assert_eq!(frame(&entry, "order-5")["data"], data);
    assert_eq!(frame(&entry, "all")["data"], json!({ "from": WALLET, "to": OTHER, "value": "5" }));
}

/// Names, first arguments and second arguments of packets.
fn packets(entry: &Entry, rooms: &[&str]) -> Vec<Value> {
    let indexes = entry.rooms_where(|there| rooms.contains(&there.as_str()));
    let packet =
        |text: &Bytes| serde_json::from_slice(text.strip_prefix(b"42").expect("an event")).expect("JSON");
    entry.packets(&indexes).iter().map(packet).collect()
}

#[test]
fn a_packet_names_the_rooms_of_its_client_and_no_others() {
    let entry = Entry::new(transfer(), &[rule("erc20.transfer", "paid", &["user-{user.id}", "order-9"])]);
    assert!(entry.has_several_events() && !Entry::new(transfer(), &[]).has_several_events());
    let meta = |rooms: &[&str]| json!({ "id": "i", "seq": 7, "position": "e.7", "state": "confirmed", "rooms": rooms });
    let whole: Value = serde_json::from_str(&transfer().json).expect("JSON");
    assert_eq!(packets(&entry, &["chain-1"]), [json!(["message", whole, meta(&["chain-1"])])]);
    let payload = json!({ "from": WALLET, "to": OTHER, "value": "5" });
    assert_eq!(
        packets(&entry, &["chain-1", "order-9", "user-u"]),
        [
            json!(["paid", payload, meta(&["user-u", "order-9"])]),
            json!(["message", whole, meta(&["chain-1"])])
        ]
    );
    assert_eq!(packets(&entry, &["chain-1"]), [json!(["message", whole, meta(&["chain-1"])])], "made once");
    assert_eq!(packets(&entry, &["order-8"]), [Value::Null; 0]);
}

#[test]
fn a_rule_may_wait_for_a_field_to_change() {
    let updated = |payload: &Value| message("entity.ticket.updated", payload);
    let rule =
        PushRule { changed: vec!["owner".to_owned()], ..rule("entity.ticket.*", "sold", &["event-{event}"]) };
    let rule = PushRule {
        payload: vec![("now".to_owned(), PayloadTemplate::parse("{changed}").expect("a template"))],
        ..rule
    };
    let sold = json!({ "event": "9", "owner": "b", "used": false, "previous": { "event": "9", "owner": "a", "used": false } });
    let entry = Entry::new(updated(&sold), std::slice::from_ref(&rule));
    assert_eq!(frame(&entry, "event-9")["data"], json!({ "now": { "owner": "b" } }));
    for payload in [
        json!({ "event": "9", "owner": "b" }),
        json!({ "event": "9", "used": true, "previous": { "event": "9", "used": false } }),
    ] {
        let entry = Entry::new(updated(&payload), std::slice::from_ref(&rule));
        assert!(names(&entry).iter().all(|(_, event)| *event == "message"), "{payload}");
    }
}

#[test]
fn a_room_that_cannot_be_filled_in_is_left_out() {
    let rules = [rule("erc20.transfer", "paid", &["order-{payload.missing}", "order-{payload}"])];
    let entry = Entry::new(transfer(), &rules);
    assert!(names(&entry).iter().all(|(room, event)| !room.starts_with("order") && *event == "message"));
    let spaced = message("erc20.transfer", &json!({ "value": "a b" }));
    let entry = Entry::new(spaced, &[rule("erc20.transfer", "paid", &["order-{value}"])]);
    assert!(names(&entry).iter().all(|(room, _)| !room.starts_with("order")));
}

#[test]
fn history_that_is_published_again_is_marked_in_every_form() {
    let mut message: Value = serde_json::from_str(&transfer().json).expect("JSON");
    let rules = [rule("erc20.transfer", "moved", &["order-1"])];
    for is_replay in [false, true] {
        if is_replay {
            message["replay"] = true.into();
        }
        let entry = Entry::new(row(&message), &rules);
        for room in ["order-1", "chain-1"] {
            assert_eq!(frame(&entry, room).get("replay"), is_replay.then_some(&json!(true)), "{room}");
            let index = entry.rooms_where(|there| there.as_str() == room);
            let packet = String::from_utf8(entry.packets(&index)[0].to_vec()).expect("text");
            let [_, _, meta]: [Value; 3] = serde_json::from_str(&packet[2..]).expect("an event");
            assert_eq!(meta.get("replay"), is_replay.then_some(&json!(true)), "{room}");
        }
    }
}

#[test]
fn addresses_of_a_message_are_bounded() {
    let payload: serde_json::Map<String, Value> =
        (0..100).map(|n| (format!("a{n}"), format!("0x{n:040x}").into())).collect();
    let entry = Entry::new(message("contract.Many", &Value::Object(payload)), &[]);
    assert_eq!(names(&entry).iter().filter(|(room, _)| room.starts_with("address-")).count(), 16);
}

#[test]
fn wrong_rules_are_found_when_they_are_read() {
    for text in ["{", "}", "a}b", "{a{b}", "{a"] {
        assert!(PayloadTemplate::parse(text).is_err(), "{text}");
    }
    for (text, place) in [("{a b}", "a b"), ("{user.name}", "user.name"), ("{user.id.x}", "user.id.x")] {
        let wrong = PayloadTemplate::parse(text);
        assert!(
            matches!(&wrong, Err(TemplateError::Place { place: found, at: 1, .. }) if found == place),
            "{wrong:?}"
        );
    }
    assert_eq!(PayloadTemplate::parse(&"a{b}".repeat(17)), Err(TemplateError::TooLong));
    for text in ["all", "{kind}-1", "event", "Event-{a}", "all-{a}", ""] {
        assert_eq!(RoomTemplate::parse(text), Err(RoomTemplateError::Room), "{text}");
    }
    for (text, error) in [
        ("", NameError::Event),
        ("7a", NameError::Event),
        ("a b", NameError::Event),
        ("gap", NameError::Reserved),
        ("revoked", NameError::Reserved),
    ] {
        assert_eq!(EventName::parse(text), Err(error), "{text}");
    }
}

fn off_chain(message_type: &str, aggregate: (&str, &str), payload: &Value) -> Row {
    let (kind, id) = aggregate;
    let json = json!({
        "id": "i", "seq": 7, "type": message_type, "state": "confirmed", "aggregateType": kind, "aggregateId": id,
        "payload": payload, "metadata": { "userId": "u7", "chainId": null }
    });
    row(&json)
}

#[test]
fn an_application_event_is_in_no_public_room() {
    let payload = json!({ "wallet": WALLET, "to": OTHER });
    let entry = Entry::new(off_chain("order.shipped", ("order", "9"), &payload), &[]);
    assert_eq!(names(&entry), [("all", "message"), ("user-u7", "message"), ("order-9", "message")]);
    // What is stored under a kind of room of the chain reaches that room neither.
    for kind in ["user", "address", "contract", "chain", "type"] {
        let entry = Entry::new(off_chain("order.shipped", (kind, WALLET), &payload), &[]);
        assert_eq!(names(&entry), [("all", "message"), ("user-u7", "message")]);
    }
}

#[test]
fn a_rule_sends_an_application_event_to_no_public_room() {
    let payload = json!({ "wallet": WALLET, "id": 9 });
    let address = format!("address-{WALLET}");
    let rooms =
        ["chain-1", "type-{type}", "contract-{wallet}", "address-{wallet}", "order-{id}", "user-{wallet}"];
    let rules = [rule("order.*", "shipped", &rooms)];
    let entry = Entry::new(off_chain("order.shipped", ("parcel", "1"), &payload), &rules);
    let user = format!("user-{WALLET}");
    let sent = [("order-9", "shipped"), (&*user, "shipped")];
    let own = [("all", "message"), ("user-u7", "message"), ("parcel-1", "message")];
    assert_eq!(names(&entry), [&sent[..], &own[..]].concat());
    // A fact of a chain goes where the rule sends it.
    let entry = Entry::new(message("order.shipped", &payload), &rules);
    let shipped: Vec<&str> =
        names(&entry).into_iter().filter(|(_, event)| *event == "shipped").map(|(room, _)| room).collect();
    let contract = format!("contract-{WALLET}");
    assert_eq!(shipped, ["chain-1", "type-order.shipped", &*contract, &*address, "order-9", &*user]);
}

#[test]
fn an_activity_has_its_own_event_in_the_room_of_its_user() {
    let payload = json!({ "eventId": "9", "status": "pending" });
    let row = off_chain("activity.created", ("activity", "9"), &payload);
    let entry = Entry::new(row.clone(), &[]);
    assert_eq!(names(&entry), [("user-u7", "activity"), ("all", "message"), ("activity-9", "message")]);
    assert_eq!(frame(&entry, "user-u7")["data"], payload);
    let ruled = Entry::new(row, &[rule("activity.*", "flow", &["user-{user.id}"])]);
    assert_eq!(names(&ruled), [("user-u7", "flow"), ("all", "message"), ("activity-9", "message")]);
}

#[test]
fn a_user_s_room_gets_the_balance_that_a_message_changed() {
    let key =
        |account: &str| BalanceKey { chain_id: 1, token: TOKEN.to_owned(), account: account.to_owned() };
    let known = |amount: &str, user: Option<&str>, total: Option<&str>| KnownBalance {
        amount: amount.to_owned(),
        user_id: user.map(str::to_owned),
        total: total.map(str::to_owned),
    };
    let message: Value = serde_json::from_str(&transfer().json).expect("JSON");
    assert_eq!(changed_balances(&message), [key(WALLET), key(OTHER)]);
    let lookups = Lookups {
        balances: [(key(WALLET), known("7", Some("u"), None)), (key(OTHER), known("8", None, Some("90")))]
            .into(),
        owners: [(OTHER.to_owned(), ["maria", "m2"].map(str::to_owned).to_vec())].into(),
    };
    let entry = Entry::with_lookups(transfer(), &[], &lookups, None);
    for (room, user, amount) in [
        ("user-u", "u", "7"),
        (&*format!("user-{WALLET}"), WALLET, "7"),
        (&*format!("user-{OTHER}"), OTHER, "8"),
        ("user-maria", "maria", "90"),
        ("user-m2", "m2", "90"),
    ] {
        let frame = frame(&entry, room);
        let data = json!({ "userId": user, "balance": amount, "token": TOKEN, "chainId": 1 });
        assert_eq!((&frame["event"], &frame["data"]), (&json!("balance-updated"), &data), "{room}");
    }
    for room in ["chain-1".to_owned(), format!("address-{WALLET}"), format!("user-{TOKEN}")] {
        assert_eq!(frame(&entry, &room)["event"], "message", "{room}");
    }
    // A rule comes first.
    let rules = [rule("erc20.*", "moved", &["user-{user.id}", "order-9"])];
    let ruled = Entry::with_lookups(transfer(), &rules, &lookups, None);
    assert_eq!(frame(&ruled, "user-u")["event"], "moved");
    // Each room has the same without the others.
    for there in &ruled.rooms {
        let wanted = std::slice::from_ref(&there.room);
        let alone = Entry::with_lookups(transfer(), &rules, &lookups, Some(wanted));
        assert_eq!(names(&alone).len(), 1, "{names:?}", names = names(&alone));
        assert_eq!(frame(&alone, there.room.as_str()), frame(&ruled, there.room.as_str()));
    }
    // Whatever happens to a wallet is its owner's, and what is private reaches no user through a wallet.
    let approval = message_with_owner("erc20.approval", &lookups);
    assert_eq!(frame(&approval, "user-maria")["event"], "message");
    let private = off_chain("order.shipped", ("order", "9"), &json!({ "to": OTHER }));
    assert!(
        Entry::with_lookups(private, &[], &lookups, None)
            .rooms_where(|room| room.as_str() == "user-maria")
            .is_empty()
    );
}

#[test]
fn a_rule_for_the_user_reaches_all_ids_of_the_person() {
    let owners = [("u".to_owned(), vec![WALLET.to_owned(), "maria".to_owned()])];
    let lookups = Lookups { owners: owners.into(), ..Lookups::default() };
    let rules = [rule("erc20.*", "payment", &["user-{user.id}"])];
    let entry = Entry::with_lookups(transfer(), &rules, &lookups, None);
    let wallet = format!("user-{WALLET}");
    let paid: Vec<&str> =
        names(&entry).into_iter().filter(|(_, event)| *event == "payment").map(|(room, _)| room).collect();
    assert_eq!(paid, ["user-u", &*wallet, "user-maria"]);
    assert_eq!(
        frame(&entry, &format!("user-{OTHER}"))["event"],
        "message",
        "the other side is another person"
    );
    // A room of another kind is of the one id.
    let entry = Entry::with_lookups(
        transfer(),
        &[rule("erc20.*", "payment", &["account-{user.id}"])],
        &lookups,
        None,
    );
    assert!(entry.rooms_where(|room| room.as_str() == "account-maria").is_empty());
}

#[test]
fn a_retraction_comes_under_the_name_of_what_it_retracts() {
    let key = BalanceKey { chain_id: 1, token: TOKEN.to_owned(), account: WALLET.to_owned() };
    let known = KnownBalance { amount: "7".to_owned(), user_id: None, total: None };
    let lookups = Lookups { balances: [(key, known)].into(), ..Lookups::default() };
    let event = |state: &str, retracts: Option<&str>| {
        let mut message: Value = serde_json::from_str(&transfer().json).expect("JSON");
        message["state"] = state.into();
        if let Some(retracts) = retracts {
            message["retracts"] = retracts.into();
        }
        let entry = Entry::with_lookups(row(&message), &[], &lookups, None);
        let frame = frame(&entry, &format!("user-{WALLET}"));
        assert_eq!(frame["state"], state);
        frame["event"].as_str().expect("a name").to_owned()
    };
    assert_eq!([event("pending", None), event("retracted", Some("pending"))], ["message"; 2]);
    assert_eq!([event("confirmed", None), event("retracted", None)], ["balance-updated"; 2]);
}

fn message_with_owner(message_type: &str, lookups: &Lookups) -> Entry {
    Entry::with_lookups(message(message_type, &json!({ "owner": OTHER })), &[], lookups, None)
}

#[test]
fn pending_messages_approvals_and_mints_change_no_balance() {
    const ZERO_ADDRESS: &str = "0x0000000000000000000000000000000000000000";
    let changed = |message_type: &str, state: &str, from: &str| {
        let mut message: Value =
            serde_json::from_str(&message(message_type, &json!({ "from": from })).json).expect("JSON");
        message["state"] = state.into();
        changed_balances(&message).len()
    };
    assert_eq!(changed("erc20.transfer", "confirmed", WALLET), 1);
    assert_eq!(changed("erc20.burn", "retracted", WALLET), 1);
    assert_eq!(changed("erc20.transfer", "pending", WALLET), 0);
    assert_eq!(changed("erc20.approval", "confirmed", WALLET), 0);
    assert_eq!(changed("erc721.transfer", "confirmed", WALLET), 0);
    assert_eq!(changed("erc20.mint", "retracted", ZERO_ADDRESS), 0);
    assert_eq!(changed("erc20.mint", "confirmed", &WALLET.to_uppercase()), 0);
}
