use std::env::VarError;
use std::path::{Path, PathBuf};

use chainflume::config::{Config, Environment, FileError, ProcessEnvironment};

/// The files of this repository, and the variables the examples ask for.
struct Repository;

impl Environment for Repository {
    fn var(&self, name: &str) -> Result<String, VarError> {
        let value = match name {
            "STAKE_VAULT" => "0x2222222222222222222222222222222222222222",
            "STAKE_VAULT_BLOCK" => "1234",
            "DATABASE_URL" => "postgres://flume@db/flume",
            name if name.ends_with("_HTTP") => "https://node.example/key",
            name if name.ends_with("_WS") => "wss://node.example/key",
            _ => return Err(VarError::NotPresent),
        };
        Ok(value.to_owned())
    }

    fn is_root(&self) -> bool {
        false
    }

    fn read(&self, path: &Path, limit: u64) -> Result<String, FileError> {
        ProcessEnvironment.read(path, limit)
    }
}

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

#[test]
fn every_example_is_right_once_its_variables_are_set() {
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(configs()).expect("config/ is there") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let config = Config::load(&path, &Repository).unwrap_or_else(|problems| panic!("{problems}"));
            let file = path.file_name().expect("a name").to_string_lossy().into_owned();
            seen.push((file, config.chains.len(), config.sources.len()));
        }
    }
    seen.sort();
    let expected = [
        ("default.toml", 1, 1),
        ("erc20-base.toml", 1, 1),
        ("erc721-mainnet.toml", 1, 1),
        ("several-chains.toml", 2, 4),
        ("stake-vault-arbitrum-sepolia.toml", 1, 1),
    ];
    assert_eq!(seen, expected.map(|(file, chains, sources)| (file.to_owned(), chains, sources)));
}
