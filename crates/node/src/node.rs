pub(crate) mod ask_logs;
mod by_topics;
mod contracts;
pub(crate) mod evidence;
pub(crate) mod failed_reads;
mod genesis;
pub(crate) mod header_seal;
pub(crate) mod headers_with_logs;
pub(crate) mod identified_header;
pub(crate) mod identity;
mod read_by_hash;
pub(crate) mod read_range;
mod recent_headers;
pub(crate) mod transactions;
mod work;

use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_primitives::B256;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::bundle::BundleSize;
use crate::endpoint_limits::{EndpointLimits, FilterLimits};
use crate::error::ChainError;
use crate::rpc::{MethodUsage, Rpc, RpcCall};
use crate::settings::{BlockTag, ChainSettings, HistorySettings, LogVerification, ProviderSettings};
use crate::width::Width;
use crate::wire::WireHeader;
use by_topics::ByTopics;
use chainflume_core::domain::{BlockRef, LogFilter, Logs};
use evidence::{EvidenceState, ExclusionTrust};
use failed_reads::FailedReads;
use genesis::Genesis;
use header_seal::HeaderSeal;
use recent_headers::RecentHeaders;

/// Head and final block of a node, and its block at one height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Height of its newest block.
    pub head: u64,
    /// Height of its `finalized` block, where it has that tag.
    pub finalized: Option<u64>,
    /// The block at the requested height; `None` if the node does not have it.
    pub block: Option<BlockRef>,
}

/// A block with those of its logs that were requested.
#[derive(Clone, Debug)]
pub struct BlockWithLogs {
    /// The block.
    pub block: BlockRef,
    /// In chain order.
    pub logs: Logs,
}

/// The method for headers.
pub(crate) const HEADER: &str = "eth_getBlockByNumber";

/// What all providers of a chain share.
#[derive(Clone, Default)]
pub struct ProviderGroup {
    /// Notified when a provider fails.
    pub(crate) alarm: Arc<Notify>,
    /// Block 0, as each provider returned it.
    pub(crate) genesis: Arc<Genesis>,
    /// The filter of requests near the head. Probes use the same filter.
    pub(crate) filter: Arc<Mutex<Option<LogFilter>>>,
    /// Whether logs are requested for a block whose bloom filter excludes all wanted logs.
    pub(crate) exclusion: Arc<ExclusionTrust>,
}

impl ProviderGroup {
    /// Checks that all providers that have answered have the same block 0.
    ///
    /// # Errors
    /// [`ChainError::GenesisDiffers`].
    pub fn agree(&self) -> Result<(), ChainError> {
        self.genesis.agree_on(None)
    }

    /// The filter of the last request near the head.
    pub(crate) fn filter(&self) -> Option<LogFilter> {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the filter of requests near the head.
    pub(crate) fn note_filter(&self, filter: &LogFilter) {
        let mut noted = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.as_ref() != Some(filter) {
            *noted = Some(filter.clone());
        }
    }
}

/// One node of one chain.
pub struct Node {
    pub(crate) rpc: Rpc,
    pub(crate) genesis: Arc<Genesis>,
    fingerprint: String,
    pub(crate) verify: LogVerification,
    pub(crate) trust: EvidenceState,
    pub(crate) exclusion: Arc<ExclusionTrust>,
    pub(crate) recent: RecentHeaders,
    pub(crate) chain_id: u64,
    /// Whether the node has proven that it is on this chain.
    pub(crate) checked: AtomicBool,
    history: HistorySettings,
    /// The width of ranges now, for all readers of history.
    width: Mutex<Width>,
    /// The number of ranges in a batch now.
    pub(crate) bundle: BundleSize,
    /// The limits of filters that refusals have shown.
    pub(crate) filter_limits: Mutex<FilterLimits>,
    /// Whether the node answers requests for logs of all contracts.
    pub(crate) by_topics: ByTopics,
    /// Requests for the logs of one block that failed in a row without a reason.
    pub(crate) unexplained_failures: AtomicU32,
    /// Requests that failed, which a probe repeats before the provider is used again.
    pub(crate) failed: FailedReads,
}

impl Node {
    /// Creates the node without a request.
    ///
    /// # Errors
    /// When no HTTP client can be made of the settings.
    pub fn new(settings: &ChainSettings, provider: &ProviderSettings) -> Result<Self, ChainError> {
        Self::among(settings, provider, ProviderGroup::default())
    }

    /// As [`Self::new`], one of several providers of a chain.
    ///
    /// # Errors
    /// When no HTTP client can be made of the settings.
    pub fn among(
        settings: &ChainSettings,
        provider: &ProviderSettings,
        group: ProviderGroup,
    ) -> Result<Self, ChainError> {
        Ok(Self {
            rpc: Rpc::new(settings, provider, group.alarm)?,
            genesis: group.genesis,
            fingerprint: provider.fingerprint(),
            verify: settings.verify.on_chain(settings.chain_id),
            trust: EvidenceState::default(),
            exclusion: group.exclusion,
            recent: RecentHeaders::default(),
            chain_id: settings.chain_id,
            checked: AtomicBool::new(false),
            history: settings.history,
            width: Mutex::new(Width::new(&settings.history, None)),
            bundle: BundleSize::default(),
            filter_limits: Mutex::default(),
            by_topics: ByTopics::default(),
            unexplained_failures: AtomicU32::new(0),
            failed: FailedReads::default(),
        })
    }

    /// The limits of the endpoint, as its answers have shown them. [`Self::use_limits`] applies them after a restart.
    pub fn limits(&self) -> EndpointLimits {
        let lists = *self.filter_limits.lock().unwrap_or_else(PoisonError::into_inner);
        let width = self.width().limits();
        EndpointLimits {
            width: width.map(|(width, _)| width),
            ceiling: width.and_then(|(_, ceiling)| ceiling),
            addresses: lists.addresses,
            topics: lists.topics,
            values: lists.values,
            batch: self.rpc.batch_limit(),
        }
    }

    /// Applies limits that an earlier run found.
    pub fn use_limits(&self, limits: &EndpointLimits) {
        let width = limits.width.map(|width| (width, limits.ceiling));
        *self.width() = Width::new(&self.history, width);
        *self.filter_limits.lock().unwrap_or_else(PoisonError::into_inner) =
            FilterLimits { addresses: limits.addresses, topics: limits.topics, values: limits.values };
        self.rpc.limit_batch(limits.batch);
    }

    /// The configured number of concurrent requests.
    pub fn max_concurrent(&self) -> usize {
        self.rpc.max_concurrent()
    }

    /// Requests since the start by method.
    pub fn usage(&self) -> Vec<MethodUsage> {
        self.rpc.usage()
    }

    pub(crate) fn width(&self) -> MutexGuard<'_, Width> {
        self.width.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name under which the limits of the endpoint are stored. It reveals no key.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The name of the provider in messages: its host, unless the configuration names it.
    pub fn host(&self) -> &str {
        self.rpc.host()
    }

    /// The block with this tag. `None` where the chain does not have the tag, or no block has it yet.
    ///
    /// # Errors
    /// Why the node cannot be asked.
    pub async fn tagged(&self, tag: BlockTag) -> Result<Option<BlockRef>, ChainError> {
        match self.block_by(json!(tag.as_str())).await {
            Err(error) if tag != BlockTag::Latest && error.is_unclassified_refusal() => Ok(None),
            answer => Ok(answer?.map(|seal| seal.block)),
        }
    }

    /// Head, final block and the block at this height, in one request, so that one backend answers all of it.
    ///
    /// # Errors
    /// Why the node cannot be asked; a node without any block is a bad answer.
    pub async fn status_at(&self, number: u64) -> Result<NodeStatus, ChainError> {
        let names =
            [json!(BlockTag::Latest.as_str()), json!(BlockTag::Finalized.as_str()), json!(hex(number))];
        let calls = names.map(|name| RpcCall::new(HEADER, json!([name, false])));
        let mut answers = self.rpc.ask_all::<Box<RawValue>>(&calls).await?.into_iter();
        let head = self.newest(self.seal_of(answers.next())?)?.block.number;
        let finalized = match self.seal_of(answers.next()) {
            Err(error) if error.is_unclassified_refusal() => None,
            answer => answer?.map(|seal| seal.block.number),
        };
        let block = self.header_of(answers.next(), number)?.map(|seal| seal.block);
        Ok(NodeStatus { head, finalized, block })
    }

    /// Whether the node still syncs: `eth_syncing` then returns an object. A node without the method counts as
    /// synced.
    ///
    /// # Errors
    /// Why the node cannot be asked.
    pub async fn is_syncing(&self) -> Result<bool, ChainError> {
        match self.rpc.ask::<Value>(&RpcCall::new("eth_syncing", json!([]))).await {
            Ok(answer) => Ok(answer.is_some_and(|answer| answer.is_object())),
            // Any refusal counts: nothing else depends on this method.
            Err(error @ ChainError::Refused { .. }) if !error.is_rate() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// As [`Self::tagged`], for a chain whose configuration needs the tag.
    ///
    /// # Errors
    /// [`ChainError::NoTag`] or why the node cannot be asked.
    pub async fn check_tag(&self, tag: BlockTag) -> Result<(), ChainError> {
        let missing = || ChainError::NoTag { host: self.host().to_owned(), tag: tag.as_str() };
        self.tagged(tag).await?.map(|_| ()).ok_or_else(missing)
    }

    /// The newest block.
    ///
    /// # Errors
    /// Why the node cannot be asked; a node without any block is a bad answer.
    pub async fn head(&self) -> Result<BlockRef, ChainError> {
        self.newest(self.tagged(BlockTag::Latest).await?)
    }

    /// An answer without a newest block is an error.
    pub(crate) fn newest<T>(&self, head: Option<T>) -> Result<T, ChainError> {
        head.ok_or_else(|| self.rpc.bad(HEADER, "there is no latest block"))
    }

    /// The canonical block at a height; `None` where the node has none.
    ///
    /// # Errors
    /// Why the request failed, or that the answer has another height.
    pub async fn block(&self, number: u64) -> Result<Option<BlockRef>, ChainError> {
        let seal = self.block_by(json!(hex(number))).await?;
        Ok(self.at_height(seal, number)?.map(|seal| seal.block))
    }

    pub(crate) fn at_height(
        &self,
        seal: Option<HeaderSeal>,
        number: u64,
    ) -> Result<Option<HeaderSeal>, ChainError> {
        match seal {
            Some(HeaderSeal { block, .. }) if block.number != number => {
                let reason = format!("block {} instead of block {number}", block.number);
                Err(self.rpc.bad(HEADER, reason))
            }
            seal => Ok(seal),
        }
    }

    /// The canonical blocks at these heights, in their order.
    ///
    /// # Errors
    /// As [`Self::block`].
    pub async fn blocks(&self, numbers: &[u64]) -> Result<Vec<Option<BlockRef>>, ChainError> {
        Ok(self.headers(numbers).await?.into_iter().map(|seal| seal.map(|seal| seal.block)).collect())
    }

    /// As [`Self::blocks`], with what the headers prove about their logs.
    pub(crate) async fn headers(&self, numbers: &[u64]) -> Result<Vec<Option<HeaderSeal>>, ChainError> {
        let call = |number: &u64| RpcCall::new(HEADER, json!([hex(*number), false]));
        let calls: Vec<RpcCall> = numbers.iter().map(call).collect();
        let answers = self.rpc.ask_all::<WireHeader>(&calls).await?;
        let header = |(answer, number)| self.at_height(self.sealed(or_missing(answer)?)?, number);
        answers.into_iter().zip(numbers.iter().copied()).map(header).collect()
    }

    async fn block_by(&self, block: Value) -> Result<Option<HeaderSeal>, ChainError> {
        let call = RpcCall::new(HEADER, json!([block, false]));
        self.sealed(or_missing(self.rpc.ask::<WireHeader>(&call).await)?)
    }

    /// What a header proves about its logs. Remembers the header.
    ///
    /// # Errors
    /// That its time contradicts the time of a neighbouring header.
    pub(crate) fn sealed(&self, header: Option<WireHeader>) -> Result<Option<HeaderSeal>, ChainError> {
        let Some(header) = header else { return Ok(None) };
        let ((bloom, receipts_root), is_hashed) = (header.seal(), header.has_its_hash());
        let block = BlockRef::from(header);
        self.remember(block)?;
        Ok(Some(HeaderSeal { block, bloom, receipts_root, is_hashed }))
    }

    /// The hash of the canonical block at a height; `None` where the node has none.
    ///
    /// # Errors
    /// As [`Self::block`].
    pub async fn hash(&self, number: u64) -> Result<Option<B256>, ChainError> {
        Ok(self.block(number).await?.map(|block| block.hash))
    }
}

/// Takes a refusal of a height above the head, or of an unknown tag, for `null`: some nodes answer so.
pub(crate) fn or_missing(
    answer: Result<Option<WireHeader>, ChainError>,
) -> Result<Option<WireHeader>, ChainError> {
    match answer {
        Err(error) if error.is_missing_block() => Ok(None),
        answer => answer,
    }
}

/// A `QUANTITY` of the execution API.
pub(crate) fn hex(number: u64) -> String {
    format!("{number:#x}")
}
