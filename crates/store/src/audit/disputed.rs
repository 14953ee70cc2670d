//! Stored events that a second reading lacks or has otherwise, and what the store knows that may prove them wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chainflume_core::domain::{Address, AddressSet, B256, BlockId, Place};

use super::Sides;
use crate::backfill::check_range;
use crate::events::{self, Stored};
use crate::{Backfill, ChainStore};
use chainflume_db::StoreError;
use chainflume_db::convert::{address, block_id, int8, unsigned};

/// A stored event that is missing from the given events, or differs from the event given for its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisputedEvent {
    /// Where it is stored.
    pub place: Place,
    /// Its block as it is stored.
    pub block_hash: B256,
    /// The contract.
    pub address: Address,
    /// Canonical signature of the event.
    pub signature: String,
}

impl ChainStore {
    /// The same chain, with the contracts that each source follows now. Stored events of other contracts are then counted as
    /// not followed, not as differences.
    #[must_use]
    pub fn following(self, contracts: BTreeMap<String, AddressSet>) -> Self {
        Self { contracts: Arc::new(contracts), ..self }
    }

    /// Whether the source follows logs such as this event's.
    pub(crate) fn follows(&self, source: &str, stored: &Stored) -> bool {
        let contracts = self.contracts.get(source);
        contracts.is_none_or(|contracts| contracts.contains(&stored.event.address))
            && self.chain.has_kind(stored.kind_id)
            && self.admits(source, stored)
    }

    /// Whether the filters of the source admit the log of this event. An event that an earlier, wider filter admitted is not a
    /// difference.
    fn admits(&self, source: &str, stored: &Stored) -> bool {
        let configured = self.chain.configured.iter().find(|configured| configured.name == source);
        let events = configured.map_or(&[][..], |configured| &configured.events);
        let Ok(kind) = self.chain.described(stored.kind_id) else { return true };
        let filtered =
            events.iter().find(|(event, _)| event.signature == kind.signature && !event.filter.is_open());
        filtered.is_none_or(|(event, _)| {
            kind.topics(&stored.event, event).is_some_and(|topics| event.filter.admits(&topics))
        })
    }

    /// The stored events that [`ChainStore::repair`] would take back if all of them were proven wrong.
    ///
    /// # Errors
    /// As [`ChainStore::compare`].
    pub async fn disputed(&self, reread: &Backfill) -> Result<Vec<DisputedEvent>, StoreError> {
        let chain = &*self.chain;
        let ordered = events::in_order(chain, &reread.events)?;
        check_range(chain, reread, &ordered)?;
        let (mut tx, stored) = self.stored(reread).await?;
        let sides = Sides::new(self, ordered, &reread.source, &stored)?;
        let signatures: Vec<(i32, String)> =
            sqlx::query_as("select id, signature from event_kinds where chain_id = $1 and source = $2")
                .bind(chain.id)
                .bind(&reread.source)
                .fetch_all(&mut *tx)
                .await?;
        let signatures: BTreeMap<i32, String> = signatures.into_iter().collect();
        let disputed = |place: &Place| {
            let Stored { kind_id, event, .. } = stored.get(place)?;
            let (block_hash, address) = (event.block_hash, event.address);
            Some(DisputedEvent {
                place: *place,
                block_hash,
                address,
                signature: signatures.get(kind_id)?.clone(),
            })
        };
        Ok(sides.take_back.iter().filter_map(disputed).collect())
    }

    /// The blocks of a range with open dead letters of a source. Leaves out a block with a letter about a contract that the
    /// source does not follow.
    ///
    /// # Errors
    /// A database error.
    pub async fn dead_letter_blocks(&self, reread: &Backfill) -> Result<BTreeSet<u64>, StoreError> {
        let rows: Vec<(i64, String)> = sqlx::query_as(
            r"
            select block_number, raw ->> 'address' from dead_letters
            where chain_id = $1 and source = $2 and block_number between $3 and $4 and resolved_at is null
            ",
        )
        .bind(self.chain.id)
        .bind(&reread.source)
        .bind(int8("block number", reread.range.from())?)
        .bind(int8("block number", reread.range.to())?)
        .fetch_all(&self.pool)
        .await?;
        let contracts = self.contracts.get(&reread.source);
        let followed = |address: Address| contracts.is_none_or(|contracts| contracts.contains(&address));
        let (mut blocks, mut others) = (BTreeSet::new(), BTreeSet::new());
        for (number, address) in rows {
            let is_ours = address.parse::<Address>().is_ok_and(followed);
            let of = if is_ours { &mut blocks } else { &mut others };
            of.insert(unsigned("block number", number)?);
        }
        Ok(blocks.difference(&others).copied().collect())
    }

    /// The lowest block at or above a height that is in the reorg window or at a checkpoint. A block that is known only by its
    /// events does not count.
    ///
    /// # Errors
    /// A database error.
    pub async fn held_at_or_above(&self, number: u64) -> Result<Option<BlockId>, StoreError> {
        let row: Option<(i64, Vec<u8>)> = sqlx::query_as(
            r"
            select number, hash from blocks where chain_id = $1 and number >= $2
            union all
            select block_number, block_hash from source_groups where chain_id = $1 and block_number >= $2
            order by 1 limit 1
            ",
        )
        .bind(self.chain.id)
        .bind(int8("block number", number)?)
        .fetch_optional(&self.pool)
        .await?;
        row.map(|(number, hash)| block_id(number, &hash)).transpose()
    }

    /// Block and contract of a stored event of the source near a height, outside the blocks of `except`.
    ///
    /// # Errors
    /// A database error.
    pub async fn another_event(
        &self,
        source: &str,
        near: u64,
        except: &BTreeSet<u64>,
    ) -> Result<Option<(BlockId, Address)>, StoreError> {
        let except: Vec<i64> =
            except.iter().map(|number| int8("block number", *number)).collect::<Result<_, _>>()?;
        let row: Option<(i64, Vec<u8>, Vec<u8>)> = sqlx::query_as(
            r"
            with others as (
                select block_number, block_hash, address from events where chain_id = $1
                    and kind_id in (select id from event_kinds where chain_id = $1 and source = $2)
                    and block_number <> all($4))
            (select * from others where block_number <= $3 order by block_number desc limit 1)
            union all
            (select * from others where block_number > $3 order by block_number limit 1)
            limit 1
            ",
        )
        .bind(self.chain.id)
        .bind(source)
        .bind(int8("block number", near)?)
        .bind(except)
        .fetch_optional(&self.pool)
        .await?;
        let read = |(number, hash, contract): (i64, Vec<u8>, Vec<u8>)| {
            Ok((block_id(number, &hash)?, address(&contract)?))
        };
        row.map(read).transpose()
    }
}
