use crate::{Database, StoreError, transaction};

/// A hash of the cluster's system identifier (from `initdb`), the database and the schema of unqualified names. Only for comparison. A
/// standby of the same cluster has the same one.
const IDENTITY: &str = r"
select left(encode(sha256(convert_to(concat_ws(' ',
    (pg_control_system()).system_identifier, current_database(), current_schema()), 'UTF8')), 'hex'), 16)
";

impl Database {
    /// A name for the database, equal for all processes that use it. 16 hexadecimal digits, which reveal nothing of the URL.
    ///
    /// # Errors
    /// A database error, also if the role may not call `pg_control_system()`.
    pub async fn identity(&self) -> Result<String, StoreError> {
        let mut tx = transaction::begin_look(&self.pool).await?;
        Ok(sqlx::query_scalar(IDENTITY).fetch_one(&mut *tx).await?)
    }
}
