use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Store;
use chainflume_db::StoreError;

impl Store {
    /// What was learnt about an endpoint; `None` where nothing was, or where it was written by another version.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn learnt<T: DeserializeOwned>(&self, fingerprint: &str) -> Result<Option<T>, StoreError> {
        let learnt: Option<serde_json::Value> =
            sqlx::query_scalar("select learnt from endpoints where fingerprint = $1")
                .bind(fingerprint)
                .fetch_optional(&self.pool)
                .await?;
        Ok(learnt.and_then(|learnt| serde_json::from_value(learnt).ok()))
    }

    /// Keeps what was learnt about an endpoint in place of what was before.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn learn<T: Serialize>(&self, fingerprint: &str, learnt: &T) -> Result<(), StoreError> {
        let learnt = serde_json::to_value(learnt).map_err(|error| StoreError::invalid(error.to_string()))?;
        sqlx::query(
            r"
            insert into endpoints as e (fingerprint, learnt) values ($1, $2)
            on conflict on constraint endpoints_pkey do update set
                learnt = excluded.learnt, updated_at = now()
            where e.learnt <> excluded.learnt
            ",
        )
        .bind(fingerprint)
        .bind(learnt)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
