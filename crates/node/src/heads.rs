//! The WebSocket, which only wakes the loop of a chain. The stored tip decides which blocks are read. An announced
//! head shows when to read, and which block can be requested by its hash. The most common outage is an open socket
//! without messages. So silence is measured, polling takes over, and the socket is used again as soon as it works.

mod socket;

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::error::redacted;
use super::settings::{ChainSettings, ProviderSettings};
use super::wire::WireHead;
use chainflume_core::domain::BlockId;
use chainflume_ops::backoff::Backoff;
use chainflume_ops::metrics;
use chainflume_ops::supervise::{Beside, Loop, Turns};
use chainflume_ops::telemetry::LogLimiter;
use socket::subscribed;

pub use socket::check_websocket;

/// How new heads are noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HeadSource {
    /// No WebSocket is configured, or it does not work: the head is requested every `poll_interval`.
    Polling = 0,
    /// The WebSocket announces heads.
    Pushed = 1,
}

/// Wakes the loop of a chain when a head is announced, or when the next poll is due.
pub struct HeadNotifier {
    shared: Arc<NotifierShared>,
    poll_interval: Duration,
    last: Option<Instant>,
    /// Number of announcements that are still to be ignored.
    to_ignore: u32,
    listener: Option<Beside>,
}

struct NotifierShared {
    state: AtomicU8,
    changed: Notify,
    announced: Mutex<Announcements>,
}

/// The heads that were announced.
#[derive(Default)]
struct Announcements {
    /// The last announcement, until the loop takes it.
    waiting: Option<BlockId>,
    /// The last announcement that named its block.
    newest: Option<BlockId>,
}

impl Announcements {
    /// Records a head. Returns whether it is new: a gateway with several nodes announces some heads more than once,
    /// and each announcement would cause a request.
    fn note(&mut self, head: Option<BlockId>) -> bool {
        if head.is_some() && head == self.newest {
            return false;
        }
        self.waiting = head;
        self.newest = head.or(self.newest);
        true
    }
}

impl HeadNotifier {
    /// Opens the provider's WebSocket, where one is configured.
    pub fn new(settings: &ChainSettings, provider: &ProviderSettings) -> Self {
        let mut wake = Self::without_websocket(settings);
        wake.listener = provider.ws_url.clone().map(|url| {
            let listener = HeadListener {
                url,
                headers: provider.headers.clone(),
                host: provider.label.clone(),
                settings: settings.clone(),
                shared: wake.shared.clone(),
                lines: LogLimiter::default(),
                logged: AtomicBool::new(false),
            };
            let this = Loop::new(
                format!("websocket {}", settings.name),
                HUNG_AFTER.max(settings.request_timeout * 4),
            );
            Beside::start(this, |turns| listener.run(turns))
        });
        wake
    }

    /// A notifier that opens no WebSocket: for a chain that this process does not follow.
    pub fn without_websocket(settings: &ChainSettings) -> Self {
        if settings.providers.iter().any(|provider| provider.ws_url.is_some()) {
            metrics::ws_connected(&settings.name, false);
        }
        let state = AtomicU8::new(HeadSource::Polling as u8);
        let shared = Arc::new(NotifierShared { state, changed: Notify::new(), announced: Mutex::default() });
        Self { shared, poll_interval: settings.poll_interval, last: None, to_ignore: 0, listener: None }
    }

    /// # Panics
    /// When the listener panicked or hangs: without this check the loop would wait for it for ever.
    pub fn check(&mut self) {
        self.listener.iter_mut().for_each(Beside::check);
    }

    /// How new heads are noticed now.
    pub fn state(&self) -> HeadSource {
        self.shared.state()
    }

    /// The head that was announced since the last call, unless that announcement is to be ignored. The head names a
    /// block that can be requested, and proves nothing about it.
    pub fn announced(&mut self) -> Option<BlockId> {
        let announced =
            self.shared.announced.lock().unwrap_or_else(PoisonError::into_inner).waiting.take()?;
        match self.to_ignore.checked_sub(1) {
            Some(left) => {
                self.to_ignore = left;
                None
            }
            None => Some(announced),
        }
    }

    /// Ignores this many announcements from now on.
    pub fn ignore_next(&mut self, announcements: u32) {
        self.to_ignore = announcements;
    }

    /// Makes the next [`Self::ready`] return at once.
    pub fn poll_now(&mut self) {
        self.last = None;
    }

    /// Waits until the head is to be read: not at all the first time, then until the next announcement. Without a
    /// WebSocket that works, until `poll_interval` after the last read. Cancel safe.
    pub async fn ready(&mut self) {
        if let Some(last) = self.last {
            loop {
                let due = last + self.poll_interval;
                match (
                    self.shared.state(),
                    timeout(due.saturating_duration_since(Instant::now()), self.shared.changed.notified())
                        .await,
                ) {
                    // While the socket works, only the listener decides whether it is silent for too long.
                    (HeadSource::Pushed, Err(_)) => {
                        self.shared.changed.notified().await;
                        break;
                    }
                    // A change of state notifies as well, and is no reason to read. Only an announced head or a poll
                    // that is due is one.
                    (_, Ok(())) if self.shared.state() == HeadSource::Pushed => break,
                    (_, Ok(())) => {}
                    (HeadSource::Polling, Err(_)) => break,
                }
            }
        }
        self.last = Some(Instant::now());
    }
}

impl NotifierShared {
    fn state(&self) -> HeadSource {
        if self.state.load(Ordering::Relaxed) == HeadSource::Pushed as u8 {
            HeadSource::Pushed
        } else {
            HeadSource::Polling
        }
    }

    fn set(&self, state: HeadSource) {
        self.state.store(state as u8, Ordering::Relaxed);
        self.changed.notify_one();
    }
}

struct HeadListener {
    url: String,
    headers: HeaderMap,
    host: String,
    settings: ChainSettings,
    shared: Arc<NotifierShared>,
    /// Limits the log line of a socket that closes as often as it opens to one a minute.
    lines: LogLimiter,
    /// Whether the line "websocket announces heads" is the last that was logged about it.
    logged: AtomicBool,
}

/// Why the WebSocket closed, as a text for people.
struct CloseReason {
    /// The reason, which may quote the node.
    reason: String,
    /// The remedy, in words of this program; empty where none is known.
    remedy: Cow<'static, str>,
}

impl From<String> for CloseReason {
    fn from(reason: String) -> Self {
        Self { reason, remedy: Cow::Borrowed("") }
    }
}

impl CloseReason {
    /// The reason without `secrets` and cut to one line, followed by the whole remedy.
    fn shown(&self, secrets: &[String]) -> String {
        let semicolon = if self.remedy.is_empty() { "" } else { "; " };
        format!("{}{semicolon}{}", redacted(secrets, &self.reason), self.remedy)
    }
}

impl HeadListener {
    async fn run(self, turns: Turns) {
        let host = &self.host;
        let (mut backoff, secrets) = (Backoff::new(FIRST_RECONNECT, MAX_RECONNECT), self.settings.secrets());
        loop {
            let mut heard = false;
            let Err(ended) = self.listen(&mut heard, &turns).await;
            let was_pushed = self.shared.state() == HeadSource::Pushed;
            if let Some(suppressed) = self.lines.admit(if was_pushed { "lost" } else { "refused" }) {
                let reason = ended.shown(&secrets);
                let (chain, suppressed) = (&self.settings.name, suppressed.field());
                self.logged.store(false, Ordering::Relaxed);
                match was_pushed {
                    true => {
                        tracing::warn!(%chain, host, reason, suppressed, "websocket lost, polling takes over");
                    }
                    false => tracing::warn!(
                        %chain, host, reason, suppressed, "websocket announces no heads, polling takes over"
                    ),
                }
            }
            self.shared.set(HeadSource::Polling);
            metrics::ws_connected(&self.settings.name, false);
            metrics::ws_lost(&self.settings.name);
            if heard {
                backoff.reset();
            }
            turns.wait(tokio::time::sleep(backoff.next_pause())).await;
        }
    }

    async fn listen(&self, heard: &mut bool, turns: &Turns) -> Result<std::convert::Infallible, CloseReason> {
        let limit = self.settings.request_timeout;
        let mut socket = timeout(limit, subscribed(&self.url, &self.headers))
            .await
            .map_err(|_| "no connection in time".to_owned())??;
        loop {
            let limit = if *heard { self.settings.ws_silence } else { limit.max(self.settings.ws_silence) };
            let message = turns.wait(self.next_text(&mut socket, limit)).await?;
            self.handle_message(&message, heard)?;
        }
    }

    /// The next text message. Only a text resets the clock: a proxy answers pings for a node that is gone.
    async fn next_text<S>(&self, socket: &mut S, limit: Duration) -> Result<String, CloseReason>
    where
        S: futures_util::Stream<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
    {
        let until = Instant::now() + limit;
        loop {
            let silent = || format!("silent for {} s", limit.as_secs_f32());
            let message = tokio::time::timeout_at(until, socket.next()).await.map_err(|_| silent())?;
            match message {
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(Message::Close(_))) | None => return Err("closed by the node".to_owned().into()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.to_string().into()),
            }
        }
    }

    fn handle_message(&self, text: &str, heard: &mut bool) -> Result<(), CloseReason> {
        let mut message: Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
        if let Some(error) = message.get("error") {
            return Err(format!("newHeads refused: {}", error["message"]).into());
        }
        if message["method"] != "eth_subscription" {
            return Ok(());
        }
        if !*heard {
            *heard = true;
            if !self.logged.swap(true, Ordering::Relaxed) {
                tracing::info!(chain = %self.settings.name, host = %self.host, "websocket announces heads");
            }
            metrics::ws_connected(&self.settings.name, true);
        }
        let head = announced(&mut message);
        let is_news = self.shared.announced.lock().unwrap_or_else(PoisonError::into_inner).note(head);
        // After a reconnection a known head also shows that the socket works.
        if is_news || self.shared.state() != HeadSource::Pushed {
            self.shared.set(HeadSource::Pushed);
        }
        Ok(())
    }
}

/// The head of an announcement. `None` for a header of an unknown shape: there is a new head, and which is not known.
fn announced(message: &mut Value) -> Option<BlockId> {
    let head = message.pointer_mut("/params/result")?.take();
    serde_json::from_value::<WireHead>(head).ok().map(BlockId::from)
}

/// The listener reports progress every second while it waits. To connect takes no longer than a request may.
const HUNG_AFTER: Duration = Duration::from_mins(1);

/// Longest pause before the WebSocket is opened again. Polling covers the pause.
const MAX_RECONNECT: Duration = Duration::from_secs(30);
/// First pause before the WebSocket is opened again.
const FIRST_RECONNECT: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use chainflume_core::domain::B256;

    #[test]
    fn a_repeated_head_is_no_news() {
        let head = |number| Some(BlockId { number, hash: B256::repeat_byte(7) });
        let mut announced = Announcements::default();
        let heads = [head(1), head(1), head(2), None, None, head(2), head(1)];
        assert_eq!(heads.map(|head| announced.note(head)), [true, false, true, true, true, false, true]);
        assert_eq!(announced.waiting, head(1));
    }

    #[test]
    fn a_remedy_is_shown_whole_behind_a_long_reason() {
        let remedy = "write http:// or ws://, or another port";
        let reason = CloseReason { reason: "word ".repeat(1_000), remedy: remedy.into() };
        let shown = reason.shown(&[]);
        assert!(shown.ends_with(&format!("…; {remedy}")) && shown.len() < 300, "{shown}");
        assert_eq!(
            CloseReason::from("the key k7 of ws://node/k7".to_owned()).shown(&["k7".to_owned()]),
            "the key <key> of <url>"
        );
    }

    #[test]
    fn what_announces_no_head_we_know_names_none() {
        let hash = B256::repeat_byte(7);
        let of = |params: Value| announced(&mut json!({ "method": "eth_subscription", "params": params }));
        let head = json!({ "number": "0x10", "hash": hash, "parentHash": hash, "extraData": "0x" });
        assert_eq!(of(json!({ "subscription": "0x1", "result": head })), Some(BlockId { number: 16, hash }));
        for odd in [
            json!([]),
            json!("0x1"),
            json!(1),
            Value::Null,
            json!({}),
            json!({ "result": hash }),
            json!({ "result": [] }),
            json!({ "result": { "number": "0x10" } }),
            json!({ "result": { "number": 16, "hash": hash } }),
        ] {
            assert_eq!(of(odd.clone()), None, "{odd}");
        }
        assert_eq!(announced(&mut json!([])), None);
    }
}
