use crate::{Database, StoreError, transaction};

/// The cluster, as `initdb` named it, the database in it and the schema that unqualified names lead to, hashed: a name to compare
/// and nothing to read. A standby of the same cluster has the same one.
const IDENTITY: &str = r"
select left(encode(sha256(convert_to(concat_ws(' ',
    (pg_control_system()).system_identifier, current_database(), current_schema()), 'UTF8')), 'hex'), 16)
";

impl Database {
    /// By what two processes know that they use the same database. 16 hexadecimal digits, which give nothing of the URL away.
    ///
    /// # Errors
    /// A database error; a role may have lost the right to `pg_control_system()`.
    pub async fn identity(&self) -> Result<String, StoreError> {
        let mut tx = transaction::begin_look(&self.pool).await?;
        Ok(sqlx::query_scalar(IDENTITY).fetch_one(&mut *tx).await?)
    }
}
