use std::collections::BTreeMap;

use serde_json::Value;

use super::answer::Refusal;
use super::json::read;
use crate::access::{Principal, Scope};

/// A request, as a handler sees it.
#[derive(Clone, Debug, Default)]
pub struct ApiRequest {
    /// The method in capital letters.
    pub method: String,
    /// Values of the places in the path of the route.
    pub parameters: BTreeMap<String, String>,
    /// Values of the query; only names that the route describes, each once.
    pub query: BTreeMap<String, String>,
    /// Headers by names in small letters. A header that is sent twice is here once, joined by commas.
    pub headers: BTreeMap<String, Vec<u8>>,
    /// The body as it was sent, within the limit of bytes.
    pub body: Vec<u8>,
    /// Who asks; `None` of a route that is open.
    pub caller: Option<Principal>,
    /// When it came, in seconds since 1970 by the clock of the server.
    pub received_at: u64,
    /// Whether a request with the same `Idempotency-Key` and body began before and has no answer. That one may have done its work: a
    /// server that was killed answers nothing. So a handler answers a repeat that finds its work done as it answers the first.
    pub is_repeat: bool,
}

impl ApiRequest {
    /// Who asks.
    ///
    /// # Errors
    /// `forbidden` on an open route.
    pub fn caller(&self) -> Result<&Principal, Refusal> {
        self.caller.as_ref().ok_or_else(Refusal::forbidden)
    }

    /// Who asks, with this scope.
    ///
    /// # Errors
    /// `forbidden`
    pub fn caller_with(&self, scope: Scope) -> Result<&Principal, Refusal> {
        self.caller()
            .and_then(|caller| if caller.has(scope) { Ok(caller) } else { Err(Refusal::forbidden()) })
    }

    /// The value of a place in the path.
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }

    /// A value of the query that is not empty.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A header, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.headers.get(name)?).ok()
    }

    /// The body as JSON, within bounds of depth and without duplicate keys.
    ///
    /// # Errors
    /// `bad_body`; `unsupported_media_type` where a content type is sent that is not JSON.
    pub fn json(&self) -> Result<Value, Refusal> {
        read(self.header("content-type"), &self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(media: Option<&str>) -> ApiRequest {
        let headers = media.map(|media| ("content-type".to_owned(), media.as_bytes().to_vec()));
        ApiRequest { headers: headers.into_iter().collect(), body: b"{}".to_vec(), ..ApiRequest::default() }
    }

    #[test]
    fn a_body_of_another_media_type_is_refused() {
        for media in [
            None,
            Some("application/json"),
            Some("Application/JSON; charset=utf-8"),
            Some("application/cloudevents+json"),
        ] {
            assert!(request(media).json().is_ok(), "{media:?}");
        }
        for media in ["text/plain", "application/x-www-form-urlencoded", ""] {
            let refusal = request(Some(media)).json().expect_err("no JSON");
            assert_eq!((refusal.status, refusal.code), (415, "unsupported_media_type"), "{media:?}");
        }
    }

    #[test]
    fn an_open_route_has_no_caller() {
        assert_eq!(request(None).caller().map(|_| ()).map_err(|refusal| refusal.code), Err("forbidden"));
    }
}
