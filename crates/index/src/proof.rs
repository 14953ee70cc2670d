//! Stored events are undone only on proof, block by block. A proof is receipts with the root of the header, a bloom
//! that excludes the events, or a second provider with the same answer. One node that leaves logs out proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::error::IndexerError;
use super::translate::GroupTranslator;
use chainflume_core::domain::{B256, BlockRef, Event, LogFilter, Logs, Place};
use chainflume_node::{IdentifiedHeader, Node};
use chainflume_store::{Backfill, ChainStore, DisputedEvent, ProvenBlocks};

/// Looks for proof about the blocks of a source.
pub(super) struct Prover {
    /// The provider of the first answer, and after it the others.
    pub nodes: Vec<Arc<Node>>,
    pub filter: LogFilter,
    pub translator: GroupTranslator,
    pub store: ChainStore,
    /// First topics of the source's events, by signature.
    pub topics: BTreeMap<String, B256>,
}

/// Which proof is needed.
pub(super) struct ProofRequest {
    /// Places of logs that are on the chain and that the source decodes differently now. They are no difference.
    pub others: BTreeSet<Place>,
    pub need: ProofNeed,
}

/// What counts as proof, and for which blocks.
pub(super) enum ProofNeed {
    /// Receipts, a bloom or a second provider, for blocks with a disputed event.
    Any,
    /// Only receipts with the root of the header, for blocks with a disputed event and for these blocks.
    Root(BTreeSet<u64>),
}

/// Maximum number of blocks of one batch whose receipts the audit fetches: the node has other work. The rest follows
/// with the next read of the same range.
pub(super) const MAX_BLOCKS: usize = 64;

/// The result of the search for proof.
#[derive(Debug, Default)]
pub(super) struct Proof {
    /// Events and blocks that the store may undo.
    pub proven: ProvenBlocks,
    /// Stored events whose log is on the chain, and which the source decodes differently now.
    pub there: BTreeSet<Place>,
    /// Stored events that the first answer lacks and no provider proves wrong.
    pub unproven: Vec<Place>,
    /// Why they are not proven, each reason once.
    pub reasons: BTreeSet<String>,
}

/// What is proven about one block.
enum BlockProof {
    /// All its logs that the source wants, and its time in seconds.
    Logs(Logs, u64),
    /// The block has none of the disputed events.
    Excluded,
}

/// Why no provider could prove it.
type Unproven = Vec<String>;
/// The headers of one block, by provider.
type ShownHeaders<'a> = Vec<(&'a Arc<Node>, IdentifiedHeader)>;

impl Prover {
    /// Looks for proof for each block with a disputed event. Where the logs of a block are proven, they replace those
    /// that were read.
    ///
    /// # Errors
    /// A database error. A node that does not answer is no error: it proves nothing.
    pub(super) async fn prove(
        &self,
        read: &mut Backfill,
        disputed: Vec<DisputedEvent>,
        need: &ProofNeed,
    ) -> Result<Proof, IndexerError> {
        let also = match need {
            ProofNeed::Any => self.blocks_with_dead_letters(read).await?,
            ProofNeed::Root(blocks) => blocks.clone(),
        };
        let mut blocks: BTreeMap<u64, Vec<DisputedEvent>> =
            also.into_iter().map(|number| (number, vec![])).collect();
        for event in disputed {
            blocks.entry(event.place.block_number).or_default().push(event);
        }
        let disputed_blocks: BTreeSet<u64> = blocks.keys().copied().collect();
        let mut proof = Proof::default();
        let needs_root = matches!(need, ProofNeed::Root(_));
        for (index, (number, disputed)) in blocks.into_iter().enumerate() {
            let places = disputed.iter().map(|event| event.place);
            if needs_root && index >= MAX_BLOCKS {
                proof.unproven.extend(places);
                continue;
            }
            let found = match needs_root {
                true => self.by_root(number, &disputed).await?.map_err(|(_, reasons)| reasons),
                false => self.block(read, number, &disputed_blocks, &disputed).await?,
            };
            match found {
                Ok(BlockProof::Logs(logs, time)) => {
                    let there: BTreeSet<Place> = logs.iter().map(|log| log.place).collect();
                    self.replace(read, number, logs, time);
                    let events: BTreeSet<Place> = read.events.iter().map(|event| event.place).collect();
                    let (gone, kept): (Vec<Place>, Vec<Place>) =
                        places.partition(|place| events.contains(place) || !there.contains(place));
                    proof.proven.places.extend(gone);
                    proof.proven.blocks.insert(number);
                    proof.there.extend(kept);
                }
                Ok(BlockProof::Excluded) => proof.proven.places.extend(places),
                Err(_) if disputed.is_empty() && !needs_root => {}
                Err(reasons) => {
                    proof.unproven.extend(places);
                    proof.reasons.extend(reasons);
                }
            }
        }
        Ok(proof)
    }

    /// Blocks with stored dead letters that the first answer does not account for.
    async fn blocks_with_dead_letters(&self, read: &Backfill) -> Result<BTreeSet<u64>, IndexerError> {
        let mut blocks_with_dead_letters = self.store.dead_letter_blocks(read).await?;
        for letter in &read.dead_letters {
            blocks_with_dead_letters.remove(&letter.log.place.block_number);
        }
        Ok(blocks_with_dead_letters)
    }

    async fn block(
        &self,
        read: &Backfill,
        number: u64,
        disputed_blocks: &BTreeSet<u64>,
        disputed: &[DisputedEvent],
    ) -> Result<Result<BlockProof, Unproven>, IndexerError> {
        let (shown, mut reasons) = match self.by_root(number, disputed).await? {
            Ok(proof) => return Ok(Ok(proof)),
            Err(unproven) => unproven,
        };
        let excludes = |header: &IdentifiedHeader| {
            let excluded =
                |event: &DisputedEvent| header.excludes(&event.address, self.topics.get(&event.signature));
            !disputed.is_empty() && disputed.iter().all(excluded)
        };
        for (node, header) in &shown {
            if excludes(header) && self.has_useful_blooms(node, read, number, disputed_blocks).await? {
                return Ok(Ok(BlockProof::Excluded));
            }
        }
        Ok(match self.by_second_provider(read, disputed, &shown).await {
            Ok(found) => Ok(found),
            Err(reason) => {
                reasons.push(reason);
                Err(reasons)
            }
        })
    }

    /// The logs of a block from receipts with the root of its header. The inner error: the headers that providers
    /// returned, and the reasons.
    async fn by_root(
        &self,
        number: u64,
        disputed: &[DisputedEvent],
    ) -> Result<Result<BlockProof, (ShownHeaders<'_>, Unproven)>, IndexerError> {
        let (mut shown, mut reasons) = (ShownHeaders::new(), Unproven::new());
        for node in &self.nodes {
            let header = match self.header(node, number, disputed).await? {
                Ok(header) => header,
                Err(reason) => {
                    reasons.push(reason);
                    continue;
                }
            };
            match node.logs_by_receipts(&self.filter, &header).await {
                Ok(logs) => return Ok(Ok(BlockProof::Logs(logs, header.block().timestamp))),
                Err(error) => reasons.push(error.to_string()),
            }
            shown.push((node, header));
        }
        Ok(Err((shown, reasons)))
    }

    /// The node's header at a height, if the node is on the stored branch: it has the block of the stored events, or
    /// a stored block above it. The inner error is the reason.
    async fn header(
        &self,
        node: &Arc<Node>,
        number: u64,
        disputed: &[DisputedEvent],
    ) -> Result<Result<IdentifiedHeader, String>, IndexerError> {
        let held = self.store.held_at_or_above(number).await?;
        let heights: Vec<u64> = [number].into_iter().chain(held.map(|held| held.number)).collect();
        let headers = match node.identified_headers(&heights).await {
            Ok(headers) => headers,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let host = node.host();
        let Some(header) = headers.first().copied().flatten() else {
            return Ok(Err(format!("{host} does not have the header of block {number}")));
        };
        let above = headers.get(1).copied().flatten().map(|header| header.block().id());
        let same =
            !disputed.is_empty() && disputed.iter().all(|event| event.block_hash == header.block().hash);
        Ok(match same || (held.is_some() && above == held) {
            true => Ok(header),
            false => Err(format!("{host} has other blocks than the stored ones at {number} and above")),
        })
    }

    /// Whether the bloom of another header of the node holds a stored log. On some chains all blooms are empty, and
    /// would exclude everything.
    async fn has_useful_blooms(
        &self,
        node: &Arc<Node>,
        read: &Backfill,
        number: u64,
        disputed_blocks: &BTreeSet<u64>,
    ) -> Result<bool, IndexerError> {
        let Some((block, contract)) = self.store.another_event(&read.source, number, disputed_blocks).await?
        else {
            return Ok(false);
        };
        let headers = node.identified_headers(&[block.number]).await.unwrap_or_default();
        let header = headers.first().copied().flatten();
        Ok(header.is_some_and(|header| header.block().hash == block.hash && header.may_have(&contract)))
    }

    /// The logs of a second provider that has the same block and confirms the first answer, fetched by block hash.
    /// The error is why there is none.
    async fn by_second_provider(
        &self,
        read: &Backfill,
        disputed: &[DisputedEvent],
        shown: &[(&Arc<Node>, IdentifiedHeader)],
    ) -> Result<BlockProof, String> {
        let first =
            self.nodes.first().zip(shown.first()).filter(|(node, (shown, _))| Arc::ptr_eq(node, shown));
        let Some((_, (node, header))) = first else {
            return Err("the first provider returned no header that proves its branch".to_owned());
        };
        let block = header.block();
        let mut why = format!("no provider other than {} has block {}", node.host(), block.number);
        for (other, _) in shown.iter().skip(1).filter(|(_, other)| other.block() == block) {
            match other.with_logs(&self.filter, block).await {
                Ok(answer) => {
                    let times = [(block.number, block.timestamp)].into();
                    let events = self.translator.translate(&answer.logs, &times).events;
                    if confirms(&events, read, block, disputed) {
                        return Ok(BlockProof::Logs(answer.logs, block.timestamp));
                    }
                    why = format!("{} and {} return different blocks", node.host(), other.host());
                }
                Err(error) => why = error.to_string(),
            }
        }
        Err(why)
    }

    fn replace(&self, read: &mut Backfill, number: u64, logs: Logs, time: u64) {
        let translated = self.translator.translate(&logs, &[(number, time)].into());
        read.events.retain(|event| event.place.block_number != number);
        read.dead_letters.retain(|letter| letter.log.place.block_number != number);
        read.events.extend(translated.events);
        read.dead_letters.extend(translated.dead_letters);
    }
}

/// Whether the events of a second provider confirm the first answer: they contain all its events, and in addition
/// either nothing or every disputed event. Nodes leave logs out and do not invent them, so any other answer proves
/// nothing.
fn confirms(events: &[Event], read: &Backfill, block: BlockRef, disputed: &[DisputedEvent]) -> bool {
    let second: BTreeMap<Place, &Event> = events.iter().map(|event| (event.place, event)).collect();
    let of_block = read.events.iter().filter(|event| event.place.block_number == block.number);
    let first: BTreeMap<Place, &Event> = of_block.map(|event| (event.place, event)).collect();
    let has = |event: &DisputedEvent| event.block_hash == block.hash && second.contains_key(&event.place);
    let has_first = first.iter().all(|(place, event)| second.get(place) == Some(event));
    let has_disputed = !disputed.is_empty() && disputed.iter().all(has);
    has_first && (second.len() == first.len() || has_disputed)
}
