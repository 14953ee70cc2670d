use std::fmt;
use std::sync::Arc;

use alloy_dyn_abi::parser::is_valid_identifier;
use alloy_json_abi::EventParam;
use serde::Deserialize;
use serde_json::Value as Json;

use super::abi_error::{AbiError, EventProblem, MAX_ABI_BYTES};
use super::abi_type::AbiType;
use super::event::{AbiEvent, Param};
use super::forms;
use super::names::unique_names;

/// The events of an ABI.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Abi {
    /// In the order of the ABI, each once.
    pub events: Vec<AbiEvent>,
    /// Declarations that were dropped because an earlier one declares the same event.
    pub repeated: Vec<RepeatedDeclaration>,
}

/// A later declaration of an event with other names for its arguments. Their logs look alike, so the first declaration
/// gives the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepeatedDeclaration {
    /// Canonical signature.
    pub signature: String,
    /// Names in use, in the order of the arguments.
    pub used: Vec<String>,
    /// Names in the later declaration.
    pub ignored: Vec<String>,
}

impl RepeatedDeclaration {
    fn new(first: &AbiEvent, later: &AbiEvent) -> Self {
        let names = |event: &AbiEvent| event.params.iter().map(|param| param.name.clone()).collect();
        Self { signature: first.signature.clone(), used: names(first), ignored: names(later) }
    }
}

impl fmt::Display for RepeatedDeclaration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { signature, used, ignored } = self;
        if used == ignored {
            return write!(
                f,
                "{signature} is declared again with other names in its structs; the first declaration is used"
            );
        }
        let (used, ignored) = (used.join(", "), ignored.join(", "));
        write!(
            f,
            "{signature} is declared again with the arguments {ignored}; the first declaration is used: {used}"
        )
    }
}

/// The events of a JSON ABI, as [`read_abi`] finds them.
///
/// # Errors
/// As [`read_abi`].
pub fn parse_abi(json: &str) -> Result<Vec<AbiEvent>, AbiError> {
    read_abi(json).map(|abi| abi.events)
}

/// The events of a JSON ABI, in its order, each once. The array of declarations may be bare, the `abi` of an artifact
/// (Foundry, Hardhat, Truffle), the `result` of a block explorer, or part of a compiler's output (solc's standard and
/// combined JSON). It may also be text inside JSON. A declaration may be an object, or a line of Solidity such as
/// `event Moved(address indexed who, uint256 amount)`. Other declarations are ignored.
///
/// Joined ABIs (proxies, diamonds) declare the same event more than once. Declarations whose logs look alike count as
/// one event, even if they name the arguments differently.
///
/// # Errors
/// All of [`AbiError`] but `UnknownEvent`. Function pointers and fixed-point numbers are not supported.
pub fn read_abi(json: &str) -> Result<Abi, AbiError> {
    read_abi_of(json, None)
}

/// As [`read_abi`], for one contract of a compiler's output. `contract` is its name, or its file and name with a colon
/// between.
///
/// # Errors
/// As [`read_abi`]; [`AbiError::Contracts`] when the file has no such contract, or no contracts at all.
pub fn read_abi_of(json: &str, contract: Option<&str>) -> Result<Abi, AbiError> {
    let declarations = forms::declarations(&parsed(json)?, contract)?;
    abi_of(declarations)
}

/// The events that these lines of Solidity declare.
///
/// # Errors
/// As [`read_abi`].
pub fn read_declarations(lines: &[String]) -> Result<Abi, AbiError> {
    abi_of(lines.iter().cloned().map(Json::String).collect())
}

/// JSON of at most [`MAX_ABI_BYTES`].
fn parsed(json: &str) -> Result<Json, AbiError> {
    if json.len() > MAX_ABI_BYTES {
        return Err(AbiError::TooLarge { bytes: json.len() });
    }
    // Editors on Windows begin a file with a byte order mark, which JSON does not allow.
    let json = json.strip_prefix('\u{feff}').unwrap_or(json);
    serde_json::from_str(json).map_err(AbiError::NotJson)
}

fn abi_of(items: Vec<Json>) -> Result<Abi, AbiError> {
    let (mut abi, mut problems) = (Abi::default(), Vec::new());
    for (position, item) in items.into_iter().enumerate() {
        let item = match item {
            Json::String(line) if !forms::is_event(&line) => continue,
            Json::String(line) => match forms::of_line(&line) {
                Ok(item) => item,
                Err(reason) => {
                    problems.push(EventProblem { event: format!("`{}`", line.trim()), reason });
                    continue;
                }
            },
            item if item.get("type").and_then(Json::as_str) != Some("event") => continue,
            item => item,
        };
        let name = item.get("name").and_then(Json::as_str).map(|name| format!("`{name}`"));
        match event(item) {
            Ok(event) => abi.add(event),
            Err(reason) => {
                let event = name.unwrap_or_else(|| format!("at position {position}"));
                problems.push(EventProblem { event, reason });
            }
        }
    }
    match (problems.is_empty(), abi.events.is_empty()) {
        (false, _) => Err(AbiError::Events(problems)),
        (true, true) => Err(AbiError::NoEvents),
        (true, false) => Ok(abi),
    }
}

impl Abi {
    fn add(&mut self, event: AbiEvent) {
        match self.events.iter().find(|first| first.has_the_logs_of(&event)) {
            None => self.events.push(event),
            Some(first) if *first == event => {}
            Some(first) => {
                let repeated = RepeatedDeclaration::new(first, &event);
                if !self.repeated.contains(&repeated) {
                    self.repeated.push(repeated);
                }
            }
        }
    }
}

/// The events that `wanted` names, in the order of the ABI. An entry is a name (all overloads) or a canonical
/// signature.
///
/// # Errors
/// One [`AbiError::UnknownEvent`] for each entry of `wanted` that names no event.
pub fn select(events: &[Arc<AbiEvent>], wanted: &[String]) -> Result<Vec<Arc<AbiEvent>>, Vec<AbiError>> {
    let means = |wanted: &String, event: &AbiEvent| *wanted == event.name || *wanted == event.signature;
    let unknown = wanted.iter().filter(|name| !events.iter().any(|event| means(name, event)));
    let errors: Vec<AbiError> = unknown
        .map(|name| AbiError::UnknownEvent {
            wanted: name.clone(),
            known: events.iter().map(|event| event.signature.clone()).collect(),
        })
        .collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(events.iter().filter(|event| wanted.iter().any(|name| means(name, event))).cloned().collect())
}

/// As the type of alloy-json-abi, except `anonymous`, which old compilers leave out.
#[derive(Deserialize)]
struct JsonEvent {
    name: String,
    #[serde(default)]
    inputs: Vec<EventParam>,
    #[serde(default)]
    anonymous: bool,
}

fn event(item: Json) -> Result<AbiEvent, String> {
    let event: JsonEvent = serde_json::from_value(item).map_err(|error| error.to_string())?;
    if !is_valid_identifier(&event.name) {
        return Err("its name is not a Solidity identifier".to_owned());
    }
    let names = unique_names(event.inputs.iter().map(|input| input.name.as_str()));
    let params = names.into_iter().zip(&event.inputs).map(|(name, input)| {
        let ty = AbiType::resolve(&input.ty, &input.components)
            .map_err(|reason| format!("argument `{name}`: {reason}"))?;
        Ok(Param { name, ty, indexed: input.indexed })
    });
    AbiEvent::new(event.name, params.collect::<Result<_, String>>()?, event.anonymous)
}
