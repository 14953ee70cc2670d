//! Every bad input over every writing route: the documented refusal, and no table has another row than before.

mod facts;

use std::collections::BTreeMap;

use base64::engine::general_purpose::STANDARD as BASE64;

use super::*;
use facts::bad_facts;

/// A request and the refusal that it gets.
struct BadAsk {
    ask: Ask,
    status: u16,
    /// Empty for deliveries of providers, which get no problem+json.
    code: &'static str,
    /// The place of the fault in the body, where one is documented.
    pointer: Option<&'static str>,
}

impl BadAsk {
    fn new(ask: Ask, status: u16, code: &'static str) -> Self {
        Self { ask, status, code, pointer: None }
    }
}

/// The secret of the endpoint whose signatures have a time.
const TIMED: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Whatever table: the number of its rows. Of the tables that requests write: the contents too.
type Contents = BTreeMap<String, (i64, Option<String>)>;

/// Tables that requests write.
const WRITTEN: &str =
    "^(activit|application_|domain_|inbound_|limit_|outbox$|request_|revocations|tickets|user_)";
/// Tables in which daemons note that they live, what they found at their receivers, and how far the index of rooms is.
const OF_DAEMONS: &str = "^(endpoints|instances|leases|outbox_room|sink_|adopted_streams|write_probe)";

async fn contents(gate: &Gate) -> Contents {
    let tables: Vec<(String, bool)> = sqlx::query_as(
        "select c.relname::text, c.relname ~ $1 from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and c.relname !~ $2",
    )
    .bind(WRITTEN)
    .bind(OF_DAEMONS)
    .fetch_all(&gate.pool)
    .await
    .expect("the tables");
    assert!(tables.iter().filter(|(_, is_written)| *is_written).count() >= 14, "{tables:?}");
    let one = |(table, is_written): &(String, bool)| {
        let digest =
            if *is_written { "md5(string_agg(t::text, E'\\n' order by t::text))" } else { "null::text" };
        format!("select '{table}', count(*), {digest} from {table} t")
    };
    let sql = tables.iter().map(one).collect::<Vec<_>>().join(" union all ");
    let rows: Vec<(String, i64, Option<String>)> =
        sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&gate.pool).await.expect("the rows");
    rows.into_iter().map(|(table, rows, digest)| (table, (rows, digest))).collect()
}

/// The contents once the daemon has done what requests left to it.
async fn settled(gate: &Gate) -> Contents {
    let mut last = contents(gate).await;
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = contents(gate).await;
        if now == last {
            return now;
        }
        last = now;
    }
}

/// A delivery with a signed time.
fn timed(body: &str, at: u64) -> Ask {
    let secret = BASE64.decode(TIMED.trim_start_matches("whsec_")).expect("base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret).expect("any length");
    mac.update(format!("msg_1.{at}.{body}").as_bytes());
    let signature = format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()));
    let ask = Ask { line: "POST /webhooks/timed".to_owned(), headers: Vec::new(), body: body.to_owned() };
    ask.with("webhook-id", "msg_1")
        .with("webhook-timestamp", at.to_string())
        .with("webhook-signature", signature)
}

/// What is wrong with a delivery of a provider.
fn bad_deliveries(well: &Ask) -> Vec<BadAsk> {
    let header = well.headers.iter().find(|(name, _)| name.contains("signature")).expect("a signature").0;
    let bad = |ask: Ask, status| BadAsk::new(ask, status, "");
    let elsewhere = |method: &str| Ask { line: well.line.replacen("POST", method, 1), ..well.clone() };
    vec![
        bad(well.with(header, ""), 401),
        bad(well.with(header, "0".repeat(64)), 401),
        bad(well.with(header, "no signature"), 401),
        bad(well.body(format!("{} ", well.body)), 401),
        bad(well.body("{"), 401),
        bad(well.body("x".repeat(MAX_BODY + 1)), 413),
        bad(elsewhere("GET"), 405),
        bad(elsewhere("PUT"), 405),
        bad(elsewhere("DELETE"), 405),
    ]
}

/// What is wrong with any request that writes.
fn bad_requests(well: &Ask) -> Vec<BadAsk> {
    let expired = token(&json!({ "sub": "u7", "exp": 1 }));
    let headers = [
        ("authorization", String::new(), 401, "credential_missing"),
        ("authorization", format!("Bearer cfk_{}", "A".repeat(43)), 401, "key_unknown"),
        ("authorization", "Bearer a.b.c".to_owned(), 401, "token_invalid"),
        ("authorization", format!("Bearer {expired}"), 401, "token_expired"),
        ("authorization", user("u8"), 403, "forbidden"),
        ("origin", "https://evil.example".to_owned(), 403, "origin_forbidden"),
        ("content-encoding", "br".to_owned(), 415, "unsupported_media_type"),
        ("content-encoding", "gzip".to_owned(), 400, "bad_body"),
        ("idempotency-key", "k".repeat(256), 400, "bad_idempotency_key"),
    ];
    let mut all: Vec<BadAsk> = headers
        .into_iter()
        .map(|(name, value, status, code)| BadAsk::new(well.with(name, value), status, code))
        .collect();
    for (query, code) in [("nonsense=1", "bad_query"), ("token=x", "token_in_query"), ("a=%00", "bad_query")]
    {
        all.push(BadAsk::new(well.query(query), 400, code));
    }
    all.push(BadAsk::new(well.body("x".repeat(MAX_BODY + 1)), 413, "body_too_large"));
    // A change by user and type is refused whatever its body is.
    if well.body.len() > 2 {
        let with = |field: &str| well.body(well.body.replacen('{', &format!("{{{field},"), 1));
        let deep = format!("\"data\":{{\"a\":{}{}}}", "[".repeat(40), "]".repeat(40));
        // A reader that keeps the last of two would take the request.
        let name = well.body.split('"').nth(1).expect("a field");
        let twice = format!("\"{name}\":null");
        for field in [
            "\"nonsense\":1",
            &twice,
            &deep,
            "\"data\":{\"a\":\"\\u0000\"}",
            "\"data\":{\"a\":18446744073709551616}",
            "\"data\":{\"a\":123456789012345.6789}",
            "\"data\":{\"a\":\"\\ud800\"}",
            "data:1",
        ] {
            all.push(BadAsk::new(with(field), 400, "bad_body"));
        }
        for body in
            ["{".to_owned(), format!("{} x", well.body), "\u{feff}{}".to_owned(), "nonsense".to_owned()]
        {
            all.push(BadAsk::new(well.body(body), 400, "bad_body"));
        }
        all.push(BadAsk::new(well.with("content-type", "text/plain"), 415, "unsupported_media_type"));
    }
    all
}

/// Asks, and compares every table with what it had.
async fn refuses(asker: &Asker<'_>, bad: &BadAsk, before: &Contents) {
    let BadAsk { ask, status, code, pointer } = bad;
    let shown = format!("{} {:?} {}", ask.line, ask.headers, ask.body.chars().take(300).collect::<String>());
    let answered = asker.ask(ask).await;
    let found = answered.json["code"].as_str().unwrap_or_default();
    assert_eq!((answered.status, found), (*status, *code), "{shown}: {}", answered.text);
    if let Some(pointer) = pointer {
        assert_eq!(answered.json["pointer"], *pointer, "{shown}: {}", answered.text);
    }
    assert_eq!(contents(asker.gate).await, *before, "{shown} left something");
}

/// The well-formed requests of all routes that write, the activities that they are about, and the bearer.
async fn well_formed(asker: &Asker<'_>, bearer: &str) -> (Vec<(Ask, u16)>, Vec<String>) {
    let mut activities = Vec::new();
    for n in 0..5 {
        let mut new = new_activity().with("authorization", bearer);
        if n == 4 {
            let transaction = json!({ "chainId": 31337, "hash": format!("0x{}", "ef".repeat(32)) });
            new = new.body(new.body.replacen('{', &format!("{{\"transaction\":{transaction},"), 1));
        }
        let made = asker.ask(&new).await;
        assert_eq!(made.status, 201, "{}", made.text);
        activities.push(made.json["eventId"].as_str().expect("an id").to_owned());
    }
    let line = |n: usize, rest: &str| format!("/v1/activities/{}{rest}", activities[n]);
    for (line, body) in [
        (format!("POST {}", line(3, "/complete")), json!({})),
        (format!("PATCH {}", line(4, "")), json!({ "status": "in_progress" })),
        ("PUT /v1/users/u7".to_owned(), json!({ "wallets": [format!("0x{}", "aa".repeat(20))] })),
        ("PUT /v1/users/u9".to_owned(), json!({ "locale": "fr" })),
    ] {
        let answered = asker.ask(&Ask::new(line, &body).with("authorization", bearer)).await;
        assert!(answered.status < 300, "{}", answered.text);
    }
    let with_bearer = |(ask, status): (Ask, u16)| {
        (if ask.is_delivery() { ask } else { ask.with("authorization", bearer) }, status)
    };
    let mut writes = vec![(new_activity(), 201)];
    writes.extend(asks::writes(&activities));
    let mut writes: Vec<(Ask, u16)> = writes.into_iter().map(with_bearer).collect();
    writes.push((timed("{}", seconds_from_now(0)), 200));
    (writes, activities)
}

/// Two endpoints of providers, and a schema for one type of events.
fn tables(hash: &str, schemas: &std::path::Path) -> String {
    let schema = json!({ "type": "object", "properties": { "items": { "items": { "type": "integer" } } } });
    std::fs::write(schemas.join("order.paid.json"), schema.to_string()).expect("written");
    format!(
        "max_body_bytes = \"8KiB\"\n[server.auth]\nsecret = \"{SECRET}\"\n\
         [[server.key]]\nname = \"backend\"\nhash = {hash}\nscopes = [\"read\", \"publish\", \"admin\"]\n\
         [publish]\nschemas = \"{}\"\npayload_bytes = \"1 KiB\"\n\
         [[inbound]]\nname = \"coinbase\"\nprovider = \"alchemy\"\nsecret = \"{INBOUND}\"\nchain = \"dev\"\n\
         [[inbound]]\nname = \"timed\"\nprovider = \"standard\"\nsecret = \"{TIMED}\"\nchain = \"dev\"\n",
        schemas.display()
    )
}

/// What is wrong with a request to this route, whatever the route does.
async fn refuses_requests(asker: &Asker<'_>, well: &Ask, before: &Contents) {
    if well.is_delivery() {
        for bad in &bad_deliveries(well) {
            refuses(asker, bad, before).await;
        }
        return;
    }
    // A route that reads no body refuses none. What the document lacks is answered nowhere.
    let described = asker.document.statuses_of(&well.line);
    for bad in bad_requests(well).iter().filter(|bad| described.contains(&bad.status)) {
        refuses(asker, bad, before).await;
    }
    let line = format!("TRACE {}", well.line.split([' ', '?']).nth(1).expect("a path"));
    let bad = BadAsk::new(Ask { line, ..well.clone() }, 405, "method_not_allowed");
    refuses(asker, &bad, before).await;
}

/// Without the database nothing is answered well.
async fn refuses_without_the_database(asker: &Asker<'_>, writes: &[(Ask, u16)]) {
    allow_connections(asker.gate, false).await;
    let away = writes.iter().filter(|(_, status)| *status < 300).map(async |(well, _)| {
        let (status, code) = if well.is_delivery() { (500, "") } else { (503, "unavailable") };
        asker.expect(well, status, code).await;
    });
    futures_util::future::join_all(away).await;
    allow_connections(asker.gate, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_of_any_writing_route_leaves_nothing() {
    let (key, hash) = new_key().await;
    let schemas = tempfile::tempdir().expect("a folder");
    let gate = Gate::new(85, &tables(&hash, schemas.path())).await;
    let daemon = gate.start().await;
    let asker = Asker { gate: &gate, document: ApiDocument::of(&gate).await, seen: Mutex::default() };
    let bearer = format!("Bearer {key}");
    let (writes, activities) = well_formed(&asker, &bearer).await;

    let before = settled(&gate).await;
    for (well, _) in &writes {
        refuses_requests(&asker, well, &before).await;
    }
    for bad in &bad_facts(&activities, &bearer) {
        refuses(&asker, bad, &before).await;
    }
    for at in [seconds_from_now(0) - 400, seconds_from_now(400)] {
        refuses(&asker, &BadAsk::new(timed("{}", at), 401, ""), &before).await;
    }
    // Each writing route of the document was asked.
    let written = asker.document.operations().map(|(line, _)| line).filter(|line| !line.starts_with("GET "));
    let asked: BTreeSet<String> = asker.seen.lock().expect("no panic").keys().cloned().collect();
    for line in written {
        assert!(asked.contains(&line), "{line} was not asked");
    }

    refuses_without_the_database(&asker, &writes).await;
    // No block was mined meanwhile: the chain may be too quiet to be ready.
    daemon.until("writes again", |_, report| report["database"]["writable"] == true).await;
    let mut last = contents(&gate).await;
    assert_eq!(last, before, "a request that was answered with 503 or 500 left something");
    // The same requests, well-formed, all write.
    for (well, status) in &writes {
        let answered = asker.ask(well).await;
        assert_eq!(answered.status / 100, *status / 100, "{}: {}", well.line, answered.text);
        let now = contents(&gate).await;
        // The second path of the endpoint gets the same delivery again.
        let changes = *status < 300 && !well.line.contains("/api/webhooks/");
        assert_eq!(now != last, changes, "{}", well.line);
        last = now;
    }
    daemon.stop_well().await;
}
