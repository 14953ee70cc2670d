//! A client of one JSON-RPC endpoint over HTTP. It is not a library's, for three reasons. Bytes of a body are counted
//! while it is read, after decompression. The body of an answer with an error status is kept, because it names the
//! limit. And only the caller retries, because only the caller knows why.

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
use call::{max_bytes, method_of};
use canceller::RequestCanceller;
use chainflume_ops::http::build_client;
use chainflume_ops::metrics;
use chainflume_ops::tls;
use in_flight::{AnswerBytes, BytesInFlight};
use outcomes::{Outcomes, outcomes};
use probing::probe_limit;
pub use probing::probing;
pub use rate_limit::MAX_RETRY_AFTER;
use rate_limit::RateLimiter;
use streamed_list::StreamedList;
use transport::{is_set, proxy_variable, root_cause};
pub use usage::MethodUsage;
use usage::UsageCounter;

pub(super) struct Rpc {
    client: reqwest::Client,
    url: String,
    host: String,
    /// Parts of URLs that a node may repeat in a refusal ("unknown key …"). They are those of all providers of the
    /// chain: two may belong to one account.
    secrets: Vec<String>,
    chain: String,
    timeout: Duration,
    max_bytes: usize,
    in_flight: Arc<BytesInFlight>,
    next_id: AtomicU64,
    pace: RateLimiter,
    usage: UsageCounter,
    batches: BatchLimit,
    canceller: RequestCanceller,
    /// A request that takes longer causes a probe.
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
                // A redirect would send the key of the URL to another host.
                .redirect(reqwest::redirect::Policy::none())
                .timeout(settings.request_timeout)
                .connect_timeout(settings.request_timeout)
                .user_agent(concat!("chainflume/", env!("CARGO_PKG_VERSION")))
                // Some servers compress an answer without being asked.
                .gzip(true)
                .default_headers(headers.clone())
        };
        let client = build_client(&provider.http_url, builder)
            .map_err(|error| ChainError::Unreachable { host: host.clone(), reason: root_cause(&error) })?;
        let in_flight = BytesInFlight::new(
            metrics::ProviderLabels { chain: &settings.name, provider: &host },
            provider.pace.max_bytes_in_flight,
        );
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
            canceller: RequestCanceller::default(),
            overdue_after: settings.failover.probe_timeout,
            health: HealthTracker::new(alarm),
        })
    }

    /// Makes a call. `None` where the node answers `null`.
    pub(super) async fn ask<T: DeserializeOwned>(&self, call: &RpcCall) -> Result<Option<T>, ChainError> {
        self.paced(std::slice::from_ref(call), self.ask_once(call)).await
    }

    /// As [`Self::ask`], where `null` is an error.
    pub(super) async fn demand<T: DeserializeOwned>(&self, call: &RpcCall) -> Result<T, ChainError> {
        self.ask(call).await?.ok_or_else(|| self.bad(call.method, "null instead of a result"))
    }

    /// As [`Self::demand`], for a long list: each element is handed out as soon as it has arrived, so that the answer
    /// is never in memory as a whole. After an error the elements that were handed out are not valid.
    pub(super) async fn demand_each<T: DeserializeOwned>(
        &self,
        call: &RpcCall,
        mut each: impl FnMut(T) + Send,
    ) -> Result<(), ChainError> {
        let answer = self.paced(std::slice::from_ref(call), self.list_once(call, &mut each)).await?;
        answer.ok_or_else(|| self.bad(call.method, "null instead of a result"))
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Whether the node asked for a pause that is long enough to use another provider.
    pub(super) fn refuses(&self) -> bool {
        self.pace.closed_for() > MAX_PAUSE_BEFORE_SWITCH
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
        // The reason may quote the answer.
        let reason = redacted(&self.secrets, &reason.into());
        ChainError::BadAnswer { host: self.host.clone(), method, reason }
    }

    /// Makes one request of these calls within the rate limit, and counts them.
    async fn paced<T: Outcomes>(
        &self,
        calls: &[RpcCall],
        request: impl Future<Output = Result<T, ChainError>>,
    ) -> Result<T, ChainError> {
        let request = Box::pin(request);
        let method = method_of(calls);
        let units = calls.iter().map(|call| self.pace.cost(call.method)).sum();
        let count = calls.len() as u64;
        let turn = |entered: Result<_, Duration>| {
            entered.map(|permit| (permit, Instant::now())).map_err(|wait| self.closed(method, wait))
        };
        let asked = match probe_limit() {
            Some(limit) => match turn(self.pace.enter_now(count, units)) {
                Ok(entered) => Ok((entered, self.with_timeout(method, limit, request).await)),
                Err(closed) => Err(closed),
            },
            None => {
                self.unless_cancelled(method, async {
                    let entered = turn(self.pace.enter(count, units).await)?;
                    Ok((entered, self.with_overdue_alarm(request).await))
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
        metrics::rpc_concurrency(self.labels(), self.pace.allowed());
        answer
    }

    fn labels(&self) -> metrics::ProviderLabels<'_> {
        metrics::ProviderLabels { chain: &self.chain, provider: &self.host }
    }

    /// Handles a request that was not sent because of a pause, or was cancelled before its answer.
    fn not_answered<T: Outcomes>(&self, calls: &[RpcCall], error: ChainError) -> Result<T, ChainError> {
        if let ChainError::Cancelled { after, .. } = error {
            let answer = Err(error);
            self.count(calls, &answer, after);
            return answer;
        }
        self.health.not_asked(method_of(calls), &error);
        Err(error)
    }

    /// Counts the calls of a request by method. A batch may be answered and each of its calls refused.
    fn count<T: Outcomes>(&self, calls: &[RpcCall], answer: &Result<T, ChainError>, took: Duration) {
        let mut methods: BTreeMap<&'static str, Option<&ChainError>> = BTreeMap::new();
        for (method, error) in outcomes(calls, answer) {
            let credits = self.pace.cost(method);
            self.usage.count(method, error.is_none(), credits);
            metrics::rpc_request(
                self.labels(),
                method,
                error.map_or("ok", |error| error.kind().as_str()),
                took,
            );
            metrics::rpc_credits(self.labels(), method, credits);
            // A method counts as answered if one of its calls is.
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

    /// The error for a request during a pause that the node asked for.
    fn closed(&self, method: &'static str, wait: Duration) -> ChainError {
        ChainError::Refused {
            host: self.host.clone(),
            method,
            code: None,
            message: format!("too many requests; the node asks to wait {} s more", wait.as_secs()),
            refusal: RefusalKind::Rate { retry_after: Some(wait) },
        }
    }

    async fn ask_once<T: DeserializeOwned>(&self, call: &RpcCall) -> Result<Option<T>, ChainError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (calls, request) = (std::slice::from_ref(call), call.to_json(id).to_string());
        let body = self.post(calls, request, &mut Vec::new()).await?;
        self.read_body(call, id, &body)
    }

    async fn list_once<T: DeserializeOwned>(
        &self,
        call: &RpcCall,
        each: &mut (impl FnMut(T) + Send),
    ) -> Result<Option<()>, ChainError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut listing = StreamedList::new(&mut *each);
        let (calls, request) = (std::slice::from_ref(call), call.to_json(id).to_string());
        let body = self.post(calls, request, &mut listing).await?;
        match listing.wrong() {
            Some(wrong) if body.is_ok() => Err(self.bad(call.method, wrong)),
            // Elements that the stream did not recognise are in the rest of the body.
            _ => Ok(self.read_body::<Vec<T>>(call, id, &body)?.map(|rest| rest.into_iter().for_each(each))),
        }
    }

    fn read_body<T: DeserializeOwned>(
        &self,
        call: &RpcCall,
        id: u64,
        body: &Body,
    ) -> Result<Option<T>, ChainError> {
        match serde_json::from_slice::<RpcResponse<T>>(&body.bytes) {
            Ok(answer) => self.read(call, answer, id, body),
            Err(error) if body.is_ok() => Err(self.unread(call, body, body.why_unread(&error))),
            Err(_) => Err(self.refused(call, body, None)),
        }
    }

    /// Reads one answer, whose id must be that of the call.
    fn read<T>(
        &self,
        call: &RpcCall,
        answer: RpcResponse<T>,
        id: u64,
        body: &Body,
    ) -> Result<Option<T>, ChainError> {
        match answer {
            // A node that could not read the call has no id to repeat.
            RpcResponse { error: Some(error), .. } => Err(self.refused(call, body, Some(error))),
            answer if !body.is_ok() => Err(self.refused(call, body, answer.error)),
            answer if answer.id == json!(id) => Ok(answer.result),
            answer => Err(self.unread(call, body, format!("its id is {}, expected was {id}", answer.id))),
        }
    }

    async fn post(
        &self,
        calls: &[RpcCall],
        request: String,
        intake: &mut impl BodyConsumer,
    ) -> Result<Body, ChainError> {
        let (method, limit) = (method_of(calls), max_bytes(calls, self.max_bytes));
        let request = self.client.post(&self.url).header("content-type", "application/json").body(request);
        let response = request.send().await.map_err(|error| self.failed(method, &error))?;
        let share = AnswerBytes::new(self.in_flight.clone());
        Body::read(response, limit, share, intake).await.map_err(|error| match error {
            BodyError::TooLarge => ChainError::TooLarge { host: self.host.clone(), method, limit },
            BodyError::Broken(error) => self.failed(method, &error),
        })
    }

    /// The error for a body with status 200 that is no JSON-RPC answer. It may be a refusal in the gateway's own
    /// JSON.
    fn unread(&self, call: &RpcCall, body: &Body, reason: String) -> ChainError {
        match self.refused(call, body, None) {
            ChainError::Refused { refusal: RefusalKind::Unknown, .. } => self.bad(call.method, reason),
            // An answer that was cut off may contain any words.
            _ if body.bytes.windows(9).take(200).any(|part| part == b"\"result\":") => {
                self.bad(call.method, reason)
            }
            refused => refused,
        }
    }

    fn refused(&self, call: &RpcCall, body: &Body, error: Option<ErrorObject>) -> ChainError {
        self.refused_all(std::slice::from_ref(call), body, error)
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
        let method = method_of(calls);
        ChainError::refused(&self.host, &self.secrets, method, answer)
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
                "the connection ended before the answer came ({}); if that repeats, check scheme and port of the url",
                root_cause(error)
            ),
            // The body broke off, or cannot be decompressed.
            false => root_cause(error),
        };
        ChainError::BadAnswer { host, method, reason }
    }
}

/// A pause that is longer than this is a reason to use another provider. A shorter one keeps a limit of requests per
/// second.
const MAX_PAUSE_BEFORE_SWITCH: Duration = Duration::from_secs(3);
