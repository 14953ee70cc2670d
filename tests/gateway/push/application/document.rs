//! `/openapi.json`, and whether an answer is one that it describes.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::Gate;

/// What a server answered.
pub struct Answered {
    pub status: u16,
    pub headers: HeaderMap,
    /// Empty of a stream and of an upgrade, which have no end.
    pub text: String,
    /// Null where the text is no JSON.
    pub json: Value,
    /// The header `Chainflume-Position`.
    pub position: String,
}

impl Answered {
    pub async fn of(answer: reqwest::Response) -> Self {
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let is_endless = status == 101 || media(&headers) == "text/event-stream";
        let text = if is_endless { String::new() } else { answer.text().await.expect("a body") };
        Self::new(status, headers, text)
    }

    pub fn new(status: u16, headers: HeaderMap, text: String) -> Self {
        let position = headers.get("chainflume-position").and_then(|value| value.to_str().ok());
        let (position, json) =
            (position.unwrap_or_default().to_owned(), serde_json::from_str(&text).unwrap_or_default());
        Self { status, headers, text, json, position }
    }
}

fn media(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().to_owned()
}

/// Method and path of a route, as the document writes them: `POST /v1/activities/{eventId}/fail`.
pub type RouteLine = String;

/// The document.
pub struct ApiDocument(Value);

impl ApiDocument {
    /// That of this server.
    pub async fn of(gate: &Gate) -> Self {
        let (status, document) = gate.get("/openapi.json", &[]).await;
        assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
        Self(document)
    }

    /// That of the first server of the process: what routes answer is the same for all.
    pub async fn shared(gate: &Gate) -> &'static Self {
        static SHARED: OnceCell<ApiDocument> = OnceCell::const_new();
        SHARED.get_or_init(|| Self::of(gate)).await
    }

    /// The statuses of every route.
    pub fn statuses(&self) -> BTreeMap<RouteLine, BTreeSet<u16>> {
        let numbers = |operation: &Value| {
            let answers = operation["responses"].as_object().expect("answers");
            answers.keys().map(|status| status.parse().expect("a status")).collect()
        };
        self.operations().map(|(line, operation)| (line, numbers(operation))).collect()
    }

    /// The statuses of the route of this request.
    pub fn statuses_of(&self, line: &str) -> BTreeSet<u16> {
        let (route, _) = self.route(line).expect("a route");
        self.statuses().remove(&route).expect("its statuses")
    }

    /// Every route with what the document says of it.
    pub fn operations(&self) -> impl Iterator<Item = (RouteLine, &Value)> {
        let paths = self.0["paths"].as_object().expect("paths").iter();
        paths.flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").iter();
            methods.map(move |(method, operation)| {
                (format!("{} {path}", method.to_ascii_uppercase()), operation)
            })
        })
    }

    /// The route of a request; `None` where no route answers it.
    fn route(&self, line: &str) -> Option<(RouteLine, &Value)> {
        let line = line.split('?').next().expect("a path");
        let fits = |route: &str| {
            let (names, parts): (Vec<_>, Vec<_>) = (route.split('/').collect(), line.split('/').collect());
            names.len() == parts.len()
                && names.iter().zip(&parts).all(|(name, part)| name.starts_with('{') || name == part)
        };
        self.operations().find(|(route, _)| fits(route))
    }

    /// Checks an answer to the request `POST /path?…`: its status, media type and body are described. Returns the route.
    pub fn admit(&self, line: &str, answered: &Answered) -> Option<RouteLine> {
        let (route, operation) = self.route(line)?;
        let Answered { status, headers, text, json: body, .. } = answered;
        let described = &operation["responses"][status.to_string()];
        assert!(described.is_object(), "{route} answers {status}, which the document lacks: {text}");
        let media = media(headers);
        let content = &described["content"];
        assert_eq!(content[&media].is_object(), *status != 101, "{route} answers {status} with {media:?}");
        if content[&media]["schema"].is_object() {
            let schema =
                json!({ "$ref": content[&media]["schema"]["$ref"], "components": self.0["components"] });
            let validator = jsonschema::options().should_validate_formats(true).build(&schema);
            let validator = validator.expect("it is a schema");
            if let Err(error) = validator.validate(body) {
                panic!("{route} answers {status} with {text}: {error} at {}", error.instance_path());
            }
        }
        if media == "application/problem+json" {
            assert_eq!(body["status"], *status, "{route}: {body}");
            assert_eq!(headers.contains_key(WWW_AUTHENTICATE), *status == 401, "{route}: {body}");
            assert!(headers.contains_key(RETRY_AFTER) || !matches!(status, 429 | 503), "{route}: {body}");
        }
        Some(route)
    }
}
