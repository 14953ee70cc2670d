//! The stored chains: lists them, and deletes one.

use super::Store;
use super::emptying::{DeletedRows, SourceDeletion};
use chainflume_db::StoreError;
use chainflume_db::convert::{count, int8, unsigned};
use chainflume_db::transaction::{self, Tx};
use chainflume_db::{LeaseName, forget_leases, leader};

/// A chain as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChain {
    /// EIP-155.
    pub chain_id: u64,
    /// Its last name in the configuration.
    pub name: String,
    /// Names of its sources.
    pub sources: Vec<String>,
    /// The highest checkpoint.
    pub tip: Option<u64>,
    /// Number of its stored events.
    pub events: u64,
}

impl Store {
    /// Every chain, by id.
    ///
    /// # Errors
    /// A database error; also if the tables are missing: check [`Store::schema`] before.
    pub async fn stored_chains(&self) -> Result<Vec<StoredChain>, StoreError> {
        type Row = (i64, String, Vec<String>, Option<i64>, i64);
        let mut tx = transaction::begin_look(&self.pool).await?;
        let rows: Vec<Row> = sqlx::query_as(
            r"
            select c.chain_id, c.name, array(select s.name from sources s where s.chain_id = c.chain_id order by 1),
                (select max(g.block_number) from source_groups g where g.chain_id = c.chain_id),
                (select coalesce(sum(k.events), 0)::bigint from event_kinds k where k.chain_id = c.chain_id)
            from chains c order by c.chain_id
            ",
        )
        .fetch_all(&mut *tx)
        .await?;
        let row = |(id, name, sources, tip, events): Row| {
            Ok(StoredChain {
                chain_id: unsigned("chain id", id)?,
                name,
                sources,
                tip: tip.map(|tip| unsigned("block number", tip)).transpose()?,
                events: count(events),
            })
        };
        rows.into_iter().map(row).collect()
    }

    /// Deletes everything of a chain: its sources as [`Store::empty_source`] does, then what belongs to no source. Messages that
    /// are not delivered yet stay. Returns `None` for a chain that is not stored. After an interruption the next call continues.
    ///
    /// # Errors
    /// [`StoreError::View`]; [`StoreError::Led`] when a daemon leads the chain or would lead it.
    pub async fn forget_chain(
        &self,
        chain: &StoredChain,
        page: u32,
        mut report: impl FnMut(u64),
    ) -> Result<Option<DeletedRows>, StoreError> {
        let (id, mut all) = (chain.chain_id, DeletedRows::default());
        check_free(&mut transaction::begin(&self.pool).await?, chain).await?;
        for name in &chain.sources {
            let emptying = SourceDeletion { name, forget: true, digest: None, page };
            let before = all.events;
            let emptied = self.empty_source(&emptying, |events| report(before + events)).await?;
            let emptied = emptied.unwrap_or_default();
            all.events += emptied.events;
            all.pending += emptied.pending;
        }
        let mut tx = transaction::begin(&self.pool).await?;
        transaction::lock(&mut tx, transaction::REGISTRATION).await?;
        let sql = "select from chains where chain_id = $1 for update";
        if sqlx::query(sql).bind(int8("chain id", id)?).fetch_optional(&mut *tx).await?.is_none() {
            return Ok(None);
        }
        check_free(&mut tx, chain).await?;
        delete(&mut tx, id).await?;
        tx.commit().await?;
        Ok(Some(all))
    }
}

/// If a source was registered meanwhile, the foreign key refuses to delete its chain.
async fn delete(tx: &mut Tx, id: u64) -> Result<(), StoreError> {
    for sql in [
        "delete from pending_events where chain_id = $1",
        "delete from orphaned_events where chain_id = $1",
        "delete from reorgs where chain_id = $1",
        "delete from dead_letters where chain_id = $1",
        "delete from blocks where chain_id = $1",
        "delete from chains where chain_id = $1",
    ] {
        sqlx::query(sql).bind(int8("chain id", id)?).execute(&mut **tx).await?;
    }
    forget_leases(tx, &[LeaseName::chain(id), LeaseName::audit(id)]).await
}

/// [`StoreError::Led`] where a daemon leads the chain or waits to lead it: its configuration contains the chain.
async fn check_free(tx: &mut Tx, chain: &StoredChain) -> Result<(), StoreError> {
    let holder = match leader(tx, chain.chain_id).await? {
        Some(holder) => Some(holder),
        None => waiting(tx, chain.chain_id).await?,
    };
    match holder {
        Some(holder) => Err(StoreError::Led { what: format!("chain {}", chain.name), holder }),
        None => Ok(()),
    }
}

/// A running daemon that waits to lead the chain.
async fn waiting(tx: &mut Tx, chain_id: u64) -> Result<Option<String>, StoreError> {
    let sql = r"
        select i.holder from instances i join pg_stat_activity a on a.pid = i.backend_pid
            and (a.backend_start is null or a.backend_start = i.backend_start)
        where $1 = any(i.wants) and i.expires_at > clock_timestamp() limit 1
    ";
    Ok(sqlx::query_scalar(sql).bind(LeaseName::chain(chain_id)).fetch_optional(&mut **tx).await?)
}
