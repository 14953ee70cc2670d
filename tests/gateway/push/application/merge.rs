//! Two ids of one wallet.

use chainflume_core::domain::U256;
use chainflume_devchain::{Action, wallet};

use super::*;
use crate::wait::until_ok_within;

/// The types and states of what a socket gets until there are `count`, messages about ids as their joined ids.
async fn collect(socket: &mut Socket, count: usize) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let Frame::Text(frame) = socket.next().await else { panic!("the socket ended") };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let what =
            if frame["event"] == "message" { text(&frame["data"]["type"]) } else { text(&frame["event"]) };
        seen.push((what, text(&frame["state"])));
    }
    seen
}

async fn joined(gate: &Gate, user: &str) -> Socket {
    let own = super::user(user);
    let mut socket = Socket::open(gate.port, &[("authorization", own.as_str())]).await.expect("it opens");
    socket.join(&[&format!("user-{user}")]).await;
    socket
}

/// A client finds the messages, the activities and the person of both ids by either.
async fn reads_what_both_have(gate: &Gate, user: &str, other: &str, activity: &str) {
    let own = super::user(user);
    let (status, page) =
        gate.get(&format!("/v1/messages?room=user-{user}&limit=100"), &[("authorization", &own)]).await;
    let types: Vec<&str> = page["messages"]
        .as_array()
        .expect("a page")
        .iter()
        .filter_map(|message| message["type"].as_str())
        .collect();
    assert_eq!((status, types.len()), (200, 9), "{types:?}");
    assert!(types.contains(&"activity.created") && types.contains(&"user.activated"), "{types:?}");
    for path in [
        format!("/v1/activities/{activity}"),
        format!("/v1/activities?userId={other}"),
        format!("/v1/users/{other}"),
    ] {
        let (status, answer) = gate.get(&path, &[("authorization", &own)]).await;
        assert_eq!(status, 200, "{path} of {user}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn merged_people_share_their_rooms_through_a_reorg_and_a_kill() {
    let (gate, bearer) = gate(75, "", "\"read\", \"publish\"").await;
    let mut daemon = gate.start().await;
    let backend = BackEnd { gate: &gate, bearer };
    let wallet_text = format!("{:#x}", wallet(700));
    let (mut seven, mut eight) = (joined(&gate, "7").await, joined(&gate, "8").await);
    let body = json!({ "wallets": [wallet_text] }).to_string();
    assert_eq!(backend.send("PUT /v1/users/7", &body).await.status, 201);
    let begun = json!({ "userId": "8", "type": "send", "title": "Send" });
    let activity =
        backend.post("/v1/activities", &begun).await["eventId"].as_str().expect("an id").to_owned();
    // A message that the server reads after the merge is in the rooms of both.
    assert_eq!(collect(&mut eight, 1).await, [("activity".to_owned(), "confirmed".to_owned())]);
    let merged = backend.send("PUT /v1/users/8", &body).await;
    assert_eq!((merged.status, &merged.json["id"]), (200, &json!("7")), "{}", merged.json);

    // Whatever happens to one of them is in the rooms of both from now on.
    backend.post("/v1/domain-events", &event(1, "9", "8")).await;
    backend.post("/v1/domain-events", &event(2, "9", "7")).await;
    let stake = Action::Stake { developer: wallet(700), amount: U256::from(7) };
    gate.chain.mine_with(vec![vec![stake]]);
    gate.mine(&daemon, 2).await;
    gate.chain.reorg(3, 4);
    daemon.until_tip(gate.chain.head().number - 2).await;
    let both = [
        ("user.updated", "confirmed"),
        ("order.shipped", "confirmed"),
        ("order.shipped", "confirmed"),
        ("stake.staked", "confirmed"),
        ("user.activated", "confirmed"),
    ];
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    let expected = owned(&both);
    let expected: Vec<_> = owned(&[("user.updated", "confirmed")]).into_iter().chain(expected).collect();
    assert_eq!(collect(&mut seven, 6).await, expected);
    assert_eq!(collect(&mut eight, 5).await, owned(&both));
    for socket in [&mut seven, &mut eight] {
        let mut taken_back = collect(socket, 2).await;
        taken_back.sort();
        assert_eq!(taken_back, owned(&[("stake.staked", "retracted"), ("user.activated", "retracted")]));
    }
    // A client that comes back with its position, after a kill, finds the same by either name: also what was before the merge.
    daemon.kill_9().await;
    daemon = gate.start().await;
    for (user, other) in [("7", "8"), ("8", "7")] {
        reads_what_both_have(&gate, user, other, &activity).await;
    }
    let stranger = super::user("9");
    let (status, _) = gate.get(&format!("/v1/activities/{activity}"), &[("authorization", &stranger)]).await;
    assert_eq!(status, 404);
    let facts = facts(&gate).await;
    let schema = crate::schema::closed();
    assert!(facts.iter().all(|fact| schema.is_valid(fact)), "{facts:#?}");
    daemon.stop_well().await;
}

fn issued(sub: &str, at: u64) -> String {
    format!("Bearer {}", token(&json!({ "sub": sub, "iat": at, "exp": seconds_from_now(600) })))
}

/// Waits until a token is refused because it was revoked, for as long as every server may take.
async fn until_revoked(gate: &Gate, bearer: &str) {
    let read = async || {
        let (status, answer) = gate.get("/v1/messages?room=chain-1", &[("authorization", bearer)]).await;
        let is_revoked = (status, &answer["code"]) == (401, &json!("credential_revoked"));
        if is_revoked { Ok(()) } else { Err((status, answer)) }
    };
    until_ok_within(Duration::from_secs(2), "the token is refused as revoked", read).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_ends_the_tokens_of_all_ids_of_a_person() {
    let (gate, bearer) = gate(85, "", "\"read\", \"publish\", \"admin\"").await;
    let daemon = gate.start().await;
    let backend = BackEnd { gate: &gate, bearer };
    let link = async |id: &str, n: u64| {
        let body = json!({ "wallets": [format!("{:#x}", wallet(n))] }).to_string();
        assert!(backend.send(&format!("PUT /v1/users/{id}"), &body).await.status < 300);
    };
    let reads =
        async |bearer: &str| gate.get("/v1/messages?room=chain-1", &[("authorization", bearer)]).await.0;
    let revoke = async |id: &str| backend.post("/v1/revocations", &json!({ "sub": id })).await;
    link("7", 700).await;
    link("8", 700).await;
    let by_wallet = issued(&format!("{:#x}", wallet(700)), seconds_from_now(0) - 60);
    assert_eq!(reads(&by_wallet).await, 200);
    let mut eight = joined(&gate, "8").await;
    revoke("7").await;
    let end = loop {
        match eight.next().await {
            Frame::Text(_) => {}
            end => break end,
        }
    };
    assert_eq!(end, Frame::Close(4403, "credential_revoked".to_owned()));
    for old in [issued("7", seconds_from_now(0) - 60), issued("8", seconds_from_now(0) - 60), by_wallet] {
        assert_eq!(reads(&old).await, 401);
    }
    assert_eq!(reads(&issued("8", seconds_from_now(5))).await, 200, "a newer token opens it again");

    // Two whom nothing joins yet: the revocation of one leaves the other in, until a wallet shows that both are one person.
    link("10", 710).await;
    let other = issued("11", seconds_from_now(0) - 60);
    revoke("10").await;
    assert_eq!(reads(&other).await, 200);
    link("11", 710).await;
    until_revoked(&gate, &other).await;
    assert_eq!(reads(&issued("11", seconds_from_now(5))).await, 200);
    daemon.stop_well().await;
}

/// The types of what a socket gets up to the application's event with this number, with the numbers of such events.
async fn up_to(socket: &mut Socket, number: u64) -> Vec<(String, Option<u64>)> {
    let mut seen = Vec::new();
    while seen.last().is_none_or(|(_, last)| *last != Some(number)) {
        let Frame::Text(frame) = socket.next().await else { panic!("the socket ended") };
        let message = &frame["data"];
        seen.push((message["type"].to_string(), message["payload"]["n"].as_u64()));
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rooms_of_an_erased_person_part_again() {
    let (gate, bearer) = gate(87, "", "\"read\", \"publish\"").await;
    let daemon = gate.start().await;
    let backend = BackEnd { gate: &gate, bearer };
    let (mut seven, mut eight) = (joined(&gate, "7").await, joined(&gate, "8").await);
    let body = json!({ "wallets": [format!("{:#x}", wallet(700))] }).to_string();
    for id in ["7", "8"] {
        assert!(backend.send(&format!("PUT /v1/users/{id}"), &body).await.status < 300);
    }
    backend.post("/v1/domain-events", &event(1, "9", "8")).await;
    up_to(&mut seven, 1).await;
    up_to(&mut eight, 1).await;

    assert_eq!(backend.send("DELETE /v1/users/8", "").await.status, 200);
    let stake = Action::Stake { developer: wallet(700), amount: U256::from(7) };
    gate.chain.mine_with(vec![vec![stake]]);
    gate.mine(&daemon, 2).await;
    for (n, user) in [(2, "8"), (3, "7"), (4, "8"), (5, "7")] {
        backend.post("/v1/domain-events", &event(n, "9", user)).await;
    }
    let order = |n| ("\"order.shipped\"".to_owned(), Some(n));
    // The message that the ids have left is about the id that stayed; the wallet is of no person any more.
    let left = ("\"user.updated\"".to_owned(), None);
    assert_eq!(up_to(&mut seven, 5).await, [left, order(3), order(5)]);
    assert_eq!(up_to(&mut eight, 4).await, [order(2), order(4)]);
    daemon.stop_well().await;
}

/// The states of the events with this name, until there are `count`.
async fn named(socket: &mut Socket, name: &str, count: usize) -> Vec<String> {
    let mut states = Vec::new();
    while states.len() < count {
        let Frame::Text(frame) = socket.next().await else { panic!("the socket ended") };
        if frame["event"] == name {
            states.push(frame["state"].as_str().expect("a state").to_owned());
        }
    }
    states
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_for_the_user_names_events_in_the_rooms_of_all_ids() {
    let rule = "[[push]]\non = \"stake.*\"\nemit = \"staked\"\nrooms = [\"user-{user.id}\"]\n";
    let (gate, bearer) = gate(88, rule, "\"read\", \"publish\"").await;
    let mut daemon = gate.start().await;
    let backend = BackEnd { gate: &gate, bearer };
    let mut seven = joined(&gate, "7").await;
    let body = json!({ "wallets": [format!("{:#x}", wallet(700))] }).to_string();
    assert_eq!(backend.send("PUT /v1/users/7", &body).await.status, 201);
    // The second of two stakes is taken back.
    for blocks in [6, 2] {
        let stake = Action::Stake { developer: wallet(700), amount: U256::from(7) };
        gate.chain.mine_with(vec![vec![stake]]);
        gate.mine(&daemon, blocks).await;
    }
    gate.chain.reorg(3, 4);
    daemon.until_tip(gate.chain.head().number - 2).await;
    let expected = ["confirmed", "confirmed", "retracted"];
    assert_eq!(named(&mut seven, "staked", 3).await, expected);

    daemon.kill_9().await;
    daemon = gate.start().await;
    let first = gate.outbox().await[0].0.clone();
    let (epoch, _) = first.split_once('.').expect("a position");
    let mut again = Socket::open(gate.port, &[("authorization", &super::user("7"))]).await.expect("it opens");
    let since = json!({ "id": 1, "op": "subscribe", "rooms": ["user-7"], "since": format!("{epoch}.0") });
    assert!(matches!(again.ask(&since).await, Frame::Text(answer) if answer["ok"] == true));
    assert_eq!(named(&mut again, "staked", 3).await, expected);
    daemon.stop_well().await;
}
