//! `where` of `[[source]]`: which logs of an event are followed, by the values of its indexed arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::{Address, B256, I256, U256, hex, keccak256};
use toml::de::{DeTable, DeValue};

use super::address::written_address;
use super::problem::{Fault, Spot};
use super::reader::{Reader, Text, Wanted, wrong_type};
use super::section::Section;
use chainflume_core::decode::{AbiEvent, AbiType, Param};
use chainflume_core::domain::{TopicFilter, TopicValues};
use chainflume_core::mapping::Family;

/// Values of one `where`. go-ethereum takes a thousand for a topic.
const MOST_VALUES: usize = 1_000;

/// The events with their filters; `None` where a filter is wrong.
pub(super) fn filtered(
    section: &Section<'_>,
    family: Option<Family>,
    events: Vec<Arc<AbiEvent>>,
) -> Option<Vec<Arc<AbiEvent>>> {
    let Some((spot, value)) = section.get("where") else { return Some(events) };
    if family.is_some_and(|family| family != Family::Generic) {
        let what = "has a meaning for family = \"generic\" alone";
        let remedy = "use family = \"generic\", or remove it: of a part of the logs balances, owners and stakes would be wrong";
        section.reader.report(&spot, Fault::new(what, remedy));
        return None;
    }
    let tables: Vec<(Spot, &DeValue<'_>)> = match value {
        DeValue::Array(items) => {
            let place =
                |index: usize, at: usize| Spot { key: format!("{}[{index}]", spot.key), at: Some(at) };
            items
                .iter()
                .enumerate()
                .map(|(index, item)| (place(index, item.span().start), item.get_ref()))
                .collect()
        }
        one => vec![(spot, one)],
    };
    let (wanted, filter) = (tables.len(), FilterReader { reader: section.reader, events: &events });
    let read: Vec<EventValues> =
        tables.into_iter().filter_map(|(spot, value)| filter.table(spot, value)).collect();
    if read.len() != wanted {
        return None;
    }
    Some(apply(events, &read))
}

/// What one table allows of the events that it names, by their positions.
type EventValues = BTreeMap<usize, TopicValues>;

fn apply(events: Vec<Arc<AbiEvent>>, tables: &[EventValues]) -> Vec<Arc<AbiEvent>> {
    let one = |(index, event): (usize, Arc<AbiEvent>)| {
        let alternatives: Vec<TopicValues> =
            tables.iter().filter_map(|table| table.get(&index)).cloned().collect();
        match alternatives.is_empty() {
            true => event,
            false => Arc::new(event.filtered(TopicFilter::new(alternatives))),
        }
    };
    events.into_iter().enumerate().map(one).collect()
}

struct FilterReader<'a> {
    reader: &'a Reader<'a>,
    events: &'a [Arc<AbiEvent>],
}

impl FilterReader<'_> {
    /// `{ event = "Transfer", to = ["0x…"] }`
    fn table(&self, spot: Spot, value: &DeValue<'_>) -> Option<EventValues> {
        let DeValue::Table(table) = value else {
            let remedy = "write { event = \"Transfer\", to = [\"0x…\"] }, or a list of such tables";
            let what = wrong_type(value, Wanted::Table).what;
            self.reader.report(&spot, Fault::new(what, remedy));
            return None;
        };
        let events = self.named(&spot, table)?;
        let mut read = EventValues::new();
        let (mut wrong, mut values) = (false, 0);
        for (name, value) in table.iter().filter(|(name, _)| name.get_ref() != "event") {
            let place =
                Spot { key: format!("{}.{}", spot.key, name.get_ref()), at: Some(value.span().start) };
            for index in &events {
                let Some((topic, allowed)) = self.argument(*index, name.get_ref(), &place, value.get_ref())
                else {
                    wrong = true;
                    break;
                };
                values += allowed.len();
                read.entry(*index).or_default()[topic] = Some(allowed);
            }
        }
        if values > MOST_VALUES {
            let what = format!("has {values} values, and a node takes {MOST_VALUES} at most");
            self.reader.report(&spot, Fault::new(what, "leave `where` out and filter what is stored"));
            return None;
        }
        if read.is_empty() && !wrong {
            let known = events.first().map(|index| indexed(&self.events[*index])).unwrap_or_default();
            self.reader
                .report(&spot, Fault::new("names no argument", format!("add values for one of {known}")));
            return None;
        }
        (!wrong).then_some(read)
    }

    /// The events of this name or signature, by their positions.
    fn named(&self, spot: &Spot, table: &DeTable<'_>) -> Option<Vec<usize>> {
        let Some(value) = table.get("event") else {
            let fault = Fault::new("is missing", "add event = \"…\", the event whose logs are meant");
            self.reader.report(&Spot { key: format!("{}.event", spot.key), at: spot.at }, fault);
            return None;
        };
        let place = Spot { key: format!("{}.event", spot.key), at: Some(value.span().start) };
        let name = self.reader.text(place, value.get_ref())?;
        let is_meant = |event: &AbiEvent| name.value == event.name || name.value == event.signature;
        let meant: Vec<usize> =
            (0..self.events.len()).filter(|index| is_meant(&self.events[*index])).collect();
        if meant.is_empty() {
            let known: Vec<&str> = self.events.iter().map(|event| event.signature.as_str()).collect();
            let what = format!("{} is no event of the source", name.shown());
            self.reader.report(&name.spot, Fault::new(what, format!("it has {}", known.join(", "))));
            return None;
        }
        if meant.iter().any(|index| self.events[*index].anonymous) {
            let what = format!("{} is anonymous, and its logs do not name it", name.shown());
            self.reader.report(&name.spot, Fault::new(what, "leave it out of `where`"));
            return None;
        }
        Some(meant)
    }

    /// The position of the topic of an argument, without the first, and its allowed values.
    fn argument(
        &self,
        event: usize,
        name: &str,
        spot: &Spot,
        value: &DeValue<'_>,
    ) -> Option<(usize, BTreeSet<B256>)> {
        let event = &self.events[event];
        let report = |what: String, remedy: String| self.reader.report(spot, Fault::new(what, remedy));
        let Some(param) = event.params.iter().find(|param| param.name == name) else {
            report(
                format!("is no argument of {}", event.signature),
                format!("write one of {}", indexed(event)),
            );
            return None;
        };
        if !param.indexed {
            let what = format!("is not indexed in {}, so that no node can look for it", event.signature);
            report(what, format!("write one of {}", indexed(event)));
            return None;
        }
        let topics = event.params.iter().filter(|param| param.indexed);
        let topic = topics.take_while(|other| other.name != name).count();
        let place = |index: usize, at: usize| Spot { key: format!("{}[{index}]", spot.key), at: Some(at) };
        let items: Vec<(Spot, &DeValue<'_>)> = match value {
            DeValue::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| (place(index, item.span().start), item.get_ref()))
                .collect(),
            one => vec![(Spot { key: spot.key.clone(), at: spot.at }, one)],
        };
        if items.is_empty() {
            report(
                "is empty, so that no log would be followed".to_owned(),
                "name a value, or remove it".to_owned(),
            );
            return None;
        }
        let wanted = items.len();
        let read: Vec<B256> =
            items.into_iter().filter_map(|(spot, item)| self.value(param, spot, item)).collect();
        (read.len() == wanted).then(|| (topic, read.into_iter().collect()))
    }

    /// A value as its topic.
    fn value(&self, param: &Param, spot: Spot, value: &DeValue<'_>) -> Option<B256> {
        let text = match value {
            DeValue::String(_) => self.reader.text(spot, value)?,
            DeValue::Integer(raw) => {
                let number = i128::from_str_radix(raw.as_str(), raw.radix()).map(|number| number.to_string());
                Text { value: number.unwrap_or_else(|_| raw.to_string()), spot, hidden: false }
            }
            DeValue::Boolean(truth) => Text { value: truth.to_string(), spot, hidden: false },
            other => {
                self.reader.report(&spot, wrong_type(other, Wanted::Text));
                return None;
            }
        };
        text.parse(self.reader, |text| topic(&param.ty, text)).map(|found| found.value)
    }
}

/// The indexed arguments of an event, for a remedy.
fn indexed(event: &AbiEvent) -> String {
    let indexed = event.params.iter().filter(|param| param.indexed);
    let names: Vec<String> = indexed.map(|param| format!("{} ({})", param.name, param.ty)).collect();
    if names.is_empty() { "none: no argument of it is indexed".to_owned() } else { names.join(", ") }
}

/// The topic of a value of this type: the value itself, or the hash of one that does not fit.
fn topic(ty: &AbiType, text: &str) -> Result<B256, Fault> {
    let not = |what: String, remedy: &str| Fault::new(what, remedy);
    match ty {
        AbiType::Address => written_address(text).map(|address: Address| address.into_word()),
        AbiType::Uint(bits) => {
            let number: Option<U256> = text.parse().ok();
            let fits = number.filter(|number| number.bit_len() <= *bits);
            fits.map(B256::from)
                .ok_or_else(|| not(format!("is no uint{bits}"), "write it in decimal digits, or as 0x…"))
        }
        AbiType::Int(bits) => {
            let fits = text.parse::<I256>().ok().filter(|number| {
                let magnitude = if number.is_negative() { !number.into_raw() } else { number.into_raw() };
                magnitude.bit_len() < *bits
            });
            let word = fits.map(|number| B256::from(number.into_raw()));
            word.ok_or_else(|| not(format!("is no int{bits}"), "write it in decimal digits"))
        }
        AbiType::Bool => match text {
            "true" => Ok(B256::with_last_byte(1)),
            "false" => Ok(B256::ZERO),
            _ => Err(not("is no bool".to_owned(), "write true or false")),
        },
        AbiType::FixedBytes(len) => {
            let bytes = hexadecimal(text).filter(|bytes| bytes.len() == *len);
            bytes
                .map(|bytes| B256::right_padding_from(&bytes))
                .ok_or_else(|| not(format!("is no bytes{len}"), "write 0x and two hex digits for each byte"))
        }
        AbiType::String => Ok(keccak256(text.as_bytes())),
        AbiType::Bytes => hexadecimal(text)
            .map(keccak256)
            .ok_or_else(|| not("is no bytes".to_owned(), "write 0x and two hex digits for each byte")),
        other => Err(not(
            format!("is a value of {other}, which cannot be looked for"),
            "remove it: lists and structs cannot be written here",
        )),
    }
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    hex::decode(text.strip_prefix("0x")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(ty: AbiType, text: &str) -> Result<String, String> {
        super::topic(&ty, text).map(hex::encode).map_err(|fault| fault.what)
    }

    fn padded(digits: &str) -> Result<String, String> {
        Ok(format!("{digits:0>64}"))
    }

    #[test]
    fn a_value_is_written_as_its_type_and_becomes_the_topic() {
        assert_eq!(topic(AbiType::Address, "0x00000000000000000000000000000000000000aa"), padded("aa"));
        assert_eq!(topic(AbiType::Address, &format!("0x{}", "0".repeat(40))), padded("0"));
        assert_eq!(topic(AbiType::Uint(8), "255"), padded("ff"));
        assert_eq!(topic(AbiType::Uint(256), "0xff"), padded("ff"));
        assert_eq!(topic(AbiType::Int(8), "-128"), Ok(format!("{}80", "f".repeat(62))));
        assert_eq!(topic(AbiType::Int(8), "127"), padded("7f"));
        assert_eq!(topic(AbiType::Bool, "true"), padded("1"));
        assert_eq!(topic(AbiType::FixedBytes(2), "0x0102"), Ok(format!("{:0<64}", "0102")));
        assert_eq!(topic(AbiType::String, "a"), Ok(hex::encode(keccak256("a"))));
        assert_eq!(topic(AbiType::Bytes, "0x61"), Ok(hex::encode(keccak256("a"))));
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        for (ty, text) in [
            (AbiType::Address, "usdc.eth"),
            (AbiType::Uint(8), "256"),
            (AbiType::Uint(8), "-1"),
            (AbiType::Int(8), "128"),
            (AbiType::Int(8), "-129"),
            (AbiType::Bool, "1"),
            (AbiType::FixedBytes(2), "0x01"),
            (AbiType::Bytes, "a"),
            (AbiType::Array(Box::new(AbiType::Bool)), "true"),
        ] {
            assert!(topic(ty.clone(), text).is_err(), "{ty} {text}");
        }
    }
}
