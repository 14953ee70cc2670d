//! What mapping promises, by topic. The helpers here build mappers.

mod facts;
mod generic;
mod problems;
mod types;
mod view;

use std::sync::Arc;

use super::{Family, FamilySettings, Mapper, MappingProblem, SourceMapping, default_abi};
use crate::decode::{AbiEvent, SourceIndex, TypedLog, Value, parse_abi};
use crate::domain::{Address, Fact, KindIndex, U256};

fn events(json: &str) -> Vec<Arc<AbiEvent>> {
    parse_abi(json).expect("the ABI is right").into_iter().map(Arc::new).collect()
}

fn source(name: &str, family: Family, events: Vec<Arc<AbiEvent>>) -> SourceMapping {
    let settings = FamilySettings::of(family);
    SourceMapping { source: SourceIndex(0), name: name.to_owned(), settings, events }
}

/// A mapper of one source `s`.
fn mapper(family: Family, json: &str) -> Mapper {
    Mapper::new(vec![source("s", family, events(json))]).expect("the source is right")
}

fn problems(sources: Vec<SourceMapping>) -> Vec<MappingProblem> {
    Mapper::new(sources).expect_err("something is wrong").problems
}

/// Maps `args` as the event called `name` and returns the message type with the fact.
fn map(mapper: &Mapper, json: &str, name: &str, args: Vec<Value>) -> (String, Fact) {
    let event = events(json).into_iter().find(|event| event.name == name).expect("the ABI has it");
    let fact = mapper.map(&TypedLog { source: SourceIndex(0), event, args }).expect("it has a meaning");
    (mapper.kinds()[fact.kind.0].event_type.clone(), fact)
}

fn address(byte: u8) -> Address {
    Address::repeat_byte(byte)
}

fn uint(value: u64) -> Value {
    Value::Uint(U256::from(value))
}

/// Name, type, whether it is indexed.
type Argument<'a> = (&'a str, &'a str, bool);

/// An ABI of events, each a name and its arguments.
fn abi(events: &[(&str, &[Argument<'_>])]) -> String {
    let items: Vec<_> = events
        .iter()
        .map(|(name, params)| {
            let inputs: Vec<_> = params
                .iter()
                .map(
                    |(name, ty, indexed)| serde_json::json!({ "name": name, "type": ty, "indexed": indexed }),
                )
                .collect();
            serde_json::json!({ "type": "event", "name": name, "inputs": inputs })
        })
        .collect();
    serde_json::Value::Array(items).to_string()
}
