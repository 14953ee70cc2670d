use std::collections::BTreeMap;

use chainflume_core::domain::{Address, TokenRange, U256};

const ONE: U256 = U256::ONE;

/// Tokens without a gap between them that have one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretch<T> {
    pub(super) contract: Address,
    pub(super) tokens: TokenRange,
    pub(super) value: T,
}

/// A value for each of some tokens, as stretches that do not overlap. Their number follows the number of calls that made
/// them, never the number of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretches<T>(BTreeMap<(Address, U256), (U256, T)>);

impl<T> Default for Stretches<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Clone> Stretches<T> {
    /// All of these tokens have this value now.
    pub(super) fn set(&mut self, contract: Address, TokenRange { first, last }: TokenRange, value: T) {
        self.take(contract, TokenRange { first, last });
        self.0.insert((contract, first), (last, value));
    }

    /// Those of these tokens that have a value have this one now. Stretches that touch become one.
    pub(super) fn replace(&mut self, contract: Address, tokens: TokenRange, value: &T) {
        let mut joined: Option<TokenRange> = None;
        for (first, last) in self.take(contract, tokens) {
            match &mut joined {
                Some(before) if before.last.checked_add(ONE) == Some(first) => before.last = last,
                _ => self.put(contract, joined.replace(TokenRange { first, last }), value),
            }
        }
        self.put(contract, joined, value);
    }

    fn put(&mut self, contract: Address, tokens: Option<TokenRange>, value: &T) {
        if let Some(TokenRange { first, last }) = tokens {
            self.0.insert((contract, first), (last, value.clone()));
        }
    }

    /// Removes these tokens, and returns the stretches that had them.
    fn take(&mut self, contract: Address, TokenRange { first, last }: TokenRange) -> Vec<(U256, U256)> {
        self.cut(contract, first);
        if let Some(next) = last.checked_add(ONE) {
            self.cut(contract, next);
        }
        let within = self.0.extract_if((contract, first)..=(contract, last), |_, _| true);
        within.map(|((_, first), (last, _))| (first, last)).collect()
    }

    /// Makes a stretch begin at this token, if one has it.
    fn cut(&mut self, contract: Address, at: U256) {
        let Some((_, (last, value))) = self.0.range_mut((contract, U256::ZERO)..(contract, at)).next_back()
        else {
            return;
        };
        if *last >= at {
            let rest = (*last, value.clone());
            *last = at - ONE;
            self.0.insert((contract, at), rest);
        }
    }

    /// In order, in parts of at most `limit` tokens each.
    pub(super) fn parts(self, limit: u64) -> Vec<Vec<Stretch<T>>> {
        let (mut parts, mut room) = (vec![Vec::new()], limit);
        for ((contract, mut first), (last, value)) in self.0 {
            loop {
                if room == 0 {
                    parts.push(Vec::new());
                    room = limit;
                }
                let end = first.saturating_add(U256::from(room - 1)).min(last);
                room -= (end - first).saturating_to::<u64>() + 1;
                let tokens = TokenRange { first, last: end };
                parts.last_mut().expect("there is one").push(Stretch {
                    contract,
                    tokens,
                    value: value.clone(),
                });
                if end == last {
                    break;
                }
                first = end + ONE;
            }
        }
        parts.retain(|part| !part.is_empty());
        parts
    }
}

impl<T> FromIterator<Stretch<T>> for Stretches<T> {
    /// Of stretches that do not overlap.
    fn from_iter<I: IntoIterator<Item = Stretch<T>>>(stretches: I) -> Self {
        let entry = |Stretch { contract, tokens: TokenRange { first, last }, value }| {
            ((contract, first), (last, value))
        };
        Self(stretches.into_iter().map(entry).collect())
    }
}

/// Few spans that have all of these tokens, in order: tokens of a contract that are at most `reach` apart share one.
pub(super) fn spans<T>(stretches: &[Stretch<T>], reach: u64) -> Vec<(Address, TokenRange)> {
    let mut spans: Vec<(Address, TokenRange)> = Vec::new();
    for Stretch { contract, tokens, .. } in stretches {
        match spans.last_mut() {
            Some((of, span)) if of == contract && tokens.first - span.last <= U256::from(reach) => {
                span.last = tokens.last;
            }
            _ => spans.push((*contract, *tokens)),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    const NFT: Address = Address::repeat_byte(1);
    const OTHER: Address = Address::repeat_byte(2);

    fn tokens(first: u64, last: u64) -> TokenRange {
        TokenRange { first: U256::from(first), last: U256::from(last) }
    }

    fn all(stretches: Stretches<char>) -> Vec<(u8, u64, u64, char)> {
        let one = |Stretch { contract, tokens: TokenRange { first, last }, value }| {
            (contract[0], first.to(), last.to(), value)
        };
        stretches.parts(u64::MAX).into_iter().flatten().map(one).collect()
    }

    #[test]
    fn the_last_value_of_a_token_counts() {
        let mut owned = Stretches::default();
        owned.set(NFT, tokens(0, 9), 'a');
        owned.set(OTHER, tokens(0, 9), 'x');
        owned.set(NFT, tokens(3, 4), 'b');
        owned.set(NFT, tokens(4, 12), 'c');
        owned.set(NFT, tokens(0, 0), 'd');
        let expected = [(1, 0, 0, 'd'), (1, 1, 2, 'a'), (1, 3, 3, 'b'), (1, 4, 12, 'c'), (2, 0, 9, 'x')];
        assert_eq!(all(owned), expected);
        let mut highest = Stretches::default();
        let top = TokenRange { first: U256::MAX - ONE, last: U256::MAX };
        highest.set(NFT, top, 'a');
        highest.set(NFT, TokenRange { first: U256::MAX, ..top }, 'b');
        assert_eq!(
            highest.0.values().map(|(last, value)| (*last, *value)).collect::<Vec<_>>(),
            [(U256::MAX - ONE, 'a'), (U256::MAX, 'b')]
        );
    }

    #[test]
    fn a_replaced_value_reaches_known_tokens_alone() {
        let mut known = Stretches::default();
        for (first, last) in [(0, 1), (2, 2), (3, 5), (8, 9), (20, 30)] {
            known.set(NFT, tokens(first, last), '-');
        }
        known.replace(NFT, tokens(1, 8), &'r');
        known.replace(OTHER, tokens(0, 99), &'o');
        known.replace(NFT, tokens(25, 25), &'s');
        let expected = [
            (1, 0, 0, '-'),
            (1, 1, 5, 'r'),
            (1, 8, 8, 'r'),
            (1, 9, 9, '-'),
            (1, 20, 24, '-'),
            (1, 25, 25, 's'),
            (1, 26, 30, '-'),
        ];
        assert_eq!(all(known), expected);
    }

    #[test]
    fn parts_have_a_limit_and_all_tokens_once() {
        let mut owned = Stretches::default();
        owned.set(NFT, tokens(0, 6), 'a');
        owned.set(NFT, tokens(9, 9), 'b');
        owned.set(OTHER, tokens(1, 1), 'c');
        let parts: Vec<Vec<(u64, u64)>> = owned
            .parts(3)
            .iter()
            .map(|part| part.iter().map(|one| (one.tokens.first.to(), one.tokens.last.to())).collect())
            .collect();
        assert_eq!(parts, [vec![(0, 2)], vec![(3, 5)], vec![(6, 6), (9, 9), (1, 1)]]);
        assert_eq!(Stretches::<char>::default().parts(3), Vec::<Vec<_>>::new());
    }

    #[test]
    fn near_tokens_of_a_contract_share_a_span() {
        let known: Stretches<()> = [(NFT, 0, 3), (NFT, 13, 13), (NFT, 24, 24), (OTHER, 25, 25)]
            .into_iter()
            .map(|(contract, first, last)| Stretch { contract, tokens: tokens(first, last), value: () })
            .collect();
        let parts = known.parts(u64::MAX);
        assert_eq!(
            spans(&parts[0], 10),
            [(NFT, tokens(0, 13)), (NFT, tokens(24, 24)), (OTHER, tokens(25, 25))]
        );
    }
}
