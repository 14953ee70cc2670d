//! A chain with one source of each family, and shorthand for what happens on it.

use std::time::Duration;

use alloy_primitives::keccak256;
use sqlx::AssertSqlSafe;

use crate::{Advance, Advanced, ChainRecord, ChainStore, Checkpoint, Rewind, Rewound, SourceRecord, Store};
use chainflume_core::domain::{
    Address, AddressSet, B256, BlockId, Column, DeadLetter, DeadLetterKind, Event, EventKey, EventKind, Fact,
    FollowedEvent, KindIndex, Log, Place, Projection, SqlType, StartBlock, TopicFilter, Topics, U256,
    ViewColumn,
};
use chainflume_db::{Settings, StoreError};
use chainflume_testkit::postgres as testing;

pub(super) const CHAIN: u64 = 421_614;
pub(super) const STAKED: usize = 0;
pub(super) const TRANSFER: usize = 1;
pub(super) const MINT: usize = 2;
pub(super) const APPROVAL: usize = 3;
pub(super) const NFT: usize = 4;
pub(super) const NFT_RANGE: usize = 5;
pub(super) const NOTE: usize = 6;
pub(super) const SOURCES: [&str; 4] = ["vault", "token", "nft", "misc"];

/// Tables that a chain and its mirror must agree on, and the columns that are the database's own.
const TABLES: [(&str, &str); 10] = [
    ("events", ""),
    ("stakes", ""),
    ("users", "id, created_at"),
    ("token_balances", ""),
    ("token_allowances", ""),
    ("nft_owners", ""),
    ("blocks", ""),
    ("checkpoints", "updated_at"),
    ("event_kinds", ""),
    ("dead_letters", "id, attempts, first_seen, last_seen"),
];

pub(super) async fn store() -> Store {
    connect(&testing::database().await).await
}

/// A database of the test's own with its URL, for other users of it.
pub(super) async fn with_url() -> (Store, String) {
    let url = testing::database().await;
    (connect(&url).await, url)
}

pub(super) async fn connect(url: &str) -> Store {
    let settings =
        Settings { url: url.to_owned(), max_connections: 4, acquire_timeout: Duration::from_secs(30) };
    Store::connect(&settings).await.expect("the database is there")
}

pub(super) async fn open(store: &Store) -> ChainStore {
    let chain = store.open_chain(&record(), &kinds()).await.expect("the chain opens");
    assert_eq!(store.make_views(CHAIN, &kinds()).await.expect("the views can be looked at"), []);
    chain
}

pub(super) fn record() -> ChainRecord {
    let source = |(name, family): (&str, &str)| SourceRecord {
        follows: follows(name),
        name: name.to_owned(),
        family: family.to_owned(),
        start_block: StartBlock::Number(1),
        end_block: None,
        decimals: (family == "stake").then_some(6),
        publish_from: crate::PublishFrom::Start,
    };
    let families = ["stake", "erc20", "erc721", "generic"];
    ChainRecord {
        chain_id: CHAIN,
        name: "sepolia".to_owned(),
        genesis_hash: Some(B256::repeat_byte(0xee)),
        create_missing_users: true,
        sources: SOURCES.into_iter().zip(families).map(source).collect(),
    }
}

/// What a source listens for, by its kinds: of any contract, distinguished from other sources by the number of topics.
fn follows(source: &str) -> Vec<FollowedEvent> {
    let topics = SOURCES.iter().position(|name| *name == source).unwrap_or(0);
    let mut signatures: Vec<String> =
        kinds().into_iter().filter(|kind| kind.source == source).map(|kind| kind.signature).collect();
    signatures.dedup();
    let listened = |signature: String| {
        let topic0 = Some(keccak256(signature.as_bytes()));
        let topics = u8::try_from(topics).unwrap_or(0);
        (
            EventKey {
                topic0,
                topics,
                declaration: signature.clone(),
                signature,
                filter: TopicFilter::default(),
            },
            AddressSet::Any,
        )
    };
    signatures.into_iter().map(listened).collect()
}

pub(super) fn kinds() -> Vec<EventKind> {
    let column =
        |name: &str, column: Column| ViewColumn { name: name.to_owned(), argument: name.to_owned(), column };
    let arg = |name: &str, sql_type: SqlType| column(name, value(name, sql_type));
    let transfer = || {
        vec![
            column("from", Column::Account),
            column("to", Column::Counterparty),
            column("value", Column::Amount),
        ]
    };
    vec![
        kind(
            "vault",
            "stake.staked",
            "Staked(address,uint256)",
            Projection::Stake,
            vec![column("developer", Column::Account), column("amount", Column::Amount)],
        ),
        kind("token", "erc20.transfer", "Transfer(address,address,uint256)", Projection::Balance, transfer()),
        kind("token", "erc20.mint", "Transfer(address,address,uint256)", Projection::Balance, transfer()),
        kind(
            "token",
            "erc20.approval",
            "Approval(address,address,uint256)",
            Projection::Allowance,
            vec![
                column("owner", Column::Account),
                column("spender", Column::Counterparty),
                column("value", Column::Amount),
            ],
        ),
        kind(
            "nft",
            "erc721.transfer",
            "Transfer(address,address,uint256)",
            Projection::Owner,
            vec![
                column("from", Column::Account),
                column("to", Column::Counterparty),
                column("tokenId", Column::TokenId),
            ],
        ),
        consecutive_transfer(),
        kind(
            "misc",
            "contract.note",
            "Note(int256,bool,bytes,string,uint256[])",
            Projection::None,
            vec![
                arg("number", SqlType::Numeric),
                arg("flag", SqlType::Boolean),
                arg("data", SqlType::Bytea),
                arg("type", SqlType::Text),
                arg("it's", SqlType::Jsonb),
            ],
        ),
    ]
}

fn consecutive_transfer() -> EventKind {
    let column = |name: &str, argument: &str, column: Column| ViewColumn {
        name: name.to_owned(),
        argument: argument.to_owned(),
        column,
    };
    let columns = vec![
        column("from_token_id", "fromTokenId", Column::TokenId),
        column("to_token_id", "toTokenId", value("toTokenId", SqlType::Numeric)),
        column("from_address", "fromAddress", Column::Account),
        column("to_address", "toAddress", Column::Counterparty),
    ];
    let signature = "ConsecutiveTransfer(uint256,uint256,address,address)";
    let event_type = "erc721.consecutive_transfer";
    let view = "nft_consecutive_transfer".to_owned();
    EventKind { view, ..kind("nft", event_type, signature, Projection::OwnerRange, columns) }
}

/// An argument kept under this name.
pub(super) fn value(key: &str, sql_type: SqlType) -> Column {
    Column::Arg { key: key.to_owned(), sql_type, hashed: Some(false), members: None }
}

pub(super) fn kind(
    source: &str,
    event_type: &str,
    signature: &str,
    projection: Projection,
    columns: Vec<ViewColumn>,
) -> EventKind {
    let event = signature.split('(').next().unwrap_or_default().to_owned();
    EventKind {
        source: source.to_owned(),
        event_type: event_type.to_owned(),
        view: format!("{source}_{}", event.to_lowercase()),
        other_view: format!("{source}_{}_{}", event.to_lowercase(), signature.len()),
        event,
        signature: signature.to_owned(),
        projection,
        columns,
        aggregate: chainflume_core::domain::Aggregate::Contract,
    }
}

/// The block of this height on fork `fork`.
pub(super) fn block(number: u64, fork: u8) -> BlockId {
    let mut hash = B256::repeat_byte(fork);
    hash[24..].copy_from_slice(&number.to_be_bytes());
    BlockId { number, hash }
}

pub(super) fn address(n: u8) -> Address {
    Address::with_last_byte(n)
}

pub(super) fn wallet(n: u8) -> Option<Address> {
    Some(address(n))
}

pub(super) fn event(at: BlockId, log_index: u32, fact: Fact) -> Event {
    Event {
        place: Place { block_number: at.number, tx_index: log_index / 3, log_index },
        block_hash: at.hash,
        block_time: 1_700_000_000 + 12 * at.number,
        tx_hash: B256::with_last_byte(u8::try_from(log_index).unwrap_or(255)),
        address: address(200 + u8::try_from(fact.kind.0).unwrap_or(0).clamp(0, 1)),
        fact,
    }
}

fn fact(kind: usize) -> Fact {
    Fact {
        kind: KindIndex(kind),
        account: None,
        counterparty: None,
        amount: None,
        token_id: None,
        args: None,
    }
}

pub(super) fn staked(who: u8, amount: u64) -> Fact {
    Fact { account: wallet(who), amount: Some(U256::from(amount)), ..fact(STAKED) }
}

pub(super) fn transfer(from: u8, to: u8, amount: U256) -> Fact {
    let kind = if from == 0 { MINT } else { TRANSFER };
    Fact { account: wallet(from), counterparty: wallet(to), amount: Some(amount), ..fact(kind) }
}

pub(super) fn approval(owner: u8, spender: u8, amount: U256) -> Fact {
    Fact { account: wallet(owner), counterparty: wallet(spender), amount: Some(amount), ..fact(APPROVAL) }
}

pub(super) fn nft(from: u8, to: u8, token_id: U256) -> Fact {
    Fact { account: wallet(from), counterparty: wallet(to), token_id: Some(token_id), ..fact(NFT) }
}

pub(super) fn nft_range(from: u8, to: u8, first: U256, last: U256) -> Fact {
    let args = Some(format!(r#"{{"toTokenId":"{last}"}}"#));
    Fact { args, kind: KindIndex(NFT_RANGE), ..nft(from, to, first) }
}

pub(super) fn note(args: &str) -> Fact {
    Fact { args: Some(args.to_owned()), ..fact(NOTE) }
}

pub(super) fn letter(at: BlockId, log_index: u32) -> DeadLetter {
    DeadLetter {
        kind: DeadLetterKind::Decode,
        source: "token".to_owned(),
        reason: "data is \0 bytes short".to_owned(),
        log: Log {
            place: Place { block_number: at.number, tx_index: 0, log_index },
            block_hash: at.hash,
            tx_hash: B256::repeat_byte(1),
            block_timestamp: None,
            address: address(201),
            topics: Topics::new(&[B256::repeat_byte(2)]).expect("one topic"),
            data: vec![0, 1].into(),
        },
    }
}

/// Every source at the same place.
pub(super) fn all_at(at: Option<BlockId>) -> Vec<Checkpoint> {
    SOURCES.into_iter().map(|source| Checkpoint { source: source.to_owned(), at }).collect()
}

/// All sources from `from` to `to`, with nothing final.
pub(super) fn step(from: Option<BlockId>, to: BlockId, events: Vec<Event>) -> Advance {
    Advance {
        seen_at: None,
        expected: all_at(from),
        to,
        refs: vec![],
        final_number: 0,
        events,
        dead_letters: vec![],
        head: 0,
        durable: true,
    }
}

pub(super) async fn advance(
    chain: &ChainStore,
    from: Option<BlockId>,
    to: BlockId,
    events: Vec<Event>,
) -> Result<Advanced, StoreError> {
    chain.advance(&step(from, to, events)).await
}

/// Rewinds from the present tip of the chain.
pub(super) async fn rewind(chain: &ChainStore, to: BlockId) -> Result<Rewound, StoreError> {
    let expected = chain.snapshot().await?.checkpoints;
    chain.rewind(&Rewind { expected, to, by_operator: false }).await
}

/// Every row of every table a fresh sync would have, as JSON, table by table.
pub(super) async fn dump(store: &Store) -> Vec<String> {
    let mut rows = Vec::new();
    for (table, own) in TABLES {
        let own: String = own.split(", ").map(|column| format!(" - '{column}'")).collect();
        let sql = format!("select '{table} ' || (to_jsonb(t){own})::text from {table} t order by 1");
        rows.extend(texts(store, &sql).await);
    }
    rows
}

/// The first column of each row.
pub(super) async fn texts(store: &Store, sql: &str) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(&store.pool).await.expect("the query runs")
}

pub(super) async fn execute(store: &Store, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&store.pool).await.expect("the statement runs");
}
