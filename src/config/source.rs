use std::sync::Arc;

use super::abi;
use super::address::addresses;
use super::problem::{Fault, Spot};
use super::reader::{Found, Text};
use super::section::Section;
use super::words::{name, word};
use crate::decode::AbiEvent;
use crate::domain::AddressSet;
use crate::mapping::Family;

/// `[[source]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name in messages, metrics and the names of its views.
    pub name: String,
    /// Name of its chain.
    pub chain: String,
    /// What its events mean.
    pub family: Family,
    /// The contracts.
    pub addresses: AddressSet,
    /// The events it listens for, in the order of the ABI, never empty.
    pub events: Vec<Arc<AbiEvent>>,
    /// First block read.
    pub start_block: u64,
    /// Decimals of the staked token; `None` but for the stake family.
    pub decimals: Option<u8>,
    /// Argument that names the user an event is about; generic family only.
    pub user: Option<String>,
}

/// What is known of a source, whole or not: names are compared even where other keys are wrong.
pub(super) struct SourceDraft<'a> {
    pub section: Section<'a>,
    pub name: Option<Text>,
    pub chain: Option<Text>,
    pub decimals: Option<Found<u8>>,
    pub source: Option<Source>,
}

/// The public id of an event keeps 40 bits of its block's number.
const MAX_BLOCK: u64 = (1 << 40) - 1;

const REQUIRED: [(&str, &str); 5] = [
    ("name", "add name = \"…\", which its views and metrics are called after"),
    ("chain", "add chain = \"…\", the name of a [[chain]]"),
    ("family", "add family = \"stake\", \"erc20\", \"erc721\" or \"generic\""),
    ("address", "add address = \"0x…\", a list of them, or \"any\""),
    ("start_block", "add start_block = N, the block the contract was created in"),
];

pub(super) fn read(section: Section<'_>) -> SourceDraft<'_> {
    section.require(&REQUIRED);
    let name = section.parsed("name", |text| name(text, false));
    let chain = section.text("chain");
    let family = section.parsed("family", |text| word(text, &families())).map(|family| family.value);
    let addresses = addresses(&section);
    let events = abi::events(&section, family);
    let start_block = section.number("start_block", 0..=MAX_BLOCK);
    let decimals = decimals(&section, family);
    let user = user(&section, family);
    if addresses == Some(AddressSet::Any) && family == Some(Family::Stake) {
        let what = "\"any\" would let every contract of the chain credit stakes to users";
        section.report("address", Fault::new(what, "name the vault's address"));
    }
    section.finish();
    let whole = || {
        Some(Source {
            name: name.as_ref()?.value.clone(),
            chain: chain.as_ref()?.value.clone(),
            family: family?,
            addresses: addresses?,
            events: events?,
            start_block: start_block?.value,
            decimals: decimals.as_ref().map(|decimals| decimals.value),
            user,
        })
    };
    let source = whole();
    SourceDraft { section, name, chain, decimals, source }
}

/// Of the stake family alone, 6 unless given.
fn decimals(section: &Section<'_>, family: Option<Family>) -> Option<Found<u8>> {
    // 77: the largest power of ten in 256 bits.
    let given = section.number("decimals", 0..=77);
    match family {
        Some(Family::Stake) => {
            let spot = || Spot { key: format!("{}.decimals", section.spot.key), at: section.spot.at };
            let found = given.unwrap_or_else(|| Found { value: 6, spot: spot(), hidden: false });
            let decimals = u8::try_from(found.value).ok()?;
            Some(found.with(decimals))
        }
        Some(_) => {
            if given.is_some() {
                let what = "has a meaning for family = \"stake\" alone";
                section.report("decimals", Fault::new(what, "remove it: amounts are kept in base units"));
            }
            None
        }
        None => None,
    }
}

/// Of the generic family alone.
fn user(section: &Section<'_>, family: Option<Family>) -> Option<String> {
    let user = section.text("user")?;
    if family.is_some_and(|family| family != Family::Generic) {
        let what = "has a meaning for family = \"generic\" alone";
        section.report("user", Fault::new(what, "remove it: this family knows whom its events are about"));
        return None;
    }
    Some(user.value)
}

fn families() -> [(&'static str, Family); 4] {
    Family::ALL.map(|family| (family.as_str(), family))
}
