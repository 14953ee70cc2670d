use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::{At, PostgresError};
use super::user::RunAs;
use super::{DATABASE, USER};

/// Part of the socket's name only, since nothing listens on TCP. Always said aloud: clients and server
/// would otherwise take `PGPORT` from the environment.
pub(super) const PORT: u16 = 5432;

/// `sockaddr_un.sun_path` holds 108 bytes on Linux, the last of them zero (unix(7)).
const LONGEST: usize = 107;

/// The socket in `dir`.
pub(super) fn file(dir: &Path) -> PathBuf {
    dir.join(format!(".s.PGSQL.{PORT}"))
}

/// The URL of the server that listens in `dir`, whose name [`prepare`] has made sure needs no escaping.
pub(super) fn url(dir: &Path) -> String {
    format!("postgres:///{DATABASE}?host={}&port={PORT}&user={USER}", dir.display())
}

/// The directory the socket goes to: `data_dir/run`, or a private one elsewhere when that name does not do
/// for a socket, with `data_dir/run` a link to it, so that others find it.
pub(super) fn prepare(data_dir: &Path, run_as: &RunAs) -> Result<PathBuf, PostgresError> {
    let run = data_dir.join("run");
    let current = existing(data_dir)?;
    if usable(&current) && is_private(&current, run_as) && (current != run || fits(&run)) {
        for stale in [file(&current), lock_file(&current)] {
            remove_if_there(&stale)?;
        }
        return Ok(current);
    }
    // A link, or a directory of another user's from an earlier life.
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

/// Where a server that runs, or the last one that did, has its socket.
pub(super) fn existing(data_dir: &Path) -> Result<PathBuf, PostgresError> {
    let run = data_dir.join("run");
    match std::fs::read_link(&run) {
        // EINVAL: not a link.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => Ok(run),
        other => other.at("read the link", &run),
    }
}

/// Short enough for a socket, and free of whatever a URL, a shell or PostgreSQL's comma-separated list of
/// directories would read as something else.
fn fits(dir: &Path) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    let bytes = dir.as_os_str().as_encoded_bytes();
    bytes.iter().all(plain) && file(dir).as_os_str().len() <= LONGEST
}

fn usable(dir: &Path) -> bool {
    fits(dir) && dir.is_absolute()
}

/// Whether `dir` is the server user's own and nobody else may enter: names under `/tmp` are guessable.
fn is_private(dir: &Path, run_as: &RunAs) -> bool {
    std::fs::symlink_metadata(dir)
        .is_ok_and(|meta| meta.is_dir() && meta.uid() == run_as.uid() && meta.mode() & 0o077 == 0)
}

fn private_dir(run_as: &RunAs) -> Result<PathBuf, PostgresError> {
    let of_user = PathBuf::from(format!("/run/user/{}", run_as.uid()));
    let parent = if is_private(&of_user, run_as) { of_user } else { PathBuf::from("/tmp") };
    // A name nobody has yet is enough: creating it fails rather than take over what is there.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let dir = parent.join(format!("chainflume-{}-{:x}", std::process::id(), now.as_nanos()));
    run_as.make_dir(&dir)?;
    Ok(dir)
}

/// PostgreSQL believes the process id in it, which may be somebody else's by now.
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
