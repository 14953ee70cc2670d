use std::time::Duration;

use super::fixture::*;
use crate::Store;
use chainflume_core::domain::{EventKind, SqlType, U256, ViewColumn};
use chainflume_db::transaction;

#[tokio::test]
async fn a_typed_view_shows_each_argument_in_its_type() {
    let store = store().await;
    let chain = open(&store).await;
    let at = block(1, 0);
    let args = r#"{"number":"-57896044618658097711785492504343953926634992332820282019728792003956564819968",
        "flag":true,"data":"0x00ff","type":{"hex":"0xff"},"it's":["1","2"]}"#;
    let events = vec![
        event(at, 0, note(args)),
        event(at, 1, transfer(0, 1, U256::MAX)),
        event(at, 2, transfer(1, 2, U256::from(3))),
        event(at, 3, nft(0, 1, U256::from(4))),
    ];
    advance(&chain, None, at, events).await.expect("advances");
    assert_eq!(
        texts(
            &store,
            "select number || ' ' || flag || ' ' || encode(data, 'hex') || ' ' || type_ || ' ' || \"it's\" || ' ' || type \
             from misc_note"
        )
        .await,
        [concat!(
            "-57896044618658097711785492504343953926634992332820282019728792003956564819968 true 00ff ",
            r#"{"hex": "0xff"} ["1", "2"] contract.note"#
        )]
    );
    assert_eq!(
        texts(
            &store,
            "select type || ' ' || encode(substring(\"from\" from 20), 'hex') || ' ' || value || ' ' || (event_id \
             = event_id(chain_id, block_number, block_hash, tx_index, log_index)) \
             from token_transfer order by log_index"
        )
        .await,
        [format!("erc20.mint 00 {} true", U256::MAX), "erc20.transfer 01 3 true".to_owned()]
    );
    assert_eq!(texts(&store, "select \"tokenId\"::text from nft_transfer").await, ["4"]);
}

#[tokio::test]
async fn views_are_listed_with_their_columns_and_can_be_dropped() {
    let store = store().await;
    open(&store).await;
    let views = store.views().await.expect("lists");
    let names: Vec<_> = views.iter().map(|view| (view.name.as_str(), view.signature.as_str())).collect();
    assert_eq!(
        names,
        [
            ("misc_note", "Note(int256,bool,bytes,string,uint256[])"),
            ("nft_consecutive_transfer", "ConsecutiveTransfer(uint256,uint256,address,address)"),
            ("nft_transfer", "Transfer(address,address,uint256)"),
            ("token_approval", "Approval(address,address,uint256)"),
            ("token_transfer", "Transfer(address,address,uint256)"),
            ("vault_staked", "Staked(address,uint256)"),
        ]
    );
    let columns: Vec<_> =
        views[5].columns.iter().map(|(name, sql_type)| format!("{name} {sql_type}")).collect();
    assert_eq!(
        columns,
        [
            "event_id uuid",
            "chain_id bigint",
            "block_number bigint",
            "block_hash evm_hash",
            "block_time timestamp with time zone",
            "tx_hash evm_hash",
            "tx_index bigint",
            "log_index bigint",
            "contract evm_address",
            "type text",
            "developer evm_address",
            "amount numeric(78,0)",
        ]
    );
    assert_eq!(store.drop_views(Some("token")).await.expect("drops"), ["token_approval", "token_transfer"]);
    assert_eq!(store.views().await.expect("lists").len(), 4);
    open(&store).await;
    assert_eq!(store.views().await.expect("lists").len(), 6);
}

/// Opens the chain with these kinds and makes the views; returns the problems of those that cannot be made.
async fn view_problems(store: &Store, kinds: &[EventKind]) -> Vec<String> {
    store.open_chain(&record(), kinds).await.expect("whatever becomes of the views, the chain opens");
    let tried = store.try_views(CHAIN, kinds).await.expect("the kinds can be read");
    let made = store.make_views(CHAIN, kinds).await.expect("the kinds can be read");
    assert_eq!(tried, made, "what is tried is what happens");
    made.iter().map(ToString::to_string).collect()
}

async fn view_names(store: &Store) -> Vec<String> {
    store.views().await.expect("lists").into_iter().map(|view| view.name).collect()
}

const ALL: [&str; 6] = [
    "misc_note",
    "nft_consecutive_transfer",
    "nft_transfer",
    "token_approval",
    "token_transfer",
    "vault_staked",
];
const NOTHING: [&str; 0] = [];

#[tokio::test]
async fn a_view_follows_its_columns_and_keeps_grants_and_dependants() {
    let store = store().await;
    open(&store).await;
    execute(&store, "create role reader; grant select on misc_note to reader").await;
    execute(&store, "create view mine as select number, flag from misc_note").await;
    let mut kinds = kinds();
    let names = ["flag", "number", "it's", "data", "type"];
    for (column, name) in kinds[NOTE].columns.iter_mut().zip(names) {
        *column =
            ViewColumn { name: name.to_owned(), argument: name.to_owned(), column: column.column.clone() };
    }
    assert_eq!(view_problems(&store, &kinds).await, NOTHING);
    let view = store.views().await.expect("lists").swap_remove(0);
    let columns: Vec<String> =
        view.columns[10..].iter().map(|(name, sql_type)| format!("{name} {sql_type}")).collect();
    assert_eq!(columns, ["flag numeric", "number boolean", "it's evm_bytes", "data text", "type_ jsonb"]);
    let readable = "select has_table_privilege('reader', 'misc_note', 'select')::text";
    assert_eq!(texts(&store, readable).await, ["true"]);
    assert_eq!(texts(&store, "select count(number)::text from mine").await, ["0"]);
    execute(&store, "drop owned by reader; drop role reader").await;
}

#[tokio::test]
async fn a_view_with_other_column_types_waits_for_its_dependants() {
    let store = store().await;
    let chain = open(&store).await;
    advance(&chain, None, block(1, 0), vec![event(block(1, 0), 0, note(r#"{"number":"7"}"#))])
        .await
        .expect("advances");
    execute(&store, "create view mine as select * from misc_note").await;
    let mut kinds = kinds();
    kinds[NOTE].columns[0].column = value("number", SqlType::Text);
    assert_eq!(
        view_problems(&store, &kinds).await,
        [
            "view `misc_note` of source `misc` is missing or out of date: its columns have other types now, and something was \
          built on `misc_note`, which stays as it was; drop what was built on it, run `chainflume views`, and build it again"
        ]
    );
    assert_eq!(texts(&store, "select number::text from mine").await, ["7"]);
    execute(&store, "drop view mine").await;
    assert_eq!(view_problems(&store, &kinds).await, NOTHING);
    assert_eq!(store.views().await.expect("lists")[0].columns[10], ("number".to_owned(), "text".to_owned()));
}

#[tokio::test]
async fn an_obstacle_to_a_view_stops_neither_chain_nor_other_views() {
    for (mine, what) in [
        ("create table vault_staked (x int)", "a table"),
        ("create view vault_staked as select 1 as x", "a view"),
        ("create sequence vault_staked", "a sequence"),
        ("create index vault_staked on users (id)", "an index"),
    ] {
        let store = store().await;
        execute(&store, mine).await;
        assert_eq!(
            view_problems(&store, &kinds()).await,
            [format!(
                "view `vault_staked` of source `vault` is missing or out of date: {what} `vault_staked` is there, which this \
                 program did not make; rename or drop it, then run `chainflume views`"
            )]
        );
        assert_eq!(view_names(&store).await, ALL[..5]);
        let kind = if what == "an index" { "index" } else { what.split_once(' ').expect("two words").1 };
        execute(&store, &format!("drop {kind} vault_staked")).await;
        assert_eq!(view_problems(&store, &kinds()).await, NOTHING);
        assert_eq!(view_names(&store).await, ALL);
    }
}

#[tokio::test]
async fn a_view_the_daemon_may_not_make_is_named_with_its_grant() {
    let (store, url) = with_url().await;
    open(&store).await;
    execute(&store, "drop view misc_note; create role lowly login").await;
    execute(
        &store,
        "grant all on all tables in schema public to lowly; revoke create on schema public from public",
    )
    .await;
    let lowly = connect(&url.replace("user=postgres", "user=lowly")).await;
    let problems = view_problems(&lowly, &kinds()).await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].contains("permission denied for schema public; let the daemon's user create views"),
        "{problems:?}"
    );
    assert_eq!(view_names(&store).await, ALL[1..]);
    // A view of another owner, which is to change.
    let mut changed = kinds();
    changed[NFT].columns[2].name = "token".to_owned();
    let problems = view_problems(&lowly, &changed).await;
    assert!(
        problems[0].contains("must be owner of view nft_transfer; let the daemon's user"),
        "{problems:?}"
    );
    execute(&store, "drop owned by lowly; drop role lowly").await;
}

#[tokio::test]
async fn a_view_that_is_locked_is_reported_and_made_later() {
    let store = store().await;
    open(&store).await;
    let mut kinds = kinds();
    kinds[NFT].columns[2].name = "token".to_owned();
    let mut reader = store.pool.begin().await.expect("begins");
    sqlx::query("lock table nft_transfer in access share mode").execute(&mut *reader).await.expect("locks");
    let problems = view_problems(&store, &kinds).await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].ends_with("run `chainflume views` when it is released"), "{problems:?}");
    reader.rollback().await.expect("lets go");
    assert_eq!(view_problems(&store, &kinds).await, NOTHING);
}

/// The kinds with the event of `NOTE` replaced by another of its name.
fn upgraded(kinds: &[EventKind], both: bool) -> Vec<EventKind> {
    let mut kinds = kinds.to_vec();
    let mut newer = kinds[NOTE].clone();
    newer.signature = "Note(uint256,string)".to_owned();
    newer.other_view = "misc_note_new".to_owned();
    newer.columns = [("amount", SqlType::Numeric), ("memo", SqlType::Text)]
        .map(|(name, sql_type)| ViewColumn {
            name: name.to_owned(),
            argument: name.to_owned(),
            column: value(name, sql_type),
        })
        .to_vec();
    if both {
        kinds[NOTE].view = "misc_note_old".to_owned();
        kinds[NOTE].other_view = "misc_note_old".to_owned();
        newer.view = "misc_note_new".to_owned();
        kinds.push(newer);
    } else {
        kinds[NOTE] = newer;
    }
    kinds
}

#[tokio::test]
async fn an_upgraded_event_gets_a_view_beside_the_older_one() {
    let store = store().await;
    let chain = open(&store).await;
    advance(&chain, None, block(1, 0), vec![event(block(1, 0), 0, note(r#"{"number":"7"}"#))])
        .await
        .expect("advances");
    execute(&store, "create view mine as select * from misc_note").await;
    let expected = [
        "misc_note",
        "misc_note_new",
        "nft_consecutive_transfer",
        "nft_transfer",
        "token_approval",
        "token_transfer",
        "vault_staked",
    ];
    let older = || texts(&store, "select number::text from mine");
    // The newer event alone, both, the older alone again, and so on: each keeps the name it has.
    for (round, configured) in
        [upgraded(&kinds(), false), upgraded(&kinds(), true), kinds(), upgraded(&kinds(), false)]
            .iter()
            .enumerate()
    {
        assert_eq!(view_problems(&store, configured).await, NOTHING, "{round}");
        assert_eq!(view_names(&store).await, expected, "{round}");
        assert_eq!(older().await, ["7"], "{round}");
    }
    let newer = store.views().await.expect("lists").swap_remove(1);
    assert_eq!((newer.signature.as_str(), newer.columns[11].0.as_str()), ("Note(uint256,string)", "memo"));
}

#[tokio::test]
async fn a_view_that_was_renamed_by_hand_is_its_owners_and_made_again() {
    let store = store().await;
    open(&store).await;
    execute(&store, "alter view misc_note rename to my_notes").await;
    assert_eq!(view_problems(&store, &kinds()).await, NOTHING);
    let names = view_names(&store).await;
    assert!(names.contains(&"my_notes".to_owned()) && names.contains(&"misc_note".to_owned()), "{names:?}");
}

#[tokio::test]
async fn two_events_never_share_a_view() {
    let store = store().await;
    let mut kinds = kinds();
    kinds[NOTE].view = "nft_transfer".to_owned();
    kinds[NOTE].other_view = "misc_note_2".to_owned();
    assert_eq!(view_problems(&store, &kinds).await, NOTHING);
    assert_eq!(
        view_names(&store).await,
        [
            "misc_note_2",
            "nft_consecutive_transfer",
            "nft_transfer",
            "token_approval",
            "token_transfer",
            "vault_staked"
        ]
    );
    execute(&store, "drop view misc_note_2; create table misc_note_2 (x int)").await;
    let problems = view_problems(&store, &kinds).await;
    assert!(problems[0].contains("a table `misc_note_2` is there"), "{problems:?}");
}

#[tokio::test]
async fn instances_that_open_a_chain_at_once_agree() {
    let store = store().await;
    let (a, b, c) = tokio::join!(open(&store), open(&store), open(&store));
    let at = block(1, 0);
    advance(&a, None, at, vec![event(at, 0, staked(1, 1))]).await.expect("advances");
    advance(&b, Some(at), block(2, 0), vec![event(block(2, 0), 0, staked(1, 1))]).await.expect("advances");
    advance(&c, Some(block(2, 0)), block(3, 0), vec![event(block(3, 0), 0, staked(1, 1))])
        .await
        .expect("advances");
    assert_eq!(texts(&store, "select count(*)::text from vault_staked").await, ["3"]);
}

/// As a session does that registers thousands of sources, or builds an index of a large table.
#[tokio::test]
async fn views_wait_while_another_session_registers() {
    let (store, url) = with_url().await;
    store.open_chain(&record(), &kinds()).await.expect("the chain opens");
    let other = connect(&url).await;
    let mut holding = transaction::begin(&other.pool).await.expect("begins");
    transaction::lock(&mut holding, transaction::REGISTRATION).await.expect("it is free");
    let released = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        holding.rollback().await.expect("ends");
    };
    let kinds = kinds();
    let (made, ()) = tokio::join!(store.make_views(CHAIN, &kinds), released);
    assert_eq!(made.expect("the lock is waited for"), []);
    assert_eq!(view_names(&store).await, ALL);
}

/// The lock of the registration is held meanwhile: with a statement for each of thousands, others would not get it in time.
#[tokio::test]
async fn any_number_of_sources_is_registered_by_one_statement() {
    let store = store().await;
    execute(
        &store,
        "create table statements (name text); \
         create function noted() returns trigger language plpgsql as \
             $$ begin insert into statements values (tg_table_name); return null; end $$; \
         create trigger noted after insert on sources for each statement execute function noted(); \
         create trigger noted after insert on event_kinds for each statement execute function noted()",
    )
    .await;
    open(&store).await;
    let statements = "select name || ' ' || count(*) from statements group by name order by name";
    assert_eq!(texts(&store, statements).await, ["event_kinds 1", "sources 1"]);
    assert_eq!(texts(&store, "select name from sources order by id").await, SOURCES);
}
