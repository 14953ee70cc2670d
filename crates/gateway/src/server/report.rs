use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::messages::POSITION;
use super::problem::HttpProblem;
use super::query::Query;
use super::{Shared, fresh, now};
use chainflume_api::access::Scope;
use chainflume_ops::metrics;

/// `GET /v1/report`: means of the last 100 values of the answering process. There is no query layer and no cache yet, so these two are null.
pub(super) async fn report(
    State(shared): State<Arc<Shared>>,
    RawQuery(text): RawQuery,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    if !shared.settings.auth.of_headers(&headers, now())?.has(Scope::Admin) {
        return Err(HttpProblem::forbidden());
    }
    fresh::reached(&shared, &Query::parse(text.as_deref(), &["min_position"])?).await?;
    let (position, recent) = (shared.feed.newest().to_string(), metrics::recent());
    let body = json!({
        "webhookProcessingTime": recent.webhook_millis, "websocketLatency": recent.push_millis,
        "queryResponseTime": null, "cacheHitRate": null,
    });
    Ok(([(header::CONTENT_TYPE, "application/json"), (POSITION, &position)], body.to_string())
        .into_response())
}
