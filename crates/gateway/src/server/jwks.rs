use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use chainflume_api::access::{Algorithm, TokenError, User, Verifier, verifying_keys};
use chainflume_ops::health::Heartbeat;
use chainflume_ops::http::HttpClient;
use chainflume_ops::metrics;
use chainflume_ops::telemetry::LogLimiter;

/// Bytes of a set of keys.
const MAX_BYTES: usize = 256 << 10;
/// From one fetch for an unknown key to the next: a client that makes up names of keys must not have us flood the issuer.
const PAUSE: Duration = Duration::from_secs(10);
/// After a fetch that failed; twice as long each time, up to [`PAUSE`].
const RETRY: Duration = Duration::from_secs(1);
/// How long a request with an unknown key waits for the fetch.
const UNKNOWN_KEY_TIMEOUT: Duration = Duration::from_secs(3);

/// The public keys of an issuer, fetched from where it publishes them, and kept while they cannot be fetched.
pub struct Jwks {
    client: HttpClient,
    algorithms: Vec<Algorithm>,
    refresh: Duration,
    /// Checks tokens with the keys of the last fetch that succeeded.
    verifier: RwLock<Verifier>,
    last: Mutex<Option<Instant>>,
    wanted: Notify,
    /// Counts fetches.
    tried: watch::Sender<u64>,
}

impl std::fmt::Debug for Jwks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jwks").field("host", &self.client.host()).finish_non_exhaustive()
    }
}

impl Jwks {
    /// Nothing is fetched yet. `verifier` has no keys, only what else is checked. Keys of these `algorithms` are used. They are fetched again
    /// after `refresh`.
    pub fn new(
        client: HttpClient,
        verifier: Verifier,
        algorithms: Vec<Algorithm>,
        refresh: Duration,
    ) -> Self {
        Self {
            client,
            algorithms,
            refresh,
            verifier: RwLock::new(verifier),
            last: Mutex::default(),
            wanted: Notify::new(),
            tried: watch::Sender::new(0),
        }
    }

    /// As [`Verifier::verify`], with the keys known now.
    pub(super) fn verify(&self, token: &str, now: u64) -> Result<User, TokenError> {
        self.verifier.read().unwrap_or_else(PoisonError::into_inner).verify(token, now)
    }

    /// Whether keys were ever fetched.
    pub(super) fn is_loaded(&self) -> bool {
        !self.verifier.read().unwrap_or_else(PoisonError::into_inner).keys.is_empty()
    }

    /// Asks for newer keys, and waits a little for them; at once where they were fetched a moment ago.
    pub(super) async fn ask(&self) {
        let mut tried = self.tried.subscribe();
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < PAUSE) {
            return;
        }
        self.wanted.notify_one();
        let _in_time = tokio::time::timeout(UNKNOWN_KEY_TIMEOUT, tried.changed()).await;
    }

    /// Fetches them now, then at the configured interval and when an unknown key is met, until `stop`.
    pub(super) async fn keep(&self, stop: &CancellationToken, heartbeat: &Heartbeat) {
        let (lines, mut retry) = (LogLimiter::default(), RETRY);
        while !stop.is_cancelled() {
            let fetched = heartbeat.wait(self.fetch()).await;
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            metrics::push_keys_fetched(fetched.is_ok());
            self.tried.send_modify(|tried| *tried += 1);
            let pause = match fetched {
                Ok(()) => {
                    retry = RETRY;
                    self.refresh
                }
                Err(error) => {
                    if let Some(suppressed) = lines.admit("keys") {
                        let suppressed = suppressed.field();
                        tracing::warn!(
                            error,
                            suppressed,
                            "public keys of the issuer cannot be fetched; those known stay in use"
                        );
                    }
                    let pause = retry;
                    retry = (retry * 2).min(PAUSE);
                    pause
                }
            };
            let wanted = async {
                tokio::time::sleep(PAUSE.min(pause)).await;
                self.wanted.notified().await;
            };
            let next = tokio::time::timeout(pause, wanted);
            if stop.run_until_cancelled(heartbeat.wait(next)).await.is_none() {
                return;
            }
        }
    }

    async fn fetch(&self) -> Result<(), String> {
        let text = self.client.fetch(MAX_BYTES).await.map_err(|error| error.to_string())?;
        let keys = verifying_keys(&text, &self.algorithms);
        let keys = keys.map_err(|error| format!("{}: {error}", self.client.host()))?;
        self.verifier.write().unwrap_or_else(PoisonError::into_inner).keys = keys;
        Ok(())
    }
}
