use std::fmt;

use sqlx::postgres::PgConnection;

use crate::error::sqlstate;
use crate::{Database, StoreError, transaction};

/// Asks again and again whether the database takes writes.
///
/// Over a connection of its own: the pool tries a refused connection until its timeout and then returns
/// "timeout", and while every one of its connections is busy it would do so for a healthy database too.
pub struct WriteProbe {
    database: Database,
    /// Given back only after a whole question and answer.
    connection: Option<PgConnection>,
}

impl fmt::Debug for WriteProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteProbe").field("connected", &self.connection.is_some()).finish_non_exhaustive()
    }
}

impl Database {
    /// A probe that is not connected yet.
    pub fn write_probe(&self) -> WriteProbe {
        WriteProbe { database: self.clone(), connection: None }
    }
}

impl WriteProbe {
    /// Proves that the database takes writes. A replica that can be reached but not written answers with a
    /// transient error (SQLSTATE 25006); then no connection made before is used again, since the primary may be elsewhere by
    /// now, and is looked for where the URL names several servers. May be given up half-way and called again.
    ///
    /// # Errors
    /// A database error, or why it cannot be reached.
    pub async fn write(&mut self) -> Result<(), StoreError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.database.reach().await?,
        };
        let written = write(&mut connection).await;
        match &written {
            Ok(()) => self.connection = Some(connection),
            Err(StoreError::Database(error)) if sqlstate(error).as_deref() == Some("25006") => {
                self.database.hosts.distrust();
            }
            Err(_) => {}
        }
        written
    }
}

async fn write(connection: &mut PgConnection) -> Result<(), StoreError> {
    let mut tx = transaction::begin_alone(connection).await?;
    sqlx::query(
        r"
        insert into write_probe (written_at) values (now())
        on conflict on constraint write_probe_pkey do update set written_at = excluded.written_at
        ",
    )
    .execute(&mut *tx)
    .await?;
    Ok(tx.commit().await?)
}
