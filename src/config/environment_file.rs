use std::collections::BTreeMap;
use std::env::VarError;
use std::path::{Path, PathBuf};

use super::environment::{Environment, FileError};

/// The environment of a command: what the process has, and what it lacks from the file of variables beside the configuration,
/// which systemd reads for the service (`EnvironmentFile=`).
#[derive(Clone, Debug)]
pub struct CommandEnvironment<E> {
    own: E,
    file: BTreeMap<String, String>,
    /// The file that is there and may not be read.
    pub denied: Option<PathBuf>,
}

/// The file's name, as the package has it.
const FILE: &str = "secrets.env";
/// It holds a few lines.
const LARGEST: u64 = 1 << 20;

impl<E: Environment> CommandEnvironment<E> {
    /// With what is beside the configuration at `config`.
    pub fn beside(config: &Path, own: E) -> Self {
        let path = config.with_file_name(FILE);
        let (file, denied) = match own.read(&path, LARGEST) {
            Ok(text) => (variables(&text), None),
            Err(FileError::Missing) => (BTreeMap::new(), None),
            Err(_) => (BTreeMap::new(), Some(path)),
        };
        Self { own, file, denied }
    }
}

impl<E: Environment> Environment for CommandEnvironment<E> {
    fn var(&self, name: &str) -> Result<String, VarError> {
        match self.own.var(name) {
            Err(VarError::NotPresent) => self.file.get(name).cloned().ok_or(VarError::NotPresent),
            own => own,
        }
    }

    fn is_root(&self) -> bool {
        self.own.is_root()
    }

    fn read(&self, path: &Path, limit: u64) -> Result<String, FileError> {
        self.own.read(path, limit)
    }
}

/// As systemd.exec(5) has `EnvironmentFile=`: a variable a line, comments behind `#` or `;`, values in quotes or without, where a
/// backslash takes the next character as it is. Values of several lines are not read.
fn variables(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.trim_end().to_owned(), unquoted(value.trim()))).collect()
}

fn unquoted(value: &str) -> String {
    let single = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
    if let Some(single) = single {
        return single.to_owned();
    }
    let double = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let mut plain = String::new();
    let mut chars = double.unwrap_or(value).chars();
    while let Some(char) = chars.next() {
        plain.extend(if char == '\\' { chars.next() } else { Some(char) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Given(Result<String, FileError>);

    impl Environment for Given {
        fn var(&self, name: &str) -> Result<String, VarError> {
            if name == "OWN" { Ok("own".to_owned()) } else { Err(VarError::NotPresent) }
        }

        fn is_root(&self) -> bool {
            false
        }

        fn read(&self, path: &Path, _: u64) -> Result<String, FileError> {
            assert_eq!(path, Path::new("/etc/chainflume/secrets.env"));
            self.0.clone()
        }
    }

    fn environment(file: Result<&str, FileError>) -> CommandEnvironment<Given> {
        CommandEnvironment::beside(
            Path::new("/etc/chainflume/chainflume.toml"),
            Given(file.map(str::to_owned)),
        )
    }

    #[test]
    fn a_command_reads_the_variables_of_the_service() {
        let file = "# secrets\n;more\nOWN=file\nURL = postgres://u:p@h/db\nQUOTED=\"a b\\\"c\"\nSINGLE='a\\b'\nEMPTY=\nno line\n";
        let environment = environment(Ok(file));
        let values =
            ["OWN", "URL", "QUOTED", "SINGLE", "EMPTY"].map(|name| environment.var(name).expect("is there"));
        assert_eq!(values, ["own", "postgres://u:p@h/db", "a b\"c", "a\\b", ""]);
        assert_eq!((environment.var("OTHER"), environment.denied), (Err(VarError::NotPresent), None));
    }

    #[test]
    fn a_file_that_may_not_be_read_is_named() {
        let path = PathBuf::from("/etc/chainflume/secrets.env");
        assert_eq!(environment(Err(FileError::Denied)).denied, Some(path));
        assert_eq!(environment(Err(FileError::Missing)).denied, None);
    }
}
