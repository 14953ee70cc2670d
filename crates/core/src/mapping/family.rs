use std::fmt;

use serde::Deserialize;

/// The kind of a source's contracts. It decides the meaning of their events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// A vault: who staked how much.
    Stake,
    /// Fungible tokens (EIP-20).
    Erc20,
    /// Non-fungible tokens (EIP-721).
    Erc721,
    /// Any contract: arguments are stored without a meaning.
    Generic,
}

impl Family {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Stake, Self::Erc20, Self::Erc721, Self::Generic];

    /// The word in the configuration and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stake => "stake",
            Self::Erc20 => "erc20",
            Self::Erc721 => "erc721",
            Self::Generic => "generic",
        }
    }

    /// The inverse of [`as_str`](Self::as_str).
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.as_str() == word)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The meaning of a source as the operator configured it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilySettings {
    /// The kind of its contracts.
    pub family: Family,
    /// `generic` only: the argument that becomes the event's `account`. It is stored among the arguments too.
    pub user: Option<String>,
}

impl FamilySettings {
    /// A family without further settings.
    pub fn of(family: Family) -> Self {
        Self { family, user: None }
    }
}

/// The default ABI of a source of this family: the events of the standard. `None` for `generic`, which needs a
/// configured ABI.
pub fn default_abi(family: Family) -> Option<&'static str> {
    match family {
        Family::Stake => Some(include_str!("../../../../abi/StakeVault.json")),
        Family::Erc20 => Some(include_str!("../../../../abi/ERC20.json")),
        Family::Erc721 => Some(include_str!("../../../../abi/ERC721.json")),
        Family::Generic => None,
    }
}
