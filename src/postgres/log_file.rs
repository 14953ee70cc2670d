use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::error::{At, PostgresError};

/// Maximum size of each of the two log files in bytes; one check interval may exceed it.
const LARGEST: u64 = 8 * 1024 * 1024;
/// Number of lines at its end that an error quotes.
const QUOTED_LINES: usize = 5;

/// Opens the file for appending, so that it can be truncated while the server writes. Only its owner may read it, since
/// the server logs failed statements.
pub(super) fn open(path: &Path) -> Result<File, PostgresError> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).at("open", path)
}

/// Copies a log that has grown too long to `postgres.log.1` and truncates it.
///
/// PostgreSQL's own collector is a separate process that must be stopped after a crash, and its rotation by size always
/// makes new names.
pub(super) fn bound(path: &Path) -> Result<(), PostgresError> {
    if path.metadata().map_or(0, |meta| meta.len()) > LARGEST {
        std::fs::copy(path, path.with_extension("log.1")).at("copy", path)?;
        OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(0)).at("shorten", path)?;
    }
    Ok(())
}

/// The last lines after the first `skipped` bytes, joined into one.
pub(super) fn end(path: &Path, skipped: u64) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let skipped = usize::try_from(skipped).unwrap_or(0);
    let text = String::from_utf8_lossy(text.get(skipped..).unwrap_or(&text));
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(QUOTED_LINES)..].join("; ")
}
