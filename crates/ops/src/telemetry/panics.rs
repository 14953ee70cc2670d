//! A panic is logged like any other event: in the format of the log, without blocking.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{PanicHookInfo, set_hook};

/// Logs every panic of this process from now on. The replaced hook writes to stderr and may block there.
pub(super) fn log() {
    set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        tracing::error!(
            panic = without_urls(text(panic)),
            at,
            backtrace,
            "panicked: a bug in the program; report it with this line"
        );
    }));
}

fn text<'a>(panic: &'a PanicHookInfo<'_>) -> &'a str {
    panic.payload_as_str().unwrap_or("without a message")
}

/// The text of a panic may include the details of an error, and these may include a URL with a key.
fn without_urls(text: &str) -> String {
    let words = text.split(' ').map(|word| if word.contains("://") { "<url>" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::without_urls;

    #[test]
    fn a_panic_shows_no_url() {
        assert_eq!(without_urls("no answer: \"https://a/key\", again"), "no answer: <url> again");
    }
}
