use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use alloy_primitives::{Address, B256, U256};

use super::{amount, chain, stake};
use crate::{Action, DEMO_TOKEN, DevChain, Ledger, MinerSettings, RawLog, Settings, Stake, TRANSFER, wallet};
use chainflume_core::domain::{BlockRange, Log};

fn all_logs(chain: &DevChain) -> Vec<Log> {
    chain.canonical_logs(BlockRange::new(0, chain.head().number).unwrap())
}

fn hashes(chain: &DevChain) -> Vec<B256> {
    (0..=chain.head().number).map(|n| chain.block(n).unwrap().hash).collect()
}

fn assert_linked(chain: &DevChain) {
    for number in 1..=chain.head().number {
        let (parent, block) = (chain.block(number - 1).unwrap(), chain.block(number).unwrap());
        assert_eq!(block.parent_hash, parent.hash);
        assert_eq!(block.number, number);
        assert_eq!(block.timestamp, parent.timestamp + 1);
    }
    assert_eq!(chain.block(chain.head().number + 1), None);
}

/// The ledger computed from the transactions of the canonical chain, by other code than the chain's.
fn folded(chain: &DevChain, upto: u64) -> Ledger {
    let mut ledger = Ledger::default();
    for number in 0..=upto {
        let time = chain.block(number).unwrap().timestamp;
        for action in chain.transactions(number).iter().flat_map(|tx| tx.actions().to_vec()) {
            fold(&mut ledger, action, time);
        }
    }
    ledger
}

fn fold(ledger: &mut Ledger, action: Action, time: u64) {
    let mut give = |to: Address, amount: U256| *ledger.balances.entry(to).or_default() += amount;
    match action {
        Action::Stake { developer, amount } => {
            let stake = ledger.stakes.entry(developer).or_default();
            *stake = Stake { sum: stake.sum + amount, count: stake.count + 1, last: time };
        }
        Action::Erc20Mint { to, amount } => give(to, amount),
        Action::Erc20Burn { from, amount } => take(&mut ledger.balances, from, amount),
        Action::Erc20Transfer { from, to, amount } => {
            give(to, amount);
            take(&mut ledger.balances, from, amount);
        }
        Action::Erc20Approve { owner, spender, amount } => {
            ledger.allowances.insert((owner, spender), amount);
        }
        Action::NftMint { to, token_id } | Action::NftTransfer { to, token_id, .. } => {
            ledger.nft_owners.insert(token_id, Some(to));
        }
        Action::NftBurn { token_id, .. } => {
            ledger.nft_owners.insert(token_id, None);
        }
        Action::NftApprove { .. } | Action::NftApprovalForAll { .. } | Action::Raw(_) => {}
    }
}

fn take(balances: &mut BTreeMap<Address, U256>, from: Address, amount: U256) {
    let balance = balances.get_mut(&from).expect("the sender has a balance");
    *balance = balance.checked_sub(amount).expect("no balance is negative");
}

#[test]
fn one_seed_is_one_chain_and_another_seed_another() {
    let (a, b) = (chain(200), chain(200));
    assert_eq!(hashes(&a), hashes(&b));
    assert_eq!(all_logs(&a), all_logs(&b));
    let other = DevChain::new(Settings { seed: 2, ..a.settings().clone() });
    assert_ne!(other.block(0), a.block(0));
    let elsewhere = DevChain::new(Settings { chain_id: 5, ..a.settings().clone() });
    assert_ne!(elsewhere.block(0), a.block(0));
}

#[test]
fn every_block_links_to_its_parent() {
    let chain = chain(300);
    chain.reorg(20, 25);
    chain.mine_empty(3);
    chain.truncate(5);
    chain.mine(2);
    assert_eq!(chain.head().number, 305 + 3 - 5 + 2);
    assert_linked(&chain);
}

#[test]
fn traffic_varies_and_the_ledger_follows_its_transactions() {
    let chain = chain(2_000);
    for upto in [0, 1, 777, 2_000] {
        assert_eq!(chain.ledger(upto), folded(&chain, upto), "block {upto}");
    }
    let kinds: HashSet<_> = (0..=2_000)
        .flat_map(|n| chain.transactions(n))
        .flat_map(|tx| tx.actions().iter().map(std::mem::discriminant).collect::<Vec<_>>())
        .collect();
    assert_eq!(kinds.len(), 10);
    let most_logs = (0..=2_000).flat_map(|n| chain.transactions(n)).map(|tx| tx.actions().len()).max();
    assert!(most_logs > Some(3));
    assert!(chain.ledger(2_000).nft_owners.values().any(Option::is_none), "something was burned");
}

#[test]
fn a_reorg_undoes_the_ledger_and_brings_other_blocks() {
    let chain = chain(100);
    let before = (hashes(&chain), chain.ledger(60));
    assert_eq!(chain.reorg(40, 45).number, 105);
    let after = hashes(&chain);
    assert_eq!(after[..=60], before.0[..=60]);
    assert!(after[61..].iter().all(|hash| !before.0.contains(hash)));
    assert_eq!(chain.ledger(60), before.1);
    assert_eq!(chain.ledger(u64::MAX), folded(&chain, 105));
}

#[test]
fn genesis_survives_any_depth_and_a_chain_can_get_shorter() {
    let chain = chain(10);
    let genesis = chain.block(0);
    assert_eq!(chain.truncate(4).number, 6);
    assert_eq!(chain.reorg(3, 1).number, 4);
    assert_eq!(chain.reorg(1_000, 2).number, 2);
    assert_eq!(chain.block(0), genesis);
    assert_eq!(chain.ledger(2), folded(&chain, 2));
}

#[test]
fn a_branch_comes_back_hash_by_hash() {
    let chain = chain(50);
    let (a, a_hashes, a_ledger) = (chain.branch(), hashes(&chain), chain.ledger(50));
    chain.reorg(10, 12);
    let (b, b_hashes) = (chain.branch(), hashes(&chain));
    assert_eq!(chain.restore(&a).number, 50);
    assert_eq!((hashes(&chain), chain.ledger(50)), (a_hashes, a_ledger));
    chain.restore(&b);
    assert_eq!(hashes(&chain), b_hashes);
    assert_eq!(chain.ledger(52), folded(&chain, 52));
    chain.mine(1);
    assert_linked(&chain);
}

#[test]
fn a_transaction_mined_again_keeps_its_hash_in_another_block() {
    let chain = chain(0);
    chain.mine_with(vec![vec![stake(1, 5)], vec![stake(2, 6), stake(2, 7)]]);
    let before = all_logs(&chain);
    chain.reorg_same(2, 1);
    let after = all_logs(&chain);
    let tx_hashes = |logs: &[Log]| logs.iter().map(|log| log.tx_hash).collect::<Vec<_>>();
    assert_eq!(tx_hashes(&before), tx_hashes(&after));
    let numbers = |logs: &[Log]| logs.iter().map(|log| log.place.block_number).collect::<Vec<_>>();
    assert_eq!((numbers(&before), numbers(&after)), (vec![1, 2, 2], vec![2, 3, 3]));
    assert!(before.iter().all(|old| after.iter().all(|new| new.block_hash != old.block_hash)));
    let again = chain.transactions(3);
    chain.reorg_with(1, &[vec![again[1].clone()], vec![again[1].clone(), again[0].clone()]]);
    assert_eq!(chain.transactions(3), vec![again[1].clone()]);
    assert_eq!(chain.transactions(4), vec![again[0].clone()], "no transaction is mined twice");
}

#[test]
fn what_the_contracts_refuse_reverts_whole() {
    let chain = chain(0);
    let (poor, other) = (wallet(1), wallet(2));
    let mint = Action::Erc20Mint { to: poor, amount: amount(10) };
    let spend = |units| Action::Erc20Transfer { from: poor, to: other, amount: amount(units) };
    chain.mine_with(vec![vec![vec![mint, spend(4)], vec![stake(1, 1), spend(7)], vec![spend(6)]]]);
    assert_eq!(chain.ledger(1).balances, BTreeMap::from([(poor, amount(0)), (other, amount(10))]));
    assert_eq!(chain.ledger(1).stakes, BTreeMap::new());
    let places: Vec<_> = all_logs(&chain).iter().map(|l| (l.place.tx_index, l.place.log_index)).collect();
    assert_eq!(places, vec![(0, 0), (0, 1), (2, 2)]);
    let unknown = Action::NftTransfer { from: poor, to: other, token_id: amount(1) };
    chain.mine_with(vec![vec![unknown]]);
    assert_eq!((chain.ledger(2), all_logs(&chain).len()), (chain.ledger(1), 3));
}

#[test]
fn a_raw_log_is_emitted_as_it_is_and_moves_nothing() {
    let chain = chain(0);
    let raw = RawLog { address: wallet(3), ..stake(1, 1).log() };
    let odd = RawLog::new(DEMO_TOKEN, &[TRANSFER], b"short");
    let actions = vec![Action::Raw(Box::new(raw.clone())), Action::Raw(Box::new(odd.clone()))];
    chain.mine_with(vec![vec![actions]]);
    let emitted: Vec<_> = all_logs(&chain)
        .into_iter()
        .map(|log| RawLog { address: log.address, topics: log.topics, data: log.data })
        .collect();
    assert_eq!(emitted, vec![raw, odd]);
    assert_eq!(chain.ledger(1), Ledger::default());
}

#[tokio::test(start_paused = true)]
async fn the_miner_mines_and_reorgs_each_depth_in_turn_until_dropped() {
    let chain = chain(20);
    let mut heads = chain.heads();
    let tick = Duration::from_millis(1);
    let miner = chain.run(MinerSettings { block_time: tick, reorg_every: Some(3), max_reorg_depth: 2 });
    let mut numbers = Vec::new();
    for _ in 0..14 {
        numbers.push(heads.recv().await.unwrap().link.number);
    }
    assert_eq!(numbers, [21, 22, 21, 22, 23, 24, 25, 25, 26, 27, 28, 27, 28, 29]);
    drop(miner);
    tokio::time::sleep(tick * 30).await;
    let stopped = chain.head();
    tokio::time::sleep(tick * 30).await;
    assert_eq!(chain.head(), stopped);
    assert_linked(&chain);
    assert_eq!(chain.ledger(u64::MAX), folded(&chain, stopped.number));
}
