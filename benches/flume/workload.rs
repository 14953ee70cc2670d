//! The chain of the bench: any log of any block is computed by arithmetic, in the same way for the source that sends it
//! and for the floor that writes it.

use std::str::FromStr;

use anyhow::bail;
use chainflume_core::domain::{Address, B256, ProjectionChange, U256};
use chainflume_devchain::{APPROVAL, STAKED, TRANSFER};
use serde::Serialize;

/// Logs in each block.
pub const LOGS_PER_BLOCK: u64 = 10;
/// Number of these logs that transfer a token; the others are approvals.
const MOVES_PER_BLOCK: u64 = 8;
/// Wallets that send and receive.
const WALLETS: f64 = 100_000.0;
/// Contracts that are approved: most approvals on a chain are for a few exchanges.
const SPENDERS: u64 = 50;
/// Amounts that circulate among the wallets of the ERC-20 workload. Each is minted once and then transferred in full.
/// So no balance is ever negative, and no state has to be remembered.
const COINS: u64 = 10_000;
/// Tokens of the ERC-721 workload, which circulate in the same way.
const TOKENS: u64 = 100_000;
/// Time of block 0 in seconds, and the time between two blocks.
const GENESIS_TIME: u64 = 1_700_000_000;
const BLOCK_TIME: u64 = 12;

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// `Approval` of ERC-721: events that change no state, as wide as a transfer.
    Events,
    /// ERC-20, eight `Transfer` and two `Approval` a block: balances and allowances.
    Erc20,
    /// ERC-721, eight `Transfer` and two `Approval` a block: owners.
    Erc721,
    /// `Staked`: stakes and users.
    Staked,
}

/// The contents of a log.
pub struct Entry {
    pub topic0: B256,
    pub account: Address,
    pub counterparty: Option<Address>,
    /// Base units or token id.
    pub number: U256,
}

impl Workload {
    pub const ALL: [Self; 4] = [Self::Events, Self::Erc20, Self::Erc721, Self::Staked];

    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Erc20 => "erc20",
            Self::Erc721 => "erc721",
            Self::Staked => "staked",
        }
    }

    /// The title in the table of results.
    pub fn title(self) -> &'static str {
        match self {
            Self::Events => "events only",
            Self::Erc20 => "events, balances, allowances",
            Self::Erc721 => "ERC-721: events, owners",
            Self::Staked => "Staked: events, stakes, users",
        }
    }

    /// The contract that emits the logs.
    pub fn address(self) -> Address {
        Address::repeat_byte(match self {
            Self::Events => 0xe1,
            Self::Erc20 => 0x20,
            Self::Erc721 => 0x71,
            Self::Staked => 0x57,
        })
    }

    /// The `[[source]]` that reads them.
    pub fn source_toml(self, chain: &str) -> String {
        let (family, events) = match self {
            Self::Events => ("erc721", "events = [\"Approval\"]"),
            Self::Erc20 => ("erc20", ""),
            Self::Erc721 => ("erc721", ""),
            Self::Staked => ("stake", ""),
        };
        let (name, address) = (self.name(), self.address());
        format!(
            "[[source]]\nname = \"{name}\"\nchain = \"{chain}\"\nfamily = \"{family}\"\naddress = \"{address}\"\n{events}\nstart_block = 1\n"
        )
    }

    /// Whether the number of a log is indexed, and so a topic.
    pub fn number_is_topic(self) -> bool {
        matches!(self, Self::Events | Self::Erc721)
    }

    /// The log at `index` of `block`, which is above 0.
    pub fn entry(self, block: u64, index: u64) -> Entry {
        let place = block * LOGS_PER_BLOCK + index;
        let moves = (index < MOVES_PER_BLOCK).then(|| (block - 1) * MOVES_PER_BLOCK + index);
        match (self, moves) {
            (Self::Staked, _) => Entry {
                topic0: STAKED,
                account: wallet(zipf(place)),
                counterparty: None,
                number: amount(place),
            },
            (Self::Erc20, Some(step)) => moved(step, COINS, amount(step % COINS)),
            (Self::Erc721, Some(step)) => moved(step, TOKENS, U256::from(step % TOKENS + 1)),
            (Self::Erc20, None) => {
                let number = if mix(place).is_multiple_of(2) { U256::MAX } else { amount(place) };
                approved(place, number)
            }
            (Self::Events | Self::Erc721, _) => approved(place, U256::from(mix(place) % TOKENS + 1)),
        }
    }

    /// The change that the log at `index` of `block` makes.
    pub fn change(self, block: u64, index: u64) -> Option<ProjectionChange> {
        let Entry { account, counterparty, number, .. } = self.entry(block, index);
        let (contract, moves) = (self.address(), index < MOVES_PER_BLOCK);
        let from = Some(account).filter(|account| !account.is_zero());
        Some(match self {
            Self::Events => return None,
            Self::Erc721 if !moves => return None,
            Self::Erc721 => ProjectionChange::Owner { contract, token_id: number, owner: counterparty },
            Self::Erc20 if moves => {
                ProjectionChange::Balance { token: contract, from, to: counterparty, amount: number }
            }
            Self::Erc20 => ProjectionChange::Allowance {
                token: contract,
                owner: account,
                spender: counterparty?,
                amount: number,
            },
            Self::Staked => {
                ProjectionChange::Stake { contract, account, amount: number, at: block_time(block) }
            }
        })
    }
}

impl FromStr for Workload {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        match Self::ALL.into_iter().find(|workload| workload.name() == name) {
            Some(workload) => Ok(workload),
            None => bail!("there is no workload `{name}`"),
        }
    }
}

/// A transfer of one of `things`: its holder is the recipient of `things` steps ago.
fn moved(step: u64, things: u64, number: U256) -> Entry {
    let holder = |step: u64| wallet(zipf(step ^ 0x5eed));
    let from = step.checked_sub(things).map_or(Address::ZERO, holder);
    Entry { topic0: TRANSFER, account: from, counterparty: Some(holder(step)), number }
}

fn approved(place: u64, number: U256) -> Entry {
    // An address outside the trading wallets.
    let spender = wallet((1 << 40) + mix(place ^ 0xacc) % SPENDERS);
    Entry { topic0: APPROVAL, account: wallet(zipf(place)), counterparty: Some(spender), number }
}

/// An amount in base units of a token with 18 decimals.
fn amount(of: u64) -> U256 {
    U256::from(mix(of ^ 0xa) % 1_000_000 + 1) * U256::from(1_000_000_000_000_000_u64) + U256::from(of)
}

/// A rank below the number of wallets. The probability of rank r falls about as 1/r.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 1 and the number of wallets"
)]
#[expect(clippy::cast_precision_loss, reason = "a random number loses nothing with its last bits")]
fn zipf(of: u64) -> u64 {
    let uniform = mix(of) as f64 / u64::MAX as f64;
    WALLETS.powf(uniform) as u64
}

fn wallet(rank: u64) -> Address {
    Address::from_slice(&word(rank, 0x3a11e7)[..20])
}

/// The hash of a block.
pub fn block_hash(number: u64) -> B256 {
    word(number, 0xb10c)
}

/// The hash of a transaction.
pub fn tx_hash(block: u64, index: u64) -> B256 {
    word(block * LOGS_PER_BLOCK + index, 0x7a)
}

/// Seconds since the Unix epoch.
pub fn block_time(number: u64) -> u64 {
    GENESIS_TIME + BLOCK_TIME * number
}

fn word(of: u64, salt: u64) -> B256 {
    let mut bytes = [0; 32];
    let mut state = mix(of ^ salt << 32);
    for chunk in bytes.chunks_mut(8) {
        state = mix(state);
        chunk.copy_from_slice(&state.to_be_bytes());
    }
    B256::from(bytes)
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn mix(of: u64) -> u64 {
    let z = of.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
