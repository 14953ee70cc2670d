use alloy_primitives::U256;

use super::event::Fact;

/// Tokens of one contract whose ids follow one another, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenRange {
    /// The lowest id.
    pub first: U256,
    /// The highest id, part of the range.
    pub last: U256,
}

impl TokenRange {
    /// Maximum number of tokens in a range that gets owners. Each token is a row of `nft_owners`, and one log of a hostile contract
    /// can name 2^256 of them. ERC-721A and the contracts of OpenZeppelin mint 5,000 at a time; ten thousand is a usual collection.
    ///
    /// Do not lower it: the undo looks for ranges that begin at most this far below a token, and would miss stored ones.
    pub const MAX: u64 = 10_000;

    /// The key in `args` of the highest id, independent of the name in the ABI.
    pub const LAST_KEY: &str = "toTokenId";

    /// The range of an event: its token id is the first id, and an argument is the last one. `None` if the last id is below the first.
    pub fn of(fact: &Fact) -> Option<Self> {
        let args: serde_json::Value = serde_json::from_str(fact.args.as_deref()?).ok()?;
        let last = args.get(Self::LAST_KEY)?.as_str()?.parse().ok()?;
        let first = fact.token_id.filter(|first| *first <= last)?;
        Some(Self { first, last })
    }

    /// Whether it has more than [`Self::MAX`] tokens.
    pub fn is_too_long(&self) -> bool {
        self.last.saturating_sub(self.first) >= U256::from(Self::MAX)
    }
}
