use alloy_primitives::{Address, B256, Bytes, U256, keccak256};

use super::contracts::{APPROVAL, APPROVAL_FOR_ALL, DEMO_NFT, DEMO_TOKEN, STAKE_VAULT, STAKED, TRANSFER};
use chainflume_core::domain::Topics;

/// One action of a transaction: it changes the ledger and emits one log. Amounts are base units.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the arguments of the events and named as there")]
pub enum Action {
    /// `StakeVault`: `Staked`. Moves no tokens.
    Stake { developer: Address, amount: U256 },
    /// `DemoToken`: `Transfer` from the zero address.
    Erc20Mint { to: Address, amount: U256 },
    /// `DemoToken`: `Transfer` to the zero address.
    Erc20Burn { from: Address, amount: U256 },
    /// `DemoToken`: `Transfer`.
    Erc20Transfer { from: Address, to: Address, amount: U256 },
    /// `DemoToken`: `Approval`.
    Erc20Approve { owner: Address, spender: Address, amount: U256 },
    /// `DemoNft`: `Transfer` from the zero address.
    NftMint { to: Address, token_id: U256 },
    /// `DemoNft`: `Transfer` to the zero address.
    NftBurn { owner: Address, token_id: U256 },
    /// `DemoNft`: `Transfer`.
    NftTransfer { from: Address, to: Address, token_id: U256 },
    /// `DemoNft`: `Approval`.
    NftApprove { owner: Address, approved: Address, token_id: U256 },
    /// `DemoNft`: `ApprovalForAll`.
    NftApprovalForAll { owner: Address, operator: Address, approved: bool },
    /// Any log of any contract, unchanged. The ledger ignores it.
    Raw(Box<RawLog>),
}

/// A log of a contract, before it has a position in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawLog {
    /// The contract that emits it.
    pub address: Address,
    /// Topics.
    pub topics: Topics,
    /// ABI-encoded arguments that are not indexed.
    pub data: Bytes,
}

impl Action {
    /// The log of this action. To emit it from another contract, change the address and wrap it in [`Action::Raw`].
    pub fn log(&self) -> RawLog {
        let zero = Address::ZERO;
        match self {
            Self::Stake { developer, amount } => {
                RawLog::new(STAKE_VAULT, &[STAKED, developer.into_word()], &word(amount))
            }
            Self::Erc20Mint { to, amount } => token(TRANSFER, &zero, to, amount),
            Self::Erc20Burn { from, amount } => token(TRANSFER, from, &zero, amount),
            Self::Erc20Transfer { from, to, amount } => token(TRANSFER, from, to, amount),
            Self::Erc20Approve { owner, spender, amount } => token(APPROVAL, owner, spender, amount),
            Self::NftMint { to, token_id } => nft(TRANSFER, &zero, to, token_id),
            Self::NftBurn { owner, token_id } => nft(TRANSFER, owner, &zero, token_id),
            Self::NftTransfer { from, to, token_id } => nft(TRANSFER, from, to, token_id),
            Self::NftApprove { owner, approved, token_id } => nft(APPROVAL, owner, approved, token_id),
            Self::NftApprovalForAll { owner, operator, approved } => RawLog::new(
                DEMO_NFT,
                &[APPROVAL_FOR_ALL, owner.into_word(), operator.into_word()],
                &word(&U256::from(u8::from(*approved))),
            ),
            Self::Raw(log) => log.as_ref().clone(),
        }
    }

    /// The signer of a transaction that begins with this action.
    fn sender(&self) -> Address {
        match self {
            Self::Stake { developer: who, .. }
            | Self::Erc20Mint { to: who, .. }
            | Self::Erc20Burn { from: who, .. }
            | Self::Erc20Transfer { from: who, .. }
            | Self::Erc20Approve { owner: who, .. }
            | Self::NftMint { to: who, .. }
            | Self::NftBurn { owner: who, .. }
            | Self::NftTransfer { from: who, .. }
            | Self::NftApprove { owner: who, .. }
            | Self::NftApprovalForAll { owner: who, .. } => *who,
            Self::Raw(log) => log.address,
        }
    }
}

impl RawLog {
    /// A log of `address` with up to four topics; further topics are dropped, since the EVM cannot emit them.
    pub fn new(address: Address, topics: &[B256], data: &[u8]) -> Self {
        let topics = Topics::new(&topics[..topics.len().min(4)]).unwrap_or_default();
        Self { address, topics, data: Bytes::copy_from_slice(data) }
    }
}

fn word(value: &U256) -> [u8; 32] {
    value.to_be_bytes()
}

fn token(event: B256, a: &Address, b: &Address, amount: &U256) -> RawLog {
    RawLog::new(DEMO_TOKEN, &[event, a.into_word(), b.into_word()], &word(amount))
}

fn nft(event: B256, a: &Address, b: &Address, token_id: &U256) -> RawLog {
    RawLog::new(DEMO_NFT, &[event, a.into_word(), b.into_word(), B256::from(word(token_id))], &[])
}

/// The contents of a transaction: one action, or several that all succeed or all fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call(pub Vec<Action>);

impl From<Action> for Call {
    fn from(action: Action) -> Self {
        Self(vec![action])
    }
}

impl From<Vec<Action>> for Call {
    fn from(actions: Vec<Action>) -> Self {
        Self(actions)
    }
}

/// A signed transaction. Its hash does not depend on the block it is mined in.
#[derive(Debug, PartialEq, Eq)]
pub struct SignedTx {
    hash: B256,
    nonce: u64,
    actions: Vec<Action>,
}

impl SignedTx {
    /// `nonce` is counted per chain, not per sender: no two transactions of a chain have the same one.
    pub(super) fn sign(seed: u64, nonce: u64, actions: Vec<Action>) -> Self {
        let mut signed = Vec::with_capacity(16 + 200 * actions.len());
        signed.extend(seed.to_be_bytes());
        signed.extend(nonce.to_be_bytes());
        for log in actions.iter().map(Action::log) {
            signed.extend(log.address);
            log.topics.as_slice().iter().for_each(|topic| signed.extend(topic));
            signed.extend(log.data);
        }
        Self { hash: keccak256(signed), nonce, actions }
    }

    /// Another transaction of the same sender and nonce: only one of the two can be mined.
    pub(super) fn instead(&self, seed: u64, actions: Vec<Action>) -> Self {
        Self::sign(seed, self.nonce, actions)
    }

    /// Hash of the transaction.
    pub fn hash(&self) -> B256 {
        self.hash
    }

    /// Its actions, in order.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    pub(super) fn nonce(&self) -> u64 {
        self.nonce
    }

    pub(super) fn from(&self) -> Address {
        self.actions.first().map(Action::sender).unwrap_or_default()
    }

    pub(super) fn to(&self) -> Address {
        self.actions.first().map(|action| action.log().address).unwrap_or_default()
    }
}
