use std::time::Duration;

use super::fixture::*;
use crate::Store;
use chainflume_db::{Migrated, Schema, Settings, StoreError};
use chainflume_testkit::postgres as testing;

#[tokio::test]
async fn instances_that_migrate_at_once_migrate_once() {
    let url = testing::empty_database().await;
    let store = connect(&url).await;
    assert_eq!(store.schema().await.expect("reads"), Schema::Missing);
    let (a, b) = tokio::join!(store.migrate(), store.migrate());
    let (a, b) = (a.expect("migrates"), b.expect("migrates"));
    assert_eq!(a.version, b.version);
    assert_eq!(store.schema().await.expect("reads"), Schema::Current);
    assert_eq!(store.migrate().await.expect("migrates"), Migrated { applied: 0, version: a.version });
}

#[tokio::test]
async fn a_newer_schema_is_left_alone() {
    let store = store().await;
    execute(
        &store,
        "insert into chainflume_migrations values (9999, 'later', now(), true, '', 0); drop table write_probe",
    )
    .await;
    assert!(matches!(store.schema().await, Ok(Schema::Newer { found: 9999, .. })));
    assert!(matches!(store.migrate().await, Err(StoreError::NewerSchema { found: 9999, .. })));
    assert_eq!(texts(&store, "select coalesce(to_regclass('write_probe')::text, 'gone')").await, ["gone"]);
}

#[tokio::test]
async fn the_schema_follows_the_search_path() {
    let url = testing::empty_database().await;
    execute(&connect(&url).await, "create schema flume").await;
    let store = connect(&format!("{url}&options[search_path]=flume")).await;
    store.migrate().await.expect("migrates");
    let chain = open(&store).await;
    advance(&chain, None, block(1, 0), vec![event(block(1, 0), 0, staked(1, 1))]).await.expect("advances");
    let elsewhere = connect(&url).await;
    assert_eq!(texts(&elsewhere, "select count(event_id)::text from flume.vault_staked").await, ["1"]);
    assert_eq!(
        texts(&elsewhere, "select count(*)::text from pg_class where relnamespace = 'public'::regnamespace")
            .await,
        ["0"]
    );
}

#[tokio::test]
async fn a_password_never_shows() {
    for url in ["postgres://me:hunter2@127.0.0.1:1/db", "postgres://me:hunter2@host:port/db", "hunter2"] {
        let settings =
            Settings { url: url.to_owned(), max_connections: 1, acquire_timeout: Duration::from_secs(5) };
        let error = Store::connect(&settings).await.expect_err("no server is there");
        let shown = format!("{settings:?} {error} {error:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(error.is_transient(), matches!(error, StoreError::Connect { .. }));
    }
}

#[tokio::test]
async fn missing_rights_are_named_before_a_migration_with_the_remedy() {
    let url = testing::empty_database().await;
    let admin = connect(&url).await;
    let name = texts(&admin, "select current_database()::text").await.remove(0);
    let role = format!("flume_of_{name}");
    execute(&admin, &format!("create role {role} login")).await;
    let of_role = url.replace("user=postgres", &format!("user={role}"));
    let store = connect(&of_role).await;
    let words = async || {
        let checked = store.check_rights().await.err().map(|error| error.to_string());
        let migrated = store.migrate().await.err().map(|error| error.to_string());
        assert_eq!(checked, migrated, "check and migrate find the same");
        migrated.unwrap_or_default()
    };
    // Since PostgreSQL 15 only the owner of the database creates in public.
    execute(&admin, "revoke create on schema public from public").await;
    let refused = words().await;
    assert!(refused.contains(&format!("role {role} may not create tables in schema public")), "{refused}");
    assert!(refused.contains(&format!("`grant create on schema public to {role}`")), "{refused}");

    execute(&admin, &format!("create schema {role} authorization {role}")).await;
    store.migrate().await.expect("the schema of its own is the first of the search_path");
    store.check_rights().await.expect("all it needs");

    let other = format!("reads_{name}");
    execute(&admin, &format!("create role {other} login; grant usage on schema {role} to {other}")).await;
    let of_other = url.replace("user=postgres", &format!("user={other}&options[search_path]={role}"));
    let reader = connect(&of_other).await;
    let refused = reader.check_rights().await.expect_err("it may not even read").to_string();
    assert!(
        refused.contains(&format!(
            "role {other} may not read the tables in schema {role}; let their owner run `grant select"
        )),
        "{refused}"
    );
    execute(&admin, &format!("grant select on all tables in schema {role} to {other}")).await;
    let refused = reader.check_rights().await.expect_err("it may only read").to_string();
    assert!(
        refused.contains(&format!("role {other} may not write the tables in schema {role}")),
        "{refused}"
    );

    let nowhere = connect(&format!("{of_role}&options[search_path]=nowhere")).await;
    let refused = nowhere.check_rights().await.expect_err("no schema").to_string();
    let words = format!("no schema of the search_path (nowhere) exists that {role} may use");
    assert!(refused.contains(&words), "{refused}");
    execute(&admin, &format!("drop owned by {role}, {other}; drop role {role}, {other}")).await;
}

#[tokio::test]
async fn a_role_that_may_only_write_starts_on_tables_that_are_there() {
    let url = testing::empty_database().await;
    let admin = connect(&url).await;
    admin.migrate().await.expect("migrates");
    let name = texts(&admin, "select current_database()::text").await.remove(0);
    let role = format!("writes_{name}");
    execute(&admin, &format!("create role {role} login")).await;
    execute(&admin, "revoke create on schema public from public").await;
    execute(
        &admin,
        &format!("grant select, insert, update, delete on all tables in schema public to {role}"),
    )
    .await;
    let store = connect(&url.replace("user=postgres", &format!("user={role}"))).await;
    store.check_rights().await.expect("all it needs");
    assert_eq!(store.migrate().await.expect("nothing is to be made").applied, 0);
    execute(&admin, &format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn a_role_of_read_only_transactions_is_named_with_the_remedy() {
    let url = testing::empty_database().await;
    let store = connect(&format!("{url}&options[default_transaction_read_only]=on")).await;
    let words =
        "the database takes no writes: default_transaction_read_only is on for role postgres; set it to off";
    for refused in [store.check_rights().await, store.migrate().await.map(|_| ())] {
        let refused = refused.expect_err("nothing can be written");
        assert!(refused.to_string().starts_with(words) && refused.is_transient(), "{refused}");
    }
}
