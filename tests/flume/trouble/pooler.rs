//! PgBouncer between the daemon and its database.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::*;

/// Ends with its input, like the other servers of the tests.
const SUPERVISOR: &str = r#"
trap '' HUP INT TERM
PATH=$PATH:/usr/sbin
pgbouncer -q "$1/pgbouncer.ini" >"$1/log" 2>&1 </dev/null &
pooler=$!
while read -r _; do :; done
kill -KILL "$pooler" 2>/dev/null
rm -rf "$1"
"#;

struct Pooler {
    folder: PathBuf,
    _supervisor: Child,
}

impl Pooler {
    /// Before the server of `url`.
    fn start(url: &str, mode: &str) -> Self {
        let server = url.split(['=', '&']).nth(1).expect("host=folder comes first");
        let folder = cluster::folder("pooler");
        let dir = folder.display();
        std::fs::write(folder.join("users"), "\"postgres\" \"\"\n").expect("a file");
        let ini = format!(
            "[databases]\n* = host={server} port=5432\n[pgbouncer]\nlisten_addr =\nlisten_port = 5432\n\
             unix_socket_dir = {dir}\nauth_type = any\nauth_file = {dir}/users\npool_mode = {mode}\n\
             ignore_startup_parameters = extra_float_digits\ndefault_pool_size = 20\n"
        );
        let ini = ini.replace("* =", &format!("{} = user=postgres", parts(url).0));
        std::fs::write(folder.join("pgbouncer.ini"), ini).expect("a file");
        let mut command = Command::new("sh");
        command.args(["-c", SUPERVISOR, "a-pooler-of-a-test"]).arg(&folder).stdin(Stdio::piped());
        let supervisor = cluster::as_unprivileged(command).spawn().expect("sh is everywhere");
        let pooler = Self { folder, _supervisor: supervisor };
        let deadline = Instant::now() + PATIENCE;
        while !pooler.folder.join(".s.PGSQL.5432").exists() {
            let log = || std::fs::read_to_string(pooler.folder.join("log")).unwrap_or_default();
            assert!(
                Instant::now() < deadline,
                "pgbouncer (scripts/need pgbouncer) does not start: {}",
                log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
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
    let pooler = Pooler::start(&url, "session");
    let (chain, server) = devchain(511, 60).await;
    let home = Home::new(&server, &all_sources(), Some(&pooler.url(&url)));
    let daemon = home.start();
    daemon.until_tip(58).await;
    chain.reorg(4, 6);
    daemon.until_tip(60).await;
    daemon.stop_well().await;
    agrees(&chain, &url, 60).await;
}

/// Debian's PgBouncer is older than the one that carries prepared statements along.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_mixes_up_statements_is_refused_before_anything_is_written() {
    let url = postgres::empty_database().await;
    let pooler = Pooler::start(&url, "transaction");
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
