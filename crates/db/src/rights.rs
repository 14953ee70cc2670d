//! What the role of the connection may do, looked at before a statement fails for it.

use sqlx::postgres::PgConnection;

use crate::transaction;
use crate::{Database, Schema, StoreError};

/// What PostgreSQL knows of the role of a connection and of the schema that unqualified names lead to.
#[derive(sqlx::FromRow)]
struct Rights {
    role: String,
    /// The first schema of the `search_path` that exists.
    schema: Option<String>,
    search_path: String,
    may_create: Option<bool>,
    /// Owner of the table of migrations, where the role is no member of it.
    stranger: Option<String>,
    /// Whether the role may read and write what the migrations made.
    may_write: Option<bool>,
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
        where name is not null) as may_write
";

impl Database {
    /// Whether the role of the connections may make the tables that are missing and write those there are.
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
    let refused = |what: String, remedy: String| Err(StoreError::Rights { what, remedy });
    let role = quoted(&rights.role);
    let Some(name) = &rights.schema else {
        let what = format!("no schema of the search_path ({}) exists", rights.search_path);
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
    match rights.stranger {
        Some(owner) if matches!(schema, Schema::Behind { .. }) => {
            let what =
                format!("the tables belong to role {}, so {role} may not migrate them", quoted(&owner));
            refused(
                what,
                format!("run `chainflume migrate` as {0}, or `grant {0} to {role}`", quoted(&owner)),
            )
        }
        _ if rights.may_write == Some(false) => {
            let what = format!("role {role} may not write the tables in schema {}", quoted(name));
            let remedy = format!(
                "let their owner run `grant select, insert, update, delete on all tables in schema {0} to {role}` and \
                 `grant usage on all sequences in schema {0} to {role}`",
                quoted(name)
            );
            refused(what, remedy)
        }
        _ => Ok(()),
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
