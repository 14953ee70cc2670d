//! Every status of every route, provoked: no route answers what its document lacks, and the document has nothing that is not answered.

mod asks;
mod bad_input;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use super::document::{ApiDocument, RouteLine};
use super::*;
use crate::push::wire::raw;
use crate::wait::until_ok;
use asks::{Ask, INBOUND, new_activity, reads, writes};
use sha2::Digest as _;

/// What the server takes of a body.
const MAX_BODY: usize = 8 << 10;
const UNKNOWN: &str = "00000000-0000-4000-8000-00000000ffff";

/// Asks, checks each answer against the document and notes it.
struct Asker<'a> {
    gate: &'a Gate,
    document: ApiDocument,
    seen: Mutex<BTreeMap<RouteLine, BTreeSet<u16>>>,
}

impl Asker<'_> {
    async fn ask(&self, ask: &Ask) -> Answered {
        self.ask_at(self.gate.port, ask).await
    }

    async fn ask_at(&self, port: u16, ask: &Ask) -> Answered {
        let (method, path) = ask.line.split_once(' ').expect("a method and a path");
        let request = request(port, method.parse().expect("a method"), path);
        let request = ask.headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        let request = if ask.body.is_empty() { request } else { request.body(ask.body.clone()) };
        let answered = Answered::of(request.send().await.expect("the server answers")).await;
        self.note(&ask.line, &answered);
        answered
    }

    /// The same with this end in place of its body.
    async fn send(&self, ask: &Ask, end: &str) -> Answered {
        let (method, path) = ask.line.split_once(' ').expect("a method and a path");
        let headers: String =
            ask.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}{end}");
        let answered = answered(&raw(self.gate.port, head.as_bytes()).await);
        self.note(&ask.line, &answered);
        answered
    }

    fn note(&self, line: &str, answered: &Answered) {
        if let Some(route) = self.document.admit(line, answered) {
            self.seen.lock().expect("no panic").entry(route).or_default().insert(answered.status);
        }
    }

    /// The same with a status that is expected, and a code where there is one.
    async fn expect(&self, ask: &Ask, status: u16, code: &str) {
        let answered = self.ask(ask).await;
        let found = answered.json["code"].as_str().unwrap_or_default().to_owned();
        assert_eq!((answered.status, found.as_str()), (status, code), "{}: {}", ask.line, answered.text);
    }
}

/// The routes that were made for the test, each with a request that is answered well.
struct Routes {
    /// Every route that an application asks, by its line in the document.
    all: Vec<(RouteLine, Ask)>,
    bearer: String,
    hash: String,
}

impl Routes {
    /// Asks each route once, and keeps the request.
    async fn asked(asker: &Asker<'_>, bearer: &str, hash: &str) -> Self {
        let mut this = Self { all: Vec::new(), bearer: bearer.to_owned(), hash: hash.to_owned() };
        let mut activities = Vec::new();
        for _ in 0..4 {
            let made = this.well(asker, new_activity(), 201).await.json;
            activities.push(made["eventId"].as_str().expect("an id").to_owned());
        }
        for (ask, status) in writes(&activities).into_iter().chain(reads(&activities)) {
            this.well(asker, ask, status).await;
        }
        this
    }

    /// A request with this body and key runs already.
    async fn begun(&self, gate: &Gate, (ask, key): (&Ask, &str), body: &str) {
        let line = ask.line.split('?').next().expect("a path");
        let sql = "insert into request_answers (owner, route, key, request, began_at) values ($1, $2, $3, $4, now())";
        let request = sqlx::query(sql).bind(format!("service:{}", self.hash)).bind(line).bind(key);
        let hash = Sha256::digest(body.as_bytes()).to_vec();
        request.bind(hash).execute(&gate.pool).await.expect("inserted");
    }

    async fn well(&mut self, asker: &Asker<'_>, ask: Ask, status: u16) -> Answered {
        let ask = if ask.is_delivery() { ask } else { ask.with("authorization", &*self.bearer) };
        let answered = asker.ask(&ask).await;
        assert_eq!(answered.status, status, "{}: {}", ask.line, answered.text);
        let route = asker.document.admit(&ask.line, &answered).expect("a route");
        match self.all.iter_mut().find(|(known, _)| *known == route) {
            Some((_, known)) => *known = ask,
            None => self.all.push((route, ask)),
        }
        answered
    }

    /// Those to which the document gives this status.
    fn with_status<'a>(
        &'a self,
        document: &ApiDocument,
        status: u16,
    ) -> impl Iterator<Item = &'a (RouteLine, Ask)> {
        let described = document.statuses();
        self.all.iter().filter(move |(route, _)| described[route].contains(&status))
    }
}

/// What is wrong with the request itself, or with its caller.
async fn refuses_bad_requests(asker: &Asker<'_>, routes: &Routes) {
    for (_, ask) in &routes.all {
        asker.expect(&ask.with("origin", "https://evil.example"), 403, "origin_forbidden").await;
        asker.expect(&ask.with("host", "a b"), 400, "bad_host").await;
        asker.expect(&ask.with("cookie", "x".repeat(33 << 10)), 431, "head_too_large").await;
    }
    let stranger = user("u8");
    for (route, ask) in routes.with_status(&asker.document, 401).filter(|(_, ask)| !ask.is_delivery()) {
        asker.expect(&ask.with("authorization", ""), 401, "credential_missing").await;
        // What this caller may not see is forbidden or not there.
        let answered = asker.ask(&ask.with("authorization", &*stranger)).await;
        let expected = match route.as_str() {
            "GET /v1/ws" => 101,
            hidden if hidden.starts_with("GET /v1/activities/{eventId}") => 404,
            _ => 403,
        };
        assert_eq!(answered.status, expected, "{route}: {}", answered.text);
    }
    // Routes that need no credential ignore parameters.
    for (_, ask) in routes.with_status(&asker.document, 401).filter(|(_, ask)| !ask.is_delivery()) {
        let queries = [("nonsense=1", "bad_query"), ("type=%00", "bad_query"), ("token=x", "token_in_query")];
        for (query, code) in queries {
            asker.expect(&ask.query(query), 400, code).await;
        }
        if ask.line == "GET /v1/ws" {
            asker.expect(&ask.with("upgrade", "h2c"), 400, "not_a_websocket").await;
        }
        if ask.body.len() > 2 {
            let unknown = ask.body.replacen('{', "{\"nonsense\":1,", 1);
            asker.expect(&ask.body(unknown), 400, "bad_body").await;
            asker.expect(&ask.body("{"), 400, "bad_body").await;
            asker.expect(&ask.with("content-type", "text/plain"), 415, "unsupported_media_type").await;
        }
    }
    let lines = ["webhooks/coinbase", "api/webhooks/coinbase", "webhooks/nothing", "webhooks/%ff"];
    for (line, status) in lines.into_iter().zip([401, 401, 404, 404]) {
        assert_eq!(asker.ask(&Ask::new(format!("POST /{line}"), &json!({}))).await.status, status, "{line}");
    }
    asker.expect(&Ask::new("GET /v1/users/%ff", &Value::Null), 400, "malformed").await;
}

/// What is not there, or not so that the request fits it.
async fn refuses_what_does_not_fit(asker: &Asker<'_>, routes: &Routes) {
    for (_, ask) in routes.with_status(&asker.document, 404).filter(|(_, ask)| !ask.is_delivery()) {
        let mut parts: Vec<&str> = ask.line.split('/').collect();
        parts[3] = UNKNOWN;
        asker.expect(&Ask { line: parts.join("/"), ..ask.clone() }, 404, "not_found").await;
    }
    for (_, ask) in routes.with_status(&asker.document, 413) {
        let code = if ask.is_delivery() { "" } else { "body_too_large" };
        asker.expect(&ask.body("x".repeat(MAX_BODY + 1)), 413, code).await;
    }
    for (_, ask) in routes.with_status(&asker.document, 415) {
        asker.expect(&ask.with("content-encoding", "br"), 415, "unsupported_media_type").await;
    }
    for (_, ask) in routes.with_status(&asker.document, 409).filter(|(_, ask)| ask.is_read()) {
        let elsewhere = ask.query("min_position=abcdefabcdef.99999999");
        asker.expect(&elsewhere, 409, "epoch_mismatch").await;
    }
    for (_, ask) in routes.with_status(&asker.document, 422) {
        routes.begun(asker.gate, (ask, "other"), &format!("{} ", ask.body)).await;
        asker.expect(&ask.with("idempotency-key", "other"), 422, "idempotency_key_reused").await;
    }
    // What was cut off is done again at once, and what it did already is no fault of its repeat.
    for (route, ask) in routes.all.iter().filter(|(_, ask)| !ask.is_read() && !ask.is_delivery()) {
        routes.begun(asker.gate, (ask, "same"), &ask.body).await;
        let answered = asker.ask(&ask.with("idempotency-key", "same")).await;
        let is_refusal = route == "PATCH /v1/activities";
        assert_eq!(answered.status < 300, !is_refusal, "{route}: {}", answered.text);
    }
    for (_, ask) in
        routes.all.iter().filter(|(route, _)| route.ends_with("/complete") || route.ends_with("/fail"))
    {
        asker.expect(ask, 409, "activity_final").await;
    }
    for (_, ask) in routes.all.iter().filter(|(route, _)| route == "PATCH /v1/activities/{eventId}") {
        asker.expect(&ask.body("{\"status\":\"pending\"}"), 409, "wrong_transition").await;
    }
    let wallets = |from: usize| (from..from + 60).map(|n| format!("0x{n:040x}")).collect::<Vec<_>>();
    for (user, wallets, status) in [
        ("u10", wallets(100), 201),
        ("u11", wallets(200), 201),
        ("u11", [wallets(200), vec![format!("0x{:040x}", 100)]].concat(), 409),
    ] {
        let put = Ask::new(format!("PUT /v1/users/{user}"), &json!({ "wallets": wallets }));
        let code = if status == 409 { "user_too_large" } else { "" };
        asker.expect(&put.with("authorization", &*routes.bearer), status, code).await;
    }
}

/// Which methods a path answers: one that it does not answer names them, and `HEAD` is `GET` without a body.
async fn names_methods(asker: &Asker<'_>, routes: &Routes) {
    for (line, methods) in [
        ("PUT /v1/messages", "GET,HEAD"),
        ("PUT /v1/activities", "POST,GET,HEAD,PATCH"),
        ("GET /webhooks/coinbase", "POST"),
        ("DELETE /api/webhooks/coinbase", "POST"),
    ] {
        let answered = asker.ask(&Ask::new(line, &Value::Null).with("authorization", &*routes.bearer)).await;
        let allowed = answered.headers.get("allow").and_then(|value| value.to_str().ok());
        let mut allowed: Vec<&str> = allowed.unwrap_or_default().split(',').collect();
        let mut expected: Vec<&str> = methods.split(',').collect();
        allowed.sort_unstable();
        expected.sort_unstable();
        assert_eq!((answered.status, allowed), (405, expected), "{line}");
    }
    let list = Ask::new("HEAD /v1/activities?userId=u7&min_position=", &Value::Null);
    let answered = asker.ask(&list.with("authorization", &*routes.bearer)).await;
    assert_eq!((answered.status, answered.text.as_str()), (200, ""));
    assert!(!answered.position.is_empty());
}

/// What is too slow, too fast, or comes while something is away.
async fn refuses_at_a_bad_time(asker: &Asker<'_>, routes: &Routes, keyless: u16) {
    let slow = routes.with_status(&asker.document, 408).map(async |(_, ask)| {
        assert_eq!(asker.send(ask, "content-length: 9\r\n\r\n{").await.status, 408, "{}", ask.line);
    });
    futures_util::future::join_all(slow).await;
    for (_, ask) in routes.all.iter().filter(|(_, ask)| !ask.is_read()) {
        let broken = asker.send(ask, "transfer-encoding: chunked\r\n\r\nno number\r\n").await;
        assert_eq!(broken.status, 400, "{}: {}", ask.line, broken.text);
    }
    // The keys of the issuer are not known yet.
    let made_up = format!("{}.e30.AAAA", URL_SAFE_NO_PAD.encode("{\"alg\":\"RS256\",\"kid\":\"x\"}"));
    for (_, ask) in routes.with_status(&asker.document, 503) {
        let answered = asker.ask_at(keyless, &ask.with("authorization", format!("Bearer {made_up}"))).await;
        assert_eq!(
            (answered.status, &answered.json["code"]),
            (503, &json!("keys_unavailable")),
            "{}",
            ask.line
        );
    }
    // Twenty seconds' worth at once is too much, whatever is asked for.
    for (_, ask) in routes.with_status(&asker.document, 429) {
        let mut tries = 0;
        while asker.ask_at(keyless, &ask.with("authorization", "")).await.status != 429 {
            tries += 1;
            assert!(tries < 200, "{} is never too much", ask.line);
        }
    }
}

/// An answer as its bytes are.
fn answered(text: &str) -> Answered {
    let (head, text) = text.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").expect("a header");
        let name = reqwest::header::HeaderName::from_bytes(name.as_bytes()).expect("a name");
        (name, value.parse().expect("a value"))
    };
    Answered::new(status.parse().expect("a status"), lines.map(header).collect(), text.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_what_its_document_says_and_all_of_it() {
    let (key, hash) = new_key().await;
    let auth = format!("[server.auth]\nsecret = \"{SECRET}\"\n");
    let tables = format!(
        "max_body_bytes = \"8KiB\"\nheader_timeout = \"1s\"\n{auth}\
         [[server.key]]\nname = \"backend\"\nhash = {hash}\nscopes = [\"read\", \"publish\", \"admin\"]\n\
         [[inbound]]\nname = \"coinbase\"\nprovider = \"alchemy\"\nsecret = \"{INBOUND}\"\nchain = \"dev\"\n"
    );
    let mut gate = Gate::new(84, &tables).await;
    let daemon = gate.start().await;
    let (home, keyless) = (Home::bare(), free_port());
    let (own, issued) = (
        gate.tables.clone(),
        "[server.auth]\nalgorithms = [\"RS256\"]\njwks_url = \"http://127.0.0.1:1/keys\"\n",
    );
    gate.tables = format!("requests_per_second_per_address = 2\n{}", own.replace(&auth, issued));
    gate.write(&home, keyless);
    let other = home.start_as(&["serve"], &[]);
    gate.tables = own;

    let asker = Asker { gate: &gate, document: ApiDocument::of(&gate).await, seen: Mutex::default() };
    let routes = Routes::asked(&asker, &format!("Bearer {key}"), hash.trim_matches('"')).await;
    refuses_bad_requests(&asker, &routes).await;
    refuses_what_does_not_fit(&asker, &routes).await;
    names_methods(&asker, &routes).await;
    until_ok("the server without keys answers", async || {
        request(keyless, reqwest::Method::GET, "/docs").send().await.map_err(|_| other.log())
    })
    .await;
    refuses_at_a_bad_time(&asker, &routes, keyless).await;
    allow_connections(&gate, false).await;
    for (_, ask) in routes.with_status(&asker.document, 500) {
        assert_eq!(asker.ask(ask).await.status, 500, "{}", ask.line);
    }
    allow_connections(&gate, true).await;
    let Asker { document, seen, .. } = asker;
    assert_eq!(seen.into_inner().expect("no panic"), document.statuses());
    other.stop_well().await;
    daemon.stop_well().await;
}
