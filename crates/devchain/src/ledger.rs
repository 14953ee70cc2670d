use std::collections::BTreeMap;

use alloy_primitives::{Address, U256};

use super::action::Action;

/// The state of the three contracts. Actions change it, logs never do, so it is an independent check of a reader of the
/// logs. An account stays listed after its first change, even with a zero balance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// `StakeVault`, by developer.
    pub stakes: BTreeMap<Address, Stake>,
    /// `DemoToken`, by holder, in base units.
    pub balances: BTreeMap<Address, U256>,
    /// `DemoToken`, by (owner, spender): the last approved amount. No action spends allowances.
    pub allowances: BTreeMap<(Address, Address), U256>,
    /// `DemoNft`, by token id; `None` is burned.
    pub nft_owners: BTreeMap<U256, Option<Address>>,
}

/// The stakes of one developer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stake {
    /// Sum in base units.
    pub sum: U256,
    /// Number of stakes.
    pub count: u64,
    /// Time of the last block with a stake, in seconds.
    pub last: u64,
}

/// One entry before a change; `None` if there was no entry.
#[derive(Clone, Debug)]
pub(super) enum Before {
    Stake(Address, Option<Stake>),
    Balance(Address, Option<U256>),
    Allowance((Address, Address), Option<U256>),
    Owner(U256, Option<Option<Address>>),
}

impl Ledger {
    /// The `DemoToken` balance of `holder`, in base units.
    pub fn balance(&self, holder: &Address) -> U256 {
        self.balances.get(holder).copied().unwrap_or_default()
    }

    /// Applies all `actions` in a block of time `at` (seconds), or none if the contracts refuse one. Pushes the earlier
    /// entries to `undo`. Returns whether the actions were applied.
    pub(super) fn apply(&mut self, actions: &[Action], at: u64, undo: &mut Vec<Before>) -> bool {
        let mark = undo.len();
        let done = actions.iter().all(|action| self.step(action, at, undo).is_some());
        if !done {
            self.unwind(undo.drain(mark..).rev());
        }
        done
    }

    /// The inverse of [`Self::apply`]: `entries` are newest first.
    pub(super) fn unwind(&mut self, entries: impl Iterator<Item = Before>) {
        for entry in entries {
            match entry {
                Before::Stake(key, old) => put_back(&mut self.stakes, key, old),
                Before::Balance(key, old) => put_back(&mut self.balances, key, old),
                Before::Allowance(key, old) => put_back(&mut self.allowances, key, old),
                Before::Owner(key, old) => put_back(&mut self.nft_owners, key, old),
            }
        }
    }

    /// `None` if the contract would revert, by the rules of OpenZeppelin's implementations.
    fn step(&mut self, action: &Action, at: u64, undo: &mut Vec<Before>) -> Option<()> {
        match *action {
            Action::Stake { developer, amount } => self.stake(developer, amount, at, undo),
            Action::Erc20Mint { to, amount } => self.credit(to, amount, undo),
            Action::Erc20Burn { from, amount } => self.debit(from, amount, undo),
            Action::Erc20Transfer { from, to, amount } => {
                self.debit(from, amount, undo)?;
                self.credit(to, amount, undo)
            }
            Action::Erc20Approve { owner, spender, amount } => {
                let key = (nonzero(owner)?, nonzero(spender)?);
                undo.push(Before::Allowance(key, self.allowances.insert(key, amount)));
                Some(())
            }
            Action::NftMint { to, token_id } => {
                let fresh = !self.nft_owners.contains_key(&token_id);
                fresh.then(|| self.own(token_id, Some(to), undo))?
            }
            Action::NftBurn { owner, token_id } => {
                self.owns(owner, token_id)?;
                self.own(token_id, None, undo)
            }
            Action::NftTransfer { from, to, token_id } => {
                self.owns(from, token_id)?;
                self.own(token_id, Some(to), undo)
            }
            Action::NftApprove { owner, token_id, .. } => self.owns(owner, token_id),
            Action::NftApprovalForAll { owner, operator, .. } => {
                nonzero(owner).and(nonzero(operator)).map(drop)
            }
            Action::Raw(_) => Some(()),
        }
    }

    fn stake(&mut self, developer: Address, amount: U256, at: u64, undo: &mut Vec<Before>) -> Option<()> {
        let old = self.stakes.get(&developer).copied();
        let Stake { sum, count, .. } = old.unwrap_or_default();
        let new = Stake { sum: sum.checked_add(amount)?, count: count + 1, last: at };
        undo.push(Before::Stake(developer, old));
        self.stakes.insert(developer, new);
        Some(())
    }

    fn credit(&mut self, to: Address, amount: U256, undo: &mut Vec<Before>) -> Option<()> {
        let new = self.balance(&nonzero(to)?).checked_add(amount)?;
        undo.push(Before::Balance(to, self.balances.insert(to, new)));
        Some(())
    }

    fn debit(&mut self, from: Address, amount: U256, undo: &mut Vec<Before>) -> Option<()> {
        let new = self.balance(&nonzero(from)?).checked_sub(amount)?;
        undo.push(Before::Balance(from, self.balances.insert(from, new)));
        Some(())
    }

    fn owns(&self, owner: Address, token_id: U256) -> Option<()> {
        (self.nft_owners.get(&token_id) == Some(&Some(owner))).then_some(())
    }

    fn own(&mut self, token_id: U256, owner: Option<Address>, undo: &mut Vec<Before>) -> Option<()> {
        if owner.is_some_and(|owner| owner.is_zero()) {
            return None;
        }
        undo.push(Before::Owner(token_id, self.nft_owners.insert(token_id, owner)));
        Some(())
    }
}

fn nonzero(address: Address) -> Option<Address> {
    (!address.is_zero()).then_some(address)
}

fn put_back<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, old: Option<V>) {
    match old {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}
