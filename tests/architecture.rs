//! The floor plan, kept: which package and room may know which, where each outside crate belongs, how large things get.
//!
//! `make figures` prints the sizes.
#![allow(clippy::unwrap_used, reason = "a test may panic anywhere")]

mod architecture {
    pub mod circles;
    pub mod names;
    pub mod plan;
    pub mod source;
    pub mod statements;
    pub mod words;
}

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Executor, SqlSafeStr};

use architecture::circles::Uses;
use architecture::names;
use architecture::plan::{
    ALTERNATIVES, CIRCLES, HOMES, PACKAGES, PURE, ROOMS, Room, SHARED_TYPE_NAMES, TABLES,
};
use architecture::source::{Source, sources};
use architecture::statements::{plain, statements};
use architecture::words::forbidden;

/// Lines of a file, its tests apart.
const LONGEST_FILE: usize = 400;
/// The packages with SQL.
const SQL: [&str; 7] = ["db", "outbox", "store", "publish", "follow", "inbound", "gateway"];
/// Lines of a function, empty ones and comments apart.
const LONGEST_FUNCTION: usize = 60;
/// Letters of a test's name: a list of tests is read one line each.
const LONGEST_TEST_NAME: usize = 60;
/// Parameters of a function, each part of a tuple pattern counted.
const MOST_PARAMETERS: usize = 5;
/// Tuple patterns among the parameters of all functions. Those that are left take apart a row or an item of a list, or wait for a word.
/// A new one hides a parameter: list the parts, or give the pair a name. Lower the limit with the number.
const MOST_TUPLES: usize = 18;

#[test]
fn packages_list_only_the_packages_they_may() {
    let mut problems = Vec::new();
    for package in PACKAGES {
        let manifest = manifest(package.name);
        let listed = dependencies(&manifest);
        let listed = listed.iter().filter_map(|name| name.strip_prefix("chainflume-"));
        for other in listed.filter(|other| !package.knows.contains(other)) {
            let (name, reason) = (package.name, package.reason);
            problems.push(format!("crates/{name}/Cargo.toml: `{other}` is not for `{name}`: {reason}"));
        }
    }
    assert_none(problems);
}

#[test]
fn outside_crates_are_listed_only_where_they_belong() {
    let mut problems = Vec::new();
    for package in PACKAGES {
        let manifest = manifest(package.name);
        let listed = dependencies(&manifest);
        for home in HOMES.iter().filter(|home| !home.packages.contains(&package.name)) {
            if listed.iter().any(|name| name.replace('-', "_") == home.name) {
                problems
                    .push(format!("crates/{}/Cargo.toml: `{}`: {}", package.name, home.name, home.reason));
            }
        }
    }
    assert_none(problems);
}

#[test]
fn the_program_is_built_without_the_faults_of_a_node() {
    let built = features_of_devchain("normal,build");
    assert_eq!(built, BTreeSet::from([String::new()]), "the features of chainflume-devchain in the program");
    let tested = features_of_devchain("normal,build,dev");
    assert_eq!(tested, BTreeSet::from(["faults".to_owned()]), "the features of chainflume-devchain in tests");
}

/// The features that cargo enables with these kinds of dependencies, whichever packages of the workspace are built.
fn features_of_devchain(edges: &str) -> BTreeSet<String> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["tree", "--workspace", "--locked", "--offline", "--prefix", "none", "--format", "{p}|{f}"]);
    let output = command.args(["--edges", edges]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let of_package = text.lines().filter(|line| line.starts_with("chainflume-devchain v"));
    let features = of_package.filter_map(|line| line.split_once('|'));
    features.map(|(_, features)| features.trim_end_matches("(*)").trim().to_owned()).collect()
}

#[test]
fn the_plan_has_the_packages_and_rooms_there_are_and_no_mod_rs() {
    let mut folders: BTreeSet<String> = std::fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.insert(String::new());
    let planned: BTreeSet<String> = PACKAGES.iter().map(|package| package.name.to_owned()).collect();
    assert_eq!(folders, planned, "left: the folders of crates/; right: tests/architecture/plan.rs");

    for name in ROOMS.iter().map(|room| room.package).collect::<BTreeSet<_>>() {
        let lib = std::fs::read_to_string(folder(name).join("src/lib.rs")).unwrap();
        let declared: BTreeSet<&str> =
            lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
        let planned: BTreeSet<&str> = rooms_of(name).map(|room| room.name).collect();
        assert_eq!(declared, planned, "left: the rooms of `{name}`; right: tests/architecture/plan.rs");
    }
    let files = all();
    let astray = files.iter().filter(|file| file.path.ends_with("/mod.rs"));
    assert_none(astray.map(|file| format!("{}: is a mod.rs", file.at(1))).collect());
}

#[test]
fn the_plan_names_only_what_there_is() {
    let packages: BTreeSet<&str> = PACKAGES.iter().map(|package| package.name).collect();
    let rooms: BTreeSet<&str> = ROOMS.iter().map(|room| room.name).collect();
    let known =
        PACKAGES.iter().flat_map(|package| package.knows).chain(HOMES.iter().flat_map(|home| home.packages));
    let unknown: Vec<_> = known.chain(PURE).filter(|name| !packages.contains(*name)).collect();
    assert_eq!(unknown, Vec::<&&str>::new());
    let known = ROOMS.iter().flat_map(|room| room.knows).chain(HOMES.iter().flat_map(|home| home.rooms));
    let unknown: Vec<_> = known.filter(|name| !rooms.contains(*name)).collect();
    assert_eq!(unknown, Vec::<&&str>::new());
}

#[test]
fn rooms_know_only_the_rooms_they_may() {
    assert_none(all().iter().flat_map(strangers).collect());
}

#[test]
fn modules_do_not_use_each_other_in_circles() {
    let mut found = BTreeSet::new();
    for package in PACKAGES {
        let files = sources(package.name, &folder(package.name).join("src"));
        let circles = Uses::of(&files).circles().into_iter();
        found.extend(circles.map(|(folder, modules)| (package.name.to_owned(), folder, modules)));
    }
    let modules = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let planned = CIRCLES.iter().filter(|circle| !circle.reason.is_empty());
    let planned: BTreeSet<_> = planned
        .map(|circle| (circle.package.to_owned(), circle.folder.to_owned(), modules(circle.modules)))
        .collect();
    assert_eq!(found, planned, "left: the circles there are; right: tests/architecture/plan.rs");
}

#[test]
fn a_circle_is_found_through_every_kind_of_path() {
    let circles = |files: &[(&str, &str)]| {
        let files: Vec<Source> = files.iter().map(|(path, text)| Source::new("store", path, text)).collect();
        Uses::of(&files).circles()
    };
    let circle =
        |folder: &str, modules: [&str; 2]| vec![(folder.to_owned(), modules.map(str::to_owned).to_vec())];

    // Through names that the root passes on, and by a path in an expression.
    let root = ("lib.rs", "mod a;\nmod b;\npub use a::{Row, inner::{self, Deep as Other}};");
    let a = ("a.rs", "mod inner;\npub struct Row;\nfn f() { super::b::call() }");
    let inner = ("a/inner.rs", "use super::Row;\npub struct Deep;");
    for text in
        ["use crate::Row;", "use super::{Other, c};", "use crate::{inner::Deep};", "fn f(row: crate::Row) {}"]
    {
        assert_eq!(circles(&[root, a, inner, ("b.rs", text)]), circle("", ["a", "b"]), "{text}");
    }
    // A parent and its child are read together; comments, texts, tests and other packages are no uses.
    for text in [
        "// use crate::Row;",
        "#[cfg(test)]\nmod tests { use crate::Row; }",
        "use other::Row;",
        "use std::fmt;",
    ] {
        assert_eq!(circles(&[root, a, inner, ("b.rs", text)]), [], "{text}");
    }
    // Below a folder.
    let files = [("x.rs", "mod y;\nmod z;"), ("x/y.rs", "use super::z::Z;"), ("x/z.rs", "use crate::x::y;")];
    assert_eq!(circles(&files), circle("x", ["y", "z"]));
}

#[test]
fn outside_crates_stay_in_their_rooms() {
    assert_none(all().iter().flat_map(misplaced_crates).collect());
}

#[test]
fn each_table_is_written_by_the_packages_of_the_plan() {
    let known = tables();
    let mut written: BTreeMap<String, BTreeSet<String>> =
        known.iter().map(|table| (table.clone(), BTreeSet::new())).collect();
    for file in all() {
        for (_, table) in writes(&file, &known) {
            written.entry(table).or_default().insert(file.package.clone());
        }
    }
    let writers = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
    let planned: BTreeMap<String, BTreeSet<String>> = TABLES
        .iter()
        .flat_map(|tables| tables.names.iter().map(|&name| (name.to_owned(), writers(tables.writers))))
        .collect();
    assert_eq!(written, planned, "left: what the statements write; right: tests/architecture/plan.rs");
    let several = TABLES.iter().filter(|tables| tables.writers.len() > 1 || tables.reason.is_empty());
    assert!(several.map(|tables| tables.names.len()).sum::<usize>() <= 3, "a table has one writer");
}

#[tokio::test]
async fn each_statement_can_be_prepared_against_the_migrated_schema() {
    let url = chainflume_testkit::postgres::database().await;
    let settings =
        chainflume_db::Settings { url, max_connections: 2, acquire_timeout: Duration::from_secs(30) };
    let database = chainflume_db::Database::connect(&settings).await.unwrap();
    database.migrate().await.unwrap();

    let files: Vec<Source> = all().into_iter().filter(|file| SQL.contains(&file.package.as_str())).collect();
    let (built, fixed): (Vec<_>, Vec<_>) = statements(&files).into_iter().partition(|found| found.is_built);
    let mut connection = database.pool().acquire().await.unwrap();
    // Statements about temporary tables follow the one that makes them, in the same transaction.
    for (_, literal) in files.iter().flat_map(Source::literals) {
        let sql = plain(literal);
        if sql.trim().starts_with("create temporary table") {
            let kept = sql.replace(" on commit drop", "");
            sqlx::raw_sql(AssertSqlSafe(kept)).execute(&mut *connection).await.unwrap();
        }
    }
    let mut problems = Vec::new();
    for statement in &fixed {
        // A table of rows that come by `copy` is asked for the columns that they have.
        let sql = match statement.sql.trim().strip_prefix("copy ").and_then(|copy| copy.split_once(')')) {
            Some((copy, _)) => {
                let (table, columns) = copy.split_once('(').unwrap();
                format!("select {columns} from {table}")
            }
            None => statement.sql.clone(),
        };
        if let Err(error) = connection.prepare(AssertSqlSafe(sql).into_sql_str()).await {
            problems.push(format!("{}: {error}", statement.at));
        }
    }
    println!("{} statements prepared, {} built at run time", fixed.len(), built.len());
    assert_none(problems);
    assert!(fixed.len() > 150, "{} statements found", fixed.len());
}

#[test]
fn a_statement_names_its_table_in_one_literal() {
    let hidden = |(at, literal): (String, String)| {
        let words = words(&literal);
        let is_lock = words.ends_with(&["for", "update"]);
        let hides = !is_lock && VERBS.iter().any(|verb| words.ends_with(verb));
        hides.then(|| format!("{at}: a statement whose table is not in the same literal"))
    };
    let files = all();
    let literals = files
        .iter()
        .filter(|file| ["db", "outbox", "store"].contains(&file.package.as_str()))
        .flat_map(|file| file.literals().map(|(line, literal)| (file.at(line), literal.to_owned())));
    assert_none(literals.filter_map(hidden).collect());
}

#[test]
fn pure_packages_do_no_io() {
    assert_none(all().iter().flat_map(impure).collect());
}

#[test]
fn files_and_functions_are_of_a_size_to_be_proofread() {
    assert_none(all().iter().flat_map(oversized).collect());
}

#[test]
fn parameters_are_not_hidden_in_tuples() {
    let files = all();
    let of_file = |file: &Source| -> Vec<String> {
        let with_tuples = file.functions().into_iter().filter(|function| function.tuples > 0);
        with_tuples
            .flat_map(|function| {
                vec![format!("{}: `{}`", file.at(function.line), function.name); function.tuples]
            })
            .collect()
    };
    let found: Vec<String> = files.iter().flat_map(of_file).collect();
    let count = found.len();
    assert!(
        count <= MOST_TUPLES,
        "{count} tuple parameters, {MOST_TUPLES} is the most:\n{}",
        found.join("\n")
    );
    let sample = "fn f((a, b): (A, B), c: (C, D), (e, f): &E) {}\nfn g(a: A) {}\n";
    assert_eq!(of_file(&Source::new("store", "rows.rs", sample)).len(), 2);
}

#[test]
fn a_type_name_means_one_thing_in_the_workspace() {
    let files = all();
    let is_alternative = |file: &Source| ALTERNATIVES.contains(&(file.package.as_str(), file.path.as_str()));
    let mut places = BTreeMap::<&str, Vec<String>>::new();
    for file in files.iter().filter(|file| !is_alternative(file)) {
        for (line, name) in file.types() {
            places.entry(name).or_default().push(file.at(line));
        }
    }
    assert!(places.len() > 500, "{} types found", places.len());
    let is_planned = |name: &str| SHARED_TYPE_NAMES.iter().any(|(known, _)| *known == name);
    let shared = places.iter().filter(|(name, places)| places.len() > 1 && !is_planned(name));
    assert_none(
        shared
            .map(|(name, places)| format!("`{name}` has several meanings: {}", places.join(", ")))
            .collect(),
    );
    let is_shared = |name: &str| places.get(name).is_some_and(|places| places.len() > 1);
    let past = SHARED_TYPE_NAMES.iter().filter(|(name, _)| !is_shared(name));
    assert_none(past.map(|(name, _)| format!("`{name}` has one meaning; remove it from the list")).collect());
}

#[test]
fn log_lines_and_errors_are_in_plain_words() {
    assert_none(all().iter().flat_map(forbidden).collect());
    let text = "#[error(\"the node says {said}\")]\nstruct A;\nfn f() {\n    tracing::warn!(told = g(), %error, \"{told} \\\n \
                are told by `nobody`, and stand by\");\n    other(\"nobody\");\n}\n#[cfg(test)]\nmod tests { \
                #[error(\"told\")] struct B; }";
    let found = forbidden(&Source::new("store", "rows.rs", text));
    let problem = |line: u32, word: &str| {
        format!("crates/store/src/rows.rs:{line}: a log line or an error has `{word}`")
    };
    assert_eq!(found, [problem(1, "says"), problem(4, "told")]);
}

#[test]
fn names_of_tests_are_short() {
    let packages = PACKAGES.iter().map(|package| folder(package.name).join("src"));
    let files = packages.chain([root().join("tests"), root().join("benches")]).flat_map(names::rust_files);
    let mut problems = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (line, name) in names::tests(&text) {
            if name.len() > LONGEST_TEST_NAME {
                let (file, length) = (file.display(), name.len());
                problems.push(format!(
                    "{file}:{line}: `{name}` has {length} letters, {LONGEST_TEST_NAME} is the most"
                ));
            }
        }
    }
    assert_none(problems);
    let sample = "#[tokio::test(flavor = \"multi_thread\")]\n#[ignore = \"slow\"]\nasync fn a_fact() {\n#[test]\nfn another() {";
    assert_eq!(names::tests(sample), [(3, "a_fact"), (5, "another")]);
}

#[test]
fn figures() {
    let files = all();
    println!("\n{:<20} {:>5} {:>6}  longest function", "part", "files", "lines");
    let parts: BTreeSet<(&str, &str)> =
        files.iter().map(|file| (file.package.as_str(), part(file))).collect();
    for (package, room) in parts {
        let here = |file: &&Source| file.package == package && part(file) == room;
        let of_part: Vec<&Source> = files.iter().filter(here).collect();
        let lines: usize = of_part.iter().map(|file| file.lines_of_code()).sum();
        let longest = of_part.iter().flat_map(|file| file.functions()).max_by_key(|function| function.lines);
        let longest = longest.map(|function| format!("{} ({})", function.name, function.lines));
        let name = if room.is_empty() { package.to_owned() } else { format!("{package}/{room}") };
        println!("{name:<20} {:>5} {lines:>6}  {}", of_part.len(), longest.unwrap_or_default());
    }
    let lines: usize = files.iter().map(Source::lines_of_code).sum();
    println!("{:<20} {:>5} {lines:>6}  (neither tests nor comments nor empty lines)", "all", files.len());
    let longest = files.iter().max_by_key(|file| file.lines()).unwrap();
    println!("longest file: {} ({} lines with comments)", longest.at(1), longest.lines());
}

/// The room of a file in a package that has several; else nothing.
fn part(file: &Source) -> &str {
    match rooms_of(&file.package).next() {
        Some(_) => file.room(),
        None => "",
    }
}

#[test]
fn what_the_plan_forbids_is_found() {
    let file = |package: &str, path: &str, text: &str| Source::new(package, path, text);
    let found = |problems: Vec<String>| problems.join("\n");

    let relay = file("deliver", "relay/rows.rs", "use crate::{relay::Event, sink::Node};\n// crate::cli\n");
    assert_eq!(strangers(&relay), Vec::<String>::new());
    let sink = file("deliver", "sink/rows.rs", "\nuse crate::{sink::Event, relay::Node};");
    let expected = "crates/deliver/src/sink/rows.rs:2: `sink` uses `relay`, and may know only []";
    assert!(found(strangers(&sink)).starts_with(expected), "{}", found(strangers(&sink)));

    let users = file("publish", "users/rows.rs", "use crate::{trigger::Movement, ids::derived};");
    let expected = "crates/publish/src/users/rows.rs:1: `users` uses `trigger`, and may know only []";
    assert!(found(strangers(&users)).starts_with(expected), "{}", found(strangers(&users)));
    assert_eq!(strangers(&file("publish", "lib.rs", "use crate::trigger::Movement;")), Vec::<String>::new());

    let climbing = file(
        "core",
        "canon/walk.rs",
        "\n\nuse super::super::decode::Log;\nasync fn f() { let s = \"tokio\"; }",
    );
    assert!(
        found(strangers(&climbing)).starts_with("crates/core/src/canon/walk.rs:3: `canon` uses `decode`")
    );
    assert!(found(impure(&climbing)).contains(":4: `async` in a package without I/O"));
    assert_eq!(impure(&climbing).len(), 1);

    let admin = file(
        "",
        "admin.rs",
        "use axum::Router;\n#[cfg(test)]\nmod tests { use anyhow::Result; use crate::cli; }\n",
    );
    assert_eq!((strangers(&admin), misplaced_crates(&admin)), (vec![], vec![]));
    let admin = file("", "admin/http.rs", "fn f() -> anyhow::Result<()> { Ok(()) }");
    assert!(
        found(misplaced_crates(&admin))
            .starts_with("src/admin/http.rs:1: `anyhow` belongs to roles, app, cli")
    );
    // A module of that name is not the crate.
    let config =
        file("deliver", "relay.rs", "mod redis;\npub use self::redis::Redis;\nfn f() { sink::redis::x() }");
    assert_eq!(misplaced_crates(&config), Vec::<String>::new());
    let relay = file("deliver", "relay.rs", "use ::redis::Client;\nfn f(c: redis::Client) {}\nuse redis;");
    assert_eq!(misplaced_crates(&relay).len(), 3);
    let users = file("publish", "users.rs", "use croner::Cron;\nuse sqlx::Row;");
    assert_eq!(misplaced_crates(&users).len(), 1, "the rooms of one package do not restrict another");

    let tables = BTreeSet::from(["events".to_owned(), "blocks".to_owned()]);
    let text = "const A: &str = r\"\n-- of a chain\ndelete from blocks\";\nfn f() { q(\"with gone as (delete \\\n \
                from events) insert into x\") }\n// update events\n#[cfg(test)]\nmod tests { const T: &str = \
                \"copy events\"; }";
    let found_tables = writes(&file("store", "rows.rs", text), &tables);
    assert_eq!(found_tables, [(1, "blocks".to_owned()), (4, "events".to_owned())]);

    let text = "pub struct One<T>(T);\npub(super) enum Two {}\nfn f() {\n    struct Hidden;\n}\ntype Three = u8;\n\
                // struct No;\n#[cfg(test)]\nmod tests { }\n";
    let types = file("store", "rows.rs", text);
    assert_eq!(types.types(), [(1, "One"), (2, "Two"), (6, "Three")]);

    let long = file("store", "rows.rs", &format!("fn long() {{\n{}}}\n", "    call('{');\n".repeat(59)));
    assert!(found(oversized(&long)).starts_with("crates/store/src/rows.rs:1: `long` has 61 lines"));
    let five = "fn f<F: Fn(u8, u8) -> u8>(&self, a: &[(A, B)], (b, c): (B, C), d: D) {}\n";
    assert_eq!(oversized(&file("store", "rows.rs", five)), Vec::<String>::new());
    let six = file(
        "store",
        "rows.rs",
        "fn six(\n    (a, b): (A, B),\n    (c, d, e): (C, D, E),\n    f: F,\n) {}\n",
    );
    assert!(found(oversized(&six)).starts_with("crates/store/src/rows.rs:1: `six` has 6 parameters"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn folder(package: &str) -> PathBuf {
    if package.is_empty() { root() } else { root().join("crates").join(package) }
}

fn manifest(package: &str) -> String {
    std::fs::read_to_string(folder(package).join("Cargo.toml")).unwrap()
}

/// The names below `[dependencies]`.
fn dependencies(manifest: &str) -> Vec<&str> {
    let section = manifest.split("\n[").find_map(|section| section.strip_prefix("dependencies]\n"));
    let names = section.unwrap_or_default().lines().filter(|line| !line.starts_with('#'));
    names.filter_map(|line| line.split(['.', ' ', '=']).next()).filter(|name| !name.is_empty()).collect()
}

fn rooms_of(package: &str) -> impl Iterator<Item = &'static Room> {
    ROOMS.iter().filter(move |room| room.package == package)
}

fn all() -> Vec<Source> {
    PACKAGES.iter().flat_map(|package| sources(package.name, &folder(package.name).join("src"))).collect()
}

fn assert_none(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

fn strangers(file: &Source) -> Vec<String> {
    let known = |name: &str| rooms_of(&file.package).any(|room| room.name == name);
    let room = rooms_of(&file.package).find(|room| room.name == file.room());
    // Modules that are no rooms know none; the root of a package joins what it has.
    let (name, knows, reason) = match room {
        Some(room) => (room.name, room.knows, room.reason),
        None if ["lib", "main"].contains(&file.room()) => return Vec::new(),
        None => (file.room(), &[][..], "it is no room itself"),
    };
    let uses = file.rooms_used().into_iter();
    let uses = uses.filter(|(_, other)| known(other) && other != name && !knows.contains(&&**other));
    uses.map(|(line, other)| {
        let knows = knows.join(", ");
        format!("{}: `{name}` uses `{other}`, and may know only [{knows}]: {reason}", file.at(line))
    })
    .collect()
}

/// How a statement that writes begins, up to its table.
const VERBS: &[&[&str]] = &[&["insert", "into"], &["delete", "from"], &["update"], &["copy"], &["truncate"]];

/// The tables that the migrations make.
fn tables() -> BTreeSet<String> {
    let folder = std::fs::read_dir(root().join("migrations")).unwrap();
    let paths = folder.map(|entry| entry.unwrap().path());
    let texts = paths.filter(|path| path.extension().is_some_and(|extension| extension == "sql"));
    let text: String = texts.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let named = |line: &str| Some(line.strip_prefix("create table ")?.split([' ', '(']).next()?.to_owned());
    // A table that became a view is renamed before it is dropped.
    let gone = |line: &str| Some(line.strip_prefix("alter table ")?.split_once(" rename to ")?.0.to_owned());
    let gone: BTreeSet<String> = text.lines().filter_map(gone).collect();
    text.lines().filter_map(named).filter(|table| !gone.contains(table)).collect()
}

/// The tables that the statements of a file write to, with their lines.
fn writes(file: &Source, known: &BTreeSet<String>) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, literal) in file.literals() {
        let words = words(literal);
        for verb in VERBS {
            let tables = words.windows(verb.len() + 1).filter(|window| window.starts_with(verb));
            let tables = tables.map(|window| window[verb.len()]).filter(|table| known.contains(*table));
            found.extend(tables.map(|table| (line, table.to_owned())));
        }
    }
    found
}

fn words(literal: &str) -> Vec<&str> {
    let is_in_word = |c: char| c.is_alphanumeric() || c == '_';
    literal.split(|c| !is_in_word(c)).filter(|word| !word.is_empty()).collect()
}

fn misplaced_crates(file: &Source) -> Vec<String> {
    let is_restricted = |rooms: &[&str]| rooms_of(&file.package).any(|room| rooms.contains(&room.name));
    let belongs = |rooms: &[&str]| rooms.contains(&file.room()) || file.room() == "main";
    // Cargo refuses what a package does not list.
    let listed = |packages: &[&str]| packages.contains(&file.package.as_str());
    let misplaced = HOMES
        .iter()
        .filter(|home| listed(home.packages) && is_restricted(home.rooms) && !belongs(home.rooms));
    misplaced
        .flat_map(|home| {
            let rooms = home.rooms.join(", ");
            file.crate_used(home.name).into_iter().map(move |line| {
                format!("{}: `{}` belongs to {rooms}: {}", file.at(line), home.name, home.reason)
            })
        })
        .collect()
}

fn impure(file: &Source) -> Vec<String> {
    let words = if PURE.contains(&file.package.as_str()) { &["async", "tokio", "tracing"][..] } else { &[] };
    let found = words.iter().flat_map(|word| file.lines_with(word).into_iter().map(move |line| (word, line)));
    found.map(|(word, line)| format!("{}: `{word}` in a package without I/O", file.at(line))).collect()
}

fn oversized(file: &Source) -> Vec<String> {
    let functions = file.functions().into_iter().filter(|function| function.lines > LONGEST_FUNCTION);
    let mut problems: Vec<String> = functions
        .map(|function| {
            let (at, name, lines) = (file.at(function.line), function.name, function.lines);
            format!("{at}: `{name}` has {lines} lines, {LONGEST_FUNCTION} is the most")
        })
        .collect();
    for function in file.functions().into_iter().filter(|function| function.parameters > MOST_PARAMETERS) {
        let (at, name, parameters) = (file.at(function.line), function.name, function.parameters);
        problems.push(format!("{at}: `{name}` has {parameters} parameters, {MOST_PARAMETERS} is the most"));
    }
    if file.lines() > LONGEST_FILE {
        let lines = file.lines();
        problems.push(format!("{}: {lines} lines without its tests, {LONGEST_FILE} is the most", file.at(1)));
    }
    problems
}
