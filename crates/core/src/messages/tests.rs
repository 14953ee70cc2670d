use alloy_primitives::{Address, B256, U256};
use serde_json::json;
use uuid::Uuid;

use super::{DescribedKind, EventUsers, Layout, MessageStage, MessageSubject, UserChange, UserState};
use crate::domain::{
    Aggregate, Column, Event, Fact, KindIndex, Message, MessageState, Place, Projection, SqlType, ViewColumn,
};

const ACCOUNT: Address = Address::repeat_byte(0xa1);
const COUNTERPARTY: Address = Address::repeat_byte(0xa2);
const CONTRACT: Address = Address::repeat_byte(0xc0);

fn argument(name: &str, column: Column) -> ViewColumn {
    ViewColumn { name: name.to_owned(), argument: name.to_owned(), column }
}

fn arg(key: &str) -> Column {
    Column::Arg { key: key.to_owned(), sql_type: SqlType::Text, hashed: Some(false), members: None }
}

fn kind(aggregate: Aggregate, decimals: Option<u8>) -> DescribedKind {
    let columns = vec![
        argument("from", Column::Account),
        argument("to", Column::Counterparty),
        argument("value", Column::Amount),
        argument("memo", arg("note")),
        argument("absent", arg("absent")),
    ];
    DescribedKind {
        source: "token".to_owned(),
        event_type: "erc20.transfer".to_owned(),
        event: "Transfer".to_owned(),
        signature: "Transfer(address,address,uint256,string)".to_owned(),
        projection: Projection::Balance,
        layout: Layout { aggregate, columns, others: Vec::new() },
        decimals,
    }
}

fn event() -> Event {
    let fact = Fact {
        kind: KindIndex(0),
        account: Some(ACCOUNT),
        counterparty: Some(COUNTERPARTY),
        amount: Some(U256::from(1_500_000)),
        token_id: None,
        args: Some(json!({ "note": "hello" }).to_string()),
    };
    Event {
        place: Place { block_number: 7, tx_index: 2, log_index: 3 },
        block_hash: B256::repeat_byte(0xb7),
        block_time: 1_700_000_000,
        tx_hash: B256::repeat_byte(0x77),
        address: CONTRACT,
        fact,
    }
}

fn message(aggregate: Aggregate, decimals: Option<u8>) -> Message {
    let (kind, event) = (kind(aggregate, decimals), event());
    let subject = MessageSubject { chain_id: 1, kind: &kind, event: &event };
    let users = EventUsers { first: Some(Uuid::from_u128(1)), second: None };
    subject.message(MessageStage { state: MessageState::Confirmed, confirmations: 12, users })
}

#[test]
fn a_payload_has_the_arguments_by_their_present_names() {
    let address = |address: Address| format!("{address:#x}");
    let plain = json!({
        "from": address(ACCOUNT), "to": address(COUNTERPARTY), "value": "1500000", "memo": "hello", "absent": null
    });
    assert_eq!(serde_json::Value::from(message(Aggregate::Token, None).payload), plain);
    let mut formatted = plain;
    formatted["valueFormatted"] = "1.5".into();
    assert_eq!(serde_json::Value::from(message(Aggregate::Token, Some(6)).payload), formatted);
}

#[test]
fn the_subject_is_the_contract_or_the_account_of_a_user() {
    let subject = |aggregate| {
        let message = message(aggregate, None);
        (message.aggregate_type, message.aggregate_id)
    };
    assert_eq!(subject(Aggregate::Token), (Aggregate::Token, CONTRACT));
    assert_eq!(subject(Aggregate::User), (Aggregate::User, ACCOUNT));
}

#[test]
fn a_message_has_the_place_of_its_event() {
    let message = message(Aggregate::Token, None);
    assert_eq!(message.timestamp, "2023-11-14T22:13:20Z");
    let metadata = &message.metadata;
    assert_eq!((metadata.block_number, metadata.log_index, metadata.confirmations), (7, 3, 12));
    assert_eq!((metadata.user_id, metadata.counterparty_user_id), (Some(Uuid::from_u128(1)), None));
    assert_eq!(metadata.correlation_id, metadata.transaction_hash);
}

#[test]
fn users_of_an_event_are_its_account_and_then_another() {
    let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let both = |wallet: &Address| Some(if *wallet == ACCOUNT { one } else { two });
    assert_eq!(EventUsers::of(&event(), both), EventUsers { first: Some(one), second: Some(two) });
    let same = |_: &Address| Some(one);
    assert_eq!(EventUsers::of(&event(), same), EventUsers { first: Some(one), second: None });
    let second = |wallet: &Address| (*wallet == COUNTERPARTY).then_some(two);
    assert_eq!(EventUsers::of(&event(), second), EventUsers { first: Some(two), second: None });
}

#[test]
fn a_retraction_of_an_activation_has_its_id() {
    let (kind, event) = (kind(Aggregate::User, None), event());
    let cause = MessageSubject { chain_id: 1, kind: &kind, event: &event };
    let user = UserState {
        id: Uuid::from_u128(9),
        stake_amount: "5".to_owned(),
        staked_at: Some(1_700_000_000),
        status: "active".to_owned(),
    };
    let id = Some(user.id);
    let change = |user, message_type, state| {
        UserChange { wallet: ACCOUNT, id, user, message_type, state }.message(&cause)
    };
    let activated = change(Some(&user), "user.activated", MessageState::Confirmed);
    let retracted = change(None, "user.activated", MessageState::Retracted);
    let updated = change(Some(&user), "user.updated", MessageState::Confirmed);
    assert_eq!(activated.id, retracted.id);
    assert_eq!([activated.metadata.user_id, retracted.metadata.user_id], [id; 2]);
    assert_ne!(activated.id, updated.id);
    assert_eq!(activated.metadata.causation_id, Some(cause.id()));
    assert_eq!(
        serde_json::Value::from(activated.payload),
        json!({ "stakeAmount": "5", "stakedAt": "2023-11-14T22:13:20Z", "status": "active" })
    );
    assert_eq!(
        serde_json::Value::from(retracted.payload),
        json!({ "stakeAmount": "0", "stakedAt": null, "status": "registered" })
    );
}

#[test]
fn a_row_is_read_by_the_form_whose_keys_it_has() {
    let mut layout = kind(Aggregate::Contract, None).layout;
    layout.columns = vec![argument("memo", arg("memo"))];
    layout.others = vec![vec![argument("memo", arg("memo_hash"))]];
    let columns = |args: serde_json::Value| {
        let args = args.as_object().cloned().unwrap_or_default();
        layout.columns_of(&args).first().and_then(ViewColumn::key).cloned()
    };
    assert_eq!(columns(json!({ "memo": "x" })), Some("memo".to_owned()));
    assert_eq!(columns(json!({ "memo_hash": "0x" })), Some("memo_hash".to_owned()));
    assert_eq!(columns(json!({})), Some("memo".to_owned()));
}
