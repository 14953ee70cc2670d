use super::*;
use crate::decode::{AbiError, MAX_ABI_BYTES, read_abi, read_abi_of, read_declarations, select};

const STAKED: &str = r#"[{"type":"event","name":"Staked","inputs":[{"name":"developer","type":"address","indexed":true},{"name":"amount","type":"uint256"}]}]"#;

fn error(json: &str) -> String {
    parse_abi(json).expect_err("it is no ABI").to_string()
}

fn with_type(ty: &str) -> String {
    format!(r#"[{{"type":"event","name":"E","inputs":[{{"name":"x","type":"{ty}"}}]}}]"#)
}

#[test]
fn bare_arrays_and_compiler_artifacts_give_the_same_events() {
    let bare = events(STAKED);
    assert_eq!(bare[0].signature, "Staked(address,uint256)");
    assert_eq!((bare[0].topic_count(), bare[0].anonymous), (2, false));
    let foundry = format!(r#"{{"abi":{STAKED},"bytecode":{{"object":"0x__$lib$__"}},"ast":{{"abi":1}}}}"#);
    let truffle = format!(r#"{{"contractName":"Vault","abi":{STAKED},"networks":{{}}}}"#);
    let hardhat = format!("\u{feff}{{\"_format\":\"hh-sol-artifact-1\",\"abi\":{STAKED}}}");
    for artifact in [foundry, truffle, hardhat] {
        assert_eq!(events(&artifact), bare);
    }
}

#[test]
fn explorer_compiler_and_library_abis_give_the_same_events() {
    let moved = r#"[{"type":"event","name":"Moved","inputs":[{"name":"who","type":"address","indexed":true},
        {"name":"amount","type":"uint256","indexed":false}],"anonymous":false}]"#;
    let bare = events(moved);
    let text = serde_json::to_string(moved).expect("text");
    let explorer = format!(r#"{{"status":"1","message":"OK","result":{text}}}"#);
    let artifact = format!(r#"{{"contractName":"Mover","abi":{text}}}"#);
    let combined =
        format!(r#"{{"contracts":{{"src/Mover.sol:Mover":{{"abi":{moved},"bin":"6000"}}}},"version":"0"}}"#);
    let old_combined = format!(r#"{{"contracts":{{"src/Mover.sol:Mover":{{"abi":{text},"bin":"6000"}}}}}}"#);
    let standard = format!(
        r#"{{"contracts":{{"src/Mover.sol":{{"Mover":{{"abi":{moved},"evm":{{}}}}}}}},"sources":{{}}}}"#
    );
    let human = r#"["event Moved(address indexed who, uint256 amount)", "function poke()", "error Bad()",
        "eventual nonsense"]"#;
    for form in [&text, &explorer, &artifact, &combined, &old_combined, &standard, human] {
        assert_eq!(events(form), bare, "{form}");
    }
    let line = ["  event Moved(address indexed who, uint256 amount);".to_owned()];
    assert_eq!(read_declarations(&line).expect("one event").events, [(*bare[0]).clone()]);
    let anonymous = ["event Hidden((uint8,bytes)[] list) anonymous".to_owned()];
    let hidden = read_declarations(&anonymous).expect("one event").events;
    assert_eq!((hidden[0].signature.as_str(), hidden[0].anonymous), ("Hidden((uint8,bytes)[])", true));
    let broken = read_declarations(&["event Broken(address".to_owned()]).expect_err("no bracket").to_string();
    assert!(broken.starts_with("event `event Broken(address`: ") && broken.lines().count() == 1, "{broken}");
}

#[test]
fn of_several_contracts_one_has_to_be_named() {
    let other = STAKED.replace("Staked", "Other");
    let output = format!(
        r#"{{"contracts":{{"a.sol":{{"Vault":{{"abi":{STAKED}}},"Other":{{"abi":{other}}}}},"b.sol":{{"Other":{{"abi":{STAKED}}}}}}}}}"#
    );
    let of = |contract| {
        let abi = read_abi_of(&output, contract).map_err(|error| error.to_string())?;
        Ok(abi.events.iter().map(|event| event.name.clone()).collect::<Vec<_>>())
    };
    let several = "has several contracts: a.sol:Other, a.sol:Vault, b.sol:Other";
    assert_eq!(of(None), Err(several.to_owned()));
    assert_eq!(of(Some("Vault")), Ok(vec!["Staked".to_owned()]));
    assert_eq!(of(Some("a.sol:Other")), Ok(vec!["Other".to_owned()]));
    assert_eq!(of(Some("Other")), Err(several.to_owned()));
    assert_eq!(of(Some("None")), Err(several.replace("has several contracts", "has no such contract")));
    let one = read_abi_of(STAKED, Some("Vault")).expect_err("no contracts").to_string();
    assert_eq!(one, "names a contract, but the file holds one ABI without names");
}

#[test]
fn built_in_abis_have_the_topics_of_their_standards() {
    let topics = |json| -> Vec<(String, String)> {
        events(json).iter().map(|e| (e.signature.clone(), e.topic0.to_string()[..10].to_owned())).collect()
    };
    let pair = |signature: &str, topic: &str| (signature.to_owned(), topic.to_owned());
    let transfer = pair("Transfer(address,address,uint256)", "0xddf252ad");
    let approval = pair("Approval(address,address,uint256)", "0x8c5be1e5");
    let for_all = pair("ApprovalForAll(address,address,bool)", "0x17307eab");
    assert_eq!(topics(ERC20), [transfer.clone(), approval.clone()]);
    let range = pair("ConsecutiveTransfer(uint256,uint256,address,address)", "0xdeaa91b6");
    assert_eq!(topics(ERC721), [transfer.clone(), approval, for_all, range]);
    assert!(topics(KITTIES).contains(&transfer));
    assert!(events(KITTIES).iter().all(|event| event.topic_count() == 1));
}

#[test]
fn what_is_no_abi_is_named_for_what_it_is() {
    let remedy = "; give the ABI array, a compiler's artifact or output, or a block explorer's answer";
    assert_eq!(error("[{]"), "not JSON: key must be a string at line 1 column 3");
    assert_eq!(error("{\n  \"a\": oops\n}"), "not JSON: expected value at line 2 column 8");
    assert_eq!(error("{}"), format!("not an ABI but an object without an `abi` key{remedy}"));
    assert_eq!(
        error(r#"{"abi":7}"#),
        format!("not an ABI but an object whose `abi` is not an array{remedy}")
    );
    assert_eq!(
        error(r#"{"status":"0","message":"NOTOK","result":"Contract source code not verified"}"#),
        format!("not an ABI but a block explorer's answer without an ABI{remedy}")
    );
    assert_eq!(error(r#"{"abi":"[]"}"#), "the ABI declares no events");
    assert_eq!(error("3"), format!("not an ABI but a single value{remedy}"));
    assert_eq!(error("[1]"), format!("not an ABI but an array that holds no declarations{remedy}"));
    assert_eq!(error("[]"), "the ABI declares no events");
    assert_eq!(
        error(r#"[{"type":"function","name":"f","inputs":[{"type":"?"}]}]"#),
        "the ABI declares no events"
    );
    let huge = " ".repeat(MAX_ABI_BYTES + 1);
    assert_eq!(
        error(&huge),
        "16777217 bytes are too many for an ABI (at most 16777216); is this the right file?"
    );
}

#[test]
fn every_unreadable_event_is_reported_at_once() {
    let json = r#"[
        {"type":"event","name":"A","inputs":[{"name":"f","type":"function"}]},
        {"type":"event","name":"B","inputs":[{"name":"x","type":"fixed128x18"}]},
        {"type":"event","name":"C","inputs":[{"name":"x","type":"uint7"}]},
        {"type":"event","name":"D","inputs":[{"type":"bool","indexed":true},{"type":"bool","indexed":true},
            {"type":"bool","indexed":true},{"type":"bool","indexed":true}]},
        {"type":"event","inputs":[]},
        {"type":"event","name":"ok","inputs":[]}
    ]"#;
    let error = parse_abi(json).expect_err("five are wrong");
    let AbiError::Events(problems) = error else { panic!("{error}") };
    let texts: Vec<String> = problems.iter().map(|p| format!("{} {}", p.event, p.reason)).collect();
    assert_eq!(
        texts,
        [
            "`A` argument `f`: function pointers are not supported",
            "`B` argument `x`: fixed-point type `fixed128x18` is not supported",
            "`C` argument `x`: type `uint7` is not an ABI type",
            "`D` 4 indexed arguments are more than a log has topics for",
            "at position 4 missing field `name`",
        ]
    );
}

#[test]
fn enums_contracts_and_value_types_are_what_they_are_encoded_as() {
    let json = r#"[{"type":"event","name":"E","inputs":[
        {"name":"a","type":"uint8","internalType":"enum Vault.State"},
        {"name":"b","type":"address","internalType":"contract IERC20"},
        {"name":"c","type":"int24","internalType":"Tick"}]}]"#;
    assert_eq!(events(json)[0].signature, "E(uint8,address,int24)");
    assert!(error(&with_type("Vault.State")).contains("type `Vault.State` is a name; write the type"));
}

#[test]
fn tuples_and_aliases_are_canonical_in_the_signature() {
    let json = r#"[{"type":"event","name":"E","inputs":[
        {"name":"a","type":"uint[2][]"},
        {"name":"b","type":"tuple[]","components":[{"name":"x","type":"int"},{"name":"y","type":"tuple",
            "components":[{"name":"z","type":"bytes"}]}]}]}]"#;
    assert_eq!(events(json)[0].signature, "E(uint256[2][],(int256,(bytes))[])");
}

#[test]
fn arguments_without_a_name_of_their_own_get_one() {
    let event = declare("E", false, &[("", "bool", false), ("to", "bool", false), ("to", "bool", false)]);
    let names: Vec<&str> = event.params.iter().map(|param| param.name.as_str()).collect();
    assert_eq!(names, ["arg0", "to", "to_2"]);
}

#[test]
fn types_without_size_and_types_too_deep_are_refused() {
    for ty in ["uint256[0]", "tuple", "(uint256,bool)", "uint256[", "uint256[99999999999999999999999]"] {
        assert!(parse_abi(&with_type(ty)).is_err(), "{ty}");
    }
    let deep = format!("uint256{}", "[]".repeat(17));
    assert!(error(&with_type(&deep)).contains("nests arrays and tuples more than 16 deep"));
    let parens = "(".repeat(1_000_000);
    assert!(error(&with_type(&parens)).contains("expected a valid Solidity type specifier"));
    let nested = (0..40).fold(r#"{"name":"x","type":"bool"}"#.to_owned(), |inner, _| {
        format!(r#"{{"name":"x","type":"tuple","components":[{inner}]}}"#)
    });
    let json = format!(r#"[{{"type":"event","name":"E","inputs":[{nested}]}}]"#);
    assert!(error(&json).contains("nests arrays and tuples more than 16 deep"));
}

#[test]
fn an_event_declared_twice_counts_once() {
    let twice = format!("{},{}", &STAKED[..STAKED.len() - 1], &STAKED[1..]);
    assert_eq!(events(&twice), events(STAKED));
}

#[test]
fn declarations_that_no_log_separates_are_one_event() {
    let moved = |names: [&str; 2], more: &str| {
        format!(
            r#"{{"type":"event","name":"Moved"{more},"inputs":[{{"name":"{}","type":"address","indexed":true}},
            {{"name":"{}","type":"uint256","internalType":"{}"}}]}}"#,
            names[0], names[1], names[0]
        )
    };
    let all = [
        moved(["who", "amount"], ""),
        moved(["_who", "_amount"], r#","anonymous":false"#),
        moved(["amount", "who"], ""),
        moved(["who", "amount"], ""),
        moved(["_who", "_amount"], ""),
    ];
    let abi = read_abi(&format!("[{}]", all.join(","))).expect("it is right");
    let names: Vec<&str> = abi.events[0].params.iter().map(|param| param.name.as_str()).collect();
    assert_eq!((abi.events.len(), names), (1, vec!["who", "amount"]));
    let notes: Vec<String> = abi.repeated.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        ["_who, _amount", "amount, who"].map(|names| format!(
            "Moved(address,uint256) is declared again with the arguments {names}; the first declaration is used: who, amount"
        ))
    );
}

#[test]
fn declarations_with_different_logs_are_separate_events() {
    let declare = |name: &str, indexed: bool, anonymous: bool| {
        format!(
            r#"{{"type":"event","name":"{name}","anonymous":{anonymous},"inputs":[{{"name":"x","type":"uint256","indexed":{indexed}}}]}}"#
        )
    };
    let all = [
        declare("E", false, false),
        declare("E", true, false),
        declare("E", true, true),
        declare("e", false, false),
    ];
    let abi = read_abi(&format!("[{}]", all.join(","))).expect("it is right");
    assert_eq!((abi.events.len(), abi.repeated), (4, vec![]));
}

#[test]
fn events_are_chosen_by_name_or_signature_or_reported_unknown() {
    let all = events(ERC721);
    let chosen = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        select(&all, &names).map(|events| events.iter().map(|e| e.name.clone()).collect::<Vec<_>>())
    };
    let found = chosen(&["ApprovalForAll", "Transfer(address,address,uint256)"]).expect("both are there");
    assert_eq!(found, ["Transfer", "ApprovalForAll"]);
    let errors = chosen(&["Transfer", "Burn", "Mint"]).expect_err("two are not there");
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let known = "Transfer(address,address,uint256), Approval(address,address,uint256), ApprovalForAll(address,address,bool), ConsecutiveTransfer(uint256,uint256,address,address)";
    assert_eq!(texts, ["Burn", "Mint"].map(|name| format!("no event `{name}` in the ABI; it has {known}")));
}
