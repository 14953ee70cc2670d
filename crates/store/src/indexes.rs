//! Secondary indexes that a first history sync builds at its end. Updating them for each row costs more than the rows, and more as
//! the table grows, because wallets come in random order; building them once is a sort. Indexes that the sync itself or the status
//! reads are not deferred.

use sqlx::AssertSqlSafe;

use super::{ChainStore, checkpoint};
use chainflume_db::StoreError;
use chainflume_db::transaction::{self, Durability};

impl ChainStore {
    /// Drops the secondary indexes of events, balances and owners, and records them. Does nothing if there are events, or if the
    /// database has another chain: that chain may be at its head, where a reorg needs the indexes.
    ///
    /// # Errors
    /// [`StoreError::Fenced`]; a database error.
    pub async fn defer_indexes(&self) -> Result<(), StoreError> {
        let mut tx = checkpoint::begin_beside(self, Durability::Disk).await?;
        transaction::lock(&mut tx, transaction::REGISTRATION).await?;
        let sql = "select not exists (select from events) and (select count(*) from chains) = 1";
        if !sqlx::query_scalar::<_, bool>(sql).fetch_one(&mut *tx).await? {
            return Ok(());
        }
        let names: Vec<String> = sqlx::query_scalar(
            r"
            insert into deferred_indexes (name, definition)
            select i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) from pg_index i
            where i.indrelid in ('events'::regclass, 'token_balances'::regclass, 'nft_owners'::regclass)
                and not i.indisunique and i.indexrelid <> 'token_balances_negative_idx'::regclass
            on conflict on constraint deferred_indexes_pkey do nothing returning name
            ",
        )
        .fetch_all(&mut *tx)
        .await?;
        for name in &names {
            sqlx::query(AssertSqlSafe(format!("drop index {name}"))).execute(&mut *tx).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Whether any index is still to be built.
    ///
    /// # Errors
    /// A database error.
    pub async fn is_deferred(&self) -> Result<bool, StoreError> {
        let sql = "select exists (select from deferred_indexes)";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.pool).await?)
    }

    /// Builds the deferred indexes, each in its own transaction, and returns their number. Meanwhile readers continue and writers
    /// wait. Safe for two instances at once.
    ///
    /// # Errors
    /// [`StoreError::Fenced`]; a database error. Indexes that were built stay.
    pub async fn build_indexes(&self) -> Result<u64, StoreError> {
        for built in 0.. {
            // PostgreSQL notices the end of its client only after it has built the index. The mark lets the next leader end the session.
            let mut tx = checkpoint::begin_beside(self, Durability::Disk).await?;
            transaction::lock(&mut tx, transaction::REGISTRATION).await?;
            let sql = r"
                delete from deferred_indexes where name = (select min(name) from deferred_indexes)
                returning definition
            ";
            let Some(definition) = sqlx::query_scalar::<_, String>(sql).fetch_optional(&mut *tx).await?
            else {
                return Ok(built);
            };
            sqlx::query(AssertSqlSafe(definition)).execute(&mut *tx).await?;
            tx.commit().await?;
        }
        unreachable!("the loop above has no end but its return")
    }
}
