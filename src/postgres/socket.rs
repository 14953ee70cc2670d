use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::{At, PostgresError};
use super::user::RunAs;
use super::{DATABASE, USER};

/// Only a part of the socket's name, since the server does not listen on TCP. Always passed explicitly: clients and
/// server would otherwise read `PGPORT` from the environment.
pub(super) const PORT: u16 = 5432;

/// `sockaddr_un.sun_path` holds 108 bytes on Linux, the last of them zero (unix(7)).
const LONGEST: usize = 107;

/// The socket in `dir`.
pub(super) fn file(dir: &Path) -> PathBuf {
    dir.join(format!(".s.PGSQL.{PORT}"))
}

/// The URL of the server that listens in `dir`. [`prepare`] ensures that the name needs no escaping.
pub(super) fn url(dir: &Path) -> String {
    format!("postgres:///{DATABASE}?host={}&port={PORT}&user={USER}", dir.display())
}

/// The directory of the socket: `data_dir/run`, or a private one elsewhere if this name is unsuitable for a socket.
/// Then `data_dir/run` is a link to it, so that other processes find it.
pub(super) fn prepare(data_dir: &Path, run_as: &RunAs) -> Result<PathBuf, PostgresError> {
    let run = data_dir.join("run");
    let current = existing(data_dir)?;
    if usable(&current) && is_private(&current, run_as) && (current != run || fits(&run)) {
        for stale in [file(&current), lock_file(&current)] {
            remove_if_there(&stale)?;
        }
        return Ok(current);
    }
    // A link, or a directory of another user from an earlier run.
    match std::fs::symlink_metadata(&run) {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(&run).at("remove", &run)?,
        _ => remove_if_there(&run)?,
    }
    if fits(&run) {
        run_as.make_dir(&run)?;
        return Ok(run);
    }
    let elsewhere = private_dir(run_as)?;
    symlink(&elsewhere, &run).at("link", &run)?;
    Ok(elsewhere)
}

/// The socket directory of the present server, or of the last one.
pub(super) fn existing(data_dir: &Path) -> Result<PathBuf, PostgresError> {
    let run = data_dir.join("run");
    match std::fs::read_link(&run) {
        // EINVAL: not a link.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => Ok(run),
        other => other.at("read the link", &run),
    }
}

/// Whether the name is short enough for a socket, and has no character with a meaning in a URL, a shell or PostgreSQL's
/// comma-separated list of directories.
fn fits(dir: &Path) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    let bytes = dir.as_os_str().as_encoded_bytes();
    bytes.iter().all(plain) && file(dir).as_os_str().len() <= LONGEST
}

fn usable(dir: &Path) -> bool {
    fits(dir) && dir.is_absolute()
}

/// Whether `dir` belongs to the server's user and is closed to all others: names under `/tmp` can be guessed.
fn is_private(dir: &Path, run_as: &RunAs) -> bool {
    std::fs::symlink_metadata(dir)
        .is_ok_and(|meta| meta.is_dir() && meta.uid() == run_as.uid() && meta.mode() & 0o077 == 0)
}

fn private_dir(run_as: &RunAs) -> Result<PathBuf, PostgresError> {
    let of_user = PathBuf::from(format!("/run/user/{}", run_as.uid()));
    let parent = if is_private(&of_user, run_as) { of_user } else { PathBuf::from("/tmp") };
    // A free name is enough: creation fails if the directory exists, and takes nothing over.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let dir = parent.join(format!("chainflume-{}-{:x}", std::process::id(), now.as_nanos()));
    run_as.make_dir(&dir)?;
    Ok(dir)
}

/// PostgreSQL trusts the process id in it, which may belong to another process.
fn lock_file(dir: &Path) -> PathBuf {
    dir.join(format!(".s.PGSQL.{PORT}.lock"))
}

fn remove_if_there(path: &Path) -> Result<(), PostgresError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.at("remove", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_too_long_or_not_plain_does_not_do_for_a_socket() {
        let long = |length: usize| format!("/{}", "x".repeat(length - 1));
        let room = LONGEST - "/.s.PGSQL.5432".len();
        let names = [long(room), long(room + 1), "/with space".into(), "/a,b".into(), "/ünï".into()];
        assert_eq!(names.map(|name| fits(Path::new(&name))), [true, false, false, false, false]);
    }
}
