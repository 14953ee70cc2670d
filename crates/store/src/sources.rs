//! Renames a stored source, and locks one for a command that deletes it. Each transaction locks the registration and the chain's row,
//! so it works beside a running daemon.

use super::{Store, checkpoint};
use chainflume_db::convert::unsigned;
use chainflume_db::transaction::{self, Tx};
use chainflume_db::{StoreError, follower, leader};

impl Store {
    /// Renames a stored source and keeps its data, in one transaction. Returns `false` and changes nothing if `old` is not stored or
    /// `new` is. Its typed views are dropped; the next start creates them under the new name.
    ///
    /// # Errors
    /// [`StoreError::View`] when another object depends on one of its views; [`StoreError::Led`] when a daemon follows it under
    /// its old name; [`StoreError::Emptying`]. Nothing is changed then.
    pub async fn rename_source(&self, old: &str, new: &str) -> Result<bool, StoreError> {
        self.check_free(old, None).await?;
        self.drop_views(Some(old)).await?;
        let mut tx = transaction::begin(&self.pool).await?;
        let Some(source) = lock(&mut tx, old).await? else { return Ok(false) };
        source.check_free(&mut tx, None).await?;
        if source.emptying.is_some() {
            return Err(StoreError::Emptying { source_name: old.to_owned() });
        }
        let copied = sqlx::query(
            r"
            insert into sources (name, chain_id, family, start_block, starts_at_latest, end_block, decimals, publish_from,
                verified_to, group_id)
            select $2, chain_id, family, start_block, starts_at_latest, end_block, decimals, publish_from,
                verified_to, group_id
            from sources where name = $1
            on conflict on constraint sources_name_key do nothing
            ",
        )
        .bind(old)
        .bind(new)
        .execute(&mut *tx)
        .await?;
        if copied.rows_affected() == 0 {
            return Ok(false);
        }
        for sql in [
            "update event_kinds set source = $2 where source = $1",
            "update followed set source = $2 where source = $1",
            "update dead_letters set source = $2 where source = $1",
        ] {
            sqlx::query(sql).bind(old).bind(new).execute(&mut *tx).await?;
        }
        sqlx::query("delete from sources where name = $1").bind(old).execute(&mut *tx).await?;
        checkpoint::renamed(&mut tx, new).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// [`StoreError::Led`] where a daemon follows a source by another configuration than that of this digest. Called before the first
    /// change, such as dropping views.
    pub(super) async fn check_free(&self, name: &str, digest: Option<&str>) -> Result<(), StoreError> {
        let mut tx = transaction::begin(&self.pool).await?;
        match lock(&mut tx, name).await? {
            Some(source) => source.check_free(&mut tx, digest).await,
            None => Ok(()),
        }
    }
}

/// A source's registration; this transaction has locked it and the row of its chain.
#[derive(sqlx::FromRow)]
pub(super) struct LockedSource {
    pub(super) name: String,
    pub(super) chain_id: i64,
    /// The record of its deletion, if one has begun.
    pub(super) emptying: Option<i64>,
    followed_as: Option<String>,
}

impl LockedSource {
    /// [`StoreError::Led`] where a daemon leads the chain and follows the source by another configuration than that of this digest: it would read
    /// again what is deleted, or go on under the old name. [`StoreError::Awaited`] where a standby would do so when it leads.
    pub(super) async fn check_free(&self, tx: &mut Tx, digest: Option<&str>) -> Result<(), StoreError> {
        let (chain_id, what) = (unsigned("chain id", self.chain_id)?, format!("source {}", self.name));
        if self.followed_as.as_deref() != digest
            && let Some(holder) = leader(tx, chain_id).await?
        {
            return Err(StoreError::Led { what, holder });
        }
        match follower(tx, chain_id, &self.name, digest).await? {
            Some(holder) => Err(StoreError::Awaited { what, holder }),
            None => Ok(()),
        }
    }
}

/// Locks the registration and the row of the source's chain; `None` where the source is not stored.
pub(super) async fn lock(tx: &mut Tx, source: &str) -> Result<Option<LockedSource>, StoreError> {
    transaction::lock(tx, transaction::REGISTRATION).await?;
    sqlx::query(
        "select from chains c join sources s on s.chain_id = c.chain_id where s.name = $1 for update of c",
    )
    .bind(source)
    .execute(&mut **tx)
    .await?;
    // A second statement, so that it sees what the last holder of the lock committed.
    Ok(sqlx::query_as("select name, chain_id, emptying, followed_as from sources where name = $1")
        .bind(source)
        .fetch_optional(&mut **tx)
        .await?)
}
