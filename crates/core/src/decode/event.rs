use std::sync::Arc;

use alloy_primitives::keccak256;

use super::abi_type::AbiType;
use crate::domain::{AddressSet, B256, EventKey, TopicFilter};

/// Position of a source in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceIndex(pub usize);

/// How an event changes the supply of a token, and with it a balance, beside its transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SupplyChange {
    /// Its address gains its amount.
    Mint,
    /// Its address loses its amount.
    Burn,
}

impl SupplyChange {
    /// The word behind the declaration of such an event.
    fn as_str(self) -> &'static str {
        match self {
            Self::Mint => "minting",
            Self::Burn => "burning",
        }
    }
}

/// An event as its ABI declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbiEvent {
    /// `Transfer` for instance.
    pub name: String,
    /// Canonical signature, `Transfer(address,address,uint256)` for instance.
    pub signature: String,
    /// Keccak-256 of the signature: the first topic, unless the event is anonymous.
    pub topic0: B256,
    /// Whether the event is emitted without its first topic.
    pub anonymous: bool,
    /// Arguments in the order of the ABI.
    pub params: Vec<Param>,
    /// Which of its logs are meant, from the configuration.
    pub filter: TopicFilter,
    /// Whether it mints or burns, from the configuration.
    pub supply: Option<SupplyChange>,
    topic_count: usize,
    data_words: usize,
}

/// One argument of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Unique in its event. `arg<position>` where the ABI gives none.
    pub name: String,
    /// Its type.
    pub ty: AbiType,
    /// Whether the argument is a topic. A topic holds only the hash of a value that does not fit one word. Other
    /// arguments are in the data.
    pub indexed: bool,
}

impl Param {
    /// Whether the log holds the hash of the argument and not the argument.
    pub fn is_hashed(&self) -> bool {
        self.indexed && !self.ty.is_word()
    }
}

impl AbiEvent {
    /// Returns the reason if the event has more indexed arguments than the EVM has topics.
    pub(super) fn new(name: String, params: Vec<Param>, anonymous: bool) -> Result<Self, String> {
        let indexed = params.iter().filter(|param| param.indexed).count();
        let topic_count = indexed + usize::from(!anonymous);
        if topic_count > 4 {
            return Err(format!("{indexed} indexed arguments are more than a log has topics for"));
        }
        let types: Vec<String> = params.iter().map(|param| param.ty.to_string()).collect();
        let signature = format!("{name}({})", types.join(","));
        let topic0 = keccak256(signature.as_bytes());
        let data_words = params
            .iter()
            .filter(|param| !param.indexed)
            .fold(0usize, |sum, param| sum.saturating_add(param.ty.head_words()));
        let filter = TopicFilter::default();
        Ok(Self { name, signature, topic0, anonymous, params, filter, supply: None, topic_count, data_words })
    }

    /// The same event, of which only these logs are meant.
    #[must_use]
    pub fn filtered(&self, filter: TopicFilter) -> Self {
        Self { filter, ..self.clone() }
    }

    /// The same event, which mints or burns.
    #[must_use]
    pub fn with_supply(&self, change: SupplyChange) -> Self {
        Self { supply: Some(change), ..self.clone() }
    }

    /// Number of topics of its logs, including the signature hash.
    pub fn topic_count(&self) -> usize {
        self.topic_count
    }

    /// Whether both declare the same event: every log of one is a log of the other.
    pub(super) fn has_the_logs_of(&self, other: &Self) -> bool {
        let indexed =
            |event: &Self| -> Vec<bool> { event.params.iter().map(|param| param.indexed).collect() };
        self.signature == other.signature
            && self.anonymous == other.anonymous
            && indexed(self) == indexed(other)
    }

    /// The key that decides which logs are meant and how they are decoded, if the argument `user` is the account.
    pub fn key(&self, user: Option<&str>) -> EventKey {
        let param = |param: &Param| {
            let indexed = if param.indexed { " indexed" } else { "" };
            let account = if user == Some(param.name.as_str()) { " user" } else { "" };
            format!("{}{indexed}{account}", param.ty)
        };
        let params: Vec<String> = self.params.iter().map(param).collect();
        let anonymous = if self.anonymous { " anonymous" } else { "" };
        let supply = self.supply.map(|change| format!(" {}", change.as_str())).unwrap_or_default();
        EventKey {
            topic0: (!self.anonymous).then_some(self.topic0),
            topics: u8::try_from(self.topic_count).unwrap_or(u8::MAX),
            signature: self.signature.clone(),
            declaration: format!("{}({}){anonymous}{supply}", self.name, params.join(",")),
            filter: self.filter.clone(),
        }
    }

    /// Number of words at the start of the data that each log has at least.
    pub(super) fn data_words(&self) -> usize {
        self.data_words
    }

    /// Whether the data has the same size in each of its logs.
    pub(super) fn has_static_data(&self) -> bool {
        self.params.iter().all(|param| param.indexed || !param.ty.is_dynamic())
    }
}

/// The logs that a source follows.
#[derive(Clone, Debug)]
pub struct SourceAbi {
    /// Which source.
    pub source: SourceIndex,
    /// The contracts.
    pub addresses: AddressSet,
    /// The events.
    pub events: Vec<Arc<AbiEvent>>,
}

impl SourceAbi {
    /// Whether this interest includes logs of `event`. Only the address identifies the source of an anonymous event. So
    /// a source without an address filter follows no anonymous events.
    pub fn listens_for(&self, event: &AbiEvent) -> bool {
        !event.anonymous || self.addresses != AddressSet::Any
    }
}
