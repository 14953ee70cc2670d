use std::collections::BTreeMap;
use std::env::VarError;
use std::path::{Path, PathBuf};

use chainflume::config::{Config, Environment, FileError};

/// A small configuration that is right, one key a line.
pub const RIGHT: &str = r#"
[[chain]]
name = "base"
chain_id = 8453
http = "https://node.example/v2/key-in-literal"

[[source]]
name = "usdc"
chain = "base"
family = "erc20"
address = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
start_block = 100
"#;

/// Variables and files that a test sets.
#[derive(Default)]
pub struct Given {
    variables: BTreeMap<&'static str, &'static str>,
    files: BTreeMap<PathBuf, &'static str>,
    root: bool,
}

impl Given {
    pub fn variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.insert(name, value);
        self
    }

    pub fn file(mut self, path: &str, text: &'static str) -> Self {
        self.files.insert(path.into(), text);
        self
    }

    pub fn root(mut self) -> Self {
        self.root = true;
        self
    }

    /// What comes of `text` as `chainflume.toml`.
    pub fn right(&self, text: &str) -> Config {
        match Config::parse(Path::new("chainflume.toml"), text, self) {
            Ok(config) => config,
            Err(problems) => panic!("{problems}\n{text}"),
        }
    }

    /// All that is printed about `text`, a line each.
    pub fn wrong(&self, text: &str) -> Vec<String> {
        let problems = Config::parse(Path::new("chainflume.toml"), text, self).expect_err("it is wrong");
        problems.to_string().lines().map(str::to_owned).collect()
    }
}

impl Environment for Given {
    fn var(&self, name: &str) -> Result<String, VarError> {
        self.variables.get(name).map(|value| (*value).to_owned()).ok_or(VarError::NotPresent)
    }

    fn is_root(&self) -> bool {
        self.root
    }

    fn read(&self, path: &Path, limit: u64) -> Result<String, FileError> {
        let text = self.files.get(path).ok_or(FileError::Missing)?;
        if text.len() as u64 > limit { Err(FileError::TooLarge { limit }) } else { Ok((*text).to_owned()) }
    }
}

/// `RIGHT` with one piece replaced, which must be there.
pub fn with(piece: &str, other: &str) -> String {
    assert!(RIGHT.contains(piece), "{piece}");
    RIGHT.replace(piece, other)
}

/// `RIGHT` with lines after the one that begins with `line`.
pub fn after(line: &str, more: &str) -> String {
    let found = RIGHT.lines().find(|known| known.starts_with(line)).expect("the line is there");
    RIGHT.replacen(found, &format!("{found}\n{more}"), 1)
}
