mod remedy;

use std::time::Duration;

use alloy_primitives::B256;

use super::limits::{ErrorResponse, Hint, NarrowReason, RefusalKind, classify};
use super::logs::LOGS;
use chainflume_ops::metrics::StepErrorKind;
use chainflume_ops::text::is_unprintable;
use remedy::refusal_remedy;
pub(super) use remedy::{BY_PROXY, UNLESS_EXEMPT, remedy};

/// Why a request to a node has no usable answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChainError {
    /// The node cannot be reached.
    #[error("{host}: cannot reach the node ({reason}); {}", remedy(.reason))]
    Unreachable {
        /// Host of the endpoint.
        host: String,
        /// What broke.
        reason: String,
    },
    /// No answer in time.
    #[error("{host}: no answer to {method} within {} s; check the node, or raise `request_timeout`", .after.as_secs_f32())]
    Timeout {
        /// Host of the endpoint.
        host: String,
        /// JSON-RPC method.
        method: &'static str,
        /// The limit that ran out.
        after: Duration,
    },
    /// The request was cancelled before an answer came: another provider is used now.
    #[error("{host}: no answer to {method} within {} s, and the request moved to another provider", .after.as_secs_f32())]
    Cancelled {
        /// Host of the endpoint.
        host: String,
        /// JSON-RPC method.
        method: &'static str,
        /// How long the request had waited.
        after: Duration,
    },
    /// The node answered with an error.
    #[error("{host}: {method} refused: {message}{}{}", .code.map(|c| format!(" (code {c})")).unwrap_or_default(), refusal_remedy(*.refusal, *.code))]
    Refused {
        /// Host of the endpoint.
        host: String,
        /// JSON-RPC method.
        method: &'static str,
        /// JSON-RPC error code, or the HTTP status when there was none.
        code: Option<i64>,
        /// The text of the node, cut to a line.
        message: String,
        /// The kind, which decides what to do about it.
        refusal: RefusalKind,
    },
    /// The answer does not fit the request.
    #[error("{host}: bad answer to {method}: {reason}")]
    BadAnswer {
        /// Host of the endpoint.
        host: String,
        /// JSON-RPC method.
        method: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer is larger than `max_response_bytes`.
    #[error("{host}: answer to {method} is larger than {limit} bytes")]
    TooLarge {
        /// Host of the endpoint.
        host: String,
        /// JSON-RPC method.
        method: &'static str,
        /// `max_response_bytes`.
        limit: usize,
    },
    /// The configuration confirms blocks by a tag, and the node has no such block.
    #[error(
        "{host}: the node has no `{tag}` block; use a number of confirmations, or wait if the chain is young"
    )]
    NoTag {
        /// Host of the endpoint.
        host: String,
        /// `safe` or `finalized`.
        tag: &'static str,
    },
    /// The node is on another chain.
    #[error(
        "{host}: the node is on chain {found}, and the configuration has chain_id = {expected}; correct one of the two"
    )]
    WrongChain {
        /// Host of the endpoint.
        host: String,
        /// Chain id the node has.
        found: u64,
        /// Chain id of the config.
        expected: u64,
    },
    /// The node is on another chain with the same id.
    #[error(
        "{host}: its block 0 is {found}, and block 0 of this chain is {expected} ({by}): the node is on another chain with the same \
         id; correct its url, or use an empty database (`chainflume check` names how)"
    )]
    WrongGenesis {
        /// Host of the endpoint.
        host: String,
        /// Hash of block 0 as this node has it.
        found: B256,
        /// The hash of block 0 of this chain.
        expected: B256,
        /// Where that hash comes from.
        by: &'static str,
    },
    /// Providers are on different chains, and the right one is not known.
    #[error(
        "providers disagree on block 0: {answers}; nothing is stored yet that shows which of them is on the right chain, so \
         no provider is used: remove the wrong one, or correct its url"
    )]
    GenesisDiffers {
        /// The block 0 of each of them.
        answers: String,
    },
}

impl ChainError {
    /// Why fewer blocks must be requested, and the width that the node offers. `None` if fewer blocks would not help.
    pub(super) fn narrows(&self) -> Option<(NarrowReason, Option<Hint>)> {
        if self.method() != Some(LOGS) {
            return None;
        }
        match self {
            Self::Refused { refusal: RefusalKind::Range(hint), .. } => {
                Some((NarrowReason::BlockSelector, *hint))
            }
            Self::Refused { refusal: RefusalKind::Size(hint), .. } => Some((NarrowReason::Size, *hint)),
            Self::TooLarge { .. } => Some((NarrowReason::Size, None)),
            Self::Refused { refusal: RefusalKind::Time, .. } | Self::Timeout { .. } => {
                Some((NarrowReason::Time, None))
            }
            _ => None,
        }
    }

    /// Whether the node failed without a reason. Some nodes fail so if the range is too wide: "no backend is
    /// currently healthy", a bare 503, a connection that is cut. A request for many headers may fail so at any time.
    pub(super) fn is_unexplained(&self) -> bool {
        matches!(self, Self::Refused { refusal: RefusalKind::Unknown, .. } | Self::BadAnswer { .. })
    }

    /// Whether this refusal repeats the earlier one word for word. A repeated refusal may be a limit in unknown
    /// words. A refusal because of the rate, the quota or the chain never is: a smaller request would not help.
    pub(super) fn is_same_refusal(&self, before: &Self) -> bool {
        let refusal = |error: &Self| match error {
            Self::Refused {
                refusal: RefusalKind::Rate { .. } | RefusalKind::Quota | RefusalKind::WrongChain,
                ..
            } => None,
            Self::Refused { method, code, message, .. } => Some((*method, *code, message.clone())),
            _ => None,
        };
        refusal(self).is_some_and(|now| refusal(before) == Some(now))
    }

    /// Whether another method may return the same data: this method is off, or its answer is too large or too slow.
    pub(super) fn has_other_ways(&self) -> bool {
        match self {
            Self::Refused { refusal, .. } => matches!(
                refusal,
                RefusalKind::MethodOff
                    | RefusalKind::Size(_)
                    | RefusalKind::Time
                    | RefusalKind::Denied
                    | RefusalKind::Unknown
            ),
            Self::TooLarge { .. } | Self::Timeout { .. } => true,
            _ => false,
        }
    }

    /// Whether the method is off, or not allowed for this key.
    pub(super) fn is_method_off(&self) -> bool {
        matches!(self, Self::Refused { refusal: RefusalKind::MethodOff | RefusalKind::Denied, .. })
    }

    fn method(&self) -> Option<&'static str> {
        match self {
            Self::Timeout { method, .. }
            | Self::Cancelled { method, .. }
            | Self::Refused { method, .. }
            | Self::BadAnswer { method, .. }
            | Self::TooLarge { method, .. } => Some(method),
            _ => None,
        }
    }

    /// Whether the request must be split by addresses or topics.
    pub fn splits_filter(&self) -> bool {
        matches!(self, Self::Refused { refusal: RefusalKind::Addresses, .. })
    }

    /// Whether the node reports that it has no block of that tag or height: geth by -39001, others by -32602 or `not
    /// found`. A failure to answer is not such a report.
    pub fn is_missing_block(&self) -> bool {
        let Self::Refused { refusal, code, message, .. } = self else { return false };
        match refusal {
            RefusalKind::BeyondHead | RefusalKind::UnknownBlock => true,
            RefusalKind::Unknown => matches!(code, Some(-32602 | -39001)) || message.contains("not found"),
            _ => false,
        }
    }

    /// Whether the node refuses the call itself, in words that no rule knows. A node that does not know a tag may
    /// answer so.
    pub(super) fn is_unclassified_refusal(&self) -> bool {
        // -32005 is a limit (EIP-1474), whatever the text is.
        matches!(self, Self::Refused { refusal: RefusalKind::Unknown, code: Some(code), .. } if *code < 0 && *code != -32005)
    }

    /// Whether the node refused because of the rate of requests, and not because of this request.
    pub(super) fn is_rate(&self) -> bool {
        matches!(self, Self::Refused { refusal: RefusalKind::Rate { .. }, .. })
    }

    /// The pause that the node asks for.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { refusal: RefusalKind::Rate { retry_after }, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether only an operator can help. The list is positive: an error that is not in it is retried.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::WrongChain { .. } | Self::WrongGenesis { .. } | Self::GenesisDiffers { .. } => true,
            Self::Refused { refusal, .. } => refusal.is_fatal(),
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Cancelled { .. }
            | Self::BadAnswer { .. }
            | Self::TooLarge { .. }
            | Self::NoTag { .. } => false,
        }
    }

    /// Whether the node is on another chain.
    pub fn is_wrong_chain(&self) -> bool {
        matches!(
            self,
            Self::WrongChain { .. }
                | Self::WrongGenesis { .. }
                | Self::GenesisDiffers { .. }
                | Self::Refused { refusal: RefusalKind::WrongChain, .. }
        )
    }

    /// The label in metrics.
    pub fn kind(&self) -> StepErrorKind {
        match self {
            Self::Unreachable { .. } => StepErrorKind::Unreachable,
            Self::Timeout { .. } | Self::Cancelled { .. } => StepErrorKind::Timeout,
            Self::BadAnswer { .. } => StepErrorKind::BadAnswer,
            Self::TooLarge { .. } => StepErrorKind::TooLarge,
            Self::WrongChain { .. } | Self::WrongGenesis { .. } | Self::GenesisDiffers { .. } => {
                StepErrorKind::WrongChain
            }
            Self::NoTag { .. } => StepErrorKind::NoTag,
            Self::Refused { refusal, .. } => refusal.kind(),
        }
    }

    /// A refusal by the node. The error leaves out the `secrets` of the URL that the node's text may repeat.
    pub(super) fn refused(
        host: &str,
        secrets: &[String],
        method: &'static str,
        answer: ErrorResponse,
    ) -> Self {
        let refusal = classify(&answer);
        let ErrorResponse { code, status, message, .. } = answer;
        let code = code.or(status.filter(|s| *s != 200).map(i64::from));
        let message = redacted(secrets, &message);
        Self::Refused { host: host.to_owned(), method, code, message, refusal }
    }
}

/// A text that may quote a node, cut to one line and without the `secrets`: a node may repeat the key that it
/// refuses.
pub(super) fn redacted(secrets: &[String], text: &str) -> String {
    one_line(&secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "<key>")))
}

/// The beginning of a text as one line: some providers answer with whole HTML pages. URLs are replaced, because some
/// contain the key.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if line.len() > 200 {
            line.push('…');
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        // Control characters would move the cursor of a terminal, or hide the text after them.
        let word = if word.contains("://") { "<url>" } else { word };
        line.extend(word.chars().filter(|char| !is_unprintable(*char)).take(120));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::{ChainError, RefusalKind, UNLESS_EXEMPT, one_line};

    #[test]
    fn the_remedy_follows_from_what_failed() {
        let unreachable = |reason: &str| {
            ChainError::Unreachable { host: "node".to_owned(), reason: reason.to_owned() }.to_string()
        };
        let of_http = "No CA certificates were loaded from the system";
        let of_websocket = "IO error: no native root CA certificates found (errors: [])";
        for reason in [of_http, of_websocket] {
            assert!(unreachable(reason).contains("install ca-certificates, or name a file"), "{reason}");
        }
        assert!(unreachable("Connection refused").ends_with("check the url and that the node runs"));
        let by_proxy = "failed to lookup address information by the proxy that http_proxy names";
        assert!(
            unreachable(by_proxy)
                .ends_with("check that the proxy runs, or name the host of the node in NO_PROXY")
        );
        let unless = format!("{by_proxy}{UNLESS_EXEMPT}");
        assert!(unreachable(&unless).ends_with("check the proxy, the url, and that the node runs"));
        let certificate = "invalid peer certificate: Expired by the proxy that https_proxy names";
        assert!(unreachable(certificate).contains("renew the node's certificate"));
        let refused = |code, refusal| {
            let (host, method, message) = ("node".to_owned(), "eth_chainId", "no".to_owned());
            ChainError::Refused { host, method, code: Some(code), message, refusal }.to_string()
        };
        let (rate, unknown) = (RefusalKind::Rate { retry_after: None }, RefusalKind::Unknown);
        for (code, refusal, end) in [
            (401, RefusalKind::Denied, "check the key in the url or in `headers` of this provider"),
            (308, unknown, "configure the url that it leads to"),
            (404, unknown, "nothing answers JSON-RPC there: check the path of the url"),
            (429, rate, "set `requests_per_second` to what the plan allows, or add a [[chain.provider]]"),
            (402, RefusalKind::Quota, "is used up: extend it, or add a [[chain.provider]]"),
            (4444, RefusalKind::Pruned, "a [[chain.provider]] with role = \"history\""),
            (-32600, RefusalKind::WrongChain, "the key in the url is of another chain"),
            (-32005, RefusalKind::Denied, "(code -32005)"),
            (503, unknown, "(code 503)"),
        ] {
            assert!(refused(code, refusal).ends_with(end), "{}", refused(code, refusal));
        }
    }

    #[test]
    fn a_message_is_one_line_without_urls() {
        assert_eq!(one_line("over\nlimit at https://node.example/v2/secret now"), "over limit at <url> now");
        assert_eq!(one_line("\u{1b}[2Jbad\u{7}\0 key"), "[2Jbad key");
        assert_eq!(one_line("pay \u{202e}ecila\u{2066} b\u{200b}ob\u{feff}"), "pay ecila bob");
        assert!(one_line(&"word ".repeat(1000)).len() < 220);
    }
}
