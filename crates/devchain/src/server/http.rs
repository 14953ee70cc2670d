use axum::http::StatusCode;
use axum::response::Response;

use crate::DevChain;
use crate::connection::{ServedConnection, json};
use crate::rpc;

/// Answers one POST.
pub(super) async fn answer(chain: &DevChain, body: &[u8], connection: &ServedConnection) -> Response {
    let reply = rpc::answer(chain, body, None).await;
    let status = reply.status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::OK);
    let body = reply.body.unwrap_or_default();
    match reply.wire {
        None => json(status, body),
        Some(fault) => fault.over_http(status, body, connection).await,
    }
}
