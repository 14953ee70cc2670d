//! PostgreSQL servers of one test, which it may stop, restart and promote, unlike the shared server. They are removed
//! however the test ends.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::daemon::is_root;
use crate::postgres::{binaries, unprivileged};

/// Runs a server and executes commands until the end of its input, which comes however the test ends.
const SUPERVISOR: &str = r#"
trap '' HUP INT TERM
bin=$1 dir=$2 from=$3
ctl() {
    "$bin/pg_ctl" -D "$dir/data" -w -t 60 -l "$dir/log" \
        -o "-k $dir -c listen_addresses= -c fsync=off -c max_connections=60 -c shared_buffers=16MB" \
        "$@" >>"$dir/log" 2>&1 </dev/null
}
if [ -z "$from" ]; then
    "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$dir/log" 2>&1
else
    "$bin/pg_basebackup" -D "$dir/data" -R -X stream -c fast -h "$from" -U postgres >"$dir/log" 2>&1
fi
ctl start
echo "$?"
while read -r word; do
    case $word in
        stop) ctl stop -m immediate ;;
        *) ctl "$word" ;;
    esac
    echo "$?"
done
ctl stop -m immediate
rm -rf "$dir"
"#;

static SERVERS: AtomicU64 = AtomicU64::new(0);

/// A server on its own socket.
pub struct Cluster {
    pub folder: PathBuf,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    _supervisor: Child,
}

impl Cluster {
    /// A primary.
    pub fn start() -> Self {
        Self::run("")
    }

    /// A hot standby of this one.
    pub fn replica(&self) -> Self {
        Self::run(self.folder.to_str().expect("a plain path"))
    }

    fn run(from: &str) -> Self {
        let folder = folder("server");
        let mut command = Command::new("sh");
        command.args(["-c", SUPERVISOR, "a-server-of-a-test"]).args([&binaries(), &folder]).arg(from);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).current_dir("/");
        let mut supervisor = as_unprivileged(command).spawn().expect("sh is everywhere");
        let orders = supervisor.stdin.take().expect("piped");
        let answers = BufReader::new(supervisor.stdout.take().expect("piped"));
        let mut server = Self { folder, orders, answers, _supervisor: supervisor };
        server.done("start");
        server
    }

    /// `start`, `stop` (as a crash does), `restart` or `promote`, until it is done.
    pub fn order(&mut self, word: &str) {
        writeln!(self.orders, "{word}").expect("the supervisor listens");
        self.done(word);
    }

    fn done(&mut self, word: &str) {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the supervisor answers");
        let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        assert_eq!(answer.trim(), "0", "{word}: {}", log());
    }

    /// The URL of its database `postgres`.
    pub fn url(&self) -> String {
        url(&[self])
    }
}

/// The URL of the database `postgres` on the server that accepts writes.
pub fn url(servers: &[&Cluster]) -> String {
    let folders: Vec<&str> = servers.iter().filter_map(|server| server.folder.to_str()).collect();
    format!("postgres:///postgres?host={}&port=5432&user=postgres", folders.join(","))
}

/// A new folder under /tmp that belongs to the user of the servers.
pub fn folder(what: &str) -> PathBuf {
    let number = SERVERS.fetch_add(1, Ordering::Relaxed);
    let folder = PathBuf::from(format!("/tmp/cf-{what}-{}-{number}", std::process::id()));
    std::fs::create_dir(&folder).expect("/tmp takes a folder");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).expect("our own folder");
    if is_root() {
        let (uid, gid) = unprivileged();
        chown(&folder, Some(uid), Some(gid)).expect("root may give folders away");
    }
    folder
}

/// As a user that PostgreSQL accepts.
pub fn as_unprivileged(mut command: Command) -> Command {
    if is_root() {
        let (uid, gid) = unprivileged();
        command.uid(uid).gid(gid);
    }
    command.process_group(0);
    command
}
