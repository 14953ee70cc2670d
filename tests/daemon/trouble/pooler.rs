//! PgBouncer between the daemon and its database.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::*;
use crate::wait::until_ok;

/// Ends with its input, like the other servers of the tests.
const SUPERVISOR: &str = r#"
trap '' HUP INT TERM
"$2" -q "$1/pgbouncer.ini" >"$1/log" 2>&1 </dev/null &
pooler=$!
while read -r _; do :; done
kill -KILL "$pooler" 2>/dev/null
rm -rf "$1"
"#;

/// The one named by `PGBOUNCER`, else the installed one.
fn program() -> String {
    let installed = || {
        let found =
            ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].into_iter().find(|path| Path::new(path).exists());
        found.expect("no PgBouncer found; install it: scripts/need pgbouncer").to_owned()
    };
    std::env::var("PGBOUNCER").unwrap_or_else(|_| installed())
}

/// Whether it can move prepared statements from session to session: since 1.21.
fn carries_statements() -> bool {
    let said = Command::new(program()).arg("--version").output().expect("it runs");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let minor = text
        .strip_prefix("PgBouncer 1.")
        .and_then(|rest| rest.split(['.', '\n']).next()?.parse::<u32>().ok());
    minor.is_some_and(|minor| minor >= 21)
}

struct Pooler {
    folder: PathBuf,
    _supervisor: Child,
}

impl Pooler {
    /// Before the server of `url`.
    async fn start(url: &str, settings: &str) -> Self {
        let server = url.split(['=', '&']).nth(1).expect("host=folder comes first");
        let folder = cluster::folder("pooler");
        let dir = folder.display();
        std::fs::write(folder.join("users"), "\"postgres\" \"\"\n").expect("a file");
        let ini = format!(
            "[databases]\n* = host={server} port=5432\n[pgbouncer]\nlisten_addr =\nlisten_port = 5432\n\
             unix_socket_dir = {dir}\nauth_type = any\nauth_file = {dir}/users\n{settings}\n\
             ignore_startup_parameters = extra_float_digits\ndefault_pool_size = 20\n"
        );
        let ini = ini.replace("* =", &format!("{} = user=postgres", parts(url).0));
        std::fs::write(folder.join("pgbouncer.ini"), ini).expect("a file");
        let mut command = Command::new("sh");
        command
            .args(["-c", SUPERVISOR, "a-pooler-of-a-test"])
            .arg(&folder)
            .arg(program())
            .stdin(Stdio::piped());
        let supervisor = cluster::as_unprivileged(command).spawn().expect("sh is everywhere");
        let pooler = Self { folder, _supervisor: supervisor };
        until_ok("pgbouncer (scripts/need pgbouncer) starts", async || {
            let log = || std::fs::read_to_string(pooler.folder.join("log")).unwrap_or_default();
            pooler.folder.join(".s.PGSQL.5432").exists().then_some(()).ok_or_else(log)
        })
        .await;
        pooler
    }

    fn url(&self, url: &str) -> String {
        let server = url.split(['=', '&']).nth(1).expect("host=folder comes first");
        url.replace(server, &self.folder.display().to_string())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_of_sessions_is_as_good_as_the_server() {
    let url = postgres::empty_database().await;
    let pooler = Pooler::start(&url, "pool_mode = session").await;
    let (chain, server) = devchain(511, 60).await;
    let home = Home::new(&server, &all_sources(), Some(&pooler.url(&url)));
    let daemon = home.start();
    daemon.until_tip(58).await;
    chain.reorg(4, 6);
    daemon.until_tip(60).await;
    daemon.stop_well().await;
    agrees(&chain, &url, 60).await;
}

/// The flume as a whole: messages are polled for, migrations and leases need no session.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a PgBouncer of 1.21 or later, named in PGBOUNCER"]
async fn a_transaction_pooler_that_keeps_statements_is_served() {
    assert!(carries_statements(), "PgBouncer is older than 1.21: name a newer one in PGBOUNCER");
    let url = postgres::empty_database().await;
    let pooler = Pooler::start(&url, "pool_mode = transaction\nmax_prepared_statements = 200").await;
    let (chain, server) = devchain(513, 60).await;
    let homes = [(); 2].map(|()| Home::new(&server, &all_sources(), Some(&pooler.url(&url))));
    for home in &homes {
        home.rewrite("[admin]", "[standby]\nlease = \"3s\"\n[admin]");
    }
    let first = homes[0].start();
    first.until_tip(58).await;
    assert_eq!(first.log().matches("a pooler stands before the database").count(), 1, "{}", first.log());
    let second = homes[1].start();
    second.until("a standby", |status, report| status == 200 && report["role"] == "standby").await;
    chain.reorg(4, 6);
    first.until_tip(60).await;
    first.until("delivered", |_, report| report["sinks"]["in-process"]["lag"] == 0).await;
    first.kill_9().await;
    chain.mine(30);
    second.until_tip(90).await;
    second.stop_well().await;
    agrees(&chain, &url, 90).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_mixes_up_statements_is_refused_before_writes() {
    let url = postgres::empty_database().await;
    let carries = carries_statements();
    let settings = if carries {
        "pool_mode = transaction\nmax_prepared_statements = 0"
    } else {
        "pool_mode = transaction"
    };
    let pooler = Pooler::start(&url, settings).await;
    let (_chain, server) = devchain(512, 10).await;
    let home = Home::new(&server, &all_sources(), Some(&pooler.url(&url)));
    let said = home.run(&["run"]).await;
    assert!(
        said.err.contains("a pooler between us and the database mixes up prepared statements"),
        "{said:?}"
    );
    let tables: i64 = sqlx::query_scalar("select count(*) from pg_tables where schemaname = 'public'")
        .fetch_one(&connect(&url).await)
        .await
        .expect("a count");
    assert_eq!(tables, 0);
}
