use std::collections::BTreeMap;

use alloy_primitives::{Address, U256};

use super::event::{Event, Projection};

/// A signed sum of base units that never overflows: what came in and what went out, kept apart.
///
/// 2^256 can be exceeded by a sum over a batch, so each side is a 512-bit number in two halves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignedSum {
    /// Came in: (high, low) halves.
    gained: (U256, U256),
    /// Went out.
    lost: (U256, U256),
    /// How many events touched it.
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

    /// Came in and went out, each as a sum of terms that fit 256 bits and are to be added in SQL:
    /// `(high, low)` means `high * 2^256 + low`.
    pub fn halves(&self) -> ((U256, U256), (U256, U256)) {
        (self.gained, self.lost)
    }
}

fn add(sum: &mut (U256, U256), amount: U256) {
    let (low, carry) = sum.1.overflowing_add(amount);
    *sum = (if carry { sum.0 + U256::from(1) } else { sum.0 }, low);
}

/// One change of state, read from an event's columns as [`Projection`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProjectionChange {
    /// `account` staked `amount` in `contract` at `at` (seconds).
    Stake {
        /// The vault.
        contract: Address,
        /// Who staked.
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
        /// Who lost it.
        from: Option<Address>,
        /// Who got it.
        to: Option<Address>,
        /// Base units.
        amount: U256,
    },
    /// `spender` may now spend `amount` of `owner`'s.
    Allowance {
        /// The ERC-20 contract.
        token: Address,
        /// Whose tokens.
        owner: Address,
        /// Who may spend them.
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
}

impl ProjectionChange {
    /// What `event` changes, `None` if nothing. An event that lacks a column its projection needs
    /// changes nothing: mapping never makes one.
    pub fn of(projection: Projection, event: &Event) -> Option<Self> {
        let fact = &event.fact;
        let somebody = |address: Option<Address>| address.filter(|a| !a.is_zero());
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
                from: somebody(fact.account),
                to: somebody(fact.counterparty),
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
                owner: somebody(fact.counterparty),
            },
        })
    }
}

/// What a run of events does to each key, ready for one statement a table. Ordered by key, so that two
/// writers take row locks in the same order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectionDelta {
    /// (contract, account) → sum staked and the latest block time in seconds.
    pub stakes: BTreeMap<(Address, Address), (SignedSum, u64)>,
    /// (token, account) → sum.
    pub balances: BTreeMap<(Address, Address), SignedSum>,
    /// (token, owner, spender) → the last amount approved.
    pub allowances: BTreeMap<(Address, Address, Address), U256>,
    /// (contract, token id) → the last owner.
    pub owners: BTreeMap<(Address, U256), Option<Address>>,
}

impl ProjectionDelta {
    /// Adds a change; changes come in chain order.
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
}
