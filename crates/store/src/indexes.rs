//! The secondary indexes that a first history sync does without: kept up row by row they cost more than the rows,
//! and more the longer a table gets, since wallets come in no order; built once at the end they are a sort. Those stay that
//! the sync itself or the status reads by.

use sqlx::AssertSqlSafe;

use super::{ChainStore, checkpoint};
use chainflume_db::{StoreError, transaction};

impl ChainStore {
    /// Drops the secondary indexes of events, balances and owners and remembers them, if there is no event yet and this is the
    /// database's only chain: another one might be at its head, where a reorg asks for what they hold.
    ///
    /// # Errors
    /// [`StoreError::Fenced`]; a database error.
    pub async fn defer_indexes(&self) -> Result<(), StoreError> {
        let mut tx = checkpoint::begin_beside(self, true).await?;
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

    /// Whether indexes are still to be built.
    ///
    /// # Errors
    /// A database error.
    pub async fn is_deferred(&self) -> Result<bool, StoreError> {
        let sql = "select exists (select from deferred_indexes)";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.pool).await?)
    }

    /// Builds what was deferred, one index a transaction, and returns how many there were. Reading goes on meanwhile,
    /// writing waits. Safe for two instances at once.
    ///
    /// # Errors
    /// [`StoreError::Fenced`]; a database error; what was built stays.
    pub async fn build_indexes(&self) -> Result<u64, StoreError> {
        for built in 0.. {
            // A server that builds an index hears of its client's end when it is done; a successor does not wait for that.
            let mut tx = checkpoint::begin_beside(self, true).await?;
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
