use std::fs::{File, OpenOptions};
use std::path::Path;

use super::error::{At, PostgresError};

/// Two files of this many bytes at most, a tick's worth of lines apart.
const LARGEST: u64 = 8 * 1024 * 1024;
/// How much of its end an error quotes.
const QUOTED_LINES: usize = 5;

/// Opened for appending, so that shortening it under the server's hands works.
pub(super) fn open(path: &Path) -> Result<File, PostgresError> {
    OpenOptions::new().create(true).append(true).open(path).at("open", path)
}

/// Copies a log that has grown too long to `postgres.log.1` and starts it afresh.
///
/// PostgreSQL's own collector is another process that must be ended after a crash, and its files rotate by
/// size only under ever new names.
pub(super) fn bound(path: &Path) -> Result<(), PostgresError> {
    if path.metadata().map_or(0, |meta| meta.len()) > LARGEST {
        std::fs::copy(path, path.with_extension("log.1")).at("copy", path)?;
        OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(0)).at("shorten", path)?;
    }
    Ok(())
}

/// The last lines, on one.
pub(super) fn end(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(QUOTED_LINES)..].join("; ")
}
