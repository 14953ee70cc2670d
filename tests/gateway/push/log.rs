use super::*;

/// A service key of `keys new`, and its hash as it is written in a configuration.
pub async fn new_key() -> (String, String) {
    let made = Home::bare().run(&["keys", "new"]).await;
    let line = |begin: &str| {
        let line = made.out.lines().find_map(|line| line.strip_prefix(begin)).expect("it is printed");
        line.to_owned()
    };
    (line("# The key, for the service: "), line("hash = "))
}

/// All messages, seven a page.
async fn read_in_pages(gate: &Gate, headers: &[(&str, &str)]) -> Vec<Value> {
    let (mut read, mut next) = (Vec::new(), String::new());
    loop {
        let since = if next.is_empty() { String::new() } else { format!("&since={next}") };
        let (status, page) = gate.get(&format!("/v1/messages?limit=7{since}"), headers).await;
        assert_eq!(status, 200, "{page}");
        let messages = page["messages"].as_array().expect("an array").clone();
        if messages.is_empty() {
            break;
        }
        read.extend(messages);
        page["next"].as_str().expect("a position").clone_into(&mut next);
    }
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_read_in_pages_by_who_may() {
    let (key, hash) = new_key().await;
    let tables = format!(
        "[server.auth]\nsecret = \"{SECRET}\"\n[[server.key]]\nname = \"all\"\nhash = {hash}\nscopes = [\"admin\"]\n"
    );
    let gate = Gate::new(65, &tables).await;
    let daemon = gate.start().await;
    gate.mine(&daemon, 6).await;
    let outbox = gate.outbox().await;
    let bearer = format!("Bearer {key}");
    let admin = [("authorization", bearer.as_str())];
    let user = format!("Bearer {}", token(&json!({ "sub": "7", "exp": seconds_from_now(600) })));
    let user = [("authorization", user.as_str())];

    let read = read_in_pages(&gate, &admin).await;
    let all: Vec<Value> = outbox.iter().map(|(_, message)| message.clone()).collect();
    assert_eq!(read, all);
    let (_, page) = gate.get("/v1/messages?limit=500&room=type-erc20.transfer", &user).await;
    let transfers: Vec<&Value> = all.iter().filter(|message| message["type"] == "erc20.transfer").collect();
    assert_eq!(page["messages"].as_array().map(|found| found.iter().collect()), Some(transfers));

    let last = &outbox[outbox.len() - 1].0;
    let (epoch, seq) = last.split_once('.').expect("a position");
    let ahead = format!("/v1/messages?since={epoch}.{}", seq.parse::<u64>().expect("a number") + 1_000);
    for (path, headers, expected) in [
        ("/v1/messages", &[][..], (401, "credential_missing")),
        ("/v1/messages", &[("authorization", "Bearer cfk_wrong")][..], (401, "key_unknown")),
        ("/v1/messages", &[("authorization", "Bearer a.b.c")][..], (401, "token_invalid")),
        ("/v1/messages", &user[..], (403, "forbidden")),
        ("/v1/messages?room=user-8", &user[..], (403, "forbidden")),
        ("/v1/messages?room=user-8", &admin[..], (403, "forbidden")),
        ("/v1/messages?room=User", &admin[..], (400, "bad_room")),
        ("/v1/messages?since=7", &admin[..], (400, "bad_position")),
        (&ahead, &admin[..], (400, "position_ahead")),
        ("/v1/messages?since=abcdefabcdef.1", &admin[..], (409, "epoch_mismatch")),
        ("/v1/messages?limit=501", &admin[..], (400, "bad_query")),
        ("/v1/messages?rom=all", &admin[..], (400, "bad_query")),
        ("/v1/messages?token=x", &admin[..], (400, "token_in_query")),
        ("/v1/stream", &admin[..], (400, "bad_room")),
        ("/v1/nothing", &admin[..], (404, "not_found")),
        ("/v1/messages", &[("origin", "https://evil.example")][..], (403, "origin_forbidden")),
    ] {
        let (status, problem) = gate.get(path, headers).await;
        assert_eq!(
            (status.into(), &problem["code"]),
            (json!(expected.0), &json!(expected.1)),
            "{path}: {problem}"
        );
        assert_eq!(problem["status"], expected.0);
    }
    // A position that is no text is not the same as none, which would begin now.
    let unread = [admin[0], ("last-event-id", "\u{e9}.1")];
    let (status, problem) = gate.get("/v1/stream?rooms=all", &unread).await;
    assert_eq!((status, &problem["code"]), (400, &json!("bad_position")));
    let posted = gate.ask(reqwest::Method::POST, "/v1/messages", &admin).await;
    assert_eq!(
        (posted.status().as_u16(), &posted.headers()["content-type"]),
        (405, &"application/problem+json".parse().expect("a value"))
    );
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_of_a_request_is_counted_against_its_limit() {
    let gate = Gate::new(68, "[server.auth]\nmode = \"none\"\n").await;
    let daemon = gate.start().await;
    let headed = async |bytes: usize| {
        gate.ask(reqwest::Method::GET, "/v1/messages", &[("x-long", &"x".repeat(bytes))]).await
    };
    assert_eq!(headed(32_000).await.status().as_u16(), 200);
    for bytes in [32 << 10, 40_000] {
        let refused = headed(bytes).await;
        assert_eq!(refused.status().as_u16(), 431, "{bytes}");
        assert_eq!(refused.headers()["content-type"], "application/problem+json", "{bytes}");
        assert!(refused.text().await.expect("a body").contains("\"head_too_large\""), "{bytes}");
    }
    // Far beyond, nothing is read: hyper answers in our place, without a body.
    let refused = headed(64 << 10).await;
    assert_eq!((refused.status().as_u16(), refused.content_length()), (431, Some(0)));
    daemon.stop_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_server_refuses_foreign_origins_and_foreign_hosts() {
    let gate =
        Gate::new(66, "cors_origins = [\"https://app.example\"]\n[server.auth]\nmode = \"none\"\n").await;
    let daemon = gate.start().await;
    let get = async |headers: &[(&str, &str)]| gate.ask(reqwest::Method::GET, "/v1/messages", headers).await;
    assert_eq!(get(&[]).await.status().as_u16(), 200);
    assert_eq!(get(&[("host", "evil.example")]).await.status().as_u16(), 403);
    assert_eq!(get(&[("origin", "null")]).await.status().as_u16(), 403);
    let allowed = get(&[("origin", "https://app.example")]).await;
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://app.example");
    let asked = [("origin", "https://app.example"), ("access-control-request-method", "GET")];
    let preflight = gate.ask(reqwest::Method::OPTIONS, "/v1/messages", &asked).await;
    assert_eq!(preflight.status().as_u16(), 204);
    daemon.stop_well().await;
}
