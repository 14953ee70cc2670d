//! Checks the rights of the connection's role before a statement fails for lack of them.

use sqlx::postgres::PgConnection;

use crate::transaction;
use crate::{Database, Schema, StoreError};

/// The rights of a connection's role in the schema of unqualified names.
#[derive(sqlx::FromRow)]
struct Rights {
    role: String,
    /// The first schema of the `search_path` that exists.
    schema: Option<String>,
    search_path: String,
    may_create: Option<bool>,
    /// Owner of the table of migrations, if the role is not a member of that owner.
    stranger: Option<String>,
    /// Whether the role may read and write the tables; `None` without tables.
    may_write: Option<bool>,
    /// Whether the server is a replica.
    is_replica: bool,
    /// Whether transactions of the role are read-only by default.
    is_read_only: bool,
}

const RIGHTS: &str = r"
select current_user::text as role,
       current_schema()::text as schema,
       current_setting('search_path') as search_path,
       has_schema_privilege(current_schema(), 'create') as may_create,
       (select pg_get_userbyid(relowner)::text from pg_class
        where oid = to_regclass('chainflume_migrations') and not pg_has_role(relowner, 'usage')) as stranger,
       -- Every step writes these two.
       (select bool_and(has_table_privilege(name, privilege))
        from unnest(array[to_regclass('chains'), to_regclass('events')]) as name,
             unnest(array['select', 'insert', 'update', 'delete']) as privilege
        where name is not null) as may_write,
       pg_is_in_recovery() as is_replica,
       current_setting('default_transaction_read_only') = 'on' as is_read_only
";

impl Database {
    /// Checks that the role may create missing tables and write existing ones.
    ///
    /// # Errors
    /// [`StoreError::Rights`] with the statement that helps; a database error.
    pub async fn check_rights(&self) -> Result<(), StoreError> {
        let schema = self.schema().await?;
        check(&mut *transaction::begin_look(&self.pool).await?, schema).await
    }
}

/// As [`Database::check_rights`] before these migrations.
pub(crate) async fn check(connection: &mut PgConnection, schema: Schema) -> Result<(), StoreError> {
    let rights: Rights = sqlx::query_as(RIGHTS).fetch_one(connection).await?;
    rights.takes_writes()?;
    let refused = |what: String, remedy: String| Err(StoreError::Rights { what, remedy });
    let role = quoted(&rights.role);
    let Some(name) = &rights.schema else {
        let what =
            format!("no schema of the search_path ({}) exists that {role} may use", rights.search_path);
        let remedy =
            format!("`create schema {role} authorization {role}`, or set another search_path for the role");
        return refused(what, remedy);
    };
    let makes_tables = matches!(schema, Schema::Missing | Schema::Behind { .. });
    if makes_tables && rights.may_create == Some(false) {
        let what = format!("role {role} may not create tables in schema {}", quoted(name));
        // PostgreSQL 15 took this right from all roles but the owner of the database (its release notes, E.21).
        let remedy = format!(
            "let an administrator run `grant create on schema {} to {role}`, or \
             `create schema {role} authorization {role}`, which the role then uses by itself",
            quoted(name)
        );
        return refused(what, remedy);
    }
    match &rights.stranger {
        Some(owner) if matches!(schema, Schema::Behind { .. }) => {
            let what = format!("the tables belong to role {}, so {role} may not migrate them", quoted(owner));
            refused(what, format!("run `chainflume migrate` as {0}, or `grant {0} to {role}`", quoted(owner)))
        }
        _ if rights.may_write == Some(false) => Err(rights.refused_tables("write")),
        _ => Ok(()),
    }
}

/// The error of a role that may not even read the existing tables.
pub(crate) async fn unreadable(connection: &mut PgConnection) -> StoreError {
    match sqlx::query_as::<_, Rights>(RIGHTS).fetch_one(connection).await {
        Ok(rights) => rights.refused_tables("read"),
        Err(error) => error.into(),
    }
}

impl Rights {
    /// An error if the server or the role accepts no writes. It may pass: a replica may become a primary.
    fn takes_writes(&self) -> Result<(), StoreError> {
        let refused =
            |what: String, remedy: &str| Err(StoreError::NoWrites { what, remedy: remedy.to_owned() });
        if self.is_replica {
            let remedy = "name the primary in database.url, or all servers of it: host1:5432,host2:5432";
            return refused("the server is a replica".to_owned(), remedy);
        }
        if self.is_read_only {
            let what = format!("default_transaction_read_only is on for role {}", quoted(&self.role));
            let remedy =
                "set it to off where it was set: for the role, the database, the server or in the url";
            return refused(what, remedy);
        }
        Ok(())
    }

    fn refused_tables(&self, verb: &str) -> StoreError {
        let (role, schema) = (quoted(&self.role), quoted(self.schema.as_deref().unwrap_or("public")));
        let what = format!("role {role} may not {verb} the tables in schema {schema}");
        let remedy = format!(
            "let their owner run `grant select, insert, update, delete on all tables in schema {schema} to {role}` and \
             `grant usage on all sequences in schema {schema} to {role}`"
        );
        StoreError::Rights { what, remedy }
    }
}

/// An identifier as SQL takes it.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit();
    match name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}
