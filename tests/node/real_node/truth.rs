//! What the node's receipts contain, read by alloy's decoder and by rules written down here once more: a witness
//! that shares no code with the program.

use alloy_dyn_abi::{DynSolType, DynSolValue};
use alloy_json_abi::{Event, EventParam, Param};
use alloy_primitives::{Address, B256, Bytes, hex, keccak256};
use serde_json::{Map, Value, json};

use super::world::{World, raw_logs};
use crate::anvil::{Contract, number};

/// A log as the receipt has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub block: u64,
    pub tx: u64,
    pub log: u64,
}

/// A row of `events` as it has to be; bytes as `0x` strings, numbers as decimals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub place: Place,
    pub block_hash: String,
    pub block_time: u64,
    pub tx_hash: String,
    pub contract: String,
    pub kind: String,
    pub account: Option<String>,
    pub counterparty: Option<String>,
    pub amount: Option<String>,
    pub token_id: Option<String>,
    pub args: Option<Value>,
    /// The event's view.
    pub view: String,
    /// The view's columns for the arguments, as text.
    pub cells: Vec<(String, Cell)>,
}

/// A value in a typed view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Text(String),
    Json(Value),
}

/// All that has to be in the database.
#[derive(Debug, Default)]
pub struct Truth {
    pub rows: Vec<Row>,
    /// Block hash too.
    pub dead_letters: Vec<(Place, String)>,
}

impl Truth {
    /// Of the blocks up to `top`.
    pub async fn read(world: &World, top: u64) -> Self {
        let mut truth = Self::default();
        for height in 0..=top {
            let time = number(&world.anvil.block(height).await["timestamp"]);
            for receipt in world.anvil.receipts(height).await {
                for log in receipt["logs"].as_array().expect("a list") {
                    truth.take(world, log, time);
                }
            }
        }
        truth
    }

    fn take(&mut self, world: &World, log: &Value, block_time: u64) {
        let text = |key: &str| log[key].as_str().expect("a string").to_owned();
        let place = Place {
            block: number(&log["blockNumber"]),
            tx: number(&log["transactionIndex"]),
            log: number(&log["logIndex"]),
        };
        let topics: Vec<B256> = serde_json::from_value(log["topics"].clone()).expect("words");
        let data: Bytes = serde_json::from_value(log["data"].clone()).expect("bytes");
        let odd = |(t, d, _): &&(Vec<B256>, Bytes, bool)| *t == topics && *d == data;
        if let Some((_, _, ours)) = raw_logs().iter().find(odd) {
            if *ours {
                self.dead_letters.push((place, text("blockHash")));
            }
            return;
        }
        let (source, contract) = source(world, serde_json::from_value(log["address"].clone()).expect("20"));
        let event = event(contract, &topics);
        let values = values(event, &topics, &data);
        let row = Row {
            place,
            block_hash: text("blockHash"),
            block_time,
            tx_hash: text("transactionHash"),
            contract: text("address"),
            kind: String::new(),
            account: None,
            counterparty: None,
            amount: None,
            token_id: None,
            args: None,
            view: view(source, event),
            cells: event.inputs.iter().zip(&values).map(|(param, value)| cell(param, value)).collect(),
        };
        self.rows.push(meaning(row, source, event, &values));
    }
}

fn source(world: &World, address: Address) -> (&'static str, &Contract) {
    let all = [
        ("vault", &world.vaults[0]),
        ("vault", &world.vaults[1]),
        ("token", &world.token),
        ("nft", &world.nft),
        ("odd", &world.odd),
    ];
    all.into_iter().find(|(_, contract)| contract.address == address).expect("the node has no other contract")
}

fn event<'a>(contract: &'a Contract, topics: &[B256]) -> &'a Event {
    let indexed = |event: &Event| event.inputs.iter().filter(|param| param.indexed).count();
    let named = |event: &&Event| {
        !event.anonymous && topics.first() == Some(&event.selector()) && topics.len() == indexed(event) + 1
    };
    let nameless = |event: &&Event| event.anonymous && topics.len() == indexed(event);
    let mut events = contract.abi.events();
    let by_name = contract.abi.events().find(named);
    by_name.or_else(|| events.find(nameless)).expect("the contract emits what its ABI has")
}

/// A value as it is in the log: strings as their bytes, what does not fit a topic as its hash.
enum Decoded {
    Hash(B256),
    Whole(DynSolType, DynSolValue),
}

fn values(event: &Event, topics: &[B256], data: &[u8]) -> Vec<Decoded> {
    let mut topics = topics.iter().skip(usize::from(!event.anonymous));
    // Strings are read as bytes, which are encoded alike: alloy would repair what is no UTF-8.
    let as_bytes = |param: &EventParam| -> DynSolType {
        param.selector_type().replace("string", "bytes").parse().expect("a type")
    };
    let body = event.inputs.iter().filter(|param| !param.indexed).map(as_bytes).collect();
    let body = DynSolType::Tuple(body).abi_decode_sequence(data).expect("the compiler encodes well");
    let mut body = body.as_tuple().expect("a tuple was asked for").to_vec().into_iter();
    let read = |param: &EventParam| {
        let ty: DynSolType = param.selector_type().parse().expect("a type");
        if !param.indexed {
            return Decoded::Whole(ty, body.next().expect("one for each"));
        }
        let topic = topics.next().expect("one for each");
        match ty {
            DynSolType::Address | DynSolType::Bool | DynSolType::Uint(_) | DynSolType::Int(_) => {
                let value = ty.abi_decode(topic.as_slice()).expect("the compiler encodes well");
                Decoded::Whole(ty, value)
            }
            _ => Decoded::Hash(*topic),
        }
    };
    event.inputs.iter().map(read).collect()
}

impl Decoded {
    fn json(&self, fields: &[Param]) -> Value {
        match self {
            Self::Hash(hash) => json!(hash),
            Self::Whole(ty, value) => to_json(ty, fields, value),
        }
    }

    fn plain(&self) -> String {
        self.json(&[]).as_str().expect("a plain value").to_owned()
    }
}

fn to_json(ty: &DynSolType, fields: &[Param], value: &DynSolValue) -> Value {
    match (ty, value) {
        (DynSolType::String, DynSolValue::Bytes(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => json!(text),
            _ => json!({ "hex": hex::encode_prefixed(bytes) }),
        },
        (DynSolType::Array(ty) | DynSolType::FixedArray(ty, _), value) => {
            let items = value.as_array().or(value.as_fixed_array()).expect("an array");
            items.iter().map(|item| to_json(ty, fields, item)).collect()
        }
        (DynSolType::Tuple(types), value) => {
            let items = fields.iter().zip(types).zip(value.as_tuple().expect("a tuple"));
            let pair = |((field, ty), item): ((&Param, _), _)| {
                (field.name.clone(), to_json(ty, &field.components, item))
            };
            Value::Object(items.map(pair).collect::<Map<_, _>>())
        }
        (_, DynSolValue::Address(address)) => json!(hex::encode_prefixed(address)),
        (_, DynSolValue::Uint(number, _)) => json!(number.to_string()),
        (_, DynSolValue::Int(number, _)) => json!(number.to_string()),
        (_, DynSolValue::Bool(truth)) => json!(truth),
        (_, DynSolValue::FixedBytes(word, length)) => json!(hex::encode_prefixed(&word[..*length])),
        (_, DynSolValue::Bytes(bytes)) => json!(hex::encode_prefixed(bytes)),
        (ty, value) => panic!("{value:?} is no {ty}"),
    }
}

fn key(param: &EventParam, value: &Decoded) -> String {
    if matches!(value, Decoded::Hash(_)) { format!("{}_hash", param.name) } else { param.name.clone() }
}

/// What a query for the column as text gives.
fn cell(param: &EventParam, value: &Decoded) -> (String, Cell) {
    let name = match key(param, value).as_str() {
        "tokenId" => "token_id".to_owned(),
        other => other.to_owned(),
    };
    let json = value.json(&param.components);
    let cell = match (&json, value) {
        (Value::Array(_), _) => Cell::Json(json),
        (Value::Object(_), Decoded::Whole(DynSolType::Tuple(_), _)) => Cell::Json(json),
        (Value::Object(odd), _) => Cell::Text(format!("{{\"hex\": {}}}", odd["hex"])),
        (Value::Bool(truth), _) => Cell::Text(truth.to_string()),
        (Value::String(text), Decoded::Whole(DynSolType::String, _)) => Cell::Text(text.clone()),
        (Value::String(text), _) => Cell::Text(text.replacen("0x", "\\x", 1)),
        _ => panic!("{json} is of no type an ABI has"),
    };
    (name, cell)
}

/// Overloads have the beginning of their first topic in the name.
fn view(source: &str, event: &Event) -> String {
    match event.name.as_str() {
        "ApprovalForAll" => format!("{source}_approval_for_all"),
        "Ping" => format!("odd_ping_{}", hex::encode(&keccak256(event.signature())[..4])),
        name => format!("{source}_{}", name.to_lowercase()),
    }
}

fn meaning(mut row: Row, source: &str, event: &Event, values: &[Decoded]) -> Row {
    let nobody = Address::ZERO.to_string();
    let movement = |family: &str| {
        let word = match (values[0].plain() == nobody, values[1].plain() == nobody) {
            (true, false) => "mint",
            (false, true) => "burn",
            _ => "transfer",
        };
        format!("{family}.{word}")
    };
    let plain = |index: usize| Some(values[index].plain());
    row.kind = match (source, event.name.as_str()) {
        ("vault", _) => "stake.staked".to_owned(),
        ("token", "Transfer") => movement("erc20"),
        ("token", _) => "erc20.approval".to_owned(),
        ("nft", "Transfer") => movement("erc721"),
        ("nft", "Approval") => "erc721.approval".to_owned(),
        ("nft", _) => "erc721.approval_for_all".to_owned(),
        (_, name) => format!("contract.{name}"),
    };
    if source == "odd" {
        let pairs = event.inputs.iter().zip(values);
        row.account = pairs.clone().find(|(param, _)| param.name == "who").map(|(_, value)| value.plain());
        let all = pairs.map(|(param, value)| (key(param, value), value.json(&param.components)));
        row.args = Some(Value::Object(all.collect()));
        return row;
    }
    row.account = plain(0);
    match (source, event.name.as_str()) {
        ("vault", _) => row.amount = plain(1),
        ("token", _) => (row.counterparty, row.amount) = (plain(1), plain(2)),
        ("nft", "ApprovalForAll") => {
            row.counterparty = plain(1);
            row.args = Some(json!({ "approved": values[2].json(&[]) }));
        }
        _ => (row.counterparty, row.token_id) = (plain(1), plain(2)),
    }
    row
}
