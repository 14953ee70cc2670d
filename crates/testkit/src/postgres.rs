//! A PostgreSQL server for the tests: one server per process, one database per test, removed at the end.
//!
//! Depends only on sqlx, tokio and the standard library, so that integration tests can include the file.
#![allow(dead_code, reason = "not every test binary that takes this file starts from an empty database")]

use std::cell::RefCell;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, process, thread};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Executor};
use tokio::sync::OnceCell;

static SERVER: OnceLock<TestServer> = OnceLock::new();
static TEMPLATE: OnceCell<()> = OnceCell::const_new();
static DATABASES: AtomicU64 = AtomicU64::new(0);
static SWEEPER: OnceLock<Sender<String>> = OnceLock::new();

thread_local! {
    /// The test harness gives each test its own thread, so a thread's databases can be dropped when the thread ends.
    static MADE_HERE: RefCell<MadeHere> = const { RefCell::new(MadeHere(Vec::new())) };
}

const TEMPLATE_NAME: &str = "template_migrated";

/// The URL of a new database with the schema.
pub async fn database() -> String {
    TEMPLATE.get_or_init(create_template).await;
    create(&format!(" template {TEMPLATE_NAME}")).await
}

/// The URL of a new, empty database.
pub async fn empty_database() -> String {
    create("").await
}

/// The URL of a copy of a test database, like a restored backup. No client may be connected to the original.
pub async fn copy(url: &str) -> String {
    let name = url.trim_start_matches("postgres:///").split('?').next().unwrap_or_default();
    create(&format!(" template {name}")).await
}

async fn create(how: &str) -> String {
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    admin(&format!("create database {name}{how}")).await;
    let url = server().url(&name);
    MADE_HERE.with_borrow_mut(|made| made.0.push(name));
    url
}

/// Drops the databases of this thread: for a test of many cases, between two cases.
pub fn sweep_up() {
    drop(MADE_HERE.take());
}

/// Databases of the test on this thread. Without this, hundreds of tests would hold gigabytes until the end.
#[derive(Default)]
struct MadeHere(Vec<String>);

impl Drop for MadeHere {
    fn drop(&mut self) {
        let sweeper = SWEEPER.get_or_init(|| {
            let (sender, names) = channel();
            thread::spawn(move || sweep(&names));
            sender
        });
        for name in self.0.drain(..) {
            drop(sweeper.send(name));
        }
    }
}

/// Drops the databases one by one, even if clients are connected. Ignores databases that a test has dropped.
fn sweep(names: &Receiver<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for name in names {
        runtime.block_on(admin(&format!("drop database if exists {name} with (force)")));
    }
}

async fn create_template() {
    admin(&format!("create database {TEMPLATE_NAME}")).await;
    let mut connection = server().connect(TEMPLATE_NAME).await;
    // A new file is seen when this crate is built again: the macro tells the compiler of the files that it has read.
    let mut migrator = sqlx::migrate!("../../migrations");
    migrator.dangerous_set_table_name("chainflume_migrations");
    migrator.run(&mut connection).await.expect("migrations run");
    // A template cannot be copied while a client is connected to it.
    connection.close().await.expect("closes");
}

async fn admin(sql: &str) {
    let mut connection = server().connect("postgres").await;
    connection.execute(AssertSqlSafe(sql.to_owned())).await.expect("the statement runs");
    connection.close().await.expect("closes");
}

fn server() -> &'static TestServer {
    SERVER.get_or_init(TestServer::start)
}

struct TestServer {
    folder: PathBuf,
    /// Holds the pipe, which closes when this process ends for any reason.
    _supervisor: Child,
}

/// Runs initdb and the server, and waits for the end of its input. Then it stops the server at once and removes the
/// directory. It ignores signals to the process group of the tests: only the pipe decides.
const SUPERVISOR: &str = r#"
trap '' HUP INT TERM
bin=$1 dir=$2
"$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$dir/log" 2>&1 || touch "$dir/failed"
"$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c fsync=off -c full_page_writes=off \
    -c synchronous_commit=off -c max_connections=300 -c shared_buffers=64MB \
    -c wal_level=minimal -c max_wal_senders=0 -c max_wal_size=256MB >>"$dir/log" 2>&1 </dev/null &
server=$!
while read -r _; do :; done
kill -QUIT "$server" 2>/dev/null
wait "$server"
rm -rf "$dir"
"#;

impl TestServer {
    fn start() -> Self {
        let binaries = binaries();
        let nanos =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| age.subsec_nanos());
        // Not $TMPDIR: the path of a socket has at most 107 bytes.
        let folder = PathBuf::from(format!("/tmp/cf-pg-{}-{nanos}", process::id()));
        fs::create_dir(&folder).expect("/tmp takes a folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("our own folder");
        let mut command = Command::new("sh");
        command
            .args(["-c", SUPERVISOR, "postgres-of-the-tests"])
            .args([&binaries, &folder])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        if fs::metadata(&folder).is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0) {
            // PostgreSQL refuses to run as root.
            let (uid, gid) = unprivileged();
            chown(&folder, Some(uid), Some(gid)).expect("root may give folders away");
            command.uid(uid).gid(gid);
        }
        let server = Self { _supervisor: command.spawn().expect("sh is everywhere"), folder };
        server.wait_until_ready();
        server
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::os::unix::net::UnixStream::connect(self.folder.join(".s.PGSQL.5432")).is_err() {
            let failed = self.folder.join("failed").exists() || Instant::now() > deadline;
            assert!(
                !failed,
                "PostgreSQL does not start: {}",
                fs::read_to_string(self.folder.join("log")).unwrap_or_default()
            );
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// A socket may accept connections while the server still starts: retries until the server answers.
    async fn connect(&self, database: &str) -> PgConnection {
        let options =
            PgConnectOptions::new().socket(&self.folder).port(5432).username("postgres").database(database);
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match PgConnection::connect_with(&options).await {
                Ok(connection) => return connection,
                Err(error) => assert!(Instant::now() < deadline, "the server cannot be reached: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn url(&self, database: &str) -> String {
        format!("postgres:///{database}?host={}&port=5432&user=postgres", self.folder.display())
    }
}

/// The newest server in Debian's directory, else the one in `PATH`.
pub fn binaries() -> PathBuf {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    let in_path = env::var_os("PATH").unwrap_or_default();
    let found = versions
        .into_iter()
        .rev()
        .map(|(_, path)| path)
        .chain(env::split_paths(&in_path))
        .find(|path| is_server(path));
    found.expect("no PostgreSQL server found; install it, on Debian: apt-get install postgresql")
}

fn is_server(folder: &Path) -> bool {
    folder.join("initdb").is_file() && folder.join("postgres").is_file()
}

/// User and group ids of `postgres`, or of `nobody` if there is no such user.
pub fn unprivileged() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").expect("every system has it");
    let find = |name: &str| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let matches = fields.next() == Some(name);
            let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            matches.then_some((uid, gid))
        })
    };
    find("postgres").or_else(|| find("nobody")).expect("there is a user `nobody`")
}
