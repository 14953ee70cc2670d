//! The page of faults names a test for each, and each of these is there.

use std::path::PathBuf;

use crate::{path, read};

const PAGE: &str = "docs/FAULTS.md";
/// The folders of the modules of a test: of a binary that its name leaves out, of the program, of a binary that it names.
fn roots() -> Vec<PathBuf> {
    let folders = std::fs::read_dir(path("tests")).unwrap().map(|entry| entry.unwrap().path());
    let binaries = folders.filter(|folder| folder.join("main.rs").exists());
    binaries.chain([path("src"), path("tests")]).collect()
}

/// Names in backticks that look like tests.
fn named(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).filter(|word| word.contains("::") && !word.contains(' ')).collect()
}

/// Whether there is a test `a::b::name`: in `a/b.rs`, or in `a.rs` inside its module `b`. The first module may be a package
/// of `crates/`.
fn exists(test: &str) -> bool {
    let (modules, name) = test.rsplit_once("::").unwrap_or_default();
    let parent = modules.strip_suffix("::tests");
    let files = [Some(modules), parent].into_iter().flatten().flat_map(|modules| {
        let file = modules.replace("::", "/");
        let (package, within) = file.split_once('/').unwrap_or((&file, "lib"));
        let of_package = path(&format!("crates/{package}/src/{within}.rs"));
        let of_program = roots().into_iter();
        of_program
            .flat_map(|root| [root.join(format!("{file}.rs")), root.join(format!("{file}/main.rs"))])
            .chain([of_package])
            .collect::<Vec<_>>()
    });
    let texts = files.filter_map(|file| std::fs::read_to_string(file).ok());
    let is_test = |text: String| {
        let at = text.find(&format!("fn {name}("))?;
        text[..at].rsplit('\n').nth(1).map(|line| line.starts_with('#') || line.trim().starts_with("#["))
    };
    texts.filter_map(is_test).any(|is| is)
}

#[test]
fn each_fault_has_a_test_and_each_test_is_there() {
    let mut rows = 0;
    for line in read(PAGE).lines().filter(|line| line.starts_with("| ") && !line.starts_with("| fault |")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 3, "fault, what the daemon does, tests: {line}");
        let tests = named(cells[2]);
        assert!(!tests.is_empty(), "no test shows it: {line}");
        for test in tests {
            assert!(exists(test), "there is no test {test}: {line}");
        }
        rows += 1;
    }
    assert!(rows > 20, "the page was read: {rows} rows");
}

#[test]
fn a_test_that_is_not_there_is_missed() {
    assert!(exists("operations::faults::a_test_that_is_not_there_is_missed"));
    assert!(!exists("operations::faults::exists"), "it is no test");
    assert!(!exists("operations::faults::another") && !exists("operations::nowhere::each"));
}
