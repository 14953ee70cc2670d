use std::time::Duration;

use chainflume_db::Database;

/// A fresh database.
pub async fn database() -> Database {
    let url = chainflume_testkit::postgres::database().await;
    let settings =
        chainflume_db::Settings { url, max_connections: 4, acquire_timeout: Duration::from_secs(30) };
    let database = Database::connect(&settings).await.expect("connects");
    database.migrate().await.expect("migrates");
    database
}
