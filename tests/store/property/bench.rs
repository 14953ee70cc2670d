//! Two databases for one case after the other: one that lives through it and one for the fresh sync.

use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection, raw_sql};

use super::plan::{Fate, Statement};
use crate::cable::Cable;
use crate::postgres;

/// What happens at a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Terminate,
    Fail,
    Hold,
}

/// A database with gates in it, and the cable by which the daemon reaches it.
pub struct Database {
    pub pool: PgPool,
    pub cable: Cable,
    /// Holds the gate shut, in a session of its own.
    keeper: PgConnection,
}

pub struct Bench {
    pub lived: Database,
    pub fresh: Database,
}

impl Bench {
    pub async fn new() -> Self {
        Self { lived: Database::new().await, fresh: Database::new().await }
    }

    pub async fn empty(&mut self) {
        for database in [&mut self.lived, &mut self.fresh] {
            database.disconnect().await;
            database.execute("select empty_tables()").await;
            // Applications have users of their own, before the chain speaks of them.
            database
                .execute(&format!(
                    "insert into users (wallet, status) values ('\\x{}', 'invited'), ('\\x{}', 'active')",
                    alloy_primitives::hex::encode(chainflume_devchain::wallet(1)),
                    alloy_primitives::hex::encode(chainflume_devchain::wallet(2)),
                ))
                .await;
        }
    }
}

impl Database {
    async fn new() -> Self {
        let url = postgres::database().await;
        let pool =
            PgPoolOptions::new().max_connections(2).connect(&url).await.expect("the database is there");
        raw_sql(include_str!("gates.sql")).execute(&pool).await.expect("gates can be made");
        let keeper = PgConnection::connect(&url).await.expect("the database is there");
        Self { pool, cable: Cable::lay(&url), keeper }
    }

    pub async fn execute(&self, sql: &str) {
        raw_sql(sqlx::AssertSqlSafe(sql)).execute(&self.pool).await.expect("the statement runs");
    }

    /// Terminates the daemon's connections.
    pub async fn terminate(&self) {
        self.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where datname = current_database() and application_name = 'chainflume'",
        )
        .await;
    }

    /// Terminates them and waits until they are gone.
    async fn disconnect(&self) {
        self.terminate().await;
        let left = "select count(*) from pg_stat_activity \
            where datname = current_database() and application_name = 'chainflume'";
        while sqlx::query_scalar::<_, i64>(left).fetch_one(&self.pool).await.expect("a count") > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Sets a gate at a statement counted from now on.
    pub async fn arm(&self, statement: Statement, deed: Deed) {
        let (place, at) = match statement {
            Statement::Write(at) => ("write", at),
            Statement::Commit(at) => ("commit", at),
        };
        let deed = format!("{deed:?}").to_lowercase();
        self.execute(&format!(
            "select setval('gate_{place}', 1, false); update gate set place = '{place}', at = {at}, deed = '{deed}'"
        ))
        .await;
    }

    /// Opens the gates.
    pub async fn disarm(&self) {
        self.execute("update gate set deed = 'none'").await;
    }

    /// Shuts a gate and waits until a transaction of the daemon's waits for it. Returns the transaction's
    /// process at the server, `None` when none came for a while.
    pub async fn shut(&mut self, statement: Statement) -> Option<i32> {
        self.tell_keeper("select pg_advisory_lock(4711)").await;
        self.arm(statement, Deed::Hold).await;
        let held = self.wait_for_held().await;
        self.disarm().await;
        held
    }

    /// Opens it again: what waits for it goes on or down.
    pub async fn open(&mut self, held: Option<i32>, fate: Fate) {
        if let (Some(pid), Fate::Terminated) = (held, fate) {
            self.execute(&format!("select pg_terminate_backend({pid})")).await;
        }
        self.tell_keeper("select pg_advisory_unlock(4711)").await;
    }

    async fn tell_keeper(&mut self, sql: &'static str) {
        sqlx::query(sql).execute(&mut self.keeper).await.expect("the session is the test's own");
    }

    async fn wait_for_held(&self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_millis(250);
        while Instant::now() < deadline {
            let waiting = "select l.pid from pg_locks l join pg_database d on d.oid = l.database \
                where d.datname = current_database() and l.locktype = 'advisory' and l.objid = 4711 and not l.granted";
            let held =
                sqlx::query_scalar(waiting).fetch_optional(&self.pool).await.expect("locks can be seen");
            if held.is_some() {
                return held;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        None
    }
}
