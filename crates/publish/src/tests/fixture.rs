use std::time::Duration;

use serde_json::Value;

use crate::{ActivityText, EventSchemas, FactLimits, Publisher, Settings};
use chainflume_api::access::{Principal, Scopes, User};
use chainflume_api::routes::{ApiAnswer, ApiMethod, ApiRequest, OfferedRoute, Refusal};
use chainflume_db::Database;
use chainflume_outbox::{Outbox, OutboxRow};

/// A fresh database.
pub async fn database() -> Database {
    database_with(4).await
}

/// The same, reached by so many connections.
async fn database_with(max_connections: u32) -> Database {
    let url = chainflume_testkit::postgres::database().await;
    let settings = chainflume_db::Settings { url, max_connections, acquire_timeout: Duration::from_secs(30) };
    let database = Database::connect(&settings).await.expect("connects");
    database.migrate().await.expect("migrates");
    database
}

/// A publisher of a fresh database.
pub async fn publisher() -> (Publisher, Database) {
    let database = database().await;
    (publisher_with(&database, Vec::new()), database)
}

/// The same with one connection, which has one set of prepared statements.
pub async fn publisher_on_one_connection() -> (Publisher, Database) {
    let database = database_with(1).await;
    (publisher_with(&database, Vec::new()), database)
}

/// A publisher of this database with texts for activities.
pub fn publisher_with(database: &Database, activity_texts: Vec<ActivityText>) -> Publisher {
    Publisher::new(database, Settings { activity_texts, ..settings() })
}

/// A publisher of this database that pauses so long after a shared commit at most.
pub fn publisher_that_pauses(database: &Database, max_commit_pause: Duration) -> Publisher {
    let limits = FactLimits { max_commit_pause, ..settings().limits };
    Publisher::new(database, Settings { limits, ..settings() })
}

fn settings() -> Settings {
    Settings {
        schemas: EventSchemas::default(),
        activity_types: ["send", "deposit"].map(str::to_owned).to_vec(),
        activity_texts: Vec::new(),
        chains: vec![1337],
        limits: FactLimits { payload_bytes: 4096, max_aggregate_types: 6, ..FactLimits::default() },
    }
}

/// Asks a route as the server does, with everything allowed.
pub async fn ask(publisher: &Publisher, line: &str, body: Value) -> Result<(u16, Value), Refusal> {
    ask_with(publisher, line, (body, None)).await
}

/// The same with an `Idempotency-Key`.
pub async fn ask_with(
    publisher: &Publisher,
    line: &str,
    (body, key): (Value, Option<&str>),
) -> Result<(u16, Value), Refusal> {
    ask_as(publisher, line, (body, key, Principal::Local)).await
}

/// A user with these scopes.
pub fn user(id: &str, scopes: &str) -> Principal {
    Principal::User(User {
        id: id.to_owned(),
        role: "user".to_owned(),
        scopes: Scopes::of_token(scopes),
        rooms: Vec::new(),
        expires_at: u64::MAX,
        issued_at: None,
        token_id: None,
    })
}

/// The same for this caller.
pub async fn ask_as(
    publisher: &Publisher,
    line: &str,
    sent: (Value, Option<&str>, Principal),
) -> Result<(u16, Value), Refusal> {
    let (route, request) = routed(publisher, line, sent);
    answered((route.handler)(request).await)
}

/// The same as [`ask`], after a request with the same key and body that was cut off.
pub async fn repeat(publisher: &Publisher, line: &str, body: Value) -> Result<(u16, Value), Refusal> {
    let (route, request) = routed(publisher, line, (body, Some("a key"), Principal::Local));
    answered((route.handler)(ApiRequest { is_repeat: true, ..request }).await)
}

fn answered(answer: Result<ApiAnswer, Refusal>) -> Result<(u16, Value), Refusal> {
    answer.map(|ApiAnswer { status, json, .. }| (status, serde_json::from_str(&json).expect("JSON")))
}

/// The route of a request.
fn routed(
    publisher: &Publisher,
    line: &str,
    (body, key, caller): (Value, Option<&str>, Principal),
) -> (OfferedRoute, ApiRequest) {
    let (method, address) = line.split_once(' ').expect("a method and a path");
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let api = publisher.api();
    let parts: Vec<&str> = path.split('/').collect();
    let fits = |pattern: &str| {
        let pattern: Vec<&str> = pattern.split('/').collect();
        let same = |(a, b): (&&str, &&str)| a.starts_with('{') || a == b;
        pattern.len() == parts.len() && pattern.iter().zip(&parts).all(same)
    };
    let wanted = |of: ApiMethod| of.as_str() == method.to_ascii_lowercase();
    let route = api.routes.iter().find(|route| wanted(route.method) && fits(route.path)).expect("a route");
    let places = route.path.split('/').zip(&parts).filter_map(|(name, value)| {
        let name = name.strip_prefix('{')?.strip_suffix('}')?;
        Some((name.to_owned(), (*value).to_owned()))
    });
    let query = query.split('&').filter_map(|pair| pair.split_once('='));
    let request = ApiRequest {
        method: method.to_owned(),
        parameters: places.collect(),
        query: query.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        headers: key.map(|key| ("idempotency-key".to_owned(), key.as_bytes().to_vec())).into_iter().collect(),
        body: body.to_string().into_bytes(),
        caller: Some(caller),
        ..ApiRequest::default()
    };
    (route.clone(), request)
}

/// Every message.
pub async fn messages(database: &Database) -> Vec<Value> {
    let rows: Vec<OutboxRow> =
        Outbox::of(database).read_after(0, 10_000).await.expect("reads").expect("ours");
    rows.iter().map(|row| serde_json::from_str(&row.message).expect("JSON")).collect()
}
