//! The PostgreSQL of the bench: the cluster and the settings of the daemon's private server, one database per run. This
//! server also listens on TCP, since most daemons reach their database that way.

use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chainflume::postgres::{PrivatePostgres, Settings};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::process::{Child, Command};

use super::process;

/// Timeout of the start and of the stop of the server.
const SERVER_TIMEOUT: Duration = Duration::from_secs(60);

/// The connection of a daemon to the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Over {
    /// The Unix socket.
    #[default]
    Socket,
    /// TCP on the loopback.
    Tcp,
}

impl Over {
    /// The title in the table of results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Tcp => "TCP",
        }
    }
}

/// The server.
pub struct Postgres {
    server: Child,
    folder: PathBuf,
    port: u16,
    admin: PgPool,
}

/// A database of the server.
pub struct Database {
    pub name: String,
    /// For the daemon.
    pub url: String,
    /// The connection of the bench itself, over the socket.
    pub pool: PgPool,
}

impl Postgres {
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let data_dir = folder.join("postgres");
        // Creates the cluster and writes the settings.
        PrivatePostgres::start(&Settings { data_dir: data_dir.clone(), bin_dir: None }).await?.stop().await?;
        let cluster = data_dir.join("postgres");
        let access = "local all all trust\nhost all all 127.0.0.1/32 trust\n";
        std::fs::write(cluster.join("pg_hba.conf"), access).context("the cluster takes a new pg_hba.conf")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let server = launch(&cluster, &data_dir.join("postgresql.conf"), port)?;
        let admin = connect(&url(&cluster, port, "postgres", Over::Socket)).await?;
        Ok(Self { server, folder: cluster, port, admin })
    }

    /// Version of the server.
    pub async fn version(&self) -> anyhow::Result<String> {
        Ok(sqlx::query_scalar("show server_version").fetch_one(&self.admin).await?)
    }

    /// Creates an empty database, after the server has finished all writes.
    pub async fn create(&self, name: &str, over: Over) -> anyhow::Result<Database> {
        self.admin.execute(AssertSqlSafe(format!("drop database if exists {name} with (force)"))).await?;
        self.admin.execute(AssertSqlSafe(format!("create database {name}"))).await?;
        self.admin.execute("checkpoint").await?;
        let pool = PgPool::connect(&url(&self.folder, self.port, name, Over::Socket)).await?;
        Ok(Database { name: name.to_owned(), pool, url: url(&self.folder, self.port, name, over) })
    }

    /// Creates the files of the write-ahead log that a server keeps after some time. Otherwise a file is created when
    /// the log first needs it, and every commit waits meanwhile.
    pub async fn allocate_log_files(&self) -> anyhow::Result<()> {
        let sql = "select pg_size_bytes(current_setting('min_wal_size')) \
                   / pg_size_bytes(current_setting('wal_segment_size'))";
        let files: i64 = sqlx::query_scalar(sql).fetch_one(&self.admin).await?;
        for _ in 0..files {
            // An unused file would not be kept for the next run.
            self.admin.execute("select pg_logical_emit_message(false, 'bench', 'one more')").await?;
            self.admin.execute("select pg_switch_wal()").await?;
        }
        self.admin.execute("checkpoint").await?;
        Ok(())
    }

    pub async fn remove(&self, database: Database) -> anyhow::Result<()> {
        database.pool.close().await;
        self.admin.execute(AssertSqlSafe(format!("drop database {} with (force)", database.name))).await?;
        Ok(())
    }

    /// CPU seconds of all its processes so far.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        process::cpu_of_family(self.server.id().context("the server runs")?)
    }

    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.admin.close().await;
        let pid = Pid::from_raw(self.server.id().context("the server runs")?.try_into()?);
        kill_process(pid.context("a pid is not 0")?, Signal::INT)?;
        tokio::time::timeout(SERVER_TIMEOUT, self.server.wait()).await??;
        Ok(())
    }
}

/// Starts the server as the owner of the cluster; killed when dropped.
fn launch(cluster: &Path, settings: &Path, port: u16) -> anyhow::Result<Child> {
    let owner = std::fs::metadata(cluster)?;
    let program = find_server(cluster)?;
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").current_dir("/");
    command.arg("-D").arg(cluster).arg("-c").arg(format!("config_file={}", settings.display()));
    command.args(["-c", "listen_addresses=127.0.0.1", "-c", "logging_collector=off"]);
    command.arg("-c").arg(format!("unix_socket_directories={}", cluster.display()));
    command.arg("-c").arg(format!("port={port}"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    if rustix::process::geteuid().is_root() {
        command.uid(owner.uid()).gid(owner.gid());
    }
    command.spawn().context("the server starts")
}

/// The server program of the version that created the cluster, or the one in `PATH`.
fn find_server(cluster: &Path) -> anyhow::Result<PathBuf> {
    let version = std::fs::read_to_string(cluster.join("PG_VERSION"))?;
    let version = version.trim();
    let folders = [format!("/usr/lib/postgresql/{version}/bin"), format!("/usr/pgsql-{version}/bin")];
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let all = folders.into_iter().map(PathBuf::from).chain(std::env::split_paths(&in_path));
    let found = all.map(|folder| folder.join("postgres")).find(|program| program.is_file());
    found.with_context(|| format!("there is no PostgreSQL {version} server program"))
}

async fn connect(url: &str) -> anyhow::Result<PgPool> {
    let deadline = tokio::time::Instant::now() + SERVER_TIMEOUT;
    loop {
        match PgPool::connect(url).await {
            Ok(pool) => return Ok(pool),
            Err(error) if tokio::time::Instant::now() > deadline => {
                bail!("the server does not start: {error}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn url(folder: &Path, port: u16, database: &str, over: Over) -> String {
    match over {
        Over::Socket => {
            format!("postgres:///{database}?host={}&port={port}&user=chainflume", folder.display())
        }
        Over::Tcp => format!("postgres://chainflume@127.0.0.1:{port}/{database}?sslmode=disable"),
    }
}

impl Database {
    /// Height of the only checkpoint; 0 without a checkpoint or its table.
    pub async fn tip(&self) -> anyhow::Result<u64> {
        const UNDEFINED_TABLE: &str = "42P01";
        let sql = "select max(block_number) from checkpoints";
        match sqlx::query_scalar::<_, Option<i64>>(sql).fetch_one(&self.pool).await {
            Ok(tip) => Ok(tip.unwrap_or(0).try_into()?),
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(UNDEFINED_TABLE) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Number of usable indexes.
    pub async fn indexes(&self) -> anyhow::Result<i64> {
        let sql = "select count(*) from pg_index where indisvalid";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.pool).await?)
    }

    pub async fn events(&self) -> anyhow::Result<i64> {
        Ok(sqlx::query_scalar("select count(*) from events").fetch_one(&self.pool).await?)
    }

    /// Bytes on disk of the events with their indexes, and of the whole database.
    pub async fn bytes(&self) -> anyhow::Result<(i64, i64)> {
        let sql = "select pg_total_relation_size('events'), pg_database_size(current_database())";
        Ok(sqlx::query_as(sql).fetch_one(&self.pool).await?)
    }
}
