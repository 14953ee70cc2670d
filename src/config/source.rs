use std::ops::RangeInclusive;
use std::sync::Arc;

use toml::de::DeValue;

use super::abi;
use super::address::addresses;
use super::filter;
use super::problem::{Fault, Spot};
use super::reader::{Found, Text};
use super::section::Section;
use super::supply;
use super::words::{name, word};
use chainflume_core::decode::{AbiEvent, RepeatedDeclaration};
use chainflume_core::domain::{AddressSet, StartBlock};
use chainflume_core::mapping::Family;
use chainflume_settings::within;
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
    let listened = abi::events(&section, family).and_then(|listened| {
        let marked = supply::marked(&section, family, listened.events);
        Some(abi::Listened { events: filter::filtered(&section, family, marked?)?, ..listened })
    });
    let start_block = start_block(&section);
    let end_block = end_block(&section, start_block);
    let decimals = decimals(&section, family);
    let publish_from = publish_from(&section).unwrap_or(PublishFrom::Head);
    let user = user(&section, family);
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
            decimals: decimals.as_ref().map(|decimals| decimals.value),
            publish_from,
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

fn publish_from(section: &Section<'_>) -> Option<PublishFrom> {
    let words = [("head", PublishFrom::Head), ("start", PublishFrom::Start)];
    let remedy = "write \"head\", \"start\" or a block number";
    block_or_word(section, "publish_from", PublishFrom::Block, (&words, remedy))
}

fn start_block(section: &Section<'_>) -> Option<StartBlock> {
    let words = [("latest", StartBlock::Latest)];
    let remedy = "write a block number or \"latest\"";
    block_or_word(section, "start_block", StartBlock::Number, (&words, remedy))
}

fn end_block(section: &Section<'_>, start: Option<StartBlock>) -> Option<u64> {
    let end = section.number("end_block", 0..=MAX_BLOCK)?.value;
    if let Some(StartBlock::Number(start)) = start
        && start > end
    {
        let remedy = format!("give {start} or more, or leave it out to follow the head");
        section
            .report("end_block", Fault::new("is below start_block, so that no block would be read", remedy));
    }
    Some(end)
}

/// A block number, also as a string, or one of some words.
fn block_or_word<T: Copy>(
    section: &Section<'_>,
    key: &'static str,
    of_block: fn(u64) -> T,
    (words, remedy): (&[(&'static str, T)], &str),
) -> Option<T> {
    const BLOCKS: RangeInclusive<u64> = 0..=MAX_BLOCK;
    let (spot, value) = section.get(key)?;
    if !matches!(value, DeValue::String(_)) {
        return section.reader.number(spot, value, &BLOCKS).map(|block| of_block(block.value));
    }
    let parse = |text: &str| match text.parse::<u64>() {
        Ok(block) => within(block, &BLOCKS, u64::to_string).map(of_block),
        Err(_) => word(text, words).map_err(|fault| Fault::new(fault.what, remedy)),
    };
    section.reader.text(spot, value)?.parse(section.reader, parse).map(|found| found.value)
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
