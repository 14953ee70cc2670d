//! The page for operators quotes texts of the program.

use std::path::Path;

use crate::{path, read};

const PAGE: &str = "docs/TROUBLESHOOTING.md";
/// Places that the page names before a quote.
const PLACES: [&str; 5] = ["status", "readyz", "log", "alert", "check"];
/// The tests in which a daemon prints the quotes with a place.
const SCENARIOS: &str = "tests/daemon/operator";
/// Where texts of the program are.
const SOURCES: [&str; 2] = ["src", "crates"];

/// The source files, each with the line breaks inside of its texts undone. What is below `#[cfg(test)]` does not count.
fn sources() -> Vec<String> {
    let mut found = Vec::new();
    SOURCES.iter().for_each(|folder| collect(&path(folder), &mut found));
    found
}

fn collect(folder: &Path, into: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the house") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() && !path.ends_with("tests") && !path.ends_with("target") {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a text");
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            into.push(joined(text));
        }
    }
}

/// Texts that go on in the next line, as one.
fn joined(text: &str) -> String {
    let mut parts = text.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.trim_start())
}

/// The quotes of a page, line by line: what is between ```text and ```.
fn quotes(page: &str) -> impl Iterator<Item = &str> {
    let blocks = page.split("```text\n").skip(1).filter_map(|rest| Some(rest.split_once("\n```")?.0));
    blocks.flat_map(str::lines)
}

/// Where a quoted line is seen, if the page names the place, and the quote.
fn placed(line: &str) -> Option<(&str, &str)> {
    line.split_once(": ").filter(|(place, _)| PLACES.contains(place))
}

/// The parts of a quote that do not vary. Short ones are found anywhere and prove nothing.
fn fixed(quote: &str) -> Vec<&str> {
    quote
        .split('…')
        .map(|part| part.trim_matches([' ', ':', ';', '.', ',']))
        .filter(|part| part.len() >= 8)
        .collect()
}

#[test]
fn every_quoted_text_is_one_of_the_program() {
    let (page, sources) = (read(PAGE), sources());
    // Where a place is named, a daemon prints the quote (`tests/daemon/operator`).
    let quotes: Vec<&str> = quotes(&page).filter(|quote| placed(quote).is_none()).collect();
    assert!(quotes.len() >= 6, "the page was read: {}", quotes.len());
    for quote in quotes {
        let parts = fixed(quote);
        assert!(!parts.is_empty(), "nothing in it is fixed: {quote}");
        for part in &parts {
            assert!(
                sources.iter().any(|source| source.contains(part)),
                "no text of the program has `{part}`, which is quoted: {quote}"
            );
        }
    }
}

#[test]
fn every_section_with_a_place_is_a_scenario() {
    let page = read(PAGE);
    let mut scenarios = String::new();
    for entry in std::fs::read_dir(path(SCENARIOS)).expect("the folder of the scenarios") {
        scenarios += &std::fs::read_to_string(entry.expect("it can be read").path()).expect("a text");
    }
    let sections = page.split("\n### ").skip(1).filter_map(|section| section.split_once('\n'));
    let seen = sections.filter(|(_, text)| text.lines().any(|line| placed(line).is_some()));
    let names: Vec<&str> = seen.map(|(name, _)| name).collect();
    assert!(names.len() >= 20, "the faults of the page: {names:?}");
    for name in names {
        assert!(scenarios.contains(&format!("\"{name}\"")), "no scenario shows: {name}");
    }
}

#[test]
fn every_named_alert_and_command_is_there() {
    let page = read(PAGE);
    let (rules, arguments) = (read("config/prometheus/alerts.yml"), read("src/cli/args.rs"));
    let words: Vec<&str> = page.split('`').skip(1).step_by(2).collect();
    for word in words {
        if word.starts_with("Chainflume") {
            assert!(rules.contains(&format!("alert: {word}\n")), "there is no alert {word}");
        }
        if let Some(command) = word.strip_prefix("chainflume ") {
            let command = command.split([' ', '-']).next().unwrap_or_default();
            let variant = format!("\n    {}{}", command[..1].to_uppercase(), &command[1..]);
            assert!(arguments.contains(&variant), "there is no command {command}");
        }
    }
}

#[test]
fn a_text_that_the_program_does_not_have_is_missed() {
    assert_eq!(fixed("source … is wrong: …"), ["is wrong"]);
    assert_eq!(joined("\"one \\\n      two\""), "\"one two\"");
    assert_eq!(quotes("a\n```text\nb\nc\n```\nd").collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(placed("status: it is: red"), Some(("status", "it is: red")));
    assert_eq!(placed("the node: away"), None);
}
