use std::collections::BTreeMap;

use crate::decode::{Decoded, Decoder, SourceAbi};
use crate::domain::{DeadLetter, DeadLetterKind, Event, EventKind, Log, LogFilter};
use crate::mapping::Mapper;
use crate::metrics;

/// One configured source of a chain.
pub struct Source {
    /// Name, unique in the config.
    pub name: String,
    /// First block read.
    pub start_block: u64,
    /// What it listens to; its index is the position in the chain's list.
    pub abi: SourceAbi,
}

/// Turns logs into events: decode, then mapping.
pub struct Translator {
    chain: String,
    sources: Vec<Source>,
    mapper: Mapper,
    /// The decoder of the group that asked last. Groups change when a source joins, so one is enough.
    cached: Option<(Vec<usize>, Decoder)>,
}

/// What became of a run of logs.
#[derive(Debug, Default)]
pub(super) struct Translated {
    pub events: Vec<Event>,
    pub dead_letters: Vec<DeadLetter>,
}

impl Translator {
    /// Of the chain `chain` with these sources; `mapper` was built for the same list.
    pub fn new(chain: String, sources: Vec<Source>, mapper: Mapper) -> Self {
        Self { chain, sources, mapper, cached: None }
    }

    /// In the order of the configuration.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Every kind of event the sources can emit.
    pub fn kinds(&self) -> &[EventKind] {
        self.mapper.kinds()
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.sources.iter().map(|source| source.name.as_str()).collect()
    }

    /// The one question for all of these sources.
    pub(super) fn filter(&mut self, group: &[usize]) -> LogFilter {
        self.decoder(group).filter().clone()
    }

    /// The logs of these sources as events, in the order of the logs. `times` has the block time of each.
    pub(super) fn translate(
        &mut self,
        group: &[usize],
        logs: Vec<Log>,
        times: &BTreeMap<u64, u64>,
    ) -> Translated {
        let (translated, foreign) = self.read(group, logs, times);
        for DeadLetter { source, reason, log, .. } in &translated.dead_letters {
            tracing::warn!(chain = %self.chain, source, place = %log.place, reason, "log kept as a dead letter");
        }
        metrics::ignored(&self.chain, foreign);
        translated
    }

    /// As [`Self::translate`], of logs that will be read again when they are confirmed: what cannot be an event is not
    /// spoken of before.
    pub(super) fn foresee(
        &mut self,
        group: &[usize],
        logs: Vec<Log>,
        times: &BTreeMap<u64, u64>,
    ) -> Vec<Event> {
        self.read(group, logs, times).0.events
    }

    /// What the logs are, and how many are nobody's.
    fn read(&mut self, group: &[usize], logs: Vec<Log>, times: &BTreeMap<u64, u64>) -> (Translated, u64) {
        let mut translated = Translated { events: Vec::with_capacity(logs.len()), dead_letters: Vec::new() };
        let mut foreign = 0;
        for mut log in logs {
            let (source, kind, reason) = match self.decoder(group).decode(&log) {
                Decoded::Foreign => {
                    foreign += 1;
                    continue;
                }
                Decoded::Typed(typed) => match self.mapper.map(&typed) {
                    Ok(fact) => {
                        let block_time = times.get(&log.place.block_number).copied().unwrap_or_default();
                        let Log { place, block_hash, tx_hash, address, .. } = log;
                        translated.events.push(Event {
                            place,
                            block_hash,
                            block_time,
                            tx_hash,
                            address,
                            fact,
                        });
                        continue;
                    }
                    Err(reason) => (typed.source, DeadLetterKind::Mapping, reason.to_string()),
                },
                Decoded::Malformed { source, reason, .. } => (source, DeadLetterKind::Decode, reason),
            };
            let source = self.sources[source.0].name.clone();
            // Kept with its time, so that trying again needs no node.
            log.block_timestamp = times.get(&log.place.block_number).copied().or(log.block_timestamp);
            translated.dead_letters.push(DeadLetter { kind, source, reason, log });
        }
        (translated, foreign)
    }

    fn decoder(&mut self, group: &[usize]) -> &Decoder {
        if self.cached.as_ref().is_none_or(|(of, _)| of != group) {
            self.cached = None;
        }
        let sources = &self.sources;
        let (_, decoder) = self.cached.get_or_insert_with(|| {
            (group.to_vec(), Decoder::new(group.iter().map(|source| sources[*source].abi.clone()).collect()))
        });
        decoder
    }
}

/// Counts what was committed, by source and type.
pub(super) fn count(kinds: &[EventKind], translated_events: &[Event], dead_letters: &[DeadLetter]) {
    let mut by_kind = BTreeMap::<usize, u64>::new();
    for event in translated_events {
        *by_kind.entry(event.fact.kind.0).or_default() += 1;
    }
    for (kind, count) in by_kind {
        metrics::events(&kinds[kind].source, &kinds[kind].event_type, count);
    }
    for letter in dead_letters {
        metrics::dead_letter(&letter.source, letter.kind.as_str());
    }
}
