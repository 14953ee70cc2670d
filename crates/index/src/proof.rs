//! Stored events are taken back only on proof, block by block: receipts with the root of the header, a bloom that excludes
//! them, or a second provider that answers the same. One node that leaves logs out proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::error::IndexerError;
use super::translate::GroupTranslator;
use chainflume_core::domain::{B256, BlockRef, Event, LogFilter, Logs, Place};
use chainflume_node::{IdentifiedHeader, Node};
use chainflume_store::{Backfill, ChainStore, DisputedEvent, ProvenBlocks};

/// Who may prove something of a source's blocks.
pub(super) struct Prover {
    /// The provider that was read first, and after it the others.
    pub nodes: Vec<Arc<Node>>,
    pub filter: LogFilter,
    pub translator: GroupTranslator,
    pub store: ChainStore,
    /// First topics of the source's events, by signature.
    pub topics: BTreeMap<String, B256>,
}

/// What is looked for.
pub(super) struct ProofRequest {
    /// Places with logs that the source reads otherwise now. Nothing is wrong there.
    pub others: BTreeSet<Place>,
    pub need: ProofNeed,
}

/// What counts as proof, and of which blocks it is looked for.
pub(super) enum ProofNeed {
    /// Receipts, a bloom or a second provider, of blocks with a disputed event.
    Any,
    /// Only receipts with the root of the header; these blocks are proven too.
    Root(BTreeSet<u64>),
}

/// Blocks of one batch for which receipts are fetched without an operator: the node has other work. The rest follows with the
/// next read of the same range.
pub(super) const MOST_BLOCKS: usize = 64;

/// What came of looking for proof.
#[derive(Debug, Default)]
pub(super) struct Proof {
    /// What the store may take back.
    pub proven: ProvenBlocks,
    /// Stored events whose log is on the chain, and which the source reads otherwise now.
    pub there: BTreeSet<Place>,
    /// Stored events that the first answer did not have, and that no provider proves to be wrong.
    pub unproven: Vec<Place>,
    /// Why not, each reason once.
    pub reasons: BTreeSet<String>,
}

/// What is proven of one block.
enum BlockProof {
    /// These are all its logs that the source asks for, and its time in seconds.
    Logs(Logs, u64),
    /// The disputed events are not in it.
    Excluded,
}

/// What no provider could prove, and why.
type Unproven = Vec<String>;
/// The headers of one block, each as a provider shows it.
type ShownHeaders<'a> = Vec<(&'a Arc<Node>, IdentifiedHeader)>;

impl Prover {
    /// Looks for proof in each block in which something is disputed. Where the logs of a block are proven, they replace those
    /// that were read.
    ///
    /// # Errors
    /// A database error. A node that does not answer proves nothing; that is no error.
    pub(super) async fn prove(
        &self,
        read: &mut Backfill,
        disputed: Vec<DisputedEvent>,
        need: &ProofNeed,
    ) -> Result<Proof, IndexerError> {
        let also = match need {
            ProofNeed::Any => self.lettered(read).await?,
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
            if needs_root && index >= MOST_BLOCKS {
                proof.unproven.extend(places);
                continue;
            }
            let found = match needs_root {
                true => self.by_root(number, &disputed).await?.map_err(|(_, reasons)| reasons),
                false => self.block(read, (number, &disputed_blocks), &disputed).await?,
            };
            match found {
                Ok(BlockProof::Logs(logs, time)) => {
                    let there: BTreeSet<Place> = logs.iter().map(|log| log.place).collect();
                    self.replace(read, number, (logs, time));
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

    /// Blocks with dead letters that the first answer does not account for.
    async fn lettered(&self, read: &Backfill) -> Result<BTreeSet<u64>, IndexerError> {
        let mut lettered = self.store.dead_letter_blocks(read).await?;
        for letter in &read.dead_letters {
            lettered.remove(&letter.log.place.block_number);
        }
        Ok(lettered)
    }

    async fn block(
        &self,
        read: &Backfill,
        (number, disputed_blocks): (u64, &BTreeSet<u64>),
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
            if excludes(header) && self.has_useful_blooms(node, read, (number, disputed_blocks)).await? {
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

    /// The logs of a block out of receipts with the root of its header. Else the headers that were shown, and why not.
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

    /// The node's header at a height, where it is on the branch that is stored: it has the block of the stored events, or
    /// else a block above that the store holds. The inner error is why not.
    async fn header(
        &self,
        node: &Arc<Node>,
        number: u64,
        disputed: &[DisputedEvent],
    ) -> Result<Result<IdentifiedHeader, String>, IndexerError> {
        let held = self.store.held_at_or_above(number).await?;
        let heights: Vec<u64> = [number].into_iter().chain(held.map(|held| held.number)).collect();
        let headers = match node.show_headers(&heights).await {
            Ok(headers) => headers,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let host = node.host();
        let Some(header) = headers.first().copied().flatten() else {
            return Ok(Err(format!("{host} has not the header of block {number}")));
        };
        let above = headers.get(1).copied().flatten().map(|header| header.block().id());
        let same =
            !disputed.is_empty() && disputed.iter().all(|event| event.block_hash == header.block().hash);
        Ok(match same || (held.is_some() && above == held) {
            true => Ok(header),
            false => Err(format!("{host} has other blocks than are stored, at {number} and above")),
        })
    }

    /// Whether the bloom of some header of the node admits a log that is there: on some chains all blooms are empty, which
    /// would exclude everything.
    async fn has_useful_blooms(
        &self,
        node: &Arc<Node>,
        read: &Backfill,
        (number, disputed_blocks): (u64, &BTreeSet<u64>),
    ) -> Result<bool, IndexerError> {
        let Some((block, contract)) =
            self.store.another_event(&read.source, (number, disputed_blocks)).await?
        else {
            return Ok(false);
        };
        let headers = node.show_headers(&[block.number]).await.unwrap_or_default();
        let header = headers.first().copied().flatten();
        Ok(header.is_some_and(|header| header.block().hash == block.hash && header.may_have(&contract)))
    }

    /// The logs of a second provider that has the same block and confirms the first answer, fetched by block hash. Else why
    /// no provider does.
    async fn by_second_provider(
        &self,
        read: &Backfill,
        disputed: &[DisputedEvent],
        shown: &[(&Arc<Node>, IdentifiedHeader)],
    ) -> Result<BlockProof, String> {
        let first =
            self.nodes.first().zip(shown.first()).filter(|(node, (shown, _))| Arc::ptr_eq(node, shown));
        let Some((_, (node, header))) = first else {
            return Err("the provider that was read shows no header that can be trusted".to_owned());
        };
        let block = header.block();
        let mut why = format!("no second provider than {} shows block {}", node.host(), block.number);
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

    fn replace(&self, read: &mut Backfill, number: u64, (logs, time): (Logs, u64)) {
        let translated = self.translator.translate(&logs, &[(number, time)].into());
        read.events.retain(|event| event.place.block_number != number);
        read.dead_letters.retain(|letter| letter.log.place.block_number != number);
        read.events.extend(translated.events);
        read.dead_letters.extend(translated.dead_letters);
    }
}

/// Whether the events of a second provider confirm those that were read of a block: it has all of them, and besides either
/// nothing or every disputed event. Nodes leave logs out and do not make them up, so an answer in between proves
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
