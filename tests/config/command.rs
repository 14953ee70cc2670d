use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::given::{RIGHT, with};

/// What `chainflume` answers in `folder`: exit code, stdout, stderr.
fn chainflume(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chainflume"));
    let command =
        command.args(args).current_dir(folder).env_remove("CHAINFLUME_CONFIG").env("RUST_BACKTRACE", "1");
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code().expect("it ended by itself"), text(stdout), text(stderr))
}

fn folder_with(text: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("chainflume.toml"), text).expect("written");
    folder
}

#[test]
fn help_and_version_are_no_errors_and_wrong_arguments_are_64() {
    let folder = TempDir::new().expect("a folder");
    let run = |args: &[&str]| chainflume(folder.path(), args);
    let (code, help, errors) = run(&["--help"]);
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(help.contains("64  wrong arguments") && help.contains("78  wrong configuration"), "{help}");
    assert_eq!(
        run(&["--version"]),
        (0, format!("chainflume {}\n", env!("CARGO_PKG_VERSION")), String::new())
    );
    for args in
        [&[][..], &["chekc"], &["check", "--config"], &["init", "--family", "erc777", "--address", "any"]]
    {
        assert_eq!(run(args).0, 64, "{args:?}");
    }
}

/// The driver would connect without what was meant.
#[test]
fn a_misspelt_parameter_of_the_database_ends_check_and_run() {
    let url =
        |query: &str| format!("[database]\nurl = \"postgres://ada:hunter2@127.0.0.1:1/flume?{query}\"\n");
    for (query, words) in [
        (
            "sslmod=require",
            "the value has the parameter sslmod, which is not known (write sslmode, or remove it; known are sslmode, ",
        ),
        (
            "sslroot=/ca.pem",
            "the value has the parameter sslroot, which is not known (write sslrootcert, or remove it; known are ",
        ),
        (
            "sslmode=requird",
            "the value has an sslmode that is not known (write one of disable, allow, prefer, ",
        ),
    ] {
        let folder = folder_with(&format!("{}{RIGHT}", url(query)));
        for args in [&["check", "--offline"][..], &["check"], &["run"]] {
            let (code, answer, errors) = chainflume(folder.path(), args);
            assert_eq!((code, errors.contains(words)), (78, true), "{args:?}: {answer}{errors}");
            assert!(!format!("{answer}{errors}").contains("hunter2"), "{args:?}: {answer}{errors}");
        }
    }
}

/// Parts of a contract that were joined into one ABI: the event is declared again with other names of its arguments.
#[test]
fn an_event_declared_twice_counts_once_and_has_a_note() {
    let declared = |who: &str, amount: &str| {
        format!(
            r#"{{"type":"event","name":"Moved","inputs":[{{"name":"{who}","type":"address","indexed":true}},{{"name":"{amount}","type":"uint256"}}]}}"#
        )
    };
    let text = with("family = \"erc20\"", "family = \"generic\"\nabi = \"abi.json\"");
    let folder = folder_with(&text);
    let abi = [declared("who", "amount"), declared("_who", "_amount"), declared("a", "b")].join(",");
    fs::write(folder.path().join("abi.json"), format!("[{abi}]")).expect("written");
    let (code, answer, errors) = chainflume(folder.path(), &["check", "--offline"]);
    assert_eq!((code, errors.as_str()), (0, ""));
    let note = |names: &str| {
        format!(
            "    note: Moved(address,uint256) is declared again with the arguments {names}; the first declaration is used: who, amount\n"
        )
    };
    let expected = format!("    Moved(address,uint256)\n{}{}", note("_who, _amount"), note("a, b"));
    assert!(answer.ends_with(&expected), "{answer}");
    let (_, answer, _) = chainflume(folder.path(), &["check", "--offline", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("json");
    assert_eq!(answer["chains"][0]["sources"][0]["notes"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_right_configuration_exits_0_and_a_wrong_one_78() {
    let folder = folder_with(RIGHT);
    let (code, answer, errors) = chainflume(folder.path(), &["check", "--offline"]);
    assert_eq!((code, errors.as_str()), (0, ""));
    let expected = "the configuration is right\n\n\
        chain base (id 8453): 2 confirmations, http\n  \
        source usdc: erc20, 0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913, from block 100\n    \
        Transfer(address,address,uint256)\n    Approval(address,address,uint256)\n";
    assert_eq!(answer, expected);

    let folder = folder_with(&with("chain_id = 8453\n", ""));
    let missing = "chain[0].chain_id: is missing (add chain_id = N, the chain's EIP-155 id: the node is checked against it)";
    let expected = format!("error: 1 problem in chainflume.toml\nchainflume.toml:2: {missing}\n");
    assert_eq!(chainflume(folder.path(), &["check", "--offline"]), (78, String::new(), expected));
}

#[test]
fn a_script_gets_json_whatever_came_of_it() {
    let folder = folder_with(&with("8453", "0"));
    let (code, answer, errors) = chainflume(folder.path(), &["check", "--offline", "--json"]);
    assert_eq!((code, errors.as_str()), (78, ""));
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let problem = serde_json::json!({
        "line": 4, "key": "chain[0].chain_id", "problem": "`0` is too small",
        "remedy": "give a value from 1 to 9223372036854775807",
    });
    assert_eq!(answer, serde_json::json!({ "ok": false, "file": "chainflume.toml", "problems": [problem] }));
    let folder = folder_with(RIGHT);
    let (code, answer, _) = chainflume(folder.path(), &["check", "--offline", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!((code, &answer["ok"]), (0, &serde_json::json!(true)));
}

#[test]
fn a_missing_configuration_is_reported_with_its_places() {
    let folder = TempDir::new().expect("a folder");
    let expected = "error: no configuration: neither chainflume.toml nor /etc/chainflume/chainflume.toml is there; \
                    write one with `chainflume init`, or name one with --config\n";
    assert_eq!(chainflume(folder.path(), &["check"]), (78, String::new(), expected.to_owned()));
}

#[test]
fn check_finds_a_place_where_no_database_can_be_made() {
    let folder = folder_with(&format!(
        "data_dir = \"closed/data\"\n{}",
        with("https://node.example/v2/key-in-literal", "http://127.0.0.1:9/")
    ));
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("our own folder");
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).expect("our own folder");
    fs::set_permissions(&closed, Permissions::from_mode(0o500)).expect("our own folder");
    let (code, answer, errors) = chainflume(folder.path(), &["check"]);
    // Root writes everywhere, and its server runs as another user.
    let verb = if rustix::process::geteuid().is_root() { "enter" } else { "write to" };
    let words = format!("cannot {verb} {}; set `data_dir`", closed.display());
    assert!(code != 0 && answer.contains(&words), "{code} {answer} {errors}");
    assert_eq!(fs::read_dir(&closed).expect("readable").count(), 0, "check wrote something");
}

#[test]
fn what_init_writes_passes_check() {
    let abi = include_str!("../../abi/CryptoKitties.json");
    let urls = |variables: &str| {
        format!("set {variables} to the URLs of your node (else it is http://127.0.0.1:8545), ")
    };
    for (args, variables) in [
        (
            "--family stake --address 0x2222222222222222222222222222222222222222",
            urls("MAINNET_HTTP and MAINNET_WS"),
        ),
        (
            "--family erc20 --address any --chain-id 8453 --start-block 7 --ws ws://localhost",
            urls("BASE_HTTP"),
        ),
        (
            "--family erc721 --address 0xBC4CA0EdA7647A8aB7C2061c2E118A18a936f13D --http ${UNSET_URL}",
            "set MAINNET_WS to the WebSocket URL of the node, ".to_owned(),
        ),
        (
            "--family generic --address any --abi kitties.json --chain my-own --chain-id 9 --http http://localhost --ws ws://localhost",
            String::new(),
        ),
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        let folder = TempDir::new().expect("a folder");
        fs::write(folder.path().join("kitties.json"), abi).expect("written");
        let run = |args: &[&str]| chainflume(folder.path(), args);
        let next = format!(
            "wrote chainflume.toml; next: {variables}run `chainflume check --config chainflume.toml` and then `chainflume run`; \
             `chainflume psql` reads what is stored\n"
        );
        assert_eq!(run(&[&["init"][..], &args].concat()), (0, next, String::new()), "{args:?}");
        if !args.contains(&"${UNSET_URL}") {
            assert_eq!(run(&["check", "--offline"]).0, 0, "{args:?}");
        }
    }
}

#[test]
fn init_never_overwrites_without_its_option() {
    let folder = folder_with("precious");
    let file = folder.path().join("chainflume.toml");
    let args = ["init", "--family", "erc20", "--address", "any"];
    let expected =
        "error: chainflume.toml exists; overwrite it with --force, or write another with --output\n";
    assert_eq!(chainflume(folder.path(), &args), (1, String::new(), expected.to_owned()));
    assert_eq!(fs::read_to_string(&file).expect("still there"), "precious");
    assert_eq!(chainflume(folder.path(), &[&args[..], &["--force"]].concat()).0, 0);
    assert_eq!(chainflume(folder.path(), &["check", "--offline"]).0, 0);
}

#[test]
fn init_refuses_what_check_would_refuse_and_writes_nothing() {
    let folder = TempDir::new().expect("a folder");
    let (code, _, errors) = chainflume(folder.path(), &["init", "--family", "erc20", "--address", "0x12"]);
    let address =
        "source[0].address: `0x12` is not an address (an address has 40 hex digits after 0x, this has 2)\n";
    assert_eq!((code, errors.ends_with(address)), (64, true), "{errors}");
    let (code, _, errors) =
        chainflume(folder.path(), &["init", "--family", "erc20", "--address", "any", "--chain", "x"]);
    assert_eq!(
        (code, errors.starts_with("error: give the id of chain `x` with --chain-id (known without: ")),
        (64, true)
    );
    assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0);
}

#[test]
fn manual_schema_and_completions_go_to_stdout() {
    let folder = TempDir::new().expect("a folder");
    let manual = include_str!("../../config/default.toml");
    assert_eq!(chainflume(folder.path(), &["init", "--manual"]), (0, manual.to_owned(), String::new()));
    let schema = include_str!("../../schemas/message.json");
    assert_eq!(chainflume(folder.path(), &["schema"]), (0, schema.to_owned(), String::new()));
    let (code, script, errors) = chainflume(folder.path(), &["completions", "bash"]);
    assert_eq!((code, errors.as_str(), script.contains("_chainflume()")), (0, "", true));
}

#[test]
fn the_views_that_the_readme_names_are_those_of_its_init() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"))
        .expect("it is there");
    let line = readme.lines().find_map(|line| line.strip_prefix("chainflume init ")).expect("it is there");
    let folder = tempfile::tempdir().expect("it is there");
    let arguments: Vec<&str> = ["init"].into_iter().chain(line.split(' ')).collect();
    let (code, _, err) = chainflume(folder.path(), &arguments);
    assert_eq!(code, 0, "{err}");
    let written = std::fs::read_to_string(folder.path().join("chainflume.toml")).expect("it is there");
    let mut names = written.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    let source = names.next_back().expect("it is there");
    assert!(
        readme.contains(&format!("# the typed views: {source}_transfer, {source}_approval, …")),
        "{source}"
    );
    for variable in ["BASE_HTTP=", "BASE_WS="] {
        assert!(written.contains(variable.trim_end_matches('=')) && readme.contains(variable), "{variable}");
    }
}

#[test]
fn the_readme_on_a_development_node_is_right_as_it_is() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"))
        .expect("it is there");
    let mut lines = readme.lines().filter_map(|line| line.strip_prefix("chainflume init "));
    let line = lines.find(|line| line.contains("--chain anvil")).expect("it is there");
    let folder = TempDir::new().expect("a folder");
    let run = |args: &[&str]| chainflume(folder.path(), args);
    assert_eq!(run(&["init"].into_iter().chain(line.split(' ')).collect::<Vec<_>>()).0, 0);
    let file = folder.path().join("chainflume.toml");
    let mut text = fs::read_to_string(&file).expect("written");
    // The node makes no block without a transaction.
    assert!(text.contains("chain_id = 31337\n") && text.contains("confirmations = 0\n"), "{text}");
    let (_, source) = readme.split_once("```toml\n").expect("a table");
    text += source.split_once("```").expect("its end").0;
    fs::write(&file, text).expect("written");
    fs::create_dir(folder.path().join("abi")).expect("made");
    let bought = r#"[{"type":"event","name":"Bought","inputs":[]}]"#;
    fs::write(folder.path().join("abi/Shop.json"), bought).expect("written");
    let (code, answer, errors) = run(&["check", "--offline"]);
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(answer.contains("0 confirmations") && answer.contains("source shop: generic"), "{answer}");
}

#[test]
fn a_statement_for_psql_is_not_taken_for_a_configuration() {
    let folder = folder_with(RIGHT);
    let (code, _, errors) = chainflume(folder.path(), &["psql", "-c", "select 1"]);
    assert_eq!(
        (code, errors.as_str()),
        (
            64,
            "error: -c names the configuration file; arguments of psql follow --, as in `chainflume psql -- -c \"select …\"`\n"
        )
    );
}
