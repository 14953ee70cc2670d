use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::tracker::{AlertNotice, NoticeKind};
use crate::http::HttpClient;
use crate::metrics;
use crate::supervise::{Beside, Loop, Turns};

/// Sends notices to a chat, in their order.
pub(super) struct AlertSender {
    post: HttpClient,
}

/// Maximum number of queued notices while the chat is unreachable. More than the kinds of incidents on a few chains.
const QUEUE: usize = 64;
/// Pauses between tries. After the last one the notices are dropped: the log has them, and later notices may be more
/// urgent.
const WAITS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(5),
];
/// Limit for the `Retry-After` of a chat: Slack answers 429 to more than one message a second, but must not stop
/// alerts.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(5);
/// A try ends by the timeout of its request, after some seconds; the pauses between tries do not count.
const HUNG: Duration = Duration::from_mins(2);
/// Maximum length of a notice: it must be readable, and errors can be long.
const CHARS: usize = 1_000;

/// The queue of notices.
pub(super) struct NoticeQueue(Sender<AlertNotice>);

impl NoticeQueue {
    /// Queues a notice. If the queue is full, the notice is dropped and remains in the log.
    pub(super) fn put(&self, notice: AlertNotice) {
        if self.0.try_send(notice).is_err() {
            metrics::alert("dropped");
            tracing::warn!("an alert is dropped: too many wait for the webhook");
        }
    }
}

impl AlertSender {
    pub(super) fn new(post: HttpClient) -> Self {
        Self { post }
    }

    /// The queue, and the task that empties it until it is dropped.
    pub(super) fn start(self) -> (NoticeQueue, Beside) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let task = Beside::start(Loop::new("alert sender", HUNG), |turns| self.send_all(receiver, turns));
        (NoticeQueue(sender), task)
    }

    async fn send_all(self, mut queue: Receiver<AlertNotice>, turns: Turns) {
        let mut notices = Vec::new();
        while turns.wait(queue.recv_many(&mut notices, QUEUE)).await > 0 {
            // Notices that arrive together are sent together: one fault has many symptoms.
            let lines: Vec<String> = notices.drain(..).map(|notice| line(&notice)).collect();
            let sent = self.send(&json!({ "text": lines.join("\n") }).to_string(), &turns).await;
            metrics::alert(if sent { "sent" } else { "failed" });
        }
    }

    /// Whether the chat finally accepted it.
    async fn send(&self, body: &str, turns: &Turns) -> bool {
        for wait in WAITS.map(Some).into_iter().chain([None]) {
            let (error, asked) = match self.post.send(&[], body.to_owned()).await {
                Ok(answer) if (200..300).contains(&answer.status) => return true,
                Ok(answer) => (
                    format!("{} answered {} {}", self.post.host(), answer.status, answer.text),
                    answer.retry_after,
                ),
                Err(error) => (error.to_string(), None),
            };
            let Some(wait) = wait else {
                tracing::error!(error, "the alert webhook does not accept an alert; the alert is dropped");
                break;
            };
            tracing::warn!(error, ?wait, "the alert webhook does not accept an alert; it is retried");
            let wait = wait.max(asked.unwrap_or_default().min(LONGEST_RETRY_AFTER));
            turns.wait(tokio::time::sleep(wait)).await;
        }
        false
    }
}

/// The text of a notice. The three characters with a meaning in Slack are escaped
/// (<https://docs.slack.dev/messaging/formatting-message-text/>).
fn line(notice: &AlertNotice) -> String {
    let short: String = notice.text.chars().take(CHARS).collect();
    let text = short.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    match notice.news {
        NoticeKind::Began => format!("[chainflume] {text}"),
        NoticeKind::Over { lasted } => {
            let lasted = humantime::format_duration(Duration::from_secs(lasted.as_secs()));
            format!("[chainflume] over after {lasted}: {text}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::IncidentKey;

    #[test]
    fn a_notice_is_a_line_that_no_chat_mistakes() {
        let notice = |news| AlertNotice {
            key: IncidentKey { kind: "database", of: String::new() },
            text: "a <b> & c".to_owned(),
            news,
        };
        assert_eq!(line(&notice(NoticeKind::Began)), "[chainflume] a &lt;b&gt; &amp; c");
        let over = NoticeKind::Over { lasted: Duration::from_millis(61_500) };
        assert_eq!(line(&notice(over)), "[chainflume] over after 1m 1s: a &lt;b&gt; &amp; c");
    }
}
