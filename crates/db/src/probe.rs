use std::fmt;

use sqlx::postgres::PgConnection;

use crate::error::sqlstate;
use crate::{Database, StoreError, transaction};

/// Probes whether the database accepts writes.
///
/// Uses its own connection. The pool would retry a refused connection until its timeout and then return "timeout"; and with all
/// its connections busy it would return the same for a healthy database.
pub struct WriteProbe {
    database: Database,
    /// `None` during a call, and after a call that failed or was cancelled: then the protocol is in an unknown state.
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
    /// Proves by a write that the database accepts writes. A replica answers with a transient error (SQLSTATE 25006). Then no
    /// earlier connection is used again, because the primary may have moved; if the URL names several servers, the next
    /// connection looks for it. May be cancelled and called again.
    ///
    /// # Errors
    /// A database error, or the reason why the server cannot be reached.
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
