//! `mints` and `burns` of `[[source]]`: events of a token that change a balance beside its transfers, as `Deposit` and `Withdrawal`
//! of a wrapped native token.

use std::sync::Arc;

use super::abi::of_declaration;
use super::problem::Fault;
use super::reader::Text;
use super::section::Section;
use chainflume_core::decode::{AbiEvent, SupplyChange};
use chainflume_core::mapping::{Family, SupplyProblem, check_supply};

/// The events, those marked that mint or burn; `None` where one of them cannot.
pub(super) fn marked(
    section: &Section<'_>,
    family: Option<Family>,
    events: Vec<Arc<AbiEvent>>,
) -> Option<Vec<Arc<AbiEvent>>> {
    let mut all = Some(events);
    for (key, change) in [("mints", SupplyChange::Mint), ("burns", SupplyChange::Burn)] {
        let Some(texts) = section.texts(key) else { continue };
        if !texts.is_empty() && family.is_some_and(|family| family != Family::Erc20) {
            let what = "has a meaning for family = \"erc20\" alone";
            section.report(key, Fault::new(what, "remove it: this family keeps no balances"));
            return None;
        }
        for text in texts {
            // Of the others each has its own line.
            all = mark(section, all.clone().unwrap_or_default(), text, change)
                .and_then(|marked| all.and(Some(marked)));
        }
    }
    all
}

fn mark(
    section: &Section<'_>,
    mut events: Vec<Arc<AbiEvent>>,
    text: Text,
    change: SupplyChange,
) -> Option<Vec<Arc<AbiEvent>>> {
    let named: Vec<String> = match text.value.starts_with("event ") {
        true => {
            let new = of_declaration(section.reader, &text)?;
            let signatures = new.iter().map(|event| event.signature.clone()).collect();
            events.extend(new.into_iter().filter(|new| !events.contains(new)).collect::<Vec<_>>());
            signatures
        }
        false => vec![text.value.clone()],
    };
    let is_meant =
        |event: &AbiEvent| named.iter().any(|name| *name == event.name || *name == event.signature);
    let fault = match events.iter().filter(|event| is_meant(event)).collect::<Vec<_>>()[..] {
        [] => {
            let known: Vec<&str> = events.iter().map(|event| event.signature.as_str()).collect();
            let what = format!("{} is no event of the source", text.shown());
            let remedy = format!(
                "it has {}; or write the event: \"event Deposit(address indexed dst, uint256 wad)\"",
                known.join(", ")
            );
            Some(Fault::new(what, remedy))
        }
        [one] => check_supply(one, change).err().map(|problem| fault_of(&text, &problem)),
        _ => {
            let what = format!("{} is the name of several events", text.shown());
            Some(Fault::new(what, "write the signature, as \"Deposit(address,uint256)\""))
        }
    };
    if let Some(fault) = fault {
        section.reader.report(&text.spot, fault);
        return None;
    }
    let one = |event: Arc<AbiEvent>| match is_meant(&event) {
        true => Arc::new(event.with_supply(change)),
        false => event,
    };
    Some(events.into_iter().map(one).collect())
}

fn fault_of(text: &Text, problem: &SupplyProblem) -> Fault {
    let shown = text.shown();
    match problem {
        SupplyProblem::Counted => Fault::new(
            format!("{shown} has a meaning already"),
            "remove it: transfers and approvals are counted as such",
        ),
        SupplyProblem::Both => {
            Fault::new(format!("{shown} is in `mints` too"), "remove it from one of the two")
        }
        SupplyProblem::Arguments { addresses, numbers } => Fault::new(
            format!(
                "{shown} has {addresses} addresses and {numbers} numbers, and one of each decides a balance"
            ),
            "name an event with one address, the holder, and one uint, the amount",
        ),
    }
}
