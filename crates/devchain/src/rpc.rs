//! JSON-RPC 2.0: answers calls and batches. The methods are in `methods`.

mod filter;
mod json;
mod logs;
mod methods;
mod params;
mod view;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::DevChain;
use super::call::{Answer, Request, RpcError, Transport};
use super::faults::Wire;
pub(super) use json::HeadJson;
pub(super) use methods::Subscriptions;

/// The answer to one message of calls.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// The JSON; `None` for notifications, which get no answer.
    pub(super) body: Option<String>,
    /// The HTTP status of an error.
    pub(super) status: Option<u16>,
    /// The fault of transport.
    pub(super) wire: Option<Wire>,
    /// Whether the answers of its batch are in reverse order.
    backwards: bool,
}

#[derive(Serialize)]
struct Response<'a> {
    jsonrpc: &'static str,
    id: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RpcError>,
}

/// Answers one message. `subscriptions` are those of the socket; `None` over HTTP.
pub(super) async fn answer(
    chain: &DevChain,
    message: &[u8],
    mut subscriptions: Option<&mut Subscriptions>,
) -> Reply {
    let Ok(message) = serde_json::from_slice::<Value>(message) else {
        return refuse(RpcError::new(-32700, "parse error"));
    };
    let Value::Array(calls) = message else {
        return answer_call(chain, message, 1, subscriptions).await;
    };
    if let Err(error) = chain.faults.behaviour().check_batch() {
        return refuse(error);
    }
    if calls.is_empty() {
        return refuse(RpcError::new(-32600, "empty batch"));
    }
    let (mut bodies, mut batch) = (Vec::new(), Reply::default());
    let together = calls.len();
    for call in calls {
        let reply = answer_call(chain, call, together, subscriptions.as_deref_mut()).await;
        bodies.extend(reply.body);
        batch.wire = batch.wire.or(reply.wire);
        batch.backwards |= reply.backwards;
    }
    if batch.backwards {
        bodies.reverse();
    }
    batch.body = (!bodies.is_empty()).then(|| format!("[{}]", bodies.join(",")));
    batch
}

async fn answer_call(
    chain: &DevChain,
    call: Value,
    together: usize,
    subscriptions: Option<&mut Subscriptions>,
) -> Reply {
    let Some(method) = call.get("method").and_then(Value::as_str) else {
        return refuse(RpcError::new(-32600, "invalid request"));
    };
    let transport = if subscriptions.is_some() { Transport::Ws } else { Transport::Http };
    let params = call.get("params").cloned().unwrap_or_default();
    let request = Request { method: method.to_owned(), params, transport, together };
    let plan = chain.faults.meet(chain, request.clone());
    plan.wait().await;
    let answer = match plan.answer() {
        Some(answer) => answer,
        None => methods::call(plan.chain(chain), &request, &plan, subscriptions)
            .and_then(|answer| plan.edit(answer)),
    };
    let reply = match call.get("id") {
        Some(id) => respond(&plan.id(id.clone()), &answer),
        None => Reply::default(),
    };
    Reply { wire: plan.wire(), backwards: plan.is_backwards(), ..reply }
}

fn refuse(error: RpcError) -> Reply {
    respond(&Value::Null, &Err(error))
}

fn respond(id: &Value, answer: &Answer) -> Reply {
    let (result, error) = (answer.as_ref().ok().map(Box::as_ref), answer.as_ref().err());
    let body = serde_json::to_string(&Response { jsonrpc: "2.0", id, result, error });
    Reply { body: body.ok(), status: error.and_then(|error| error.status), ..Reply::default() }
}
