use alloy_primitives::{Address, U256};
use serde_json::{Map, Value, json};

use super::{AlertLimit, LimitSide, UserAlerts};
use crate::{check_user_id, may_read_record, may_write_record};
use chainflume_api::routes::{
    Api, ApiAnswer, ApiMethod, ApiRequest, OfferedRoute, Refusal, RouteAccess, handler, object,
};
use chainflume_db::StoreError;

/// Limits of one person at most: each is compared with each movement of the person's tokens.
const MAX_ALERTS: usize = 100;

/// The routes of people's limits.
pub fn alert_routes(alerts: &UserAlerts) -> Api {
    let route = |method, summary, handler| OfferedRoute {
        method,
        path: "/v1/users/{id}/alerts",
        summary,
        query: &[],
        answers: &[(200, "UserAlerts")],
        body: None,
        errors: &[404],
        access: RouteAccess::Caller,
        handler,
    };
    let put_summary =
        "Replace the limits at which a person hears of the balance of a token; scope publish, or the person";
    let get_summary = "Read a person's limits; scope publish or read, or the person";
    let routes = vec![
        OfferedRoute { body: Some("UserAlerts"), ..route(ApiMethod::Put, put_summary, handler(alerts, put)) },
        route(ApiMethod::Get, get_summary, handler(alerts, get)),
    ];
    Api { routes, schemas: schemas(alerts.chains()), codes: &["bad_alert"], ..Api::default() }
}

async fn put(alerts: UserAlerts, request: ApiRequest) -> Result<ApiAnswer, Refusal> {
    let (caller, id) = (request.caller()?, request.parameter("id"));
    check_user_id(id)?;
    if !may_write_record(&alerts.pool, caller, id).await.map_err(unavailable)? {
        return Err(Refusal::forbidden());
    }
    let limits = limits(&alerts, request.json()?)?;
    if !alerts.put(id, &limits).await.map_err(unavailable)? {
        return Err(Refusal::not_found("user"));
    }
    answer(&alerts, id).await
}

async fn get(alerts: UserAlerts, request: ApiRequest) -> Result<ApiAnswer, Refusal> {
    let (caller, id) = (request.caller()?, request.parameter("id"));
    check_user_id(id)?;
    if !may_read_record(&alerts.pool, caller, id).await.map_err(unavailable)? {
        return Err(Refusal::forbidden());
    }
    answer(&alerts, id).await
}

async fn answer(alerts: &UserAlerts, id: &str) -> Result<ApiAnswer, Refusal> {
    let limits = alerts.get(id).await.map_err(unavailable)?.ok_or_else(|| Refusal::not_found("user"))?;
    let limits: Vec<Value> = limits.iter().map(shown).collect();
    Ok(ApiAnswer::new(200, &Value::Array(limits)))
}

fn shown(limit: &AlertLimit) -> Value {
    let mut shown = json!({ "token": format!("{:#x}", limit.token), "chainId": limit.chain_id });
    shown[limit.side.as_str()] = json!(limit.amount.to_string());
    shown
}

fn limits(alerts: &UserAlerts, body: Value) -> Result<Vec<AlertLimit>, Refusal> {
    let Value::Array(values) = body else {
        return Err(bad("send an array of limits; an empty one removes all"));
    };
    if values.len() > MAX_ALERTS {
        return Err(bad(&format!("a person has at most {MAX_ALERTS} limits")));
    }
    let read = |(index, value)| limit(alerts, value, &format!("/{index}"));
    values.into_iter().enumerate().map(read).collect()
}

fn limit(alerts: &UserAlerts, value: Value, place: &str) -> Result<AlertLimit, Refusal> {
    let fields = object(value, &["token", "chainId", "below", "above"], place)?;
    let token = fields.get("token").and_then(Value::as_str).filter(|text| text.starts_with("0x"));
    let token: Option<Address> = token.and_then(|text| text.parse().ok());
    let token = token.ok_or_else(|| {
        bad("token is the address of a token: 0x and 40 hexadecimal digits").at(format!("{place}/token"))
    })?;
    let chain_id = fields.get("chainId").and_then(Value::as_u64);
    let chain_id = chain_id.filter(|chain_id| alerts.knows(*chain_id)).ok_or_else(|| {
        Refusal::new(400, "unknown_chain", "chainId is the id of a chain that is configured here")
            .at(format!("{place}/chainId"))
    })?;
    let (side, amount) = match (fields.get("below"), fields.get("above")) {
        (Some(amount), None) => (LimitSide::Below, amount),
        (None, Some(amount)) => (LimitSide::Above, amount),
        _ => return Err(bad("a limit has either below or above").at(place.to_owned())),
    };
    let digits = match amount {
        Value::String(text) => text.clone(),
        // In JSON a number is whole whether it is written as 5 or as 5.0.
        Value::Number(number) => number.to_string().trim_end_matches(".0").to_owned(),
        _ => String::new(),
    };
    let are_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let amount = U256::from_str_radix(&digits, 10).ok().filter(|_| are_digits).ok_or_else(|| {
        bad("a limit is a text of decimal digits, in base units of the token")
            .at(format!("{place}/{}", side.as_str()))
    })?;
    Ok(AlertLimit { chain_id, token, side, amount })
}

fn bad(detail: &str) -> Refusal {
    Refusal::new(400, "bad_alert", detail.to_owned())
}

fn unavailable(error: StoreError) -> Refusal {
    tracing::debug!(error = %chainflume_core::domain::causes(&error), "limits of a person cannot be read or written");
    Refusal::unavailable()
}

fn schemas(chains: &[u64]) -> Map<String, Value> {
    let amount = json!({ "anyOf": [{ "type": "string", "pattern": "^[0-9]{1,77}$" }, { "type": "integer", "minimum": 0 }] });
    let alert = json!({
        "type": "object", "required": ["token", "chainId"], "additionalProperties": false,
        "properties": {
            "token": { "type": "string", "pattern": "^0x[0-9a-fA-F]{40}$" }, "chainId": { "type": "integer", "enum": chains },
            "below": amount, "above": amount,
        },
        "oneOf": [{ "required": ["below"] }, { "required": ["above"] }],
    });
    let alerts = json!({ "type": "array", "maxItems": MAX_ALERTS, "items": alert });
    [("UserAlerts".to_owned(), alerts)].into_iter().collect()
}
