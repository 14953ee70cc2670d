//! One JSON-RPC endpoint over HTTP. Our own and not a library's, because of what has to be seen or bounded
//! here: a body is counted while it is read, after decompression; the body of a non-2xx answer names the limit;
//! nothing is retried below the place that knows why.

mod batch;
mod batch_limit;
mod body;
mod call;
mod canceller;
mod in_flight;
mod outcomes;
mod probing;
mod rate_limit;
mod streamed_list;
mod transport;
mod usage;
mod wait;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT_ENCODING, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::Notify;

use super::error::{BY_PROXY, ChainError, UNLESS_EXEMPT, redacted};
use super::health::HealthTracker;
use super::limits::{ErrorResponse, RefusalKind};
use super::settings::{ChainSettings, ProviderSettings};
use super::wire::{ErrorObject, RpcResponse};
pub(super) use batch::RawResult;
use batch_limit::BatchLimit;
use body::{Body, BodyConsumer, BodyError};
pub(super) use call::RpcCall;
use call::{lead, max_bytes};
use canceller::RequestCanceller;
use chainflume_ops::http::build_client;
use chainflume_ops::metrics;
use chainflume_ops::tls;
use in_flight::{AnswerBytes, BytesInFlight};
use outcomes::{Outcomes, outcomes};
use probing::probe_limit;
pub use probing::probing;
use rate_limit::RateLimiter;
use streamed_list::StreamedList;
use transport::{is_set, proxy_variable, root_cause};
pub use usage::MethodUsage;
use usage::UsageCounter;

pub(super) struct Rpc {
    client: reqwest::Client,
    url: String,
    host: String,
    /// Parts of the chain's URLs that a node may repeat in its refusal ("unknown key …"), be it of another's: two may
    /// be of one account.
    secrets: Vec<String>,
    chain: String,
    timeout: Duration,
    max_bytes: usize,
    in_flight: Arc<BytesInFlight>,
    next_id: AtomicU64,
    pace: RateLimiter,
    usage: UsageCounter,
    batches: BatchLimit,
    departures: RequestCanceller,
    /// A request that takes longer is a reason to look whether anything is answered at all.
    overdue_after: Duration,
    pub(super) health: HealthTracker,
}

impl Rpc {
    pub(super) fn new(
        settings: &ChainSettings,
        provider: &ProviderSettings,
        alarm: Arc<Notify>,
    ) -> Result<Self, ChainError> {
        tls::install();
        let host = provider.label.clone();
        let mut headers = provider.headers.clone();
        if !settings.compression.is_for(&provider.http_url) {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let builder = || {
            reqwest::Client::builder()
                // A redirect would send the key in our URL to another host.
                .redirect(reqwest::redirect::Policy::none())
                .timeout(settings.request_timeout)
                .connect_timeout(settings.request_timeout)
                .user_agent(concat!("chainflume/", env!("CARGO_PKG_VERSION")))
                // Unfolded even where it was not asked for.
                .gzip(true)
                .default_headers(headers.clone())
        };
        let client = build_client(&provider.http_url, builder)
            .map_err(|error| ChainError::Unreachable { host: host.clone(), reason: root_cause(&error) })?;
        let in_flight = BytesInFlight::new((&settings.name, &host), provider.pace.max_bytes_in_flight);
        Ok(Self {
            in_flight,
            client,
            url: provider.http_url.clone(),
            secrets: settings.secrets(),
            host,
            chain: settings.name.clone(),
            timeout: settings.request_timeout,
            max_bytes: settings.max_response_bytes,
            next_id: AtomicU64::new(1),
            pace: RateLimiter::new(&provider.pace),
            usage: UsageCounter::default(),
            batches: BatchLimit::default(),
            departures: RequestCanceller::default(),
            overdue_after: settings.failover.probe_timeout,
            health: HealthTracker::new(alarm),
        })
    }

    /// The answer, `None` where the node answers `null`.
    pub(super) async fn ask<T: DeserializeOwned>(&self, question: &RpcCall) -> Result<Option<T>, ChainError> {
        self.paced(std::slice::from_ref(question), self.ask_once(question)).await
    }

    /// As [`Self::ask`], where `null` is no answer.
    pub(super) async fn demand<T: DeserializeOwned>(&self, question: &RpcCall) -> Result<T, ChainError> {
        self.ask(question).await?.ok_or_else(|| self.bad(question.method, "null where a result belongs"))
    }

    /// As [`Self::demand`], of a list that may be long: each element is handed out as soon as it is there, so that the answer
    /// is never in memory as a whole. What was handed out counts for nothing where this ends with an error.
    pub(super) async fn demand_each<T: DeserializeOwned>(
        &self,
        question: &RpcCall,
        mut each: impl FnMut(T) + Send,
    ) -> Result<(), ChainError> {
        let answer = self.paced(std::slice::from_ref(question), self.list_once(question, &mut each)).await?;
        answer.ok_or_else(|| self.bad(question.method, "null where a result belongs"))
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Whether the node asks for a longer pause than work should wait for where there is another provider.
    pub(super) fn refuses(&self) -> bool {
        self.pace.closed_for() > LEFT_ALONE
    }

    pub(super) fn max_concurrent(&self) -> usize {
        self.pace.max_concurrent()
    }

    pub(super) fn chain(&self) -> &str {
        &self.chain
    }

    /// Calls by method since the start.
    pub(super) fn usage(&self) -> Vec<MethodUsage> {
        self.usage.all()
    }

    pub(super) fn bad(&self, method: &'static str, reason: impl Into<String>) -> ChainError {
        // What cannot be read is quoted.
        let reason = redacted(&self.secrets, &reason.into());
        ChainError::BadAnswer { host: self.host.clone(), method, reason }
    }

    /// Makes one request of these calls when it is its turn, and counts them.
    async fn paced<T: Outcomes>(
        &self,
        calls: &[RpcCall],
        request: impl Future<Output = Result<T, ChainError>>,
    ) -> Result<T, ChainError> {
        let request = Box::pin(request);
        let method = lead(calls);
        let units = calls.iter().map(|call| self.pace.cost(call.method)).sum();
        let count = calls.len() as u64;
        let turn = |entered: Result<_, Duration>| {
            entered.map(|permit| (permit, Instant::now())).map_err(|wait| self.closed(method, wait))
        };
        let asked = match probe_limit() {
            Some(limit) => match turn(self.pace.enter_now(count, units)) {
                Ok(entered) => Ok((entered, self.brief((method, limit), request).await)),
                Err(closed) => Err(closed),
            },
            None => {
                self.work(method, async {
                    let entered = turn(self.pace.enter(count, units).await)?;
                    Ok((entered, self.watched(request).await))
                })
                .await
            }
        };
        let ((permit, started), answer) = match asked {
            Ok(asked) => asked,
            Err(error) => return self.not_answered(calls, error),
        };
        self.count(calls, &answer, started.elapsed());
        match outcomes(calls, &answer).find_map(|(_, error)| error.filter(|error| error.is_rate())) {
            Some(limit) => permit.limited(limit.retry_after()),
            None => permit.answered(),
        }
        metrics::rpc_concurrency((&self.chain, &self.host), self.pace.allowed());
        answer
    }

    /// The endpoint asked for a pause, so that nothing was sent, or it was left before it answered.
    fn not_answered<T: Outcomes>(&self, calls: &[RpcCall], error: ChainError) -> Result<T, ChainError> {
        if let ChainError::Left { after, .. } = error {
            let answer = Err(error);
            self.count(calls, &answer, after);
            return answer;
        }
        self.health.not_asked(lead(calls), &error);
        Err(error)
    }

    /// What came of the calls of a request. A batch may be answered and each of its calls refused.
    fn count<T: Outcomes>(&self, calls: &[RpcCall], answer: &Result<T, ChainError>, took: Duration) {
        let who = (self.chain.as_str(), self.host.as_str());
        let mut methods: BTreeMap<&'static str, Option<&ChainError>> = BTreeMap::new();
        for (method, error) in outcomes(calls, answer) {
            let credits = self.pace.cost(method);
            self.usage.count(method, error.is_none(), credits);
            metrics::rpc_request(who, method, error.map_or("ok", |error| error.kind().as_str()), took);
            metrics::rpc_credits(who, method, credits);
            // One answer of several shows that the method is answered.
            let failed = methods.entry(method).or_insert(error);
            *failed = failed.and(error);
        }
        for (method, error) in methods {
            match error {
                None => self.health.answered(method, took),
                Some(error) => self.health.failed(method, error),
            }
        }
    }

    /// The node has named when it wants to be asked again; until then it is not.
    fn closed(&self, method: &'static str, wait: Duration) -> ChainError {
        ChainError::Refused {
            host: self.host.clone(),
            method,
            code: None,
            message: format!("too many requests; the node asks to wait {} s more", wait.as_secs()),
            refusal: RefusalKind::Rate { retry_after: Some(wait) },
        }
    }

    async fn ask_once<T: DeserializeOwned>(&self, question: &RpcCall) -> Result<Option<T>, ChainError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let asked = (std::slice::from_ref(question), question.call(id).to_string());
        let body = self.post(asked, &mut Vec::new()).await?;
        self.read_body(question, id, &body)
    }

    async fn list_once<T: DeserializeOwned>(
        &self,
        question: &RpcCall,
        each: &mut (impl FnMut(T) + Send),
    ) -> Result<Option<()>, ChainError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut listing = StreamedList::new(&mut *each);
        let asked = (std::slice::from_ref(question), question.call(id).to_string());
        let body = self.post(asked, &mut listing).await?;
        match listing.wrong() {
            Some(wrong) if body.is_ok() => Err(self.bad(question.method, wrong)),
            // Elements that were not recognised as such are in what is left.
            _ => {
                Ok(self.read_body::<Vec<T>>(question, id, &body)?.map(|rest| rest.into_iter().for_each(each)))
            }
        }
    }

    fn read_body<T: DeserializeOwned>(
        &self,
        question: &RpcCall,
        id: u64,
        body: &Body,
    ) -> Result<Option<T>, ChainError> {
        match serde_json::from_slice::<RpcResponse<T>>(&body.bytes) {
            Ok(answer) => self.read(question, answer, id, body),
            Err(error) if body.is_ok() => Err(self.unread(question, body, body.why_unread(&error))),
            Err(_) => Err(self.refused(question, body, None)),
        }
    }

    /// One answer to one question, whose id must be its own.
    fn read<T>(
        &self,
        question: &RpcCall,
        answer: RpcResponse<T>,
        id: u64,
        body: &Body,
    ) -> Result<Option<T>, ChainError> {
        match answer {
            // A node that could not read the question has no id to repeat.
            RpcResponse { error: Some(error), .. } => Err(self.refused(question, body, Some(error))),
            answer if !body.is_ok() => Err(self.refused(question, body, answer.error)),
            answer if answer.id == json!(id) => Ok(answer.result),
            answer => Err(self.unread(question, body, format!("its id is {}, asked was {id}", answer.id))),
        }
    }

    async fn post(
        &self,
        (calls, request): (&[RpcCall], String),
        intake: &mut impl BodyConsumer,
    ) -> Result<Body, ChainError> {
        let (method, limit) = (lead(calls), max_bytes(calls, self.max_bytes));
        let request = self.client.post(&self.url).header("content-type", "application/json").body(request);
        let response = request.send().await.map_err(|error| self.failed(method, &error))?;
        let share = AnswerBytes::new(self.in_flight.clone());
        Body::read(response, (limit, share), intake).await.map_err(|error| match error {
            BodyError::TooLarge => ChainError::TooLarge { host: self.host.clone(), method, limit },
            BodyError::Broken(error) => self.failed(method, &error),
        })
    }

    /// A body with status 200 that is no answer may be a refusal all the same: gateways write theirs in JSON of their own.
    fn unread(&self, question: &RpcCall, body: &Body, reason: String) -> ChainError {
        match self.refused(question, body, None) {
            ChainError::Refused { refusal: RefusalKind::Unknown, .. } => self.bad(question.method, reason),
            // An answer that was cut short may contain anything.
            _ if body.bytes.windows(9).take(200).any(|part| part == b"\"result\":") => {
                self.bad(question.method, reason)
            }
            refused => refused,
        }
    }

    fn refused(&self, question: &RpcCall, body: &Body, error: Option<ErrorObject>) -> ChainError {
        self.refused_all(std::slice::from_ref(question), body, error)
    }

    /// A refusal of all calls of a request.
    fn refused_all(&self, calls: &[RpcCall], body: &Body, error: Option<ErrorObject>) -> ChainError {
        let (code, message, data) = match error {
            Some(error) => error.parts(),
            None => (None, body.beginning(), None),
        };
        let message =
            if message.trim().is_empty() { format!("http status {}", body.status) } else { message };
        let asked = calls.iter().find_map(|call| call.width);
        let batch = (calls.len() > 1).then_some(calls.len() as u64);
        let (status, retry_after) = (Some(body.status), body.retry_after);
        let answer = ErrorResponse { code, status, message, data, retry_after, asked, calls: batch };
        let method = lead(calls);
        ChainError::refused((&self.host, &self.secrets), method, answer)
    }

    fn failed(&self, method: &'static str, error: &reqwest::Error) -> ChainError {
        let host = self.host.clone();
        if error.is_timeout() {
            return ChainError::Timeout { host, method, after: self.timeout };
        }
        if error.is_connect() {
            let proxy = proxy_variable(&self.url).map(|name| {
                let unless = if is_set("NO_PROXY") || is_set("no_proxy") { UNLESS_EXEMPT } else { "" };
                format!("{BY_PROXY}{name} names{unless}")
            });
            let reason = root_cause(error) + &proxy.unwrap_or_default();
            return ChainError::Unreachable { host, reason };
        }
        let reason = match error.is_request() {
            true => format!(
                "the connection ended before it came ({}); if that repeats, check scheme and port of the url",
                root_cause(error)
            ),
            // What came cannot be unpacked, or broke off.
            false => root_cause(error),
        };
        ChainError::BadAnswer { host, method, reason }
    }
}

/// A node that asks for a longer pause refuses work. Less is how limits by the second are kept, and is sat
/// out.
const LEFT_ALONE: Duration = Duration::from_secs(3);
