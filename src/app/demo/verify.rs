//! Compares the database with the chain, row by row. What is expected is read from the chain's own blocks and
//! from its ledger, not by the decode and mapping that filled the database.

use std::collections::BTreeSet;

use alloy_primitives::{Address, U256};

use chainflume_core::domain::{BlockRange, Log};
use chainflume_db::StoreError;
use chainflume_devchain::{DEMO_NFT, DEMO_TOKEN, DevChain, Ledger, STAKE_VAULT, STAKED, TRANSFER};
use chainflume_store::{Store, StoredEvent};

/// What was compared and what differs.
pub struct Difference {
    counts: Vec<String>,
    lines: Vec<String>,
}

impl Difference {
    /// Whether they agree.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// How many rows differ.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// One line for each row that differs.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// One line for each table.
    pub fn counts(&self) -> impl Iterator<Item = &str> {
        self.counts.iter().map(String::as_str)
    }

    fn table(&mut self, name: &str, expected: BTreeSet<String>, found: Vec<String>) {
        self.counts.push(format!("{:<16} {} rows compared", name, expected.len()));
        let rows = found.len();
        let found: BTreeSet<String> = found.into_iter().collect();
        if found.len() != rows {
            self.lines.push(format!("{name}: {} rows are there twice", rows - found.len()));
        }
        self.lines.extend(expected.difference(&found).map(|row| format!("{name}: missing {row}")));
        self.lines
            .extend(found.difference(&expected).map(|row| format!("{name}: should not be there {row}")));
    }
}

/// Compares everything stored of a development chain with its blocks up to `confirmed`.
///
/// # Errors
/// When the database cannot be read.
pub async fn compare(chain: &DevChain, store: &Store, confirmed: u64) -> Result<Difference, StoreError> {
    let chain_id = chain.settings().chain_id;
    let mut difference = Difference { counts: Vec::new(), lines: Vec::new() };
    let range = BlockRange::new(0, confirmed).unwrap_or(BlockRange::single(0));
    let events = chain.canonical_logs(range).iter().map(|log| expected_event(chain, log)).collect();
    let stored = store.all_events(chain_id).await?.iter().map(stored_event).collect();
    difference.table("events", events, stored);

    let Expected { stakes, users, balances, allowances, owners } = Expected::of(&chain.ledger(confirmed));
    let row =
        |(addresses, values): (Vec<Address>, Vec<String>)| format!("{addresses:?} {}", values.join(" "));
    let rows = |rows: Vec<(Vec<Address>, Vec<String>)>| rows.into_iter().map(row).collect();
    difference.table("stakes", stakes, rows(store.all_stakes(chain_id).await?));
    difference.table("users", users, rows(store.all_stakers().await?));
    difference.table("token_balances", balances, rows(store.all_balances(chain_id).await?));
    difference.table("token_allowances", allowances, rows(store.all_allowances(chain_id).await?));
    difference.table("nft_owners", owners, rows(store.all_nft_owners(chain_id).await?));
    Ok(difference)
}

/// What the projections hold according to the ledger.
struct Expected {
    stakes: BTreeSet<String>,
    users: BTreeSet<String>,
    balances: BTreeSet<String>,
    allowances: BTreeSet<String>,
    owners: BTreeSet<String>,
}

impl Expected {
    fn of(ledger: &Ledger) -> Self {
        let stakes = ledger.stakes.iter();
        let held = |(id, owner): (&U256, &Option<Address>)| {
            owner.map(|owner| format!("{:?} {id}", [DEMO_NFT, owner]))
        };
        Self {
            users: stakes
                .clone()
                .map(|(who, s)| format!("{:?} {} {} active", [*who], s.sum, s.last))
                .collect(),
            stakes: stakes
                .map(|(who, s)| format!("{:?} {} {} {}", [STAKE_VAULT, *who], s.sum, s.count, s.last))
                .collect(),
            balances: ledger
                .balances
                .iter()
                .map(|(who, sum)| format!("{:?} {sum}", [DEMO_TOKEN, *who]))
                .collect(),
            allowances: ledger
                .allowances
                .iter()
                .map(|((owner, spender), sum)| format!("{:?} {sum}", [DEMO_TOKEN, *owner, *spender]))
                .collect(),
            owners: ledger.nft_owners.iter().filter_map(held).collect(),
        }
    }
}

fn stored_event(event: &StoredEvent) -> String {
    let StoredEvent { place, block_hash, block_time, tx_hash, address, event_type, .. } = event;
    let who =
        |address: &Option<Address>| address.map_or_else(|| "-".to_owned(), |address| address.to_string());
    let number = |number: &Option<String>| number.clone().unwrap_or_else(|| "-".to_owned());
    format!(
        "{place} {block_hash} {block_time} {tx_hash} {address} {event_type} {} {} {} {}",
        who(&event.account),
        who(&event.counterparty),
        number(&event.amount),
        number(&event.token_id)
    )
}

/// The same line from the bytes of the log, read by the rules of the three contracts.
fn expected_event(chain: &DevChain, log: &Log) -> String {
    let topics = log.topics.as_slice();
    let who = |index: usize| Address::from_word(topics[index]).to_string();
    let data = || U256::from_be_slice(&log.data).to_string();
    let none = || "-".to_owned();
    let (family, is_nft) = if log.address == DEMO_NFT { ("erc721", true) } else { ("erc20", false) };
    let (event_type, columns) = if topics[0] == STAKED {
        ("stake.staked".to_owned(), [who(1), none(), data(), none()])
    } else if topics[0] == TRANSFER {
        let word = match (topics[1].is_zero(), topics[2].is_zero()) {
            (true, false) => "mint",
            (false, true) => "burn",
            _ => "transfer",
        };
        let token = if is_nft { U256::from_be_bytes(topics[3].0).to_string() } else { none() };
        (format!("{family}.{word}"), [who(1), who(2), if is_nft { none() } else { data() }, token])
    } else if is_nft && topics.len() == 3 {
        ("erc721.approval_for_all".to_owned(), [who(1), who(2), none(), none()])
    } else if is_nft {
        ("erc721.approval".to_owned(), [who(1), who(2), none(), U256::from_be_bytes(topics[3].0).to_string()])
    } else {
        ("erc20.approval".to_owned(), [who(1), who(2), data(), none()])
    };
    let time = chain.block(log.place.block_number).map_or(0, |block| block.timestamp);
    let Log { place, block_hash, tx_hash, address, .. } = log;
    format!("{place} {block_hash} {time} {tx_hash} {address} {event_type} {}", columns.join(" "))
}
