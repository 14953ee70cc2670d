//! Codes of errors: what the code answers, what it lists for `/openapi.json`, and what the pages list.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::{path, read};

/// The sources of the crates that answer on the public listener, tests apart.
fn sources() -> Vec<String> {
    let mut folders: Vec<PathBuf> =
        ["api", "gateway", "publish", "inbound"].map(|name| path(&format!("crates/{name}/src"))).into();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&entry).unwrap();
                sources.push(text.split("#[cfg(test)]").next().unwrap().to_owned());
            }
        }
    }
    sources
}

fn is_code(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Each status that is directly before a code: `Refusal::new(400, "bad_alert", …)`.
fn answered(source: &str) -> BTreeSet<(u16, String)> {
    let pair = |(at, _): (usize, &str)| {
        let status: u16 =
            source[..at].trim_end().rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        let code = source[at + 1..].trim_start().strip_prefix('"')?.split('"').next()?;
        ((400..600).contains(&status) && is_code(code)).then(|| (status, code.to_owned()))
    };
    source.match_indices(',').filter_map(pair).collect()
}

/// The codes of the lists that `/openapi.json` is made of.
fn listed(source: &str) -> BTreeSet<String> {
    let lists = [("CODES: ", "];"), ("codes: &[", "]")]
        .into_iter()
        .flat_map(|(begin, end)| source.split(begin).skip(1).filter_map(move |rest| rest.split_once(end)));
    let words = lists.flat_map(|(list, _)| list.split('"'));
    words.filter(|word| is_code(word)).map(str::to_owned).collect()
}

/// The codes in the tables of these pages, each with the statuses of its row.
fn documented() -> BTreeMap<String, BTreeSet<u16>> {
    let mut codes: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    for page in ["docs/PUSH.md", "docs/APPLICATION.md"] {
        let page = read(page);
        for row in page.split("\n## Errors\n").nth(1).unwrap().lines().filter(|line| line.starts_with("| ")) {
            let (statuses, names) = row.trim_start_matches("| ").split_once(" | ").unwrap();
            let statuses = statuses.split(", ").filter_map(|status| status.parse::<u16>().ok());
            for name in names.split('`').skip(1).step_by(2) {
                codes.entry(name.to_owned()).or_default().extend(statuses.clone());
            }
        }
    }
    codes
}

#[test]
fn the_pages_and_the_document_list_each_code_with_its_status() {
    let (sources, documented) = (sources(), documented());
    let listed: BTreeSet<String> = sources.iter().flat_map(|source| listed(source)).collect();
    let names: BTreeSet<String> = documented.keys().cloned().collect();
    assert_eq!(listed, names, "what /openapi.json lists, and what docs/PUSH.md and docs/APPLICATION.md list");
    let answered: BTreeSet<(u16, String)> = sources.iter().flat_map(|source| answered(source)).collect();
    assert!(answered.len() > 50, "{answered:?}");
    for (status, code) in answered {
        let statuses = documented.get(&code);
        assert!(statuses.is_some_and(|known| known.contains(&status)), "{code} is answered with {status}");
    }
}
