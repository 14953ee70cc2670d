//! The routes of deliveries on the public listener. They need no credential: the signature is checked instead.

use chainflume_api::routes::{
    Api, ApiAnswer, ApiHandler, ApiMethod, ApiRequest, OfferedRoute, RouteAccess, handler,
};
use serde_json::{Map, Value, json};

use crate::inbox::{InboundAnswer, InboundDeliveries};

/// The endpoint with a second path, under which existing integrations of Coinbase are registered.
const COINBASE: &str = "coinbase";

/// The routes of an inbox.
pub fn routes(inbox: &InboundDeliveries) -> Api {
    let mut routes = vec![route("/webhooks/{name}", ANSWERS, handler(inbox, deliver))];
    if inbox.has(COINBASE) {
        // The endpoint exists, so this path has no answer 404.
        routes.push(route("/api/webhooks/coinbase", &ANSWERS[1..], handler(inbox, deliver_to_coinbase)));
    }
    Api { routes, schemas: schemas(), ..Api::default() }
}

const ANSWERS: &[(u16, &str)] = &[
    (404, "DeliveryRefused"),
    (200, "Delivered"),
    (400, "DeliveryRefused"),
    (401, "DeliveryRefused"),
    (408, "DeliveryRefused"),
    (413, "DeliveryRefused"),
    (500, "DeliveryRefused"),
];

fn route(path: &'static str, answers: &'static [(u16, &'static str)], handler: ApiHandler) -> OfferedRoute {
    OfferedRoute {
        method: ApiMethod::Any,
        path,
        summary: "Take a webhook of a provider, which signs it; the answer is {\"success\":true}, or {\"error\":\"…\"}",
        query: &[],
        answers,
        body: None,
        errors: &[],
        access: RouteAccess::Open,
        handler,
    }
}

async fn deliver(
    inbox: InboundDeliveries,
    request: ApiRequest,
) -> Result<ApiAnswer, chainflume_api::routes::Refusal> {
    let name = request.parameter("name").to_owned();
    Ok(answer(&inbox, &name, &request).await)
}

async fn deliver_to_coinbase(
    inbox: InboundDeliveries,
    request: ApiRequest,
) -> Result<ApiAnswer, chainflume_api::routes::Refusal> {
    Ok(answer(&inbox, COINBASE, &request).await)
}

async fn answer(inbox: &InboundDeliveries, name: &str, request: &ApiRequest) -> ApiAnswer {
    let answer = match request.method.as_str() {
        _ if !inbox.has(name) => InboundAnswer::NotFound,
        "POST" => inbox.receive(name, &request.headers, &request.body, request.received_at).await,
        _ => InboundAnswer::MethodNotAllowed,
    };
    ApiAnswer { status: answer.status(), json: answer.body().to_owned(), position: None }
}

fn schemas() -> Map<String, Value> {
    let delivered =
        json!({ "type": "object", "required": ["success"], "properties": { "success": { "const": true } } });
    let refused =
        json!({ "type": "object", "required": ["error"], "properties": { "error": { "type": "string" } } });
    let schemas = [("Delivered", delivered), ("DeliveryRefused", refused)];
    schemas.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}
