//! The forms in which ABIs occur: bare, inside the output of a compiler or a block explorer, and as lines of Solidity.

use alloy_json_abi::Event;
use serde_json::Value as Json;

use super::abi_error::AbiError;

/// The declarations of a file: objects of a JSON ABI, or lines of Solidity.
pub(super) fn declarations(file: &Json, contract: Option<&str>) -> Result<Vec<Json>, AbiError> {
    match file.get("contracts").filter(|_| file.get("abi").is_none()) {
        Some(contracts) => of_contract(&named(contracts), contract),
        None if contract.is_some() => {
            let what = "names a contract, but the file holds one ABI without names".to_owned();
            Err(AbiError::Contracts { what, contracts: Vec::new() })
        }
        None => of_one(file),
    }
}

/// The contracts of a compiler's output by file and name: solc's standard output has files with contracts in them, its
/// combined output has both in one name
/// (<https://docs.soliditylang.org/en/latest/using-the-compiler.html#output-description>).
fn named(contracts: &Json) -> Vec<(String, &Json)> {
    let outer = contracts.as_object().into_iter().flatten();
    outer
        .flat_map(|(file, inner)| match inner.get("abi") {
            Some(_) => vec![(file.clone(), inner)],
            None => {
                let inner = inner.as_object().into_iter().flatten();
                inner.map(|(name, artifact)| (format!("{file}:{name}"), artifact)).collect()
            }
        })
        .filter(|(_, artifact)| artifact.get("abi").is_some())
        .collect()
}

fn of_contract(contracts: &[(String, &Json)], wanted: Option<&str>) -> Result<Vec<Json>, AbiError> {
    let names = || contracts.iter().map(|(name, _)| name.clone()).collect();
    let is_wanted = |name: &str| {
        wanted.is_none_or(|wanted| {
            name == wanted || name.rsplit_once(':').is_some_and(|(_, last)| last == wanted)
        })
    };
    let mut found = contracts.iter().filter(|(name, _)| is_wanted(name));
    match (found.next(), found.next()) {
        (Some((_, artifact)), None) => of_one(artifact),
        (None, _) if contracts.is_empty() => {
            Err(AbiError::NotAbi { found: "compiler output without an ABI" })
        }
        (None, _) => Err(AbiError::Contracts { what: "has no such contract".to_owned(), contracts: names() }),
        (Some(_), Some(_)) => {
            Err(AbiError::Contracts { what: "has several contracts".to_owned(), contracts: names() })
        }
    }
}

/// The declarations of one contract.
fn of_one(abi: &Json) -> Result<Vec<Json>, AbiError> {
    let not = |found| Err(AbiError::NotAbi { found });
    let declared = match abi {
        Json::Object(object) => match object.get("abi").or_else(|| object.get("result")) {
            Some(declared) => declared,
            None => return not("an object without an `abi` key"),
        },
        other => other,
    };
    let unfolded;
    let declared = match declared {
        // Artifacts and block explorers may hold the array as text.
        Json::String(text) => match serde_json::from_str::<Json>(text) {
            Ok(array) => {
                unfolded = array;
                &unfolded
            }
            // Without an ABI, an explorer puts the reason in the same place.
            Err(_) if abi.get("abi").is_none() && abi.is_object() => {
                return not("a block explorer's answer without an ABI");
            }
            Err(_) if abi.is_object() => return not("an object whose `abi` is text but not JSON"),
            Err(_) => return not("a string"),
        },
        declared => declared,
    };
    match declared {
        Json::Array(items) if items.iter().all(|item| item.is_object() || item.is_string()) => {
            Ok(items.clone())
        }
        Json::Array(_) => not("an array that holds no declarations"),
        _ if abi.is_object() => not("an object whose `abi` is not an array"),
        _ => not("a single value"),
    }
}

/// Whether a line of Solidity declares an event.
pub(super) fn is_event(line: &str) -> bool {
    line.trim_start().strip_prefix("event").is_some_and(|rest| rest.starts_with(char::is_whitespace))
}

/// The JSON declaration of a line such as `event Moved(address indexed who, uint256 amount)`. In this form the members
/// of a tuple have no names: `event Listed((uint8,bytes)[] items)`.
pub(super) fn of_line(line: &str) -> Result<Json, String> {
    // The parser draws the position on extra lines; the last line has the reason.
    let reason = |error: String| error.lines().last().unwrap_or_default().to_owned();
    let event = Event::parse(line.trim().trim_end_matches(';')).map_err(|error| reason(error.to_string()))?;
    serde_json::to_value(event).map_err(|error| error.to_string()).map(|mut json| {
        if let Some(object) = json.as_object_mut() {
            object.insert("type".to_owned(), Json::from("event"));
        }
        json
    })
}
