use alloy_primitives::{Address, B256, U256};

use super::column::ViewColumn;
use super::log::Place;

/// Position of a kind in the list that mapping built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KindIndex(pub usize);

/// The state that an event changes. It decides how the columns of the event are read:
///
/// | projection | `account` | `counterparty` | `amount` | `token_id` |
/// |---|---|---|---|---|
/// | `Stake` | gains `amount` staked | | base units | |
/// | `Balance` | loses `amount` | gains `amount` | base units | |
/// | `Allowance` | owner | spender, who may now spend `amount` | base units | |
/// | `Owner` | | owner from now on | | the token |
/// | `OwnerRange` | | owner from now on | | the first token; the last one is in `args` ([`super::TokenRange`]) |
///
/// The zero address in `Balance`, `Owner` and `OwnerRange` is not an account (ERC-20, ERC-721: mint and burn).
/// The columns alone define the change, so the stored event is enough to undo it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Projection {
    /// Changes nothing.
    None,
    /// `stakes` and, through it, `users`.
    Stake,
    /// `token_balances`.
    Balance,
    /// `token_allowances`.
    Allowance,
    /// `nft_owners`.
    Owner,
    /// `nft_owners`, of tokens whose ids follow one another.
    OwnerRange,
}

impl Projection {
    /// The word in `event_kinds.projection`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Stake => "stake",
            Self::Balance => "balance",
            Self::Allowance => "allowance",
            Self::Owner => "owner",
            Self::OwnerRange => "owner_range",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [Self::None, Self::Stake, Self::Balance, Self::Allowance, Self::Owner, Self::OwnerRange];
        all.into_iter().find(|projection| projection.as_str() == word)
    }
}

/// One kind of event that a source can emit. An ABI event may have several kinds: an ERC-20 `Transfer` is a transfer, a
/// mint or a burn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventKind {
    /// Name of the source.
    pub source: String,
    /// Type of the message, `erc20.mint` for instance.
    pub event_type: String,
    /// Name of the ABI event, `Transfer` for instance.
    pub event: String,
    /// Canonical signature, `Transfer(address,address,uint256)` for instance.
    pub signature: String,
    /// The state that it changes.
    pub projection: Projection,
    /// Name of its typed view, shared by all kinds of one ABI event.
    pub view: String,
    /// Name of the view if another event has the first name.
    pub other_view: String,
    /// The view's columns, in the order of the ABI.
    pub columns: Vec<ViewColumn>,
    /// The subject of messages about such events.
    pub aggregate: Aggregate,
}

/// The subject of a message. Messages about one aggregate are published in chain order, on the stream of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    /// The wallet in `account`.
    User,
    /// The ERC-20 contract.
    Token,
    /// The ERC-721 contract.
    Nft,
    /// Any other contract.
    Contract,
}

impl Aggregate {
    /// All aggregates; each has a stream.
    pub const ALL: [Self; 4] = [Self::User, Self::Token, Self::Nft, Self::Contract];

    /// The word in messages and in the names of streams.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Token => "token",
            Self::Nft => "nft",
            Self::Contract => "contract",
        }
    }
}

/// The meaning of a log, without its position in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The kind of event.
    pub kind: KindIndex,
    /// See [`Projection`].
    pub account: Option<Address>,
    /// See [`Projection`].
    pub counterparty: Option<Address>,
    /// Base units of the token.
    pub amount: Option<U256>,
    /// ERC-721 token id.
    pub token_id: Option<U256>,
    /// Arguments without a column of their own: the text of a JSON object without NUL.
    pub args: Option<String>,
}

/// The immutable fact stored for a log: accounts, amounts and its position in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its position.
    pub place: Place,
    /// Hash of its block.
    pub block_hash: B256,
    /// Seconds since the Unix epoch.
    pub block_time: u64,
    /// Hash of its transaction.
    pub tx_hash: B256,
    /// The contract that emitted it.
    pub address: Address,
    /// Its meaning.
    pub fact: Fact,
}
