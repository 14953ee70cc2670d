//! The floor plan, kept: which room may know which, where each outside crate belongs, how large things get.
//!
//! `make figures` prints the sizes.
#![allow(clippy::unwrap_used, reason = "a test may panic anywhere")]

mod architecture {
    pub mod plan;
    pub mod source;
}

use std::collections::BTreeSet;
use std::path::Path;

use architecture::plan::{CRATES, JOINERS, PURE, ROOMS, UTILITIES};
use architecture::source::{Source, sources};

/// Lines of a file, its tests apart.
const LONGEST_FILE: usize = 400;
/// Lines of a function, empty ones and comments apart.
const LONGEST_FUNCTION: usize = 60;

#[test]
fn rooms_know_only_the_rooms_they_may() {
    assert_none(all().iter().flat_map(strangers).collect());
}

#[test]
fn outside_crates_stay_in_their_rooms() {
    assert_none(all().iter().flat_map(misplaced_crates).collect());
}

#[test]
fn pure_rooms_do_no_io() {
    assert_none(all().iter().flat_map(impure).collect());
}

#[test]
fn files_and_functions_are_of_a_size_to_be_proofread() {
    assert_none(all().iter().flat_map(oversized).collect());
}

#[test]
fn the_house_has_the_rooms_it_says_and_no_mod_rs() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let lib = std::fs::read_to_string(src.join("lib.rs")).unwrap();
    let declared: BTreeSet<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let planned: BTreeSet<&str> = ROOMS.iter().map(|room| room.name).collect();
    assert_eq!(declared, planned, "left: the rooms of lib.rs; right: those of tests/architecture/plan.rs");

    let files = all();
    let astray = files.iter().filter(|file| !matches!(file.path.as_str(), "lib.rs" | "main.rs"));
    let astray = astray.filter(|file| !declared.contains(file.room()) || file.path.ends_with("mod.rs"));
    assert_none(astray.map(|file| format!("src/{}: is in no room, or is a mod.rs", file.path)).collect());
}

#[test]
fn figures() {
    let files = all();
    println!("\n{:<12} {:>5} {:>6}  longest function", "room", "files", "lines");
    for room in ROOMS {
        let of_room: Vec<&Source> = files.iter().filter(|file| file.room() == room.name).collect();
        let lines: usize = of_room.iter().map(|file| file.lines_of_code()).sum();
        let longest = of_room.iter().flat_map(|file| file.functions()).max_by_key(|function| function.lines);
        let longest = longest.map(|function| format!("{} ({})", function.name, function.lines));
        println!("{:<12} {:>5} {lines:>6}  {}", room.name, of_room.len(), longest.unwrap_or_default());
    }
    let lines: usize = files.iter().map(Source::lines_of_code).sum();
    println!("{:<12} {:>5} {lines:>6}  (neither tests nor comments nor empty lines)", "all", files.len());
    let longest = files.iter().max_by_key(|file| file.lines()).unwrap();
    println!("longest file: src/{} ({} lines with comments)", longest.path, longest.lines());
}

#[test]
fn what_the_plan_forbids_is_found() {
    let file = |path: &str, text: &str| Source::new(path, text);
    let found = |problems: Vec<String>| problems.join("\n");

    let store =
        file("store/rows.rs", "use crate::{domain::Event, chain::Node};\n// crate::cli\nuse sqlx::Pg;");
    assert!(
        found(strangers(&store)).starts_with("src/store/rows.rs:1: `store` uses `chain`, and may know only")
    );
    assert_eq!(misplaced_crates(&store), Vec::<String>::new());

    let climbing =
        file("canon/walk.rs", "\n\nuse super::super::store::Store;\nasync fn f() { let s = \"tokio\"; }");
    assert!(found(strangers(&climbing)).starts_with("src/canon/walk.rs:3: `canon` uses `store`"));
    assert!(found(impure(&climbing)).starts_with("src/canon/walk.rs:4: `async` in a room without I/O"));
    assert_eq!(impure(&climbing).len(), 1);

    let api = file(
        "api.rs",
        "use axum::Router;\n#[cfg(test)]\nmod tests { use reqwest::Client; use crate::cli; }\n",
    );
    assert_eq!((strangers(&api), misplaced_crates(&api)), (vec![], vec![]));
    let cli = file("chain/http.rs", "fn f() -> anyhow::Result<()> { Ok(()) }");
    assert!(found(misplaced_crates(&cli)).starts_with("src/chain/http.rs:1: `anyhow` belongs to app, cli"));

    let long = file("store.rs", &format!("fn long() {{\n{}}}\n", "    call('{');\n".repeat(59)));
    assert!(found(oversized(&long)).starts_with("src/store.rs:1: `long` has 61 lines"));
}

fn all() -> Vec<Source> {
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

fn assert_none(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

fn strangers(file: &Source) -> Vec<String> {
    let Some(room) = ROOMS.iter().find(|room| room.name == file.room()) else { return Vec::new() };
    let may = |other: &str| {
        let joins = JOINERS.contains(&room.name) && (other != "cli" || room.name == "cli");
        other == room.name || joins || room.knows.contains(&other)
    };
    let known = |name: &str| ROOMS.iter().any(|room| room.name == name);
    let uses = file.rooms_used().into_iter();
    let uses = uses.filter(|(_, other)| known(other) && !may(other));
    uses.map(|(line, other)| {
        let (name, knows) = (room.name, room.knows.join(", "));
        format!("{}: `{name}` uses `{other}`, and may know only [{knows}]: {}", file.at(line), room.reason)
    })
    .collect()
}

fn misplaced_crates(file: &Source) -> Vec<String> {
    let belongs = |rooms: &[&str]| rooms.contains(&file.room()) || file.room() == "main";
    let misplaced = CRATES.iter().filter(|(_, rooms, _)| !belongs(rooms));
    let problem = |name: &str, rooms: &[&str], reason: &str, line| {
        format!("{}: `{name}` belongs to {}: {reason}", file.at(line), rooms.join(", "))
    };
    misplaced
        .flat_map(|(name, rooms, reason)| {
            file.lines_with(name).into_iter().map(move |line| problem(name, rooms, reason, line))
        })
        .collect()
}

fn impure(file: &Source) -> Vec<String> {
    let words = if PURE.contains(&file.room()) { &["async", "tokio", "tracing"][..] } else { &[] };
    let found = words.iter().flat_map(|word| file.lines_with(word).into_iter().map(move |line| (word, line)));
    found.map(|(word, line)| format!("{}: `{word}` in a room without I/O", file.at(line))).collect()
}

fn oversized(file: &Source) -> Vec<String> {
    let functions = file.functions().into_iter().filter(|function| function.lines > LONGEST_FUNCTION);
    let mut problems: Vec<String> = functions
        .map(|function| {
            let (at, name, lines) = (file.at(function.line), function.name, function.lines);
            format!("{at}: `{name}` has {lines} lines, {LONGEST_FUNCTION} is the most")
        })
        .collect();
    if file.lines() > LONGEST_FILE {
        let lines = file.lines();
        problems.push(format!("{}: {lines} lines without its tests, {LONGEST_FILE} is the most", file.at(1)));
    }
    problems
}

#[test]
fn the_plan_names_only_rooms_there_are() {
    let rooms: BTreeSet<&str> = ROOMS.iter().map(|room| room.name).collect();
    let named =
        ROOMS.iter().flat_map(|room| room.knows).chain(CRATES.iter().flat_map(|(_, rooms, _)| *rooms));
    let unknown: Vec<&&str> =
        named.chain(UTILITIES).chain(PURE).filter(|name| !rooms.contains(*name)).collect();
    assert_eq!(unknown, Vec::<&&str>::new());
}
