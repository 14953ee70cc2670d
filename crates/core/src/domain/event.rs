use alloy_primitives::{Address, B256, U256};

use super::column::ViewColumn;
use super::log::Place;

/// Position of a kind in the list the mapping was built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KindIndex(pub usize);

/// What state an event changes, and so how its columns are read:
///
/// | projection | `account` | `counterparty` | `amount` | `token_id` |
/// |---|---|---|---|---|
/// | `Stake` | gains `amount` staked | | base units | |
/// | `Balance` | loses `amount` | gains `amount` | base units | |
/// | `Allowance` | owner | spender, who may now spend `amount` | base units | |
/// | `Owner` | | owner from now on | | the token |
///
/// The zero address on either side of `Balance` and `Owner` is no account (ERC-20, ERC-721: mint and burn).
/// The columns alone say what changes, so that undoing needs nothing but the stored event.
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
}

impl Projection {
    /// The word kept in `event_kinds.projection`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Stake => "stake",
            Self::Balance => "balance",
            Self::Allowance => "allowance",
            Self::Owner => "owner",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [Self::None, Self::Stake, Self::Balance, Self::Allowance, Self::Owner];
        all.into_iter().find(|projection| projection.as_str() == word)
    }
}

/// One kind of event a source can emit. An ABI event may have several: an ERC-20 `Transfer` is a
/// transfer, a mint or a burn.
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
    /// What it changes.
    pub projection: Projection,
    /// Name of the typed view that shows it, shared by all kinds of one ABI event.
    pub view: String,
    /// Name of the view where the first name is taken by another event.
    pub other_view: String,
    /// The view's columns, in the order of the ABI.
    pub columns: Vec<ViewColumn>,
    /// What messages about such events are about.
    pub aggregate: Aggregate,
}

/// What a message is about. Messages about one aggregate leave in chain order, on the stream of its type.
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
    /// All there are: each has a stream.
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

/// What a log means, before it is joined with where it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What kind of event.
    pub kind: KindIndex,
    /// See [`Projection`].
    pub account: Option<Address>,
    /// See [`Projection`].
    pub counterparty: Option<Address>,
    /// Base units of the token.
    pub amount: Option<U256>,
    /// ERC-721 token id.
    pub token_id: Option<U256>,
    /// Arguments that have no column of their own: the text of a JSON object without NUL.
    pub args: Option<String>,
}

/// The immutable fact kept for a log: who, what, where in the chain.
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
    /// What it means.
    pub fact: Fact,
}
