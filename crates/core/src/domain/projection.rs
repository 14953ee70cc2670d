use std::collections::BTreeMap;

use alloy_primitives::{Address, U256};

use super::event::{Event, Projection};
use super::token_range::TokenRange;

/// A signed sum of base units that never overflows: incoming and outgoing amounts are summed separately.
///
/// 2^256 can be exceeded by a sum over a batch, so each side is a 512-bit number in two halves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignedSum {
    /// Sum of incoming amounts: (high, low) halves.
    gained: (U256, U256),
    /// Sum of outgoing amounts.
    lost: (U256, U256),
    /// Number of events.
    pub entries: u64,
}

impl SignedSum {
    fn gain(&mut self, amount: U256) {
        add(&mut self.gained, amount);
        self.entries += 1;
    }

    fn lose(&mut self, amount: U256) {
        add(&mut self.lost, amount);
        self.entries += 1;
    }

    /// Incoming and outgoing amounts, each as a sum of terms that fit 256 bits and that SQL adds: `(high, low)` means
    /// `high * 2^256 + low`.
    pub fn halves(&self) -> ((U256, U256), (U256, U256)) {
        (self.gained, self.lost)
    }
}

fn add(sum: &mut (U256, U256), amount: U256) {
    let (low, carry) = sum.1.overflowing_add(amount);
    *sum = (if carry { sum.0 + U256::from(1) } else { sum.0 }, low);
}

/// One change of state, read from an event's columns as [`Projection`] defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProjectionChange {
    /// `account` staked `amount` in `contract` at `at` (seconds).
    Stake {
        /// The vault.
        contract: Address,
        /// The staking account.
        account: Address,
        /// Base units.
        amount: U256,
        /// Block time in seconds.
        at: u64,
    },
    /// `amount` of `token` went from one to the other; `None` is mint or burn.
    Balance {
        /// The ERC-20 contract.
        token: Address,
        /// The sender; `None` for a mint.
        from: Option<Address>,
        /// The recipient; `None` for a burn.
        to: Option<Address>,
        /// Base units.
        amount: U256,
    },
    /// `spender` may now spend `amount` of the tokens of `owner`.
    Allowance {
        /// The ERC-20 contract.
        token: Address,
        /// Owner of the tokens.
        owner: Address,
        /// The account that may spend them.
        spender: Address,
        /// Base units.
        amount: U256,
    },
    /// The token belongs to `owner` from now on; `None` is burned.
    Owner {
        /// The ERC-721 contract.
        contract: Address,
        /// The token.
        token_id: U256,
        /// Its owner.
        owner: Option<Address>,
    },
    /// All these tokens belong to one owner from now on.
    Owners(OwnerRange),
}

/// Tokens that belong to one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerRange {
    /// The ERC-721 contract.
    pub contract: Address,
    /// The tokens.
    pub tokens: TokenRange,
    /// Their owner; `None` is burned.
    pub owner: Option<Address>,
}

impl ProjectionChange {
    /// The change that `event` makes, or `None`. An event that lacks a column of its projection changes nothing;
    /// mapping never makes one.
    pub fn of(projection: Projection, event: &Event) -> Option<Self> {
        let fact = &event.fact;
        let nonzero = |address: Option<Address>| address.filter(|a| !a.is_zero());
        Some(match projection {
            Projection::None => return None,
            Projection::Stake => Self::Stake {
                contract: event.address,
                account: fact.account?,
                amount: fact.amount?,
                at: event.block_time,
            },
            Projection::Balance => Self::Balance {
                token: event.address,
                from: nonzero(fact.account),
                to: nonzero(fact.counterparty),
                amount: fact.amount?,
            },
            Projection::Allowance => Self::Allowance {
                token: event.address,
                owner: fact.account?,
                spender: fact.counterparty?,
                amount: fact.amount?,
            },
            Projection::Owner => Self::Owner {
                contract: event.address,
                token_id: fact.token_id?,
                owner: nonzero(fact.counterparty),
            },
            Projection::OwnerRange => Self::Owners(OwnerRange {
                contract: event.address,
                tokens: TokenRange::of(fact)?,
                owner: nonzero(fact.counterparty),
            }),
        })
    }
}

/// The changes of a batch of events per key, ready for one statement per table. Ordered by key, so that two writers
/// lock rows in the same order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectionDelta {
    /// (contract, account) → sum staked and the latest block time in seconds.
    pub stakes: BTreeMap<(Address, Address), (SignedSum, u64)>,
    /// (token, account) → sum.
    pub balances: BTreeMap<(Address, Address), SignedSum>,
    /// (token, owner, spender) → the last amount approved.
    pub allowances: BTreeMap<(Address, Address, Address), U256>,
    /// Ranges of tokens with their owners, in chain order.
    pub owner_ranges: Vec<OwnerRange>,
    /// (contract, token id) → the last owner, of tokens that changed hands after every range that has them.
    pub owners: BTreeMap<(Address, U256), Option<Address>>,
}

impl ProjectionDelta {
    /// Adds a change. Changes must come in chain order.
    pub fn push(&mut self, change: ProjectionChange) {
        match change {
            ProjectionChange::Stake { contract, account, amount, at } => {
                let (sum, last) = self.stakes.entry((contract, account)).or_default();
                sum.gain(amount);
                *last = at.max(*last);
            }
            ProjectionChange::Balance { token, from, to, amount } => {
                if let Some(from) = from {
                    self.balances.entry((token, from)).or_default().lose(amount);
                }
                if let Some(to) = to {
                    self.balances.entry((token, to)).or_default().gain(amount);
                }
            }
            ProjectionChange::Allowance { token, owner, spender, amount } => {
                self.allowances.insert((token, owner, spender), amount);
            }
            ProjectionChange::Owner { contract, token_id, owner } => {
                self.owners.insert((contract, token_id), owner);
            }
            ProjectionChange::Owners(range) => {
                let OwnerRange { contract, tokens: TokenRange { first, last }, .. } = range;
                let earlier = self.owners.extract_if((contract, first)..=(contract, last), |_, _| true);
                earlier.for_each(drop);
                self.owner_ranges.push(range);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_over_256_bits_keeps_its_carry() {
        let (token, holder) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let mut folded = ProjectionDelta::default();
        for _ in 0..3 {
            folded.push(ProjectionChange::Balance { token, from: None, to: Some(holder), amount: U256::MAX });
        }
        let delta = folded.balances[&(token, holder)];
        assert_eq!(delta.entries, 3);
        assert_eq!(delta.halves().0, (U256::from(2), U256::MAX - U256::from(2)));
    }

    #[test]
    fn a_self_transfer_touches_the_balance_twice_and_moves_nothing() {
        let (token, holder) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let mut folded = ProjectionDelta::default();
        let amount = U256::from(5);
        folded.push(ProjectionChange::Balance { token, from: Some(holder), to: Some(holder), amount });
        let delta = folded.balances[&(token, holder)];
        assert_eq!((delta.entries, delta.halves()), (2, ((U256::ZERO, amount), (U256::ZERO, amount))));
    }

    #[test]
    fn a_range_replaces_earlier_owners_of_its_tokens_alone() {
        let (contract, other) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let who = |n: u8| Some(Address::with_last_byte(n));
        let one = |contract, token: u64, n: u8| {
            let token_id = U256::from(token);
            ProjectionChange::Owner { contract, token_id, owner: who(n) }
        };
        let tokens = TokenRange { first: U256::from(2), last: U256::from(4) };
        let range = OwnerRange { contract, tokens, owner: who(9) };
        let mut folded = ProjectionDelta::default();
        for token in 1..=5 {
            folded.push(one(contract, token, 1));
            folded.push(one(other, token, 1));
        }
        folded.push(ProjectionChange::Owners(range));
        folded.push(one(contract, 3, 2));
        let kept: Vec<_> =
            folded.owners.iter().map(|((of, id), owner)| (*of, id.to::<u64>(), *owner)).collect();
        let others = (1..=5).map(|token| (other, token, who(1)));
        let expected: Vec<_> = [(contract, 1, who(1)), (contract, 3, who(2)), (contract, 5, who(1))]
            .into_iter()
            .chain(others)
            .collect();
        assert_eq!((kept, folded.owner_ranges), (expected, vec![range]));
    }
}
