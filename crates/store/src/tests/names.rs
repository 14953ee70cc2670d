//! Arguments that are called otherwise than when their events were stored.

use serde_json::{Map, Value, json};

use super::fixture::*;
use crate::{Backfill, ChainStore, Checkpoint, Pending, ProvenBlocks, ReplayQuery, Store};
use chainflume_core::domain::{
    BlockId, BlockRange, Column, EventKind, Fact, KindIndex, SqlType, TupleMember, TupleMembers, U256,
    ViewColumn,
};

/// The kinds with other names for the arguments of `NOTE`, in views and messages alike.
fn named(names: [&str; 5]) -> Vec<EventKind> {
    let mut kinds = kinds();
    for (column, name) in kinds[NOTE].columns.iter_mut().zip(names) {
        let sql_type = match &column.column {
            Column::Arg { sql_type, .. } => *sql_type,
            other => panic!("{other:?}"),
        };
        *column =
            ViewColumn { name: name.to_owned(), argument: name.to_owned(), column: value(name, sql_type) };
    }
    kinds
}

const FIRST: [&str; 5] = ["number", "flag", "data", "type", "it's"];
/// Two swapped, one called as a column of every view is, one without a name.
const SECOND: [&str; 5] = ["data", "flag", "number", "block_number", "arg4"];
const THIRD: [&str; 5] = ["a", "number", "flag", "type", "data"];

async fn opened(store: &Store, kinds: &[EventKind]) -> ChainStore {
    let chain = store.open_chain(&record(), kinds).await.expect("the chain opens");
    assert_eq!(store.make_views(CHAIN, kinds).await.expect("the kinds can be read"), []);
    chain
}

/// An event of `NOTE` as the mapper writes it for this chain: by the names under which arguments are kept.
fn noted(chain: &ChainStore, n: u64) -> Fact {
    let values =
        [json!(n.to_string()), json!(true), json!("0x00ff"), json!(format!("note {n}")), json!(["1"])];
    let keys = chain.kinds()[NOTE].columns.iter().map(|column| match &column.column {
        Column::Arg { key, .. } => key.clone(),
        other => panic!("{other:?}"),
    });
    let args: Map<String, Value> = keys.zip(values).collect();
    note(&Value::Object(args).to_string())
}

fn payload(names: [&str; 5], n: u64) -> Value {
    let values =
        [json!(n.to_string()), json!(true), json!("0x00ff"), json!(format!("note {n}")), json!(["1"])];
    Value::Object(names.iter().map(ToString::to_string).zip(values).collect())
}

async fn payloads(store: &Store) -> Vec<(String, Value)> {
    let rows = store.outbox().read_after(0, 1_000).await.expect("reads").expect("the position is ours");
    let read = |text: &str| -> Value { serde_json::from_str(text).expect("json") };
    rows.iter().map(|row| (row.state.as_str().to_owned(), read(&row.message)["payload"].clone())).collect()
}

async fn stored(chain: &ChainStore, from: Option<BlockId>, n: u64) -> BlockId {
    let at = block(n, 0);
    advance(chain, from, at, vec![event(at, 0, noted(chain, n))]).await.expect("advances");
    at
}

#[tokio::test]
async fn a_renamed_argument_reads_the_same_in_views_at_any_age() {
    let store = store().await;
    let mut tip = None;
    for (n, names) in (1..).zip([FIRST, SECOND, THIRD, FIRST, SECOND]) {
        let chain = opened(&store, &named(names)).await;
        tip = Some(stored(&chain, tip, n).await);
        let column =
            |name: &str| if name == "block_number" { "block_number_" } else { name }.replace('\'', "''");
        let columns: Vec<String> =
            names.iter().map(|name| format!("\"{}\"::text", column(name).replace("''", "'"))).collect();
        let columns = columns.join(" || ' ' || ").replace("\"type\"", "type_");
        let expected: Vec<String> = (1..=n).map(|n| format!("{n} true \\x00ff note {n} [\"1\"]")).collect();
        assert_eq!(
            texts(&store, &format!("select {columns} from misc_note order by block_number")).await,
            expected
        );
    }
    assert_eq!(
        texts(&store, "select count(distinct jsonb_object_keys)::text from events, jsonb_object_keys(args)")
            .await,
        ["5"]
    );
}

#[tokio::test]
async fn a_renamed_argument_is_published_under_its_new_name() {
    let store = store().await;
    let first = opened(&store, &named(FIRST)).await;
    let one = stored(&first, None, 1).await;
    let two = stored(&first, Some(one), 2).await;
    let second = opened(&store, &named(SECOND)).await;
    stored(&second, Some(two), 3).await;
    rewind(&second, one).await.expect("rewinds");
    let message = |state: &str, names, n| (state.to_owned(), payload(names, n));
    assert_eq!(
        payloads(&store).await,
        [
            message("confirmed", FIRST, 1),
            message("confirmed", FIRST, 2),
            message("confirmed", SECOND, 3),
            message("retracted", SECOND, 3),
            message("retracted", SECOND, 2),
        ]
    );
    let mut step = step(Some(one), block(5, 1), vec![]);
    step.final_number = 5;
    second.advance(&step).await.expect("advances");
    let query = ReplayQuery { range: BlockRange::new(1, 5).expect("a range"), types: vec![], after: None };
    let (messages, _) = second.replay_page(&query, 10).await.expect("reads").expect("one is left");
    assert_eq!(Value::Object(messages[0].payload.clone()), payload(SECOND, 1));
}

#[tokio::test]
async fn what_is_pending_is_taken_back_under_its_new_name() {
    let store = store().await;
    let first = opened(&store, &named(FIRST)).await;
    let at = block(3, 0);
    let pending = Pending {
        expected: vec![Checkpoint { source: "misc".to_owned(), at: None }],
        blocks: vec![at],
        events: vec![event(at, 0, noted(&first, 3))],
        head: 3,
        seen_at: None,
    };
    assert_eq!(first.publish_pending(&pending).await.expect("announces"), 1);
    let second = opened(&store, &named(SECOND)).await;
    rewind(&second, block(1, 0)).await.expect("rewinds");
    let states = payloads(&store).await;
    assert_eq!(
        states,
        [("pending".to_owned(), payload(FIRST, 3)), ("retracted".to_owned(), payload(SECOND, 3))]
    );
}

#[tokio::test]
async fn values_stored_under_other_names_compare_as_equal() {
    let store = store().await;
    let first = opened(&store, &named(FIRST)).await;
    stored(&first, None, 1).await;
    let second = opened(&store, &named(THIRD)).await;
    let at = block(1, 0);
    let reread = Backfill {
        source: "misc".to_owned(),
        range: BlockRange::new(1, 1).expect("a range"),
        reorgs: 0,
        events: vec![event(at, 0, noted(&second, 1))],
        dead_letters: vec![],
    };
    assert!(second.compare(&reread).await.expect("compares").agrees());
    let repaired = second.repair(&reread, &ProvenBlocks::default()).await.expect("repairs");
    assert!(repaired.agrees() && repaired.present == 1, "{repaired:?}");
    let backfilled = second.backfill(&reread).await.expect("fills in");
    assert!(backfilled.agrees(), "{backfilled:?}");
}

/// `NOTE` with one argument: an array of structs `(first, (second)[])`.
fn nested(first: &str, second: &str, inner: &str) -> Vec<EventKind> {
    let member = |name: &str, members| TupleMember { name: name.to_owned(), key: name.to_owned(), members };
    let within = TupleMembers { arrays: 1, list: vec![member(inner, None)] };
    let members = TupleMembers { arrays: 1, list: vec![member(first, None), member(second, Some(within))] };
    let mut kinds = kinds();
    let (key, sql_type) = ("p".to_owned(), SqlType::Jsonb);
    let column = Column::Arg { key, sql_type, hashed: Some(false), members: Some(members) };
    kinds[NOTE].columns = vec![ViewColumn { name: "p".to_owned(), argument: "p".to_owned(), column }];
    kinds
}

#[tokio::test]
async fn a_renamed_struct_member_reads_the_same_in_views_and_messages() {
    let store = store().await;
    let first = opened(&store, &nested("a", "b", "c")).await;
    let args = r#"{"p":[{"a":"1","b":[{"c":"2"},{"c":"3"}]},{"a":"4","b":[]}]}"#;
    let at = block(1, 0);
    advance(&first, None, at, vec![event(at, 0, note(args)), event(at, 1, note(r#"{"p":[]}"#))])
        .await
        .expect("advances");
    let second = opened(&store, &nested("b", "a", "it's")).await;
    let expected = json!([{"b": "1", "a": [{"it's": "2"}, {"it's": "3"}]}, {"b": "4", "a": []}]);
    let shown = texts(&store, "select p::text from misc_note order by log_index").await;
    let shown: Vec<Value> = shown.iter().map(|text| serde_json::from_str(text).expect("json")).collect();
    assert_eq!(shown, [expected.clone(), json!([])]);
    rewind(&second, block(0, 0)).await.expect("rewinds");
    assert_eq!(payloads(&store).await[3].1["p"], expected);
}

#[tokio::test]
async fn declarations_that_hash_other_arguments_stay_apart() {
    let store = store().await;
    let declared = |first: &[(&str, bool)]| {
        let mut all = kinds();
        let note = all.remove(NOTE);
        for (name, hashed) in first {
            let (argument, sql_type) = if *hashed {
                (format!("{name}_hash"), SqlType::Bytea)
            } else {
                (name.to_string(), SqlType::Text)
            };
            let column =
                Column::Arg { key: argument.clone(), sql_type, hashed: Some(*hashed), members: None };
            let mut note = note.clone();
            note.view = format!("misc_note_{hashed}");
            note.columns = vec![ViewColumn { name: argument.clone(), argument, column }];
            all.push(note);
        }
        all
    };
    let chain = opened(&store, &declared(&[("x", false), ("x", true)])).await;
    let at = block(1, 0);
    let hashed = Fact { kind: KindIndex(NOTE + 1), ..note(r#"{"x_hash":"0xff"}"#) };
    advance(&chain, None, at, vec![event(at, 0, note(r#"{"x":"text"}"#)), event(at, 1, hashed)])
        .await
        .expect("advances");
    // Only one of the two is left, and has another name.
    let chain = opened(&store, &declared(&[("y", true)])).await;
    assert_eq!(texts(&store, "select y_hash::text from misc_note_true where log_index = 1").await, ["\\xff"]);
    rewind(&chain, block(0, 0)).await.expect("rewinds");
    let message: Vec<Value> = payloads(&store).await.into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(
        message,
        [json!({"x": "text"}), json!({"x_hash": "0xff"}), json!({"y_hash": "0xff"}), json!({"x": "text"})]
    );
}

#[tokio::test]
async fn a_view_shows_what_was_stored_under_another_family() {
    let store = store().await;
    let mut generic = kinds();
    let transfer = kinds()[NFT].clone();
    for (column, (name, sql_type)) in generic[NFT].columns.iter_mut().zip([
        ("from", SqlType::Bytea),
        ("to", SqlType::Bytea),
        ("tokenId", SqlType::Numeric),
    ]) {
        column.column = value(name, sql_type);
    }
    generic[NFT].projection = chainflume_core::domain::Projection::None;
    generic[NFT].event_type = "contract.Transfer".to_owned();
    let chain = opened(&store, &generic).await;
    let args = r#"{"from":"0x01","to":"0x02","tokenId":"7"}"#;
    let at = block(1, 0);
    advance(&chain, None, at, vec![event(at, 0, Fact { kind: KindIndex(NFT), ..note(args) })])
        .await
        .expect("advances");
    let chain = opened(&store, &kinds()).await;
    let next = block(2, 0);
    advance(&chain, Some(at), next, vec![event(next, 0, nft(0, 1, U256::from(8)))]).await.expect("advances");
    assert_eq!(transfer.view, "nft_transfer");
    let shown = "select \"tokenId\" || ' ' || encode(\"to\", 'hex') from nft_transfer order by block_number";
    assert_eq!(texts(&store, shown).await, ["7 02".to_owned(), format!("8 {}01", "00".repeat(19))]);
}
