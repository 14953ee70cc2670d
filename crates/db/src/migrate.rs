use std::sync::LazyLock;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnection;

use crate::transaction::{self, MIGRATION};
use crate::{Database, Schema, StoreError, rights};

/// Uses another table than sqlx's default: an application that shares the database may use sqlx too.
static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("../../migrations");
    migrator.dangerous_set_table_name("chainflume_migrations");
    migrator.set_locking(false);
    migrator
});

/// The result of [`Database::migrate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Number of migrations that were run; 0 if the schema was current or another instance ran them.
    pub applied: u64,
    /// The schema's version now.
    pub version: i64,
}

impl Database {
    /// Compares the schema in the database with this program's. Writes nothing.
    ///
    /// # Errors
    /// A database error.
    pub async fn schema(&self) -> Result<Schema, StoreError> {
        schema(&mut *transaction::begin_look(&self.pool).await?).await
    }

    /// Runs the missing migrations, all in one transaction. Instances that start at the same time wait for each other.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`], before any change; [`StoreError::Migrate`].
    pub async fn migrate(&self) -> Result<Migrated, StoreError> {
        // Without the time limits of other transactions: a migration may take long, and another instance waits for it.
        let mut tx = self.pool.begin_with("begin isolation level read committed").await?;
        let migrated = migrate(&mut tx).await?;
        tx.commit().await?;
        Ok(migrated)
    }
}

async fn migrate(connection: &mut PgConnection) -> Result<Migrated, StoreError> {
    // The migrator's own lock is a lock of the session, which a pooler may give to another client. It is also taken too late: two
    // instances would both count the migrations that one of them ran.
    sqlx::query("select pg_advisory_xact_lock($1)").bind(MIGRATION).execute(&mut *connection).await?;
    let found = schema(connection).await?;
    rights::check(connection, found).await?;
    let before = match found {
        Schema::Newer { found, known } => return Err(StoreError::NewerSchema { found, known }),
        Schema::Missing => 0,
        Schema::Behind { .. } => applied(connection).await?.len(),
        // Not by the migrator: it needs the right to create tables even if there is nothing to create.
        Schema::Current => return Ok(Migrated { applied: 0, version: known() }),
    };
    MIGRATOR.run(&mut *connection).await.map_err(|error| match error {
        MigrateError::VersionMissing(found) => StoreError::NewerSchema { found, known: known() },
        error => StoreError::Migrate(error),
    })?;
    let after = applied(connection).await?.len();
    Ok(Migrated { applied: after.saturating_sub(before) as u64, version: known() })
}

async fn schema(connection: &mut PgConnection) -> Result<Schema, StoreError> {
    let sql = "select has_table_privilege(to_regclass('chainflume_migrations'), 'select')";
    let may_read: Option<bool> = sqlx::query_scalar(sql).fetch_one(&mut *connection).await?;
    match may_read {
        None => return Ok(Schema::Missing),
        Some(false) => return Err(rights::unreadable(connection).await),
        Some(true) => {}
    }
    let applied = applied(connection).await?;
    if let Some(&found) = applied.iter().rev().find(|version| !MIGRATOR.version_exists(**version)) {
        return Ok(Schema::Newer { found, known: known() });
    }
    Ok(match MIGRATOR.iter().count().saturating_sub(applied.len()) {
        0 => Schema::Current,
        _ if applied.is_empty() => Schema::Missing,
        pending => Schema::Behind { pending: pending as u64 },
    })
}

async fn applied(connection: &mut PgConnection) -> Result<Vec<i64>, StoreError> {
    let sql = "select version from chainflume_migrations where success order by version";
    Ok(sqlx::query_scalar(sql).fetch_all(connection).await?)
}

fn known() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or_default()
}
