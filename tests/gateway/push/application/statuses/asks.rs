//! Requests that are answered well, one for each route at least.

use super::*;

/// The secret of the webhooks.
pub(super) const INBOUND: &str = "a secret of the tests that is long enough";

/// A request that is answered well.
#[derive(Clone, Default)]
pub(super) struct Ask {
    pub line: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Ask {
    pub fn new(line: impl Into<String>, body: &Value) -> Self {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        Self { line: line.into(), headers: Vec::new(), body }
    }

    pub fn with(&self, name: &'static str, value: impl Into<String>) -> Self {
        let mut this = self.clone();
        this.headers.retain(|(known, _)| *known != name);
        this.headers.push((name, value.into()));
        this
    }

    pub fn body(&self, body: impl Into<String>) -> Self {
        Self { body: body.into(), ..self.clone() }
    }

    pub fn query(&self, query: &str) -> Self {
        let sign = if self.line.contains('?') { '&' } else { '?' };
        Self { line: format!("{}{sign}{query}", self.line), ..self.clone() }
    }

    pub fn is_read(&self) -> bool {
        self.line.starts_with("GET ")
    }

    /// Whether a provider of webhooks sends it, who gets no problem+json.
    pub fn is_delivery(&self) -> bool {
        self.line.contains("webhooks/")
    }
}

pub(super) fn new_activity() -> Ask {
    Ask::new("POST /v1/activities", &json!({ "userId": "u7", "type": "send", "title": "Send" }))
}

pub(super) fn writes(activities: &[String]) -> Vec<(Ask, u16)> {
    let alert = json!([{ "token": format!("0x{}", "aa".repeat(20)), "chainId": 31337, "below": "5" }]);
    let delivery = json!({ "id": "whevt_1", "event": { "activity": [{ "hash": format!("0x{}", "cd".repeat(32)), "blockNum": "0x5" }] } });
    let mut mac = Hmac::<Sha256>::new_from_slice(INBOUND.as_bytes()).expect("any length");
    mac.update(delivery.to_string().as_bytes());
    let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let delivered =
        |path: &str| Ask::new(format!("POST {path}"), &delivery).with("x-alchemy-signature", &*digits);
    let one = |rest: &str, n: usize| format!("/v1/activities/{}{rest}", activities[n]);
    vec![
        (Ask::new("POST /v1/domain-events", &json!([event(1, "9", "u7"), event(2, "9", "u7")])), 201),
        (
            Ask::new(
                format!("PATCH {}", one("", 0)),
                &json!({ "status": "in_progress", "data": { "n": 1 } }),
            ),
            200,
        ),
        (Ask::new(format!("POST {}", one("/complete", 1)), &json!({ "title": "Sent" })), 200),
        (Ask::new(format!("POST {}", one("/fail", 2)), &json!({ "description": "no" })), 200),
        (Ask::new("PATCH /v1/activities?userId=u7&type=send", &json!({})), 400),
        (Ask::new("PUT /v1/users/u9", &json!({ "locale": "de-DE" })), 201),
        (Ask::new("DELETE /v1/users/u9", &Value::Null), 200),
        (Ask::new("PUT /v1/users/u7", &json!({ "email": "ada@example.org" })), 201),
        (Ask::new("PUT /v1/users/u7", &json!({ "wallets": [format!("0x{}", "aa".repeat(20))] })), 200),
        (Ask::new("PUT /v1/users/u7/alerts", &alert), 200),
        (Ask::new("POST /v1/tickets", &json!({ "rooms": ["user-u7"] })), 201),
        (Ask::new("POST /v1/revocations", &json!({ "sub": "nobody" })), 201),
        (delivered("/webhooks/coinbase"), 200),
        (delivered("/api/webhooks/coinbase"), 200),
    ]
}

pub(super) fn reads(activities: &[String]) -> Vec<(Ask, u16)> {
    let activity = format!("GET /v1/activities/{}", activities[0]);
    let socket = Ask::new("GET /v1/ws", &Value::Null)
        .with("connection", "upgrade")
        .with("upgrade", "websocket")
        .with("sec-websocket-version", "13")
        .with("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==");
    let lines = [
        activity.clone(),
        format!("{activity}/changes"),
        "GET /v1/activities?userId=u7&limit=2&status=in_progress".to_owned(),
        format!("GET /v1/messages/{}/trace", id(1)),
        "GET /v1/users/u7".to_owned(),
        "GET /v1/users/u7/alerts".to_owned(),
        "GET /v1/messages?room=user-u7".to_owned(),
        "GET /v1/stream?rooms=user-u7".to_owned(),
        "GET /v1/status".to_owned(),
        "GET /v1/status/stream".to_owned(),
        "GET /v1/report".to_owned(),
        "GET /openapi.json".to_owned(),
        "GET /docs".to_owned(),
    ];
    let reads = lines.into_iter().map(|line| (Ask::new(line, &Value::Null), 200));
    reads.chain([(socket, 101)]).collect()
}
