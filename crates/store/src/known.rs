use super::Store;
use chainflume_core::domain::BlockId;
use chainflume_db::StoreError;
use chainflume_db::convert::{hash, unsigned};
use chainflume_db::transaction;

/// Stored blocks by which a node is recognized as being on the same chain, and not on another one with the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownBlocks {
    /// EIP-155.
    pub chain_id: u64,
    /// Block 0 and the newest final block, as far as they are stored.
    pub blocks: Vec<BlockId>,
}

impl Store {
    /// Blocks of each stored chain that are never undone.
    ///
    /// # Errors
    /// A database error; also if the tables are missing: check [`Store::schema`] before.
    pub async fn known_blocks(&self) -> Result<Vec<KnownBlocks>, StoreError> {
        type Row = (i64, Option<Vec<u8>>, Option<i64>, Option<Vec<u8>>);
        let mut tx = transaction::begin_look(&self.pool).await?;
        let rows: Vec<Row> = sqlx::query_as(
            r"
            select c.chain_id, c.genesis_hash, b.number, b.hash from chains c
            left join lateral (
                select number, hash from blocks
                where chain_id = c.chain_id and number <= c.final_number order by number desc limit 1
            ) b on true
            order by c.chain_id
            ",
        )
        .fetch_all(&mut *tx)
        .await?;
        let row = |(id, genesis, number, newest): Row| {
            let genesis =
                genesis.map(|genesis| Ok::<_, StoreError>(BlockId { number: 0, hash: hash(&genesis)? }));
            let newest = number.zip(newest);
            let newest = newest.map(|(number, newest)| {
                Ok(BlockId { number: unsigned("block number", number)?, hash: hash(&newest)? })
            });
            let blocks = genesis.into_iter().chain(newest).collect::<Result<_, StoreError>>()?;
            Ok(KnownBlocks { chain_id: unsigned("chain id", id)?, blocks })
        };
        rows.into_iter().map(row).collect()
    }
}
