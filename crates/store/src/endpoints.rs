use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Store;
use chainflume_db::StoreError;

impl Store {
    /// The stored knowledge about a node's endpoint; `None` if there is none, or if another version wrote it in another form.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn endpoint_limits<T: DeserializeOwned>(
        &self,
        fingerprint: &str,
    ) -> Result<Option<T>, StoreError> {
        let learnt: Option<serde_json::Value> =
            sqlx::query_scalar("select learnt from endpoints where fingerprint = $1")
                .bind(fingerprint)
                .fetch_optional(&self.pool)
                .await?;
        Ok(learnt.and_then(|learnt| serde_json::from_value(learnt).ok()))
    }

    /// Replaces the stored knowledge about a node's endpoint.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn save_endpoint_limits<T: Serialize>(
        &self,
        fingerprint: &str,
        learnt: &T,
    ) -> Result<(), StoreError> {
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
