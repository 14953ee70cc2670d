//! Anything that may be written in the place of something else.

use chainflume::config::MANUAL;
use proptest::prelude::*;
use proptest::sample::Index;
use toml::{Table, Value};

use super::CANARY;

/// Words that mean something somewhere, and some that are hardly words.
const WORDS: &[&str] = &[
    "",
    " ",
    "any",
    "head",
    "finalized",
    "stake",
    "generic",
    "one",
    "abi.json",
    "broken.json",
    "none.json",
    "large.json",
    "binary.json",
    "..",
    "/",
    "\0",
    "\u{202e}",
    "🪵",
    "ﬀ",
    "e\u{301}",
    "a\nb = 1",
    "12s",
    "0s",
    "-1s",
    "1.5s",
    "99999999999999999999h",
    "18446744073709551615s",
    "584942417355y",
    "1s 1s 1s",
    "64MiB",
    "18446744073709551615GiB",
    "0x2222222222222222222222222222222222222222",
    "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02914",
    "0x",
    "whsec_",
    "whsec_AAAA",
    "https://",
    "https://x",
    "https://[::1]:99999/x",
    "https://x@/y",
    "postgres://x",
    "postgres:///x?host=/y",
    "redis://:x@y:1/z",
    "ftp://x",
    "127.0.0.1:9464",
    "[::1]:0",
    "${A}",
    "${A:-x}",
    "${HTTP}",
    "${NOT_SET}",
    "${NOT_TEXT}",
    "${",
    "${}",
    "$${",
    "$$${A}",
    "${A:-${A}}",
    "${1}",
    "${A",
    "${ä}",
];

pub fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => proptest::sample::select(WORDS).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => "\\PC{0,80}",
        1 => (any::<u64>(), "[a-z]{1,3}").prop_map(|(number, unit)| format!("{number}{unit}")),
        1 => proptest::collection::vec(proptest::sample::select(WORDS), 2..4).prop_map(|words| words.concat()),
    ]
}

fn keys() -> impl Strategy<Value = String> {
    let known: Vec<String> = MANUAL
        .lines()
        .filter_map(|line| Some(line.trim_start_matches('#').split_once(" = ")?.0.trim().to_owned()))
        .filter(|key| !key.contains(' '))
        .chain(["chain", "source", "webhook", "database", "redis", "history", "pace"].map(str::to_owned))
        .collect();
    prop_oneof![4 => proptest::sample::select(known), 1 => texts()]
}

fn values() -> impl Strategy<Value = Value> {
    let number = prop_oneof![any::<i64>(), -2i64..200, Just(i64::MAX), Just(i64::MIN)];
    let leaf = prop_oneof![
        5 => texts().prop_map(Value::String),
        3 => number.prop_map(Value::Integer),
        1 => prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY)].prop_map(Value::Float),
        1 => any::<bool>().prop_map(Value::Boolean),
        1 => Just(Value::Datetime("1979-05-27T07:32:00Z".parse().expect("a date"))),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec((keys(), inner), 0..4)
                .prop_map(|pairs| Value::Table(pairs.into_iter().collect())),
        ]
    })
}

pub fn tables() -> impl Strategy<Value = Table> {
    proptest::collection::vec((keys(), values()), 0..12).prop_map(|pairs| pairs.into_iter().collect())
}

/// A change of a tree, at any of its tables and lists.
#[derive(Clone, Debug)]
pub struct Edit {
    place: Index,
    item: Index,
    change: Change,
}

#[derive(Clone, Debug)]
enum Change {
    Remove,
    Replace(Value),
    Rename(String),
    Insert(String, Value),
    /// Twice in a list; in a table, under another key.
    Copy(String),
}

pub fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let change = prop_oneof![
        2 => Just(Change::Remove),
        6 => values().prop_map(Change::Replace),
        1 => keys().prop_map(Change::Rename),
        2 => (keys(), values()).prop_map(|(key, value)| Change::Insert(key, value)),
        1 => keys().prop_map(Change::Copy),
    ];
    let edit = (any::<Index>(), any::<Index>(), change);
    proptest::collection::vec(edit.prop_map(|(place, item, change)| Edit { place, item, change }), 0..4)
}

impl Edit {
    pub fn apply(&self, table: &mut Table) {
        let mut root = Value::Table(std::mem::take(table));
        let places = count(&root);
        self.at(&mut root, &mut self.place.index(places));
        if let Value::Table(changed) = root {
            *table = changed;
        }
    }

    /// Finds the place by counting down; whether it was found.
    fn at(&self, value: &mut Value, left: &mut usize) -> bool {
        let here = matches!(value, Value::Table(_) | Value::Array(_));
        if here && *left == 0 {
            match value {
                Value::Table(table) => self.in_table(table),
                Value::Array(items) => self.in_list(items),
                _ => {}
            }
            return true;
        }
        *left -= usize::from(here);
        match value {
            Value::Table(table) => table.iter_mut().any(|(_, value)| self.at(value, left)),
            Value::Array(items) => items.iter_mut().any(|value| self.at(value, left)),
            _ => false,
        }
    }

    fn in_table(&self, table: &mut Table) {
        let key = table.keys().nth(self.item.index(table.len().max(1))).cloned();
        match (&self.change, key) {
            (Change::Insert(key, value), _) => drop(table.insert(key.clone(), value.clone())),
            (_, None) => {}
            (Change::Remove, Some(key)) => drop(table.remove(&key)),
            (Change::Replace(value), Some(key)) => drop(table.insert(key, value.clone())),
            // What is secret under its key is not under any other.
            (Change::Rename(_) | Change::Copy(_), Some(key)) if is_secret(&table[&key]) => {}
            (Change::Rename(name), Some(key)) => {
                let value = table.remove(&key).expect("it has the key");
                table.insert(name.clone(), value);
            }
            (Change::Copy(name), Some(key)) => drop(table.insert(name.clone(), table[&key].clone())),
        }
    }

    fn in_list(&self, items: &mut Vec<Value>) {
        let at = self.item.index(items.len().max(1));
        match &self.change {
            Change::Insert(_, value) => items.insert(at.min(items.len()), value.clone()),
            _ if items.is_empty() => {}
            Change::Remove => drop(items.remove(at)),
            Change::Replace(value) => items[at] = value.clone(),
            Change::Rename(_) | Change::Copy(_) => items.push(items[at].clone()),
        }
    }
}

fn is_secret(value: &Value) -> bool {
    format!("{value:?}").contains(CANARY)
}

/// Tables and lists in it.
fn count(value: &Value) -> usize {
    match value {
        Value::Table(table) => 1 + table.values().map(count).sum::<usize>(),
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        _ => 0,
    }
}

/// Something else in the place of a few letters.
#[derive(Clone, Debug)]
pub struct Splice {
    at: Index,
    length: usize,
    with: String,
}

pub fn splices() -> impl Strategy<Value = Vec<Splice>> {
    let rubbish = proptest::sample::select(
        &["", "\"", "'", "\"\"\"", "=", "[", "]]", "{", "}", ",", "\n", "#", ".", "\\", "é"][..],
    );
    let with = prop_oneof![3 => rubbish.prop_map(str::to_owned), 1 => texts()];
    let splice = (any::<Index>(), 0usize..6, with);
    proptest::collection::vec(splice.prop_map(|(at, length, with)| Splice { at, length, with }), 1..4)
}

impl Splice {
    pub fn apply(&self, text: &mut String) {
        let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let from = self.at.index(starts.len());
        let to = (from + self.length).min(starts.len() - 1);
        text.replace_range(starts[from]..starts[to], &self.with);
    }
}
