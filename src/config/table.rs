//! Reads a table of the file into the type of a room, by serde.
//!
//! serde stops at the first problem, and a configuration reports all of them. So a key whose value is wrong is reported and
//! left out, and the table is read again without it: the key then has its default, as an absent one.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};
use toml::Spanned;
use toml::de::DeValue;

use super::problem::{Fault, Spot};
use super::reader::{Text, Wanted, wrong_type};
use super::section::Section;
use super::words::unknown_word;
use chainflume_core::settings::{NUMBER_OR_WORD, PATH};

impl Section<'_> {
    /// As [`Section::fill`], of a table that has no other keys.
    pub fn fill_all<T: DeserializeOwned + Default>(&self) -> T {
        let read = self.fill();
        self.finish();
        read
    }

    /// Whether `key` has a value that could be read.
    pub fn is_given(&self, key: &'static str) -> bool {
        let Some((spot, value)) = self.get(key) else { return false };
        !self.reader.is_reported(&spot) && (!matches!(value, DeValue::String(_)) || self.text(key).is_some())
    }

    /// The keys of this table that are fields of `T`. An absent key, an empty string and a wrong value mean the default of `T`; the
    /// last is reported.
    pub fn fill<T: DeserializeOwned + Default>(&self) -> T {
        let wrong = RefCell::<BTreeSet<String>>::default();
        loop {
            let known = wrong.borrow().len();
            match T::deserialize(KeyTable { section: self, wrong: &wrong }) {
                Ok(read) => return read,
                Err(_) if wrong.borrow().len() > known => {}
                // No value is wrong, so the type is: its keys have no defaults.
                Err(stop) => {
                    self.reader.report(&self.spot, stop.fault());
                    return T::default();
                }
            }
        }
    }
}

/// Why a value cannot be read.
#[derive(Debug)]
enum Stop {
    /// It was reported, and the key is left out.
    Reported,
    /// An item of its list was reported, and is left out while the others are read.
    Item,
    /// It is an empty string, which means the default.
    Empty,
    /// It will be reported with its place.
    Wrong(Fault),
}

impl Stop {
    fn fault(self) -> Fault {
        match self {
            Self::Reported | Self::Item | Self::Empty => Fault::new("cannot be read", "correct its keys"),
            Self::Wrong(fault) => fault,
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reported | Self::Item | Self::Empty => f.write_str("reported"),
            Self::Wrong(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for Stop {}

impl serde::de::Error for Stop {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::Wrong(Fault::read(&text.to_string()))
    }
}

#[derive(Clone, Copy)]
struct KeyTable<'t, 'a> {
    section: &'t Section<'a>,
    /// Whole keys whose values are reported, and items of lists.
    wrong: &'t RefCell<BTreeSet<String>>,
}

impl KeyTable<'_, '_> {
    fn is_wrong(self, spot: &Spot) -> bool {
        self.wrong.borrow().contains(&spot.key)
    }

    fn leave_out(self, spot: &Spot) {
        self.wrong.borrow_mut().insert(spot.key.clone());
    }
}

impl<'de> Deserializer<'de> for KeyTable<'_, '_> {
    type Error = Stop;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_struct("", &[], visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_map(Fields { table: self, left: fields.iter(), at: None })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The keys of a table that are there.
struct Fields<'t, 'a> {
    table: KeyTable<'t, 'a>,
    left: std::slice::Iter<'static, &'static str>,
    at: Option<TableValue<'t, 'a>>,
}

impl<'de> MapAccess<'de> for Fields<'_, '_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        for key in self.left.by_ref() {
            let given = self.table.section.get(key).filter(|(spot, _)| !self.table.is_wrong(spot));
            self.at = given.and_then(|(spot, raw)| TableValue::new(self.table, spot, raw));
            if self.at.is_some() {
                return seed.deserialize(StrDeserializer::new(key)).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        self.at.take().ok_or(Stop::Reported)?.read(seed)
    }
}

/// A value, with the variables of a string filled in.
#[derive(Clone)]
struct TableValue<'t, 'a> {
    table: KeyTable<'t, 'a>,
    spot: Spot,
    raw: &'a DeValue<'a>,
    text: Option<Text>,
    is_item: bool,
}

impl<'t, 'a> TableValue<'t, 'a> {
    /// `None` where a variable is missing, which is reported.
    fn new(table: KeyTable<'t, 'a>, spot: Spot, raw: &'a DeValue<'a>) -> Option<Self> {
        if !matches!(raw, DeValue::String(_)) {
            return Some(Self { table, spot, raw, text: None, is_item: false });
        }
        let text = table.section.reader.text(spot.clone(), raw);
        if text.is_none() {
            table.leave_out(&spot);
        }
        Some(Self { table, spot, raw, text: Some(text?), is_item: false })
    }

    /// Reads it. A wrong value is reported, and left out from now on as an empty string is.
    fn read<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Stop> {
        let about = self.clone();
        let stop = match seed.deserialize(self) {
            Ok(read) => return Ok(read),
            Err(Stop::Item) => return Err(Stop::Item),
            Err(stop) => stop,
        };
        if let Stop::Wrong(Fault { what, remedy }) = stop {
            let what = about.shown().map_or(what.clone(), |shown| format!("{shown} {what}"));
            about.table.section.reader.report(&about.spot, Fault { what, remedy });
        }
        about.table.leave_out(&about.spot);
        Err(Stop::Reported)
    }

    /// The value for a message, where it may be shown.
    fn shown(&self) -> Option<String> {
        match self.raw {
            DeValue::Integer(raw) => {
                Some(Text { value: raw.to_string(), spot: self.spot.clone(), hidden: false }.shown())
            }
            _ => self.text.as_ref().map(Text::shown),
        }
    }

    fn string(&self) -> Result<&str, Stop> {
        let text = self.text.as_ref().ok_or_else(|| self.wrong_type(Wanted::Text))?;
        if text.value.is_empty() && !self.is_item { Err(Stop::Empty) } else { Ok(&text.value) }
    }

    fn wrong_type(&self, wanted: Wanted) -> Stop {
        self.table.section.reader.report(&self.spot, wrong_type(self.raw, wanted));
        Stop::Reported
    }

    /// A string with a variable in it, which may be a number or a boolean.
    fn of_variable(&self) -> Option<&str> {
        match self.raw {
            DeValue::String(raw) if raw.contains("${") => self.text.as_ref().map(|text| text.value.as_str()),
            _ => None,
        }
    }
}

impl<'de> Deserializer<'de> for TableValue<'_, '_> {
    type Error = Stop;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        match self.raw {
            DeValue::Integer(_) => self.deserialize_i128(visitor),
            _ => self.deserialize_str(visitor),
        }
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let number = match self.raw {
            // Wider than any bound, so that negative and absurd numbers need no words of their own.
            DeValue::Integer(raw) => i128::from_str_radix(raw.as_str(), raw.radix()).unwrap_or(i128::MAX),
            _ => {
                let text = self.of_variable().ok_or_else(|| self.wrong_type(Wanted::Number))?;
                let digits = || Fault::new("is not a whole number", "set the variable to digits alone");
                text.parse().map_err(|_| Stop::Wrong(digits()))?
            }
        };
        visitor.visit_i128(number)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let flag = match self.raw {
            DeValue::Boolean(flag) => *flag,
            _ => {
                let text = self.of_variable().ok_or_else(|| self.wrong_type(Wanted::Flag))?;
                let words = || Fault::new("is not a boolean", "set the variable to true or false");
                text.parse().map_err(|_| Stop::Wrong(words()))?
            }
        };
        visitor.visit_bool(flag)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_str(self.string()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        match (name, &self.text) {
            (PATH, _) => {
                let path = self.table.section.reader.resolve(self.string()?);
                visitor.visit_bytes(path.as_os_str().as_encoded_bytes())
            }
            (NUMBER_OR_WORD, Some(text)) => visitor.visit_str(&text.value),
            (NUMBER_OR_WORD, None) => self.deserialize_i128(visitor),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let text = self.string()?;
        if !variants.contains(&text) {
            return Err(Stop::Wrong(unknown_word(text, variants.iter().copied())));
        }
        visitor.visit_enum(StrDeserializer::new(text))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        match self.raw {
            DeValue::Array(items) => {
                visitor.visit_seq(Items { list: &self, left: items.iter().enumerate(), is_whole: true })
            }
            _ => Err(self.wrong_type(Wanted::List)),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier
        ignored_any
    }
}

/// The items of a list, without those that were reported. The list is read to its end, since each item may be wrong, and is then
/// wrong as a whole: what is missing would be missing quietly.
struct Items<'v, 't, 'a> {
    list: &'v TableValue<'t, 'a>,
    left: std::iter::Enumerate<std::slice::Iter<'a, Spanned<DeValue<'a>>>>,
    is_whole: bool,
}

impl<'de> SeqAccess<'de> for Items<'_, '_, '_> {
    type Error = Stop;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Stop> {
        let TableValue { table, spot, .. } = self.list;
        for (index, item) in self.left.by_ref() {
            let spot = Spot { key: format!("{}[{index}]", spot.key), at: Some(item.span().start) };
            if table.is_wrong(&spot) {
                self.is_whole = false;
                continue;
            }
            let value = TableValue::new(*table, spot, item.get_ref()).ok_or(Stop::Item)?;
            return TableValue { is_item: true, ..value }.read(seed).map(Some).map_err(|_| Stop::Item);
        }
        if self.is_whole { Ok(None) } else { Err(Stop::Reported) }
    }
}
