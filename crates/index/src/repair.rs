//! Repairs stored events that differ from a second read, where the difference is proven.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::error::IndexerError;
use super::proof::{Proof, ProofNeed, ProofRequest, Prover};
use super::reread::{BatchOutcome, Rereader};
use chainflume_core::domain::Place;
use chainflume_node::Node;
use chainflume_store::{Backfill, DisputedEvent};

impl Rereader {
    /// Adds missing events, and undoes or replaces events that are proven wrong.
    pub(super) async fn repair(
        &mut self,
        node: &Arc<Node>,
        source: usize,
        read: &mut Backfill,
        others: BTreeSet<Place>,
    ) -> Result<BatchOutcome, IndexerError> {
        let proof = self.prove(node, source, read, ProofRequest { others, need: ProofNeed::Any }).await?;
        let mut compared = self.store.repair(read, &proof.proven).await?;
        compared.not_followed += proof.there.len() as u64;
        Ok(BatchOutcome { compared, unproven: proof.unproven, reasons: proof.reasons })
    }

    /// As [`Self::repair`], only for blocks whose receipts have the root of their header.
    pub(super) async fn repair_proven(
        &mut self,
        node: &Arc<Node>,
        source: usize,
        read: &mut Backfill,
        others: BTreeSet<Place>,
    ) -> Result<BatchOutcome, IndexerError> {
        let before = self.store.compare(read).await?;
        if before.agrees() {
            return Ok(before.into());
        }
        let missing: BTreeSet<Place> = before.missing.iter().copied().collect();
        let need = ProofNeed::Root(missing.iter().map(|place| place.block_number).collect());
        let proof = self.prove(node, source, read, ProofRequest { others, need }).await?;
        let is_proven = |place: &Place| proof.proven.blocks.contains(&place.block_number);
        read.events.retain(|event| !missing.contains(&event.place) || is_proven(&event.place));
        read.dead_letters.retain(|letter| is_proven(&letter.log.place));
        let mut compared = self.store.repair(read, &proof.proven).await?;
        compared.not_followed += proof.there.len() as u64;
        let mut unproven = proof.unproven;
        unproven.extend(missing.into_iter().filter(|place| !is_proven(place)));
        Ok(BatchOutcome { compared, unproven, reasons: proof.reasons })
    }

    /// Looks for proof about stored events that the second read lacks.
    pub(super) async fn prove(
        &mut self,
        node: &Arc<Node>,
        source: usize,
        read: &mut Backfill,
        request: ProofRequest,
    ) -> Result<Proof, IndexerError> {
        let ProofRequest { others, need } = request;
        let disputed = self.store.disputed(read).await?;
        let (there, disputed) = disputed.into_iter().partition(|event| others.contains(&event.place));
        let prover = Prover {
            nodes: [node.clone()].into_iter().chain(self.providers.others(node)).collect(),
            filter: self.translator.filter(&[source]),
            translator: self.translator.of_group(&[source]).clone(),
            store: self.store.clone(),
            topics: self.translator.first_topics(source),
        };
        let mut proof = prover.prove(read, disputed, &need).await?;
        let there: Vec<DisputedEvent> = there;
        proof.there.extend(there.iter().map(|event| event.place));
        Ok(proof)
    }
}
