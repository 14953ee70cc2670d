use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::{At, PostgresError};

/// Number of tries of a starting daemon. [`holder`] takes the lock for an instant to test it, which must not
/// turn a starting daemon away.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// The exclusive use of a data directory. The kernel releases it when the process ends in any way.
///
/// `flock` and not a pid file: a pid file outlives a killed daemon, and its number may by then belong to another
/// process.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// [`PostgresError::Busy`] if another daemon holds it.
    pub(super) async fn take(data_dir: &Path) -> Result<Self, PostgresError> {
        let path = path(data_dir);
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            // Other users do not need its contents; a file of an older version keeps its mode.
            .mode(0o600)
            .open(&path)
            .at("open the lock", &path)?;
        for attempt in 1.. {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) if attempt < ATTEMPTS => tokio::time::sleep(PAUSE).await,
                Err(Errno::WOULDBLOCK) => {
                    return Err(PostgresError::Busy { data_dir: data_dir.into(), holder: written(&path) });
                }
                other => {
                    other.at("lock", &path)?;
                    break;
                }
            }
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).at("write", &path)?;
        Ok(Self { _file: file })
    }
}

/// Process id of the daemon that holds the directory, as it wrote it; `None` if the directory is free.
pub(super) fn holder(data_dir: &Path) -> Result<Option<String>, PostgresError> {
    let path = path(data_dir);
    let file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(PostgresError::Denied { dir: data_dir.into() });
        }
        other => other.at("open the lock", &path)?,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => Ok(Some(written(&path))),
        other => other.at("lock", &path).map(|()| None),
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("lock")
}

fn written(path: &Path) -> String {
    let pid = std::fs::read_to_string(path).unwrap_or_default();
    if pid.trim().is_empty() { "unknown".into() } else { pid.trim().into() }
}
