//! Logs: to stderr, readable on a terminal, JSON for machines.

mod limiter;

use std::io::IsTerminal;

use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

pub use limiter::{HeldBack, Limiter, Troubles};

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// [`Format::Human`] on a terminal, else [`Format::Json`].
    #[default]
    Auto,
    /// For a person; coloured on a terminal unless `NO_COLOR` is set.
    Human,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How a line looks.
    pub format: Format,
    /// A level (`info`), or directives by module (`info,chainflume::chain=debug`).
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
}

/// Sends every log line of this process to stderr from now on. Stdout belongs to what a command prints.
///
/// # Errors
/// [`TelemetryError`]; nothing is set up then.
pub fn init(settings: &Settings) -> Result<(), TelemetryError> {
    let filter = parse(&settings.filter)?;
    let terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if is_json(settings.format, terminal) {
        lines.json().flatten_event(true).with_current_span(true).with_span_list(false).finish().try_init()?;
    } else {
        let ansi = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        lines.with_ansi(ansi).with_target(false).finish().try_init()?;
    }
    Ok(())
}

/// The terminal decides alone. Under systemd stderr is the journal's socket, so that it comes out right;
/// `JOURNAL_STREAM` and `INVOCATION_ID` would mislead, since every shell of a desktop session inherits them.
fn is_json(format: Format, terminal: bool) -> bool {
    match format {
        Format::Auto => !terminal,
        Format::Human => false,
        Format::Json => true,
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
        let asked = [Format::Auto, Format::Human, Format::Json];
        assert_eq!(asked.map(|format| is_json(format, true)), [false, false, true]);
        assert_eq!(asked.map(|format| is_json(format, false)), [true, false, true]);
    }

    #[test]
    fn a_filter_that_is_none_is_refused_with_what_would_be() {
        assert_eq!(
            parse("chainflume=loud").unwrap_err().to_string(),
            "`chainflume=loud` is not a log filter; use a level (error, warn, info, debug, trace) or module=level,…"
        );
        assert_eq!(
            parse("info,chainflume::chain=debug").unwrap().to_string(),
            "chainflume::chain=debug,info"
        );
    }
}
