use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

use super::problem::{Fault, Spot};
use super::reader::{Found, Reader, Text, Wanted, wrong_type};
use super::suggest::nearest;
use chainflume_core::settings::within;

/// A table of the file. Asking it for a key makes the key known; [`Section::finish`] reports the others.
///
/// An absent key, and an empty string under an optional one, mean the default: the second so that
/// `ws = "${WS_URL:-}"` works. A value that cannot be read is reported and then taken for absent.
pub(super) struct Section<'a> {
    /// Where problems go.
    pub reader: &'a Reader<'a>,
    /// Its own place.
    pub spot: Spot,
    table: Option<&'a DeTable<'a>>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// The table that holds all others.
    pub fn root(reader: &'a Reader<'a>, table: &'a DeTable<'a>) -> Self {
        Self::new(reader, Spot { key: String::new(), at: None }, Some(table))
    }

    fn new(reader: &'a Reader<'a>, spot: Spot, table: Option<&'a DeTable<'a>>) -> Self {
        Self { reader, spot, table, asked: RefCell::default() }
    }

    /// The raw value of `key` and its place.
    pub fn get(&self, key: &'static str) -> Option<(Spot, &'a DeValue<'a>)> {
        self.reader.note_asked(&self.spot.key, key);
        self.asked.borrow_mut().push(key);
        let value = self.table?.get(key)?;
        Some((Spot { key: self.path(key), at: Some(value.span().start) }, value.get_ref()))
    }

    /// Reports each of these keys that is absent, with what to do about it.
    pub fn require(&self, keys: &[(&'static str, &str)]) {
        for (key, remedy) in keys {
            if self.get(key).is_none() {
                self.report(key, Fault::new("is missing", *remedy));
            }
        }
    }

    /// The table under `key`; an empty one when it is absent.
    pub fn table(&self, key: &'static str) -> Section<'a> {
        let spot = Spot { key: self.path(key), at: self.spot.at };
        match self.get(key) {
            None => Section::new(self.reader, spot, None),
            Some((spot, DeValue::Table(table))) => Section::new(self.reader, spot, Some(table)),
            Some((spot, other)) => {
                self.reader.report(&spot, wrong_type(other, Wanted::Table));
                Section::new(self.reader, spot, None)
            }
        }
    }

    /// The tables under `key`, `[[key]]` each.
    pub fn tables(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some((spot, value)) = self.get(key) else { return Vec::new() };
        let DeValue::Array(items) = value else {
            self.reader.report(&spot, wrong_type(value, Wanted::Tables));
            return Vec::new();
        };
        let section = |(index, item): (usize, &'a toml::Spanned<DeValue<'a>>)| {
            let spot = Spot { key: format!("{}[{index}]", spot.key), at: Some(item.span().start) };
            let DeValue::Table(table) = item.get_ref() else {
                self.reader.report(&spot, wrong_type(item.get_ref(), Wanted::Table));
                return None;
            };
            Some(Section::new(self.reader, spot, Some(table)))
        };
        items.iter().enumerate().filter_map(section).collect()
    }

    /// The string under `key`, `None` when it is empty.
    pub fn text(&self, key: &'static str) -> Option<Text> {
        let (spot, value) = self.get(key)?;
        self.reader.text(spot, value).filter(|text| !text.value.is_empty())
    }

    /// The strings under `key`; of those that cannot be read, none.
    pub fn texts(&self, key: &'static str) -> Option<Vec<Text>> {
        let (spot, value) = self.get(key)?;
        let DeValue::Array(items) = value else {
            self.reader.report(&spot, wrong_type(value, Wanted::List));
            return None;
        };
        let text = |(index, item): (usize, &toml::Spanned<DeValue<'a>>)| {
            let spot = Spot { key: format!("{}[{index}]", spot.key), at: Some(item.span().start) };
            self.reader.text(spot, item.get_ref())
        };
        Some(items.iter().enumerate().filter_map(text).collect())
    }

    /// The strings under `secret`: one, or up to `most` while they are exchanged. `what` is the fault of another number.
    pub fn secrets(&self, most: usize, what: &'static str) -> Option<Vec<Text>> {
        let texts = match self.get("secret")? {
            (spot, value @ DeValue::String(_)) => vec![self.reader.text(spot, value)?],
            (_, DeValue::Array(items)) => self.texts("secret").filter(|texts| texts.len() == items.len())?,
            (spot, other) => {
                self.reader.report(&spot, wrong_type(other, Wanted::Text));
                return None;
            }
        };
        if texts.is_empty() || texts.len() > most {
            self.report("secret", Fault::new(what, "write the new one first and the old one behind it"));
            return None;
        }
        Some(texts)
    }

    /// Strings, each read as something else; `None` when one of them is wrong.
    pub fn all_parsed<T>(
        &self,
        texts: Vec<Text>,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<Vec<T>> {
        let wanted = texts.len();
        let read: Vec<T> =
            texts.into_iter().filter_map(|text| Some(text.parse(self.reader, &parse)?.value)).collect();
        (read.len() == wanted).then_some(read)
    }

    /// The string under `key`, read as something else, with its place.
    ///
    /// Most keys are fields of a type that [`Section::fill`] reads. By this function are read those that it cannot:
    /// - names, ids and chains, which are compared with other tables of the file, so that each problem names both places;
    /// - URLs and secrets without which there is nothing: a default would be a server that was never configured;
    /// - values whose meaning depends on another key of the table, as events depend on the ABI and the family.
    pub fn parsed<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<Found<T>> {
        self.text(key)?.parse(self.reader, parse)
    }

    /// The whole number under `key`.
    pub fn number(&self, key: &'static str, bounds: RangeInclusive<u64>) -> Option<Found<u64>> {
        let (spot, value) = self.get(key)?;
        self.reader.number(spot, value, &bounds)
    }

    /// Every key of the table with its whole number, for tables whose keys are the user's.
    pub fn numbers(&self, bounds: &RangeInclusive<u64>) -> Vec<(String, u64)> {
        let entries = self.table.into_iter().flatten();
        let number =
            |(key, value): (&toml::Spanned<std::borrow::Cow<'a, str>>, &'a toml::Spanned<DeValue<'a>>)| {
                let spot = Spot { key: self.path(key.get_ref()), at: Some(value.span().start) };
                let number = self.reader.number(spot, value.get_ref(), bounds)?;
                Some((key.get_ref().to_string(), number.value))
            };
        entries.filter_map(number).collect()
    }

    /// Every key of the table with its string, for tables whose keys are the user's.
    pub fn all_texts(&self) -> Vec<(String, Text)> {
        let text =
            |(key, value): (&toml::Spanned<std::borrow::Cow<'a, str>>, &'a toml::Spanned<DeValue<'a>>)| {
                let spot = Spot { key: self.path(key.get_ref()), at: Some(value.span().start) };
                Some((key.get_ref().to_string(), self.reader.text(spot, value.get_ref())?))
            };
        self.table.into_iter().flatten().filter_map(text).collect()
    }

    /// The path under `key`, relative to the file's folder.
    pub fn path_value(&self, key: &'static str) -> Option<PathBuf> {
        Some(self.reader.resolve(&self.text(key)?.value))
    }

    /// The files of a certificate and its key: both or none. `what` needs them.
    pub fn certificate_files(&self, keys: [&'static str; 2], what: &str) -> Option<(PathBuf, PathBuf)> {
        match keys.map(|key| self.path_value(key)) {
            [Some(certificate), Some(key)] => Some((certificate, key)),
            [None, None] => None,
            [certificate, _] => {
                let missing = keys[usize::from(certificate.is_some())];
                let remedy = format!("{what} needs a certificate and its key, or neither");
                self.report(missing, Fault::new("is missing", remedy));
                None
            }
        }
    }

    /// Reports what was never asked for.
    pub fn finish(&self) {
        let known = self.asked.borrow();
        for (key, _) in self.table.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            let remedy = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("remove it; known here: {}", list(&known)),
            };
            let spot = Spot { key: self.path(name), at: Some(key.span().start) };
            self.reader.report(&spot, Fault::new("is not a key", remedy));
        }
    }

    /// Notes that something is wrong with `key`, at its place or else at the table's.
    pub fn report(&self, key: &str, fault: Fault) {
        self.reader.report(&self.place(key), fault);
    }

    /// The place of `key`, or else the table's.
    pub fn place(&self, key: &str) -> Spot {
        let at = self.table.and_then(|table| table.get(key)).map(|value| value.span().start);
        Spot { key: self.path(key), at: at.or(self.spot.at) }
    }

    fn path(&self, key: &str) -> String {
        let bare = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let key = if bare { key.to_owned() } else { format!("{key:?}") };
        if self.spot.key.is_empty() { key } else { format!("{}.{key}", self.spot.key) }
    }
}

impl Reader<'_> {
    /// A whole number, from a variable too.
    pub fn number(
        &self,
        spot: Spot,
        value: &DeValue<'_>,
        bounds: &RangeInclusive<u64>,
    ) -> Option<Found<u64>> {
        match value {
            DeValue::Integer(raw) => {
                // Wider than any bound, so that negative and absurd numbers need no words of their own.
                let number = i128::from_str_radix(raw.as_str(), raw.radix()).unwrap_or(i128::MAX);
                Found { value: raw.to_string(), spot, hidden: false }.parse(self, |_| whole(number, bounds))
            }
            DeValue::String(raw) if raw.contains("${") => {
                let digits = || Fault::new("is not a whole number", "set the variable to digits alone");
                let number = |text: &str| whole(text.parse().map_err(|_| digits())?, bounds);
                self.text(spot, value)?.parse(self, number)
            }
            other => {
                self.report(&spot, wrong_type(other, Wanted::Number));
                None
            }
        }
    }
}

fn whole(number: i128, bounds: &RangeInclusive<u64>) -> Result<u64, Fault> {
    let wide = i128::from(*bounds.start())..=i128::from(*bounds.end());
    let number = within(number, &wide, |number| number.to_string())?;
    Ok(u64::try_from(number).unwrap_or(*bounds.end()))
}

fn list(keys: &[&'static str]) -> String {
    let sorted: std::collections::BTreeSet<_> = keys.iter().copied().collect();
    sorted.into_iter().collect::<Vec<_>>().join(", ")
}
