//! What clients ask over connections that stay open, whatever these speak: how often, what is refused, and what they publish.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::limits::Bucket;
use super::problem::HttpProblem;
use super::{Auth, Shared, now};
use crate::feed::Delivery;
use chainflume_api::access::Principal;
use chainflume_api::routes::ApiRequest;
use chainflume_ops::metrics::{self, DeliveryMeter};

/// The longest pause of a client that asks too much: messages for it wait meanwhile.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Counts a message that a client was given. Its `frames` have these `bytes` together.
pub(super) fn delivered(meter: &DeliveryMeter, delivery: &Delivery, frames: usize, bytes: usize) {
    meter.record(frames, bytes, delivery.age());
}

/// What one connection may ask: as much as a user over HTTP. `None` where nothing is limited.
pub(super) struct FrameQuota(Option<(Bucket, u32)>);

impl FrameQuota {
    /// Takes one frame. A client that sends too many is paused for as long as the next takes to be allowed, so that a flood costs the
    /// server a bounded number of answers, and hears that it was refused.
    pub async fn take(&mut self) -> Result<(), HttpProblem> {
        let Some((bucket, per_second)) = &mut self.0 else { return Ok(()) };
        let Err(wait) = bucket.take(*per_second, Instant::now()) else { return Ok(()) };
        tokio::time::sleep(wait.min(MAX_PAUSE)).await;
        Err(HttpProblem::new(429, "too_many_requests", "frames come too fast; slow down"))
    }
}

fn owner(principal: Option<&Principal>) -> String {
    principal.map_or_else(|| "-".to_owned(), Principal::owner)
}

impl Shared {
    /// What a new connection may ask.
    pub(super) fn quota(&self) -> FrameQuota {
        let per_second = self.settings.limits.requests;
        let is_limited = !matches!(self.settings.auth, Auth::Open);
        FrameQuota(is_limited.then(|| (Bucket::full(per_second, Instant::now()), per_second)))
    }

    /// Counts what is refused over a connection. A refusal is for an operator to see as over HTTP, at most one line a minute for each code.
    pub(super) fn refused(
        &self,
        protocol: &'static str,
        principal: Option<&Principal>,
        problem: &HttpProblem,
    ) {
        metrics::push_refused(problem.code);
        if !problem.is_about_access() {
            return;
        }
        if let Some(suppressed) = self.lines.admit(problem.code) {
            let (caller, suppressed) = (owner(principal), suppressed.field());
            tracing::info!(protocol, code = problem.code, ?caller, suppressed, "frame refused");
        }
    }

    /// Counts a connection that ended. One that its client broke is for an operator to see, at most one line a minute for each reason.
    pub(super) fn closed(&self, protocol: &'static str, reason: &'static str, principal: Option<&Principal>) {
        metrics::push_dropped(reason);
        if !matches!(reason, "malformed" | "slow") {
            return;
        }
        if let Some(suppressed) = self.lines.admit(reason) {
            let caller = owner(principal);
            tracing::info!(protocol, reason, ?caller, suppressed = suppressed.field(), "client disconnected");
        }
    }

    /// Publishes an event of the application, or a list of them, as the route of the crate does that publishes.
    pub(super) async fn emit(&self, principal: &Principal, events: &Value) -> Result<Value, HttpProblem> {
        let route = self.offered.iter().find_map(|api| api.emit.as_ref());
        let route =
            route.ok_or_else(|| HttpProblem::new(404, "not_found", "this server does not publish events"))?;
        let body = events.to_string().into_bytes();
        if body.len() > self.settings.limits.body_bytes {
            return Err(HttpProblem::new(413, "body_too_large", "emit fewer events at once"));
        }
        let caller = Some(principal.clone());
        let (method, received_at) = ("POST".to_owned(), now());
        let request = ApiRequest { method, body, caller, received_at, ..ApiRequest::default() };
        let answer = (route.handler)(request).await?;
        let mut json: Value = serde_json::from_str(&answer.json).unwrap_or_default();
        json["position"] = answer.position.unwrap_or_else(|| self.feed.newest().to_string()).into();
        Ok(json)
    }
}
