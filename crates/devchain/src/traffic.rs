use alloy_primitives::{Address, U256};

use super::action::Action;
use super::contracts::{STAKE_VAULT, WALLETS, wallet};
use super::ledger::Ledger;
use super::rng::Rng;

/// 1 token of 6 decimals, in base units.
const UNIT: u64 = 1_000_000;

/// Generates transactions that the contracts accept.
#[derive(Debug)]
pub(super) struct Traffic {
    rng: Rng,
    wallets: Vec<Address>,
}

impl Traffic {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), wallets: (0..WALLETS).map(wallet).collect() }
    }

    /// How many transactions the next block has: 0 to 6.
    pub(super) fn block_size(&mut self) -> u64 {
        self.rng.below(7)
    }

    /// The actions of one transaction, valid on `ledger` in sequence.
    pub(super) fn transaction(&mut self, ledger: &Ledger) -> Vec<Action> {
        let who = self.anyone();
        match self.rng.below(100) {
            0..24 => vec![self.stake(who)],
            24..60 => self.move_tokens(ledger, who),
            60..70 => vec![self.approve(who)],
            70..76 => (0..2 + self.rng.below(4)).map(|_| self.mint()).collect(),
            76..84 => vec![self.mint()],
            84..90 => self.mint_nfts(ledger, who),
            90..99 => vec![self.use_nft(ledger, who)],
            _ => vec![Action::NftApprovalForAll {
                owner: who,
                operator: self.anyone(),
                approved: self.rng.below(3) > 0,
            }],
        }
    }

    fn anyone(&mut self) -> Address {
        let index = usize::try_from(self.rng.below(WALLETS)).unwrap_or_default();
        self.wallets.get(index).copied().unwrap_or_default()
    }

    fn amount(&mut self) -> U256 {
        U256::from(1 + self.rng.below(5_000 * UNIT))
    }

    fn stake(&mut self, developer: Address) -> Action {
        Action::Stake { developer, amount: self.amount() }
    }

    fn mint(&mut self) -> Action {
        Action::Erc20Mint { to: self.anyone(), amount: self.amount() }
    }

    fn approve(&mut self, owner: Address) -> Action {
        let amount = match self.rng.below(4) {
            0 => U256::MAX,
            1 => U256::ZERO,
            _ => self.amount(),
        };
        Action::Erc20Approve { owner, spender: self.anyone(), amount }
    }

    /// One transfer, several in one transaction, a deposit that is staked, or a burn. A wallet without tokens first
    /// receives some.
    fn move_tokens(&mut self, ledger: &Ledger, from: Address) -> Vec<Action> {
        let balance = ledger.balance(&from);
        if balance.is_zero() {
            return vec![Action::Erc20Mint { to: from, amount: self.amount() }];
        }
        let part = balance / U256::from(1 + self.rng.below(8));
        match self.rng.below(12) {
            0..8 => vec![Action::Erc20Transfer { from, to: self.anyone(), amount: part }],
            8 => {
                let amount = balance / U256::from(4);
                (0..2 + self.rng.below(3))
                    .map(|_| Action::Erc20Transfer { from, to: self.anyone(), amount })
                    .collect()
            }
            9 | 10 => vec![
                Action::Erc20Transfer { from, to: STAKE_VAULT, amount: part },
                Action::Stake { developer: from, amount: part },
            ],
            _ => vec![Action::Erc20Burn { from, amount: part }],
        }
    }

    fn mint_nfts(&mut self, ledger: &Ledger, to: Address) -> Vec<Action> {
        let next = newest(ledger) + U256::from(1);
        let count = if self.rng.below(4) == 0 { 3 } else { 1 };
        (0..count).map(|i| Action::NftMint { to, token_id: next + U256::from(i) }).collect()
    }

    /// An action with an existing token, or a new token.
    fn use_nft(&mut self, ledger: &Ledger, to: Address) -> Action {
        let newest = newest(ledger);
        let token_id = U256::from(1 + self.rng.below(newest.saturating_to()));
        let Some(Some(owner)) = ledger.nft_owners.get(&token_id).copied() else {
            return Action::NftMint { to, token_id: newest + U256::from(1) };
        };
        match self.rng.below(9) {
            0..5 => Action::NftTransfer { from: owner, to, token_id },
            5 | 6 => Action::NftApprove { owner, approved: to, token_id },
            7 => Action::NftApprove { owner, approved: Address::ZERO, token_id },
            _ => Action::NftBurn { owner, token_id },
        }
    }
}

/// The highest token id ever minted, 0 for none. A scenario may mint any id, and no id follows the largest one.
fn newest(ledger: &Ledger) -> U256 {
    let counted = ledger.nft_owners.range(..=U256::from(u64::MAX)).next_back();
    counted.map(|(id, _)| *id).unwrap_or_default()
}
