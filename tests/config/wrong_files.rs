use std::fs;
use std::path::Path;

use chainflume::config::{Config, ProcessEnvironment};
use tempfile::TempDir;

use crate::given::{Given, RIGHT, after};

/// All problems of `chainflume.toml` in `folder`, with the folder's name left out.
fn problems_of(folder: &TempDir) -> Vec<String> {
    let path = folder.path().join("chainflume.toml");
    let problems = Config::load(&path, &ProcessEnvironment).expect_err("it is wrong").to_string();
    let folder = format!("{}/", folder.path().display());
    problems.lines().map(|line| line.replace(&folder, "")).collect()
}

fn folder_with_abi(abi: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("chainflume.toml"), after("start_block", &format!("abi = \"{abi}\"")))
        .expect("written");
    folder
}

#[test]
fn an_abi_that_is_missing_or_a_folder_is_reported() {
    assert_eq!(
        problems_of(&folder_with_abi("abi/none.json")),
        [
            "1 problem in chainflume.toml",
            "chainflume.toml:13: source[0].abi: `abi/none.json`: no such file (correct the path, which is relative to the folder of this file)",
        ]
    );
    let folder = folder_with_abi("abi");
    fs::create_dir(folder.path().join("abi")).expect("created");
    assert_eq!(
        problems_of(&folder),
        [
            "1 problem in chainflume.toml",
            "chainflume.toml:13: source[0].abi: `abi`: is a directory; a file is needed (name the JSON file that holds the contract's ABI)",
        ]
    );
}

#[test]
fn an_abi_of_50_mb_is_refused_and_not_read_whole() {
    let folder = folder_with_abi("huge.json");
    let file = fs::File::create(folder.path().join("huge.json")).expect("created");
    file.set_len(50_000_000).expect("a hole of that size");
    assert_eq!(
        problems_of(&folder),
        [
            "1 problem in chainflume.toml",
            "chainflume.toml:13: source[0].abi: `huge.json`: is larger than 10 MiB (name the JSON file that holds the contract's ABI)",
        ]
    );
}

#[test]
fn a_file_that_has_no_end_is_refused_too() {
    assert_eq!(
        problems_of(&folder_with_abi("/dev/zero")),
        [
            "1 problem in chainflume.toml",
            "chainflume.toml:13: source[0].abi: `/dev/zero`: is larger than 10 MiB (name the JSON file that holds the contract's ABI)",
        ]
    );
}

#[test]
fn a_file_without_an_abi_is_reported_with_what_it_is() {
    let problem_of = |abi: &'static str| {
        let lines = Given::default().file("a.json", abi).wrong(&after("start_block", "abi = \"a.json\""));
        assert_eq!(lines.len(), 2, "{lines:#?}");
        lines[1].replace("chainflume.toml:13: source[0].abi: ", "")
    };
    let remedy = "(give the ABI array, a compiler's artifact or output, or a block explorer's answer)";
    assert_eq!(
        problem_of("pragma solidity"),
        format!("`a.json` is not JSON: expected value at line 1 column 1 {remedy}")
    );
    assert_eq!(
        problem_of("{}"),
        format!("`a.json` is not an ABI but an object without an `abi` key {remedy}")
    );
    assert_eq!(
        problem_of("[1]"),
        format!("`a.json` is not an ABI but an array that holds no declarations {remedy}")
    );
    assert_eq!(problem_of("[]"), "`a.json` declares no events (name the ABI of a contract that emits some)");
    assert_eq!(
        problem_of(r#"[{"type":"event","name":"Paid","inputs":[{"name":"to","type":"adress"}]}]"#),
        "`a.json` has event `Paid`: argument `to`: type `adress` is not an ABI type (correct or remove these events in the file)"
    );
}

#[test]
fn an_event_the_abi_lacks_is_reported_with_those_it_has() {
    let text = after("start_block", "events = [\n\"Transfer\",\n\"Burned\",\n\"Transfer(address)\"]");
    assert_eq!(
        Given::default().wrong(&text),
        [
            "2 problems in chainflume.toml",
            "chainflume.toml:15: source[0].events[1]: `Burned` is no event of the ABI (it has Transfer(address,address,uint256), Approval(address,address,uint256))",
            "chainflume.toml:16: source[0].events[2]: `Transfer(address)` is no event of the ABI (it has Transfer(address,address,uint256), Approval(address,address,uint256))",
        ]
    );
}

#[test]
fn a_configuration_that_cannot_be_read_is_one_problem() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("chainflume.toml");
    let missing =
        "chainflume.toml: no such file (name the file with --config, or write one with `chainflume init`)";
    assert_eq!(problems_of(&folder), ["1 problem in chainflume.toml", missing]);
    fs::create_dir(&path).expect("created");
    let directory =
        "chainflume.toml: is a directory; a file is needed (name a configuration file with --config)";
    assert_eq!(problems_of(&folder), ["1 problem in chainflume.toml", directory]);
    fs::remove_dir(&path).expect("removed");
    fs::write(&path, b"name = \"\xff\"").expect("written");
    let binary = "chainflume.toml: is not text (UTF-8) (name a configuration file with --config)";
    assert_eq!(problems_of(&folder), ["1 problem in chainflume.toml", binary]);
}

#[test]
fn paths_are_relative_to_the_file_that_names_them() {
    let abi = include_str!("../../abi/ERC20.json");
    let text = after("start_block", "abi = \"../abi/token.json\"");
    let given = Given::default().file("etc/flume/../abi/token.json", abi);
    let config = Config::parse(Path::new("etc/flume/chainflume.toml"), &text, &given).expect("it is right");
    assert_eq!(config.sources[0].events, Given::default().right(RIGHT).sources[0].events);
}
