use super::*;

fn positions(frames: &[Value]) -> Vec<&str> {
    frames.iter().map(|frame| frame["position"].as_str().expect("a position")).collect()
}

/// What a client got is what the outbox has after `skipped` messages, in order and once.
async fn assert_all(gate: &Gate, frames: &[Value], skipped: usize) {
    let outbox = gate.outbox().await.split_off(skipped);
    let expected: Vec<&str> = outbox.iter().map(|(position, _)| position.as_str()).collect();
    assert_eq!(positions(frames), expected);
    for (frame, (_, message)) in frames.iter().zip(&outbox) {
        assert_eq!((&frame["data"], &frame["event"]), (message, &json!("message")));
        assert_eq!((&frame["id"], &frame["state"]), (&message["id"], &message["state"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_gets_every_message_through_a_reorg_and_a_kill() {
    let gate = Gate::new(61, &format!("[server.auth]\nsecret = \"{SECRET}\"\n")).await;
    let daemon = gate.start().await;
    gate.mine(&daemon, 3).await;
    let before = gate.outbox().await.len();
    let token = token(&json!({ "sub": "7", "exp": seconds_from_now(600) }));
    let mut client = gate.client("websocket", Some(&token));
    let joined = client.next().await;
    assert_eq!((&joined["id"], &joined["ok"], &joined["recovered"]), (&json!(1), &json!(true), &json!(true)));
    assert_eq!(joined["rooms"], json!([ROOM]));

    gate.mine(&daemon, 4).await;
    gate.chain.reorg(5, 6);
    daemon.until_tip(gate.chain.head().number - 2).await;
    let stored = gate.outbox().await;
    assert!(
        stored.iter().any(|(_, message)| message["state"] == "retracted"),
        "the reorg took messages back"
    );
    let mut frames = client.collect(stored.len() - before).await;
    assert_all(&gate, &frames, before).await;

    daemon.kill_9().await;
    assert_eq!(client.next().await["closed"], 1006);
    gate.chain.mine(4);
    let daemon = gate.start().await;
    let missed = gate.outbox().await.len() - stored.len();
    assert!(missed > 0, "messages were stored while the client was away");
    frames.extend(client.collect(missed).await);
    assert_all(&gate, &frames, before).await;
    assert!(daemon.metric("chainflume_push_connections{protocol=\"websocket\"}").await >= Some(1.0));
    daemon.stop_well().await;
    while client.next().await["closed"] != 1012 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_source_reconnects_and_misses_nothing() {
    let gate = Gate::new(62, "[server.auth]\nmode = \"none\"\n").await;
    let daemon = gate.start().await;
    let mut client = gate.client("events", None);
    assert_eq!(client.next().await["open"], true);
    gate.mine(&daemon, 5).await;
    let first = gate.outbox().await.len();
    let mut frames = client.collect(first).await;
    daemon.kill_9().await;
    gate.chain.mine(5);
    let daemon = gate.start().await;
    let all = gate.outbox().await.len();
    assert!(all > first, "messages were stored while the client was away");
    frames.extend(client.collect(all - first).await);
    assert_all(&gate, &frames, 0).await;
    assert!(frames.iter().all(|frame| frame["lastEventId"] == frame["position"]));
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_closes_the_connection_with_its_code() {
    let gate = Gate::new(63, &format!("[server.auth]\nsecret = \"{SECRET}\"\n")).await;
    let daemon = gate.start().await;
    let mut client =
        gate.client("websocket", Some(&token(&json!({ "sub": "7", "exp": seconds_from_now(8) }))));
    assert_eq!(client.next().await["ok"], true);
    let short = format!("Bearer {}", token(&json!({ "sub": "7", "exp": seconds_from_now(8) })));
    let path = format!("/v1/stream?rooms={ROOM}");
    let mut stream = gate.ask(reqwest::Method::GET, &path, &[("authorization", &short)]).await;
    for (name, value) in
        [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")]
    {
        assert_eq!(stream.headers()[name], value);
    }
    assert_eq!(client.next().await, json!({ "closed": 4401, "reason": "token_expired" }));
    let mut text = String::new();
    while let Some(chunk) = stream.chunk().await.expect("it ends well") {
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(
        text.starts_with("retry: ")
            && text.ends_with("event: expired\ndata: {\"code\":\"token_expired\"}\n\n"),
        "{text}"
    );
    // With the same token nothing opens any more.
    assert_eq!(client.next().await["closed"], 1006);
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_gone_are_a_gap_and_a_rule_names_events() {
    let rule = "[[push]]\non = \"erc20.*\"\nemit = \"moved\"\nrooms = [\"chain-{metadata.chainId}\"]\n\
                payload = { amount = \"{payload.value}\", what = \"{type}\" }\n";
    let gate = Gate::new(64, &format!("[server.auth]\nmode = \"none\"\n{rule}")).await;
    let daemon = gate.start().await;
    gate.mine(&daemon, 8).await;
    let outbox = gate.outbox().await;
    daemon.stop_well().await;
    sqlx::query("delete from outbox where seq <= 3").execute(&gate.pool).await.expect("deleted");
    let daemon = gate.start().await;
    let answer =
        gate.ask(reqwest::Method::GET, &format!("/v1/stream?rooms={ROOM}&since={}", outbox[0].0), &[]).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let (mut answer, mut text) = (answer, String::new());
    let last = format!("\"position\":\"{}\"", outbox[outbox.len() - 1].0);
    while !text.contains(&last) {
        let chunk = answer.chunk().await.expect("it goes on").expect("it goes on");
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    let gap = format!(
        "event: gap\ndata: {{\"from\":\"{}\",\"reason\":\"retention\",\"to\":\"{}\"}}",
        outbox[0].0, outbox[2].0
    );
    assert!(text.contains(&gap), "{text}");
    let named = outbox[3..]
        .iter()
        .filter(|(_, message)| message["type"].as_str().is_some_and(|t| t.starts_with("erc20.")));
    assert_eq!(text.matches("event: moved\n").count(), named.count());
    assert_eq!(text.matches("event: m").count(), outbox.len() - 3, "{text}");
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one chain for a wallet, and for a person with two")]
async fn a_user_s_room_gets_the_balance_after_a_transfer_and_a_reorg() {
    let gate = Gate::new(78, "[server.auth]\nmode = \"none\"\n").await;
    let daemon = gate.start().await;
    gate.mine(&daemon, 6).await;
    gate.chain.reorg(4, 5);
    daemon.until_tip(gate.chain.head().number - 2).await;
    let (wallet, token, balance): (String, String, String) = sqlx::query_as(
        "select '0x' || encode(account, 'hex'), '0x' || encode(token, 'hex'), balance::text from token_balances \
         where account <> decode(repeat('00', 20), 'hex') order by events desc, account limit 1",
    )
    .fetch_one(&gate.pool)
    .await
    .expect("a wallet has tokens");
    let outbox = gate.outbox().await;
    let moves = |message: &Value| {
        let names = |value: &Value| *value == *wallet;
        message["aggregateId"] == *token
            && message["type"]
                .as_str()
                .is_some_and(|name| name.starts_with("erc20.") && name != "erc20.approval")
            && message["payload"].as_object().is_some_and(|payload| payload.values().any(names))
    };
    let expected: Vec<&str> =
        outbox.iter().filter(|(_, message)| moves(message)).map(|(position, _)| position.as_str()).collect();
    let path = format!("/v1/stream?rooms=user-{wallet}&since={}", outbox[0].0);
    let (mut answer, mut text) = (gate.ask(reqwest::Method::GET, &path, &[]).await, String::new());
    let last = expected.last().expect("its tokens were moved");
    while !text.contains(&format!("\"position\":\"{last}\"")) {
        let chunk = answer.chunk().await.expect("it goes on").expect("it goes on");
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    let frames = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let frames = frames.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let updates: Vec<Value> = frames.filter(|frame| frame["data"]["token"] == *token).collect();
    // The first message of all is where the client was before.
    let expected: Vec<&str> = expected.into_iter().filter(|position| *position != outbox[0].0).collect();
    assert_eq!(positions(&updates), expected);
    assert!(updates.iter().all(|frame| frame["event"] == "balance-updated"), "{updates:?}");
    assert_eq!(
        updates.last().expect("one")["data"],
        json!({ "userId": wallet, "balance": balance, "token": token, "chainId": 31337 })
    );
    daemon.stop_well().await;

    // A person with two wallets gets what happens to either, also before, and the sum of their balances.
    let sql = "with person as (insert into application_users (id) values ('maria') returning id) \
         insert into user_wallets (wallet, user_id) select account, 'maria' from (select account from token_balances \
         where token = decode(substr($1, 3), 'hex') and account <> decode(substr($2, 3), 'hex') \
         and account <> decode(repeat('00', 20), 'hex') order by account limit 1) as other \
         union all select decode(substr($2, 3), 'hex'), 'maria'";
    sqlx::query(sql).bind(&token).bind(&wallet).execute(&gate.pool).await.expect("linked");
    let sql = "select sum(b.balance)::text, array_agg('0x' || encode(b.account, 'hex')) from token_balances b \
         join user_wallets w on w.wallet = b.account where b.token = decode(substr($1, 3), 'hex')";
    let (total, wallets): (String, Vec<String>) =
        sqlx::query_as(sql).bind(&token).fetch_one(&gate.pool).await.expect("they have tokens");
    let daemon = gate.start().await;
    let outbox = gate.outbox().await;
    let is_theirs = |message: &Value| {
        let text = message.to_string();
        message["aggregateId"] == *token && wallets.iter().any(|wallet| text.contains(wallet.as_str()))
    };
    let theirs: Vec<&str> = outbox[1..]
        .iter()
        .filter(|(_, message)| is_theirs(message) && message["type"] != "erc20.approval")
        .map(|(position, _)| position.as_str())
        .collect();
    let path = format!("/v1/stream?rooms=user-maria&since={}", outbox[0].0);
    let (mut answer, mut text) = (gate.ask(reqwest::Method::GET, &path, &[]).await, String::new());
    while !text.contains(&format!("\"position\":\"{}\"", theirs.last().expect("messages"))) {
        let chunk = answer.chunk().await.expect("it goes on").expect("it goes on");
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    let frames = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let frames = frames.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let updates: Vec<Value> = frames.filter(|frame| frame["data"]["token"] == *token).collect();
    assert_eq!((positions(&updates), wallets.len()), (theirs, 2));
    assert_eq!(
        updates.last().expect("one")["data"],
        json!({ "userId": "maria", "balance": total, "token": token, "chainId": 31337 })
    );
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_offers_compression_gets_less_on_the_wire() {
    let gate = Gate::new(73, "[server.auth]\nmode = \"none\"\n").await;
    let daemon = gate.start().await;
    let mut client = gate.client("compressed", None);
    let agreed = json!({ "extensions": "permessage-deflate", "protocol": "chainflume.v1" });
    assert_eq!(client.next().await, agreed);
    let (mut joined, mut pong) = (false, false);
    while !joined || !pong {
        let next = client.next().await;
        joined |= next["ok"] == true;
        pong |= next["pong"] == "there?";
    }
    let before = gate.outbox().await.len();
    gate.mine(&daemon, 4).await;
    let outbox = gate.outbox().await.split_off(before);
    let frames = client.collect(outbox.len()).await;
    let messages: Vec<&Value> = outbox.iter().map(|(_, message)| message).collect();
    assert_eq!(frames.iter().map(|frame| &frame["data"]).collect::<Vec<_>>(), messages);
    let sum = |key: &str| frames.iter().filter_map(|frame| frame[key].as_u64()).sum::<u64>();
    assert!(sum("read") * 3 < sum("bytes") * 2, "{} of {}", sum("read"), sum("bytes"));
    daemon.stop_well().await;
    while client.next().await["closed"] != 1012 {}
}
