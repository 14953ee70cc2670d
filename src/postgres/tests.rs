use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::*;

/// Makes the test binary, started again by a test, run as a daemon on this directory.
const DAEMON_DIR: &str = "CHAINFLUME_TEST_DAEMON_DIR";

struct Home {
    /// Removed with its contents.
    dir: TempDir,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("chainflume-pg-").tempdir().unwrap();
        // As root, the server runs as another user, which must have access.
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    fn settings(&self) -> Settings {
        Settings { data_dir: self.dir.path().join("data"), bin_dir: None }
    }

    fn cluster(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join("data/postgres")
    }

    async fn start(&self) -> PrivatePostgres {
        PrivatePostgres::start(&self.settings()).await.unwrap()
    }

    async fn refusal(&self) -> String {
        PrivatePostgres::start(&self.settings()).await.unwrap_err().to_string()
    }

    /// Another process that runs the server here, as a daemon would.
    fn daemon(&self) -> Daemon {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "postgres::tests::a_daemon_for_the_tests_here"])
            .env(DAEMON_DIR, self.settings().data_dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.contains("daemon is up")));
        Daemon(child)
    }
}

/// Killed when the test ends.
struct Daemon(Child);

impl Daemon {
    fn kill_9(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill_9();
    }
}

/// What psql prints for one statement.
fn ask(server: &PrivatePostgres, sql: &str) -> String {
    let command = format!("{} -XqAtc \"{sql}\"", server.psql_command());
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn kill_9(pids: &[u32]) {
    for pid in pids {
        let pid = Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
    }
}

/// Process id of the postmaster, from its pid file.
fn postmaster(cluster: &Path) -> u32 {
    let pid_file = std::fs::read_to_string(orphan::pid_file(cluster)).unwrap();
    pid_file.lines().next().unwrap().parse().unwrap()
}

/// The shell that stops the postmaster when its daemon dies.
fn leash(cluster: &Path) -> u32 {
    let last_word = format!("\0{}\0", postmaster(cluster));
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(|pid: &u32| {
        let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.starts_with("/bin/sh\0") && words.ends_with(&last_word)
    })
    .unwrap()
}

#[tokio::test]
#[ignore = "a process of its own for the tests beside it, which start it"]
async fn a_daemon_for_the_tests_here() {
    let Some(data_dir) = std::env::var_os(DAEMON_DIR) else { return };
    let settings = Settings { data_dir: data_dir.into(), bin_dir: None };
    let _server = PrivatePostgres::start(&settings).await.unwrap();
    println!("daemon is up");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn what_was_written_is_there_after_a_stop_and_a_start() {
    let home = Home::new();
    let server = home.start().await;
    ask(&server, "create table kept as select 42 as answer");
    assert_eq!(ask(&server, "show listen_addresses"), "");
    assert_eq!(ask(&server, "select current_user || ' ' || current_database()"), "chainflume chainflume");
    let url =
        Command::new("psql").args([&server.url(), "-XqAtc", "select answer from kept"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&url.stdout), "42\n");
    server.stop().await.unwrap();
    assert!(!orphan::pid_file(&home.cluster()).exists());

    let server = home.start().await;
    assert_eq!(ask(&server, "select answer from kept"), "42");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_postmaster_that_dies_is_started_again() {
    let home = Home::new();
    let server = home.start().await;
    let first = server.pid().unwrap();
    kill_9(&[first]);
    let second = loop {
        match server.pid() {
            Some(pid) if pid != first => break pid,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert_ne!(first, second);
    assert_eq!(ask(&server, "select 1"), "1");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn it_starts_after_everything_was_killed() {
    let home = Home::new();
    let mut daemon = home.daemon();
    kill_9(&[leash(&home.cluster()), daemon.0.id(), postmaster(&home.cluster())]);
    daemon.kill_9();
    assert!(orphan::pid_file(&home.cluster()).exists(), "the pid file is stale");

    let server = home.start().await;
    assert_eq!(ask(&server, "select 1"), "1");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn it_starts_beside_a_server_whose_daemon_was_killed() {
    let home = Home::new();
    let mut daemon = home.daemon();
    let orphan = postmaster(&home.cluster());
    // The shell that would stop the server is killed first, so that the server really is an orphan.
    kill_9(&[leash(&home.cluster())]);
    daemon.kill_9();
    let place = PathBuf::from(format!("/proc/{orphan}/cwd"));
    assert!(place.read_link().is_ok(), "the server outlives its daemon");

    let server = home.start().await;
    assert_ne!(server.pid(), Some(orphan));
    // A process id may remain until the parent has waited for it, but its working directory does not.
    assert!(place.read_link().is_err());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_whose_daemon_was_killed_ends_by_itself() {
    let home = Home::new();
    let mut daemon = home.daemon();
    daemon.kill_9();
    while orphan::pid_file(&home.cluster()).exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_pid_file_with_the_number_of_another_process_is_stale() {
    let home = Home::new();
    home.start().await.stop().await.unwrap();
    let myself = std::process::id();
    std::fs::write(orphan::pid_file(&home.cluster()), format!("{myself}\n")).unwrap();
    let socket_lock = home.settings().data_dir.join("run/.s.PGSQL.5432.lock");
    std::fs::write(socket_lock, format!("{myself}\n")).unwrap();

    let server = home.start().await;
    assert_eq!(ask(&server, "select 1"), "1");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_cluster_that_initdb_did_not_finish_is_made_anew() {
    let home = Home::new();
    let unfinished = home.settings().data_dir.join("postgres.new");
    std::fs::create_dir_all(unfinished.join("base")).unwrap();
    std::fs::write(unfinished.join("PG_VERSION"), "15\n").unwrap();

    let server = home.start().await;
    assert_eq!(ask(&server, "select 1"), "1");
    assert!(!unfinished.exists());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn two_daemons_do_not_share_a_directory_and_others_can_attach() {
    let home = Home::new();
    assert_eq!(attach(&home.settings()).await.unwrap(), None);
    let server = home.start().await;
    let data_dir = home.settings().data_dir;
    assert_eq!(
        home.refusal().await,
        format!(
            "{} is in use by the chainflume with pid {}; stop that one, or give this one a `data_dir` of its own",
            data_dir.display(),
            std::process::id()
        )
    );
    assert_eq!(attach(&home.settings()).await.unwrap(), Some(server.url()));
    server.stop().await.unwrap();
    assert_eq!(attach(&home.settings()).await.unwrap(), None);
}

#[tokio::test]
async fn as_root_the_server_is_a_user_without_our_rights() {
    let home = Home::new();
    let server = home.start().await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid().unwrap())).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    assert!(!field("Uid:").split_whitespace().any(|uid| uid == "0"), "{status}");
    if rustix::process::geteuid().is_root() {
        assert!(!field("Gid:").split_whitespace().any(|gid| gid == "0"), "{status}");
        assert_eq!((field("Groups:"), field("CapEff:")), ("", "0000000000000000"));
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_directory_too_long_or_odd_for_a_socket_gets_one_elsewhere() {
    let home = Home::new();
    let data_dir = home.dir.path().join("ein ziemlich langer Name, der so nicht geht ".repeat(3).trim());
    let settings = Settings { data_dir, bin_dir: None };
    let server = PrivatePostgres::start(&settings).await.unwrap();
    assert_eq!(ask(&server, "select 1"), "1");
    assert_eq!(attach(&settings).await.unwrap(), Some(server.url()));
    let first = server.url();
    server.stop().await.unwrap();

    let server = PrivatePostgres::start(&settings).await.unwrap();
    assert_eq!(server.url(), first, "the directory is used again");
    let elsewhere = server.socket_dir.clone();
    server.stop().await.unwrap();
    std::fs::remove_dir_all(elsewhere).unwrap();
}

#[tokio::test]
async fn a_cluster_of_another_version_is_refused() {
    let home = Home::new();
    std::fs::create_dir_all(home.cluster_made_by(9)).unwrap();
    let refusal = home.refusal().await;
    assert!(refusal.contains("was made by PostgreSQL 9 and the servers found are"), "{refusal}");
    assert!(refusal.contains("apt-get install postgresql-9"), "{refusal}");
}

#[tokio::test]
async fn without_a_server_the_remedy_is_named() {
    let home = Home::new();
    let settings = Settings { bin_dir: Some("/nonexistent".into()), ..home.settings() };
    assert_eq!(
        PrivatePostgres::start(&settings).await.unwrap_err().to_string(),
        "no PostgreSQL server found (looked in /nonexistent); install one (apt-get install postgresql), \
         name its directory in `database.postgres_bin`, or set `database.url` to a server you run"
    );
}

#[tokio::test]
async fn roots_private_directory_is_named_as_the_obstacle() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: an ordinary user serves its own directories");
        return;
    }
    let home = Home::new();
    std::fs::set_permissions(home.dir.path(), Permissions::from_mode(0o700)).unwrap();
    let refusal = home.refusal().await;
    let obstacle = home.dir.path().display();
    assert!(refusal.contains(&format!("cannot enter {obstacle}; set `data_dir`")), "{refusal}");
}

#[tokio::test]
async fn a_place_without_rights_is_refused_before_anything_is_made() {
    let home = Home::new();
    check_place(&home.settings()).await.unwrap();
    // Root writes everywhere, and its server runs as another user.
    std::fs::set_permissions(home.dir.path(), Permissions::from_mode(0o500)).unwrap();
    let refusal = check_place(&home.settings()).await.unwrap_err().to_string();
    let verb = if rustix::process::geteuid().is_root() { "enter" } else { "write to" };
    assert!(
        refusal.contains(&format!("cannot {verb} {}; set `data_dir`", home.dir.path().display())),
        "{refusal}"
    );
    assert!(!home.settings().data_dir.exists());
    std::fs::set_permissions(home.dir.path(), Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn a_file_in_place_of_a_directory_is_named_by_every_look() {
    let home = Home::new();
    let file = home.dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for data_dir in [file.clone(), file.join("a/b")] {
        let settings = Settings { data_dir: data_dir.clone(), bin_dir: None };
        for refusal in [
            attach(&settings).await.unwrap_err(),
            survey(&settings).await.unwrap_err(),
            check_place(&settings).await.unwrap_err(),
            PrivatePostgres::start(&settings).await.unwrap_err(),
        ] {
            let (data_dir, file) = (data_dir.display(), file.display());
            let words =
                format!("`data_dir` is {data_dir} and {file} is a file; set `data_dir` to a directory");
            assert_eq!(refusal.to_string(), words);
        }
    }
}

#[tokio::test]
async fn a_copy_that_root_made_is_refused_with_the_command_that_helps() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: an ordinary user's copies are its own");
        return;
    }
    let home = Home::new();
    home.start().await.stop().await.unwrap();
    std::os::unix::fs::chown(home.cluster(), Some(0), Some(0)).unwrap();
    let refusal = home.refusal().await;
    let cluster = home.cluster();
    assert!(refusal.starts_with(&format!("{} belongs to root", cluster.display())), "{refusal}");
    assert!(
        refusal.ends_with(&format!(": {}", cluster.display())) && refusal.contains("chown -R "),
        "{refusal}"
    );
    assert_eq!(survey(&home.settings()).await.unwrap_err().to_string(), refusal);
}

#[tokio::test]
async fn an_error_quotes_the_log_of_this_start_alone() {
    let home = Home::new();
    home.start().await.stop().await.unwrap();
    std::fs::remove_file(home.cluster().join("global/pg_control")).unwrap();
    let (first, second) = (home.refusal().await, home.refusal().await);
    for refusal in [&first, &second] {
        assert!(refusal.contains("pg_control") && !refusal.contains("shut down"), "{refusal}");
    }
    assert_eq!(first.matches("pg_control").count(), second.matches("pg_control").count(), "{second}");
}

impl Home {
    /// A directory that looks like a cluster of that version.
    fn cluster_made_by(&self, version: u32) -> PathBuf {
        let cluster = self.settings().data_dir.join("postgres");
        std::fs::create_dir_all(&cluster).unwrap();
        std::fs::write(cluster.join("PG_VERSION"), format!("{version}\n")).unwrap();
        cluster
    }
}

#[tokio::test]
async fn full_pages_are_packed_the_best_way_the_server_knows() {
    let home = Home::new();
    let server = home.start().await;
    // Its compile-time options, which versions from 15 on can report.
    let known = "select 'lz4' = any(enumvals) from pg_settings where name = 'wal_compression'";
    let best = match ask(&server, known).as_str() {
        "t" => "lz4",
        "f" => "pglz",
        _ => "on",
    };
    assert_eq!(ask(&server, "show wal_compression"), best);
    server.stop().await.unwrap();
}
