//! Any configuration at all is read or refused: soon, with a place, a reason and a remedy for everything that is wrong,
//! and without a secret. What is read holds together, and is read the same again when it is written another way.

mod document;
mod judge;
mod mutate;

use std::collections::BTreeMap;
use std::env::VarError;
use std::path::Path;
use std::time::Duration;

use chainflume::config::{Config, Environment, FileError, Problems};
use proptest::prelude::*;

use document::{documents, print};
use mutate::{edits, texts};

/// Part of every URL, password and variable, and never of what is printed.
const CANARY: &str = "canary";
/// Far more than a debug build takes for any of these, and less than a person would wait.
const PARSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Variables by chance; files of which some are ABIs.
#[derive(Debug, Default)]
struct World(BTreeMap<String, String>);

impl Environment for World {
    fn var(&self, name: &str) -> Result<String, VarError> {
        match self.0.get(name) {
            Some(value) => Ok(value.clone()),
            None if name == "NOT_TEXT" => Err(VarError::NotUnicode(std::ffi::OsString::new())),
            None => Err(VarError::NotPresent),
        }
    }

    fn is_root(&self) -> bool {
        self.0.len().is_multiple_of(2)
    }

    fn read(&self, path: &Path, limit: u64) -> Result<String, FileError> {
        match path.file_name().and_then(|name| name.to_str()) {
            Some("abi.json") => Ok(
                r#"[{"type":"event","name":"Paid","inputs":[{"name":"account","type":"address","indexed":true}]}]"#
                    .to_owned(),
            ),
            Some("broken.json") => Ok("[{\"type\":\"event\"".to_owned()),
            Some("none.json") => Ok("[]".to_owned()),
            Some("large.json") => Err(FileError::TooLarge { limit }),
            Some("binary.json") => Err(FileError::NotText),
            _ => Err(FileError::Missing),
        }
    }
}

fn worlds() -> impl Strategy<Value = World> {
    let name = proptest::sample::select(document::VARIABLES).prop_map(str::to_owned);
    let value = prop_oneof![
        3 => Just(format!("https://{CANARY}.example/{CANARY}?key={CANARY}")),
        2 => texts().prop_map(|text| format!("{CANARY}{text}")),
        1 => any::<i64>().prop_map(|number| number.to_string()),
        1 => proptest::sample::select(&["", "true", "12s", "1MiB", "${HTTP}", "\"\n[x]"][..]).prop_map(str::to_owned),
    ];
    proptest::collection::btree_map(name, value, 0..6).prop_map(World)
}

/// What comes of a text, and that it took little work: on a busy machine little work may take long.
fn parse(text: &str, world: &World) -> Result<Config, Problems> {
    let before = processor_time();
    let outcome = Config::parse(Path::new("folder/chainflume.toml"), text, world);
    let spent = processor_time().saturating_sub(before);
    assert!(spent < PARSE_TIMEOUT, "{spent:?}");
    outcome
}

/// The time that this thread has had a processor, from proc(5): fields 14 and 15 of `stat`, in hundredths of a second.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux");
    let (_, fields) = stat.rsplit_once(") ").expect("the name of the thread in parentheses");
    let ticks = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("a number"));
    Duration::from_millis(10 * ticks.sum::<u64>())
}

/// Judges whatever comes of a text.
fn judged(text: &str, world: &World) {
    match parse(text, world) {
        Err(problems) => judge::refused(&problems, text),
        Ok(config) => {
            judge::accepted(&config);
            // A variable may be any part of it; what is secret by its key is not.
            if world.0.is_empty() {
                judge::quiet(&config);
            }
            let table = text.parse().unwrap_or_else(|error| panic!("it was read: {error}"));
            let again = print(&table);
            let read = parse(&again, world).unwrap_or_else(|problems| panic!("{problems}\n{again}"));
            assert_eq!(read, config, "{again}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_right_document_with_anything_changed_is_read_or_refused(
        document in documents(), edits in edits(), world in worlds(),
    ) {
        let mut table = document;
        edits.iter().for_each(|edit| edit.apply(&mut table));
        judged(&print(&table), &world);
    }

    #[test]
    fn a_right_text_with_anything_changed_is_read_or_refused(
        document in documents(), splices in mutate::splices(), world in worlds(),
    ) {
        let mut text = print(&document);
        splices.iter().for_each(|splice| splice.apply(&mut text));
        judged(&text, &world);
    }

    #[test]
    fn any_keys_with_any_values_are_refused(table in mutate::tables(), world in worlds()) {
        judged(&print(&table), &world);
    }

    #[test]
    fn any_text_is_refused(text in texts(), world in worlds()) {
        judged(&text, &world);
    }
}

#[test]
fn the_documents_that_are_changed_are_right_before() {
    let world = World(document::VARIABLES.iter().map(|name| ((*name).to_owned(), String::new())).collect());
    for table in document::whole() {
        let text = print(&table);
        let config = parse(&text, &world).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        judge::accepted(&config);
        judge::quiet(&config);
    }
}

#[test]
fn the_deepest_the_longest_and_the_most_are_refused_soon() {
    let (many, long) = (40_000, "k".repeat(1 << 20));
    let keys: String = (0..many).map(|number| format!("start_blokk{number} = {number}\n")).collect();
    let same = "data_dir = \"x\"\n".repeat(many);
    let chains = "[[chain]]\nname = \"a\"\n".repeat(1000);
    let sources = "[[source]]\nname = \"a\"\nchain = \"b\"\n".repeat(1000);
    for text in [
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}1{}", "[".repeat(10_000), "]".repeat(10_000)),
        format!("a = {}1{}", "{a=".repeat(10_000), "}".repeat(10_000)),
        format!("{}a = 1", "a.".repeat(100_000)),
        format!("{}\n", "[a]".repeat(100_000)),
        keys.clone(),
        format!("[database]\n{keys}"),
        same,
        chains.clone() + &sources,
        format!("{long} = 1"),
        format!("data_dir = \"{}\"", "${A:-".repeat(100_000)),
        format!("[database]\nurl = \"{long}\""),
        format!("[database]\nmax_connections = {}", "9".repeat(1 << 20)),
        format!("[chain]\nblock_time = \"{}s\"", "1s ".repeat(100_000)),
    ] {
        let problems = parse(&text, &World::default()).expect_err("it is wrong");
        judge::refused(&problems, &text);
    }
}
