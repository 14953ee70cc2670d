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
    /// Most tokens of a range that is counted. Each is a row of `nft_owners`, and one log of a hostile contract can name 2^256 of
    /// them. ERC-721A and the contracts of OpenZeppelin mint 5,000 at a time; ten thousand is the size of a usual collection.
    ///
    /// The way back looks for ranges that begin so many ids below a token: a lower number would miss those that are stored.
    pub const MAX: u64 = 10_000;

    /// The argument with the highest id, under which it is kept whatever the ABI calls it.
    pub const LAST_KEY: &str = "toTokenId";

    /// The range of an event: the first id is its token, the last id one of its arguments. `None` for one that ends before it begins.
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
