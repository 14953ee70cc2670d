//! Logs: to stderr, readable on a terminal, JSON for machines. Writing a line never blocks, fails or panics.

mod limiter;
mod panics;
mod writer;

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

pub use limiter::{ErrorStreak, LogLimiter, Suppressed};
use writer::{LineWriter, LogQueue};

/// The lines of this process, once [`init`] was called.
static LINES: OnceLock<LogQueue> = OnceLock::new();

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineFormat {
    /// [`LineFormat::Human`] on a terminal, else [`LineFormat::Json`].
    #[default]
    Auto,
    /// For a person; coloured on a terminal unless `NO_COLOR` is set.
    Human,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// How a line looks.
    pub format: LineFormat,
    /// A level (`info`), or directives by module (`info,chainflume_node=debug`).
    pub filter: String,
}

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The filter is not one.
    #[error(
        "`{filter}` is not a log filter; use a level (error, warn, info, debug, trace) or module=level,…"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Called twice.
    #[error("logs are already set up")]
    Twice(#[from] TryInitError),
    /// The system has no descriptor or no thread for the log.
    #[error("the log cannot be written: {0}; raise the limit of open files or of threads")]
    System(#[from] std::io::Error),
}

/// Sends every log line of this process to stderr from now on, those of panics included. Stdout belongs to what a command
/// prints. What is logged last needs a [`flush`] before the process ends.
///
/// # Errors
/// [`TelemetryError`]; nothing is set up then.
pub fn init(settings: &LogSettings) -> Result<(), TelemetryError> {
    let filter = parse(&settings.filter)?;
    let terminal = std::io::stderr().is_terminal();
    let queue = LogQueue::to_stderr()?;
    let writer = queue.clone();
    // What the subscriber cannot do it would report with `eprintln!`, which panics where stderr is gone.
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

/// Log lines that were lost and that the log has not reported yet; 0 while stderr takes every line.
pub fn lost_lines() -> u64 {
    LINES.get().map_or(0, LogQueue::lost)
}

/// Waits until what was logged is written, for `patience` at most.
pub fn flush(patience: Duration) {
    if let Some(lines) = LINES.get() {
        lines.flush(patience);
    }
}

/// Writes a line to stderr behind what was logged; `false` where no logs are set up, and nothing is written then.
pub fn write(line: &str) -> bool {
    let Some(lines) = LINES.get() else { return false };
    lines.put(format!("{line}\n").as_bytes());
    true
}

/// The terminal decides alone. Under systemd stderr is the journal's socket, so that it comes out right;
/// `JOURNAL_STREAM` and `INVOCATION_ID` would mislead, since every shell of a desktop session inherits them.
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
