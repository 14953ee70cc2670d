use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chainflume_core::decode::{AbiEvent, DecodeOutcome, Decoder, SourceAbi};
use chainflume_core::domain::{
    AddressSet, B256, DeadLetter, DeadLetterKind, Event, EventKind, FollowedEvent, Log, LogFilter,
    SourceComparison,
};
use chainflume_core::mapping::Mapper;
use chainflume_db::StoreError;
use chainflume_ops::metrics;
use chainflume_ops::telemetry::LogLimiter;
use chainflume_store::{ChainRecord, ChainStore, Store};

/// How often a command tries to register its sources: with 30 s each, five minutes, in which most indexes are built.
const OPEN_TRIES: usize = 10;

/// One configured source of a chain.
#[derive(Clone)]
pub struct TranslatedSource {
    /// Name, unique in the config.
    pub name: String,
    /// Last block read; `None` without one.
    pub end_block: Option<u64>,
    /// The contracts and events that it follows. Its index is the position in the chain's list.
    pub abi: SourceAbi,
    /// The argument that is the account, where the configuration names one.
    pub user: Option<String>,
}

/// Turns logs into events: decode, then mapping.
pub struct Translator {
    chain: Arc<str>,
    sources: Arc<[TranslatedSource]>,
    mapper: Arc<Mapper>,
    /// The decoder of all sources of the chain: a log that fits no event of a group may be another source's.
    whole: Arc<Decoder>,
    /// The part that a source follows, by source, where it does not follow its whole configuration.
    follows: BTreeMap<usize, Vec<SourceAbi>>,
    /// The translator of the last group. Groups rarely change, so one is enough.
    cached: Option<(Vec<usize>, GroupTranslator)>,
    /// Limits the log lines about dead letters: a contract may emit thousands.
    lines: Arc<LogLimiter>,
}

/// A translator for one group of sources, which may be sent to another task.
#[derive(Clone)]
pub(super) struct GroupTranslator {
    chain: Arc<str>,
    sources: Arc<[TranslatedSource]>,
    mapper: Arc<Mapper>,
    decoder: Arc<Decoder>,
    whole: Arc<Decoder>,
    lines: Arc<LogLimiter>,
}

/// The events and dead letters of some logs.
#[derive(Debug, Default)]
pub(super) struct Translated {
    pub events: Vec<Event>,
    pub dead_letters: Vec<DeadLetter>,
}

impl Translator {
    /// A translator for the chain `chain` with these sources; `mapper` was built for the same list.
    pub fn new(chain: String, sources: Vec<TranslatedSource>, mapper: Mapper) -> Self {
        let whole = Decoder::new(sources.iter().map(|source| source.abi.clone()).collect());
        let (chain, sources, mapper) = (chain.into(), sources.into(), Arc::new(mapper));
        let (whole, follows) = (Arc::new(whole), BTreeMap::new());
        Self { chain, sources, mapper, whole, follows, cached: None, lines: Arc::default() }
    }

    /// Registers the chain with its sources and kinds. From then on arguments are written under their stored names,
    /// which may differ from those in the ABI. So no log may be translated before.
    ///
    /// # Errors
    /// As [`Store::open_chain`].
    pub async fn open(&mut self, store: &Store, record: &ChainRecord) -> Result<ChainStore, StoreError> {
        let opened = store.open_chain(record, self.kinds()).await?;
        Arc::make_mut(&mut self.mapper).keep_as(opened.kinds());
        self.cached = None;
        Ok(opened)
    }

    /// As [`Self::open`], for a command: it retries while another session registers sources or builds an index. Each
    /// try waits 30 s for the lock.
    ///
    /// # Errors
    /// As [`Store::open_chain`].
    pub async fn open_with_retries(
        &mut self,
        store: &Store,
        record: &ChainRecord,
    ) -> Result<ChainStore, StoreError> {
        for _ in 1..OPEN_TRIES {
            match self.open(store, record).await {
                Err(error) if error.is_lock_timeout() => {
                    tracing::warn!(chain = %self.chain, %error, "another session registers sources or builds an index; the registration is retried");
                }
                opened => return opened,
            }
        }
        self.open(store, record).await
    }

    /// The configured sources.
    pub fn into_sources(self) -> Vec<TranslatedSource> {
        self.sources.to_vec()
    }

    /// The sources in the order of the configuration.
    pub fn sources(&self) -> &[TranslatedSource] {
        &self.sources
    }

    /// Every kind of event the sources can emit.
    pub fn kinds(&self) -> &[EventKind] {
        self.mapper.kinds()
    }

    /// The contracts of each source, by its name.
    pub fn contracts(&self) -> BTreeMap<String, AddressSet> {
        self.sources.iter().map(|source| (source.name.clone(), source.abi.addresses.clone())).collect()
    }

    /// First topic of each event of a source, by signature. Anonymous events have none.
    pub(super) fn first_topics(&self, source: usize) -> BTreeMap<String, B256> {
        let events = self.sources[source].abi.events.iter();
        let anonymous: BTreeSet<&str> =
            events.clone().filter(|event| event.anonymous).map(|event| event.signature.as_str()).collect();
        let named = events.filter(|event| !anonymous.contains(event.signature.as_str()));
        named.map(|event| (event.signature.clone(), event.topic0)).collect()
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.sources.iter().map(|source| source.name.as_str()).collect()
    }

    /// Follows only a part of each source of which another part must not be followed.
    pub fn follow(&mut self, sources: &[SourceComparison]) {
        self.cached = None;
        self.follows.clear();
        for (index, compared) in sources.iter().enumerate() {
            if compared.hindrance().is_some() {
                self.follows.insert(index, self.abis(index, &compared.listens));
            }
        }
    }

    /// The translator for these items of a source, and the filter that requests their logs.
    pub(super) fn part(&self, source: usize, items: &[FollowedEvent]) -> (LogFilter, GroupTranslator) {
        let translator = self.translator_of(self.abis(source, items));
        (translator.decoder.filter().clone(), translator)
    }

    fn abis(&self, source: usize, items: &[FollowedEvent]) -> Vec<SourceAbi> {
        let TranslatedSource { abi, user, .. } = &self.sources[source];
        let one = |event: &Arc<AbiEvent>| {
            let key = event.key(user.as_deref());
            let (_, addresses) = items.iter().find(|(event, _)| *event == key)?;
            let (addresses, events) = (addresses.clone(), vec![event.clone()]);
            Some(SourceAbi { source: abi.source, addresses, events })
        };
        abi.events.iter().filter_map(one).collect()
    }

    fn translator_of(&self, abis: Vec<SourceAbi>) -> GroupTranslator {
        let (chain, sources, mapper) = (self.chain.clone(), self.sources.clone(), self.mapper.clone());
        GroupTranslator {
            chain,
            sources,
            mapper,
            decoder: Arc::new(Decoder::new(abis)),
            whole: self.whole.clone(),
            lines: self.lines.clone(),
        }
    }

    /// The filter that requests the logs of all these sources.
    pub(super) fn filter(&mut self, group: &[usize]) -> LogFilter {
        self.of_group(group).decoder.filter().clone()
    }

    /// Translates logs of these sources to events, in the order of the logs. `times` has the block times by height.
    pub(super) fn translate(
        &mut self,
        group: &[usize],
        logs: impl IntoIterator<Item = Log>,
        times: &BTreeMap<u64, u64>,
    ) -> Translated {
        self.of_group(group).translate(logs, times)
    }

    /// As [`Self::translate`], for logs that will be read again when they are confirmed. Logs that are no events are
    /// not reported before that.
    pub(super) fn translate_pending(
        &mut self,
        group: &[usize],
        logs: impl IntoIterator<Item = Log>,
        times: &BTreeMap<u64, u64>,
    ) -> Vec<Event> {
        self.of_group(group).read(logs, times).0.events
    }

    /// The translator of this group.
    pub(super) fn of_group(&mut self, group: &[usize]) -> &GroupTranslator {
        if self.cached.as_ref().is_none_or(|(of, _)| of != group) {
            self.cached = None;
        }
        let cached = self.cached.take().unwrap_or_else(|| {
            let whole = |source: &usize| match self.follows.get(source) {
                Some(part) => part.clone(),
                None => vec![self.sources[*source].abi.clone()],
            };
            (group.to_vec(), self.translator_of(group.iter().flat_map(whole).collect()))
        });
        &self.cached.insert(cached).1
    }
}

impl GroupTranslator {
    /// As [`Translator::translate`].
    pub(super) fn translate(
        &self,
        logs: impl IntoIterator<Item = Log>,
        times: &BTreeMap<u64, u64>,
    ) -> Translated {
        let (translated, foreign) = self.read(logs, times);
        for DeadLetter { source, reason, log, .. } in &translated.dead_letters {
            if let Some(suppressed) = self.lines.admit(source) {
                let suppressed = suppressed.field();
                tracing::warn!(chain = %self.chain, source, place = %log.place, reason, suppressed, "log kept as a dead letter");
            }
        }
        metrics::ignored(&self.chain, foreign);
        translated
    }

    /// Whether the log is an event of a source outside this group.
    fn is_of_others(&self, log: &Log) -> bool {
        !self.decoder.claims(log) && self.whole.claims(log)
    }

    /// The events and dead letters of the logs, and the number of logs that belong to no source.
    fn read(&self, logs: impl IntoIterator<Item = Log>, times: &BTreeMap<u64, u64>) -> (Translated, u64) {
        let logs = logs.into_iter();
        let events = Vec::with_capacity(logs.size_hint().0);
        let mut translated = Translated { events, dead_letters: Vec::new() };
        let mut foreign = 0;
        for mut log in logs {
            let (source, kind, reason) = match self.decoder.decode(&log) {
                DecodeOutcome::Foreign => {
                    foreign += 1;
                    continue;
                }
                DecodeOutcome::Typed(typed) => match self.mapper.map(&typed) {
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
                DecodeOutcome::Malformed { .. } if self.is_of_others(&log) => {
                    foreign += 1;
                    continue;
                }
                DecodeOutcome::Malformed { source, reason, .. } => (source, DeadLetterKind::Decode, reason),
            };
            let source = self.sources[source.0].name.clone();
            // The dead letter keeps the time of its block, so that a retry needs no node.
            log.block_timestamp = times.get(&log.place.block_number).copied().or(log.block_timestamp);
            translated.dead_letters.push(DeadLetter { kind, source, reason, log });
        }
        (translated, foreign)
    }
}

/// Counts committed events and dead letters in the metrics. Returns the number of events by source.
pub(super) fn count(
    kinds: &[EventKind],
    translated_events: &[Event],
    dead_letters: &[DeadLetter],
) -> BTreeMap<String, u64> {
    let mut by_source = BTreeMap::<String, u64>::new();
    let mut by_kind = BTreeMap::<usize, u64>::new();
    for event in translated_events {
        *by_kind.entry(event.fact.kind.0).or_default() += 1;
    }
    for (kind, count) in by_kind {
        metrics::events(&kinds[kind].source, &kinds[kind].event_type, count);
        *by_source.entry(kinds[kind].source.clone()).or_default() += count;
    }
    for letter in dead_letters {
        metrics::dead_letter(&letter.source, letter.kind.as_str());
    }
    by_source
}
