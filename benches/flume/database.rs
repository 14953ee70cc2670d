//! The PostgreSQL of the bench: the daemon's private server with its own settings, one database a run.

use std::path::Path;

use anyhow::Context as _;
use chainflume::postgres::{PrivatePostgres, Settings};
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Executor as _};

use super::process;

/// The server.
pub struct Postgres {
    server: PrivatePostgres,
    admin: PgPool,
}

/// A database of it.
pub struct Database {
    pub name: String,
    pub url: String,
    pub pool: PgPool,
}

impl Postgres {
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let settings = Settings { data_dir: folder.join("postgres"), bin_dir: None };
        let server = PrivatePostgres::start(&settings).await?;
        let admin = PgPool::connect(&server.url()).await?;
        Ok(Self { server, admin })
    }

    /// Version of the server.
    pub async fn version(&self) -> anyhow::Result<String> {
        Ok(sqlx::query_scalar("show server_version").fetch_one(&self.admin).await?)
    }

    /// A database with nothing in it, on a server that has nothing left to write.
    pub async fn create(&self, name: &str) -> anyhow::Result<Database> {
        self.admin.execute(AssertSqlSafe(format!("drop database if exists {name} with (force)"))).await?;
        self.admin.execute(AssertSqlSafe(format!("create database {name}"))).await?;
        self.admin.execute("checkpoint").await?;
        let url = self.server.url().replace(":///chainflume?", &format!(":///{name}?"));
        Ok(Database { name: name.to_owned(), pool: PgPool::connect(&url).await?, url })
    }

    /// Makes the files of the write-ahead log that the server keeps, as one that has run for a while has them: a file
    /// is made when the log first needs it, and every commit waits meanwhile.
    pub async fn settle(&self) -> anyhow::Result<()> {
        let sql = "select pg_size_bytes(current_setting('min_wal_size')) \
                   / pg_size_bytes(current_setting('wal_segment_size'))";
        let files: i64 = sqlx::query_scalar(sql).fetch_one(&self.admin).await?;
        for _ in 0..files {
            // A file in which nothing stands is not left for the next.
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
        process::cpu_of_family(self.server.pid().context("the server runs")?)
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.admin.close().await;
        Ok(self.server.stop().await?)
    }
}

impl Database {
    /// Height of the one checkpoint, 0 while there is none.
    pub async fn tip(&self) -> anyhow::Result<u64> {
        let tip: Option<i64> =
            sqlx::query_scalar("select max(block_number) from checkpoints").fetch_one(&self.pool).await?;
        Ok(tip.unwrap_or(0).try_into()?)
    }

    /// How many indexes can be used.
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
