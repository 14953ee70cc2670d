use std::sync::Arc;

use super::environment::FileError;
use super::problem::Fault;
use super::reader::{Reader, Text};
use super::section::Section;
use chainflume_core::decode::{self, Abi, AbiError, AbiEvent, RepeatedDeclaration};
use chainflume_core::domain::AddressSet;
use chainflume_core::mapping::{self, Family};

/// Bytes read of an ABI file. The largest compiler artifacts stay below 2 MB; what is above this is
/// another file.
const MAX_ABI_BYTES: u64 = 10 << 20;

/// The events a source listens for.
pub(super) struct Listened {
    /// In the order of the ABI.
    pub events: Vec<Arc<AbiEvent>>,
    /// Declarations of these events that are left out.
    pub repeated: Vec<RepeatedDeclaration>,
}

/// An event of the standard that strangers can fill a disk with: one log has a row written for each of thousands of tokens. Where
/// every contract of a chain is followed, only a source that names the event has it.
const RANGE_EVENT: &str = "ConsecutiveTransfer";

/// Reads `abi` and `events` of a source of these contracts.
pub(super) fn events(
    section: &Section<'_>,
    family: Option<Family>,
    addresses: Option<&AddressSet>,
) -> Option<Listened> {
    let abi = section.text("abi");
    let (declared, wanted): (Vec<Text>, Vec<Text>) = section
        .texts("events")
        .unwrap_or_default()
        .into_iter()
        .partition(|text| text.value.starts_with("event "));
    let all = match (&abi, family) {
        (Some(path), _) => from_file(section.reader, path)?,
        (None, _) if !declared.is_empty() => Abi::default(),
        (None, Some(family)) => match mapping::default_abi(family) {
            Some(json) => decode::read_abi(json).unwrap_or_default(),
            None => {
                let remedy = "add abi = \"…\", the contract's ABI as JSON, relative to this file";
                section
                    .report("abi", Fault::new("is missing: the generic family has none of its own", remedy));
                return None;
            }
        },
        (None, None) => return None,
    };
    let (all, mut repeated) = (shared(all.events), all.repeated);
    let is_unnamed =
        |event: &AbiEvent| abi.is_none() && addresses == Some(&AddressSet::Any) && event.name == RANGE_EVENT;
    let mut events = match wanted.is_empty() && declared.is_empty() {
        true => all.into_iter().filter(|event| !is_unnamed(event)).collect(),
        false => select(section.reader, &all, wanted)?,
    };
    for text in declared {
        let new = of_declaration(section.reader, &text)?;
        events.extend(new.into_iter().filter(|new| !events.contains(new)).collect::<Vec<_>>());
    }
    repeated.retain(|repeated| events.iter().any(|event| event.signature == repeated.signature));
    Some(Listened { events, repeated })
}

/// The event of a line of Solidity in `events`.
pub(super) fn of_declaration(reader: &Reader<'_>, text: &Text) -> Option<Vec<Arc<AbiEvent>>> {
    match decode::read_declarations(std::slice::from_ref(&text.value)) {
        Ok(abi) => Some(shared(abi.events)),
        Err(error) => {
            let remedy = "write it as Solidity does: \"event Moved(address indexed who, uint256 amount)\"";
            reader.report(&text.spot, Fault::new(unreadable(&error).0, remedy));
            None
        }
    }
}

fn from_file(reader: &Reader<'_>, path: &Text) -> Option<Abi> {
    let report = |what: String, remedy: &str| reader.report(&path.spot, Fault::new(what, remedy));
    // `out.json#Token` names one contract of a compiler's output.
    let (file, contract) = match path.value.rsplit_once('#') {
        Some((file, contract)) => (file, Some(contract)),
        None => (path.value.as_str(), None),
    };
    let text = match reader.environment.read(&reader.resolve(file), MAX_ABI_BYTES) {
        Ok(text) => text,
        Err(error) => {
            let remedy = match error {
                FileError::Missing => "correct the path, which is relative to the folder of this file",
                FileError::Denied => "let the user the daemon runs as read it",
                _ => "name the JSON file that holds the contract's ABI",
            };
            report(format!("{}: {error}", path.shown()), remedy);
            return None;
        }
    };
    match decode::read_abi_of(&text, contract) {
        Ok(abi) => Some(abi),
        Err(error) => {
            let (what, remedy) = unreadable(&error);
            report(format!("{} {what}", path.shown()), remedy);
            None
        }
    }
}

fn unreadable(error: &AbiError) -> (String, &'static str) {
    let abi = "give the ABI array, a compiler's artifact or output, or a block explorer's answer";
    match error {
        AbiError::NotJson(error) => (format!("is not JSON: {error}"), abi),
        AbiError::NotAbi { found } => (format!("is not an ABI but {found}"), abi),
        AbiError::Contracts { contracts, .. } if contracts.is_empty() => {
            (error.to_string(), "remove `#` and the name behind it")
        }
        AbiError::Contracts { .. } => (error.to_string(), "name one behind the file: \"out.json#Token\""),
        AbiError::NoEvents => ("declares no events".to_owned(), "name the ABI of a contract that emits some"),
        AbiError::Events(problems) => {
            let texts: Vec<_> = problems.iter().map(|p| format!("event {}: {}", p.event, p.reason)).collect();
            (format!("has {}", texts.join("; ")), "correct or remove these events in the file")
        }
        // Our own limit is below theirs, and names are looked up elsewhere.
        AbiError::TooLarge { .. } | AbiError::UnknownEvent { .. } => (error.to_string(), abi),
    }
}

fn shared(events: Vec<AbiEvent>) -> Vec<Arc<AbiEvent>> {
    events.into_iter().map(Arc::new).collect()
}

/// Each name with a problem of its own, so that each has its own line.
fn select(reader: &Reader<'_>, all: &[Arc<AbiEvent>], wanted: Vec<Text>) -> Option<Vec<Arc<AbiEvent>>> {
    let unknown =
        |name: &&Text| !all.iter().any(|event| name.value == event.name || name.value == event.signature);
    let strangers: Vec<_> = wanted.iter().filter(unknown).collect();
    let known: Vec<_> = all.iter().map(|event| event.signature.as_str()).collect();
    for name in &strangers {
        let what = format!("{} is no event of the ABI", name.shown());
        reader.report(&name.spot, Fault::new(what, format!("it has {}", known.join(", "))));
    }
    if !strangers.is_empty() {
        return None;
    }
    let names: Vec<String> = wanted.into_iter().map(|name| name.value).collect();
    decode::select(all, &names).ok()
}
