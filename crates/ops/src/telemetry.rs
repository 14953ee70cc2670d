//! Logs to stderr: readable on a terminal, JSON for machines. Logging a line never blocks, fails or panics.

mod limiter;
mod panics;
mod writer;

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use serde::Deserialize;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

pub use limiter::{ErrorStreak, ErrorText, LogLimiter, Suppressed};
use writer::{LineWriter, LogQueue};

/// The log of this process, after [`init`].
static LINES: OnceLock<LogQueue> = OnceLock::new();

/// The format of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineFormat {
    /// [`LineFormat::Human`] on a terminal, else [`LineFormat::Json`].
    #[default]
    Auto,
    /// For a person; coloured on a terminal unless `NO_COLOR` is set.
    Human,
    /// One JSON object a line.
    Json,
}

/// Which events are logged, and in which format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The format of a line.
    pub format: LineFormat,
    /// A level (`info`), or directives by module (`info,chainflume_node=debug`).
    pub filter: String,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The filter is invalid.
    #[error(
        "`{filter}` is not a log filter; use a level (error, warn, info, debug, trace) or module=level,…"
    )]
    Filter {
        /// The configured filter.
        filter: String,
        /// The problem.
        source: ParseError,
    },
    /// [`init`] was called twice.
    #[error("logs are already set up")]
    Twice(#[from] TryInitError),
    /// The system has no descriptor or no thread left for the log.
    #[error("the log cannot be written: {0}; raise the limit of open files or of threads")]
    System(#[from] std::io::Error),
}

/// Sends every log line of this process to stderr from now on, including panics. Stdout is for the output of commands.
/// The last lines need a [`flush`] before the process ends.
///
/// # Errors
/// [`TelemetryError`]; then nothing is set up.
pub fn init(settings: &LogSettings) -> Result<(), TelemetryError> {
    let filter = parse(&settings.filter)?;
    let terminal = std::io::stderr().is_terminal();
    let queue = LogQueue::to_stderr()?;
    let writer = queue.clone();
    // The subscriber would report its own failures with `eprintln!`, which panics if stderr is closed.
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .log_internal_errors(false)
        .with_writer(move || LineWriter(writer.clone()));
    if is_json(settings.format, terminal) {
        lines.json().flatten_event(true).with_current_span(true).with_span_list(false).finish().try_init()?;
    } else {
        let ansi = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        lines.with_ansi(ansi).with_target(false).finish().try_init()?;
    }
    let _first = LINES.set(queue);
    panics::log();
    Ok(())
}

/// Number of lost log lines that the log has not reported yet; 0 while stderr accepts every line.
pub fn lost_lines() -> u64 {
    LINES.get().map_or(0, LogQueue::lost)
}

/// Waits until all lines are written, for `timeout` at most.
pub fn flush(timeout: Duration) {
    if let Some(lines) = LINES.get() {
        lines.flush(timeout);
    }
}

/// Writes a line to stderr after all logged lines; `false`, and writes nothing, if logging is not set up.
pub fn write(line: &str) -> bool {
    let Some(lines) = LINES.get() else { return false };
    lines.put(format!("{line}\n").as_bytes());
    true
}

/// Only the terminal decides. Under systemd, stderr is the journal's socket, so the result is right. `JOURNAL_STREAM`
/// and `INVOCATION_ID` would mislead, since every shell of a desktop session inherits them.
fn is_json(format: LineFormat, terminal: bool) -> bool {
    match format {
        LineFormat::Auto => !terminal,
        LineFormat::Human => false,
        LineFormat::Json => true,
    }
}

fn parse(filter: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        .parse(filter)
        .map_err(|source| TelemetryError::Filter { filter: filter.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_json_where_no_person_reads() {
        let asked = [LineFormat::Auto, LineFormat::Human, LineFormat::Json];
        assert_eq!(asked.map(|format| is_json(format, true)), [false, false, true]);
        assert_eq!(asked.map(|format| is_json(format, false)), [true, false, true]);
    }

    #[test]
    fn a_filter_that_is_none_is_refused_with_what_would_be() {
        assert_eq!(
            parse("chainflume=loud").unwrap_err().to_string(),
            "`chainflume=loud` is not a log filter; use a level (error, warn, info, debug, trace) or module=level,…"
        );
        assert_eq!(parse("info,chainflume_node=debug").unwrap().to_string(), "chainflume_node=debug,info");
    }
}
