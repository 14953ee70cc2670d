use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use super::abi;
use super::address::addresses;
use super::filter;
use super::problem::Fault;
use super::reader::Text;
use super::section::Section;
use super::supply;
use super::words::name;
use chainflume_core::decode::{AbiEvent, RepeatedDeclaration};
use chainflume_core::domain::{AddressSet, BlockRef, StartBlock};
use chainflume_core::mapping::Family;
use chainflume_core::settings::number;
use chainflume_store::PublishFrom;

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
    /// Declarations of these events that the ABI repeats with other names of arguments; they are not used.
    pub repeated: Vec<RepeatedDeclaration>,
    /// First block read.
    pub start_block: StartBlock,
    /// Last block read; `None` without one.
    pub end_block: Option<u64>,
    /// Decimals of the staked token; `None` but for the stake family.
    pub decimals: Option<u8>,
    /// From where on its events are announced.
    pub publish_from: PublishFrom,
    /// Argument that names the user an event is about; generic family only.
    pub user: Option<String>,
}

/// What is known of a source, whole or not: names are compared even where other keys are wrong.
pub(super) struct SourceDraft<'a> {
    pub section: Section<'a>,
    pub name: Option<Text>,
    pub chain: Option<Text>,
    pub decimals: Option<u8>,
    pub source: Option<Source>,
}

/// The keys of a source that mean something by themselves.
#[derive(Default, Deserialize)]
#[serde(default)]
struct SourceKeys {
    family: Option<Family>,
    start_block: Option<StartBlock>,
    #[serde(deserialize_with = "block")]
    end_block: Option<u64>,
    publish_from: PublishFrom,
    #[serde(deserialize_with = "decimals")]
    decimals: Option<u8>,
    user: Option<String>,
}

fn block<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    number::<0, { BlockRef::HIGHEST }, _, _>(deserializer).map(Some)
}

/// 10 to the power of 77 is the largest in 256 bits.
fn decimals<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    number::<0, 77, _, _>(deserializer).map(Some)
}

const REQUIRED: [(&str, &str); 5] = [
    ("name", "add name = \"…\", which its views and metrics are called after"),
    ("chain", "add chain = \"…\", the name of a [[chain]]"),
    ("family", "add family = \"stake\", \"erc20\", \"erc721\" or \"generic\""),
    ("address", "add address = \"0x…\", a list of them, or \"any\""),
    ("start_block", "add start_block = N, the block the contract was created in"),
];

pub(super) fn read(section: Section<'_>) -> SourceDraft<'_> {
    section.require(&REQUIRED);
    let name = section.parsed("name", name);
    let chain = section.text("chain");
    let SourceKeys { family, start_block, end_block, publish_from, decimals, user } = section.fill();
    let addresses = addresses(&section);
    let listened = abi::events(&section, family, addresses.as_ref()).and_then(|listened| {
        let marked = supply::marked(&section, family, listened.events);
        Some(abi::Listened { events: filter::filtered(&section, family, marked?)?, ..listened })
    });
    check_end(&section, start_block, end_block);
    let decimals = decimals_of(&section, family, decimals);
    let user = user_of(&section, family, user);
    if addresses == Some(AddressSet::Any) && family == Some(Family::Stake) {
        let what = "\"any\" would let every contract of the chain credit stakes to users";
        section.report("address", Fault::new(what, "name the vault's address"));
    }
    section.finish();
    let whole = || {
        let abi::Listened { events, repeated } = listened?;
        Some(Source {
            name: name.as_ref()?.value.clone(),
            chain: chain.as_ref()?.value.clone(),
            family: family?,
            addresses: addresses?,
            events,
            repeated,
            start_block: start_block?,
            end_block,
            decimals,
            publish_from,
            user,
        })
    };
    let source = whole();
    SourceDraft { section, name, chain, decimals, source }
}

/// Of the stake family alone, 6 unless given.
fn decimals_of(section: &Section<'_>, family: Option<Family>, given: Option<u8>) -> Option<u8> {
    if family == Some(Family::Stake) {
        return Some(given.unwrap_or(6));
    }
    if family.is_some() && given.is_some() {
        let what = "has a meaning for family = \"stake\" alone";
        section.report("decimals", Fault::new(what, "remove it: amounts are kept in base units"));
    }
    None
}

fn check_end(section: &Section<'_>, start: Option<StartBlock>, end: Option<u64>) {
    if let (Some(StartBlock::Number(start)), Some(end)) = (start, end)
        && start > end
    {
        let remedy = format!("give {start} or more, or leave it out to follow the head");
        section
            .report("end_block", Fault::new("is below start_block, so that no block would be read", remedy));
    }
}

/// Of the generic family alone.
fn user_of(section: &Section<'_>, family: Option<Family>, user: Option<String>) -> Option<String> {
    if user.is_some() && family.is_some_and(|family| family != Family::Generic) {
        let what = "has a meaning for family = \"generic\" alone";
        section.report("user", Fault::new(what, "remove it: this family knows whom its events are about"));
        return None;
    }
    user
}
