use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;
use std::process::Stdio;

use rustix::fs::{Access, access};
use tokio::process::Command;

use super::error::{At, PostgresError};

/// The user that the server runs as: the present user, or an unprivileged one if that is root, because PostgreSQL
/// refuses to run as root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RunAs {
    name: String,
    uid: u32,
    gid: u32,
    /// Whether the server runs as another user.
    switch: bool,
}

impl RunAs {
    /// The owner of an existing cluster decides: root runs the server as that user, any other user must be that user.
    pub(super) fn choose(cluster: &Path) -> Result<Self, PostgresError> {
        let own_uid = rustix::process::geteuid().as_raw();
        let made_by = std::fs::symlink_metadata(cluster).ok();
        if own_uid != 0 {
            let user = Self {
                name: name(own_uid),
                uid: own_uid,
                gid: rustix::process::getegid().as_raw(),
                switch: false,
            };
            return match made_by {
                Some(meta) if meta.uid() != own_uid => Err(PostgresError::OtherOwner {
                    cluster: cluster.into(),
                    owner: name(meta.uid()),
                    user: user.name,
                }),
                _ => Ok(user),
            };
        }
        match made_by {
            Some(meta) if meta.uid() != 0 => {
                Ok(Self { name: name(meta.uid()), uid: meta.uid(), gid: meta.gid(), switch: true })
            }
            _ => ["postgres", "nobody"].iter().find_map(|name| by_name(name)).ok_or(PostgresError::NoUser),
        }
    }

    /// [`PostgresError::OwnedByRoot`] if root has made the cluster, as a copy or out of an archive: the server refuses it.
    pub(super) fn check_owns(&self, cluster: &Path) -> Result<(), PostgresError> {
        match std::fs::symlink_metadata(cluster) {
            Ok(meta) if self.switch && meta.uid() == 0 => {
                Err(PostgresError::OwnedByRoot { cluster: cluster.into(), user: self.name.clone() })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn uid(&self) -> u32 {
        self.uid
    }

    /// A command as that user, with none of the daemon's groups: the standard library clears them when root sets a uid.
    /// It also gets none of the daemon's environment, which may hold secrets, and whose `PG…` variables would affect
    /// the tools. It runs in its own process group, so that Ctrl-C for the daemon does not stop the server first.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").current_dir("/");
        command.stdin(Stdio::null()).process_group(0);
        if self.switch {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Runs `command` to its end. Returns its stdout, or an error with the end of its output.
    pub(super) async fn run(tool: &'static str, mut command: Command) -> Result<String, PostgresError> {
        let program = command.as_std().get_program().to_owned();
        let output = command.kill_on_drop(true).output().await.at("run", Path::new(&program))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        let errors = text(&output.stderr);
        Err(PostgresError::Tool {
            tool,
            output: if errors.is_empty() { output.status.to_string() } else { errors.replace('\n', "; ") },
        })
    }

    /// Creates the directory `path` for that user alone.
    pub(super) fn make_dir(&self, path: &Path) -> Result<(), PostgresError> {
        std::fs::create_dir(path).at("create", path)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o700)).at("set the mode of", path)?;
        if self.switch {
            lchown(path, Some(self.uid), Some(self.gid)).at("give away", path)?;
        }
        Ok(())
    }

    /// [`PostgresError::Unreachable`] if that user cannot enter `dir`.
    pub(super) async fn check_enters(&self, dir: &Path) -> Result<(), PostgresError> {
        // The kernel decides (access lists, mounts); the mode bits only identify the directory to name in the error.
        let mut probe = self.command("true");
        probe.current_dir(dir);
        if !self.switch || Self::run("true", probe).await.is_ok() {
            return Ok(());
        }
        let mut above: Vec<&Path> = dir.ancestors().collect();
        above.reverse();
        let stops = above.into_iter().find(|dir| !self.may_search(dir)).unwrap_or(dir);
        Err(PostgresError::Unreachable { user: self.name.clone(), dir: stops.into() })
    }

    fn may_search(&self, dir: &Path) -> bool {
        let Ok(meta) = dir.metadata() else { return false };
        let shift = if meta.uid() == self.uid {
            6
        } else if meta.gid() == self.gid {
            3
        } else {
            0
        };
        meta.mode() >> shift & 1 == 1
    }
}

/// [`PostgresError::NotWritable`] if the present user cannot make anything in `dir`.
pub(super) fn check_writes(dir: &Path) -> Result<(), PostgresError> {
    let asked = match dir.is_dir() {
        true => access(dir, Access::WRITE_OK | Access::EXEC_OK).map_err(std::io::Error::from),
        false => Err(std::io::ErrorKind::NotADirectory.into()),
    };
    let user = || name(rustix::process::geteuid().as_raw());
    asked.map_err(|source| PostgresError::NotWritable { user: user(), dir: dir.into(), source })
}

/// Makes a directory that root has created accessible for the server's user, whatever the umask.
pub(super) fn let_others_pass(dir: &Path) -> Result<(), PostgresError> {
    open_up(dir, 0o755)
}

/// Makes a file that root has written readable for the server's user, whatever the umask.
pub(super) fn let_others_read(file: &Path) -> Result<(), PostgresError> {
    open_up(file, 0o644)
}

fn open_up(path: &Path, mode: u32) -> Result<(), PostgresError> {
    if rustix::process::geteuid().is_root() {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).at("set the mode of", path)?;
    }
    Ok(())
}

/// Reads only `/etc/passwd`. A server account from another source (LDAP) still works, since the owner of a cluster is
/// known by number.
fn passwd() -> Vec<(String, u32, u32)> {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        Some((name, uid, fields.next()?.parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

fn by_name(wanted: &str) -> Option<RunAs> {
    let (name, uid, gid) = passwd().into_iter().find(|(name, ..)| name == wanted)?;
    Some(RunAs { name, uid, gid, switch: true })
}

fn name(uid: u32) -> String {
    let known = passwd().into_iter().find(|entry| entry.1 == uid);
    known.map_or_else(|| format!("user {uid}"), |(name, ..)| name)
}
