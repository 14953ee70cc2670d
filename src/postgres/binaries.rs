use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::error::PostgresError;
use super::user::RunAs;

/// Directories of distributions that install several versions: `<parent>/<prefix>*/bin`.
const VERSIONED: [(&str, &str); 2] = [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")];

/// The required programs.
const PROGRAMS: [&str; 4] = ["postgres", "initdb", "psql", "createdb"];

/// The server's programs, all of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binaries {
    dir: PathBuf,
    major: u32,
}

impl Binaries {
    /// Finds the newest server, or the one of version `wanted` if a cluster exists.
    ///
    /// Searches only `bin_dir` if it is given. Otherwise searches `PATH`, the directory that `pg_config` names, and the
    /// directories of distributions: Debian keeps the server's programs out of `PATH`.
    pub(super) async fn find(
        bin_dir: Option<&Path>,
        run_as: &RunAs,
        wanted: Option<u32>,
        cluster: &Path,
    ) -> Result<Self, PostgresError> {
        let dirs = match bin_dir {
            Some(dir) => vec![dir.to_path_buf()],
            None => candidates(run_as).await,
        };
        let mut found = Vec::new();
        for dir in dirs {
            if let Some(major) = server_version(&dir, run_as).await {
                found.push(Self { dir, major });
            }
        }
        let fits = |binaries: &&Self| wanted.is_none_or(|wanted| wanted == binaries.major);
        // Of several with the same version the first one wins, so `PATH` has priority.
        if let Some(best) = found.iter().rev().filter(fits).max_by_key(|binaries| binaries.major) {
            return Ok(best.clone());
        }
        let Some(wanted) = wanted.filter(|_| !found.is_empty()) else {
            return Err(PostgresError::NoBinaries { searched: searched(bin_dir) });
        };
        let versions: Vec<String> = found.iter().map(|binaries| binaries.major.to_string()).collect();
        Err(PostgresError::OtherVersion { cluster: cluster.into(), wanted, found: versions.join(", ") })
    }

    /// Full path of one of the programs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

fn searched(bin_dir: Option<&Path>) -> String {
    bin_dir.map_or_else(
        || "PATH, `pg_config --bindir`, /usr/lib/postgresql/*/bin, /usr/pgsql-*/bin".into(),
        |dir| dir.display().to_string(),
    )
}

async fn candidates(run_as: &RunAs) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let pg_config = dirs.iter().map(|dir| dir.join("pg_config")).find(|file| file.exists());
    if let Some(pg_config) = pg_config {
        let mut command = run_as.command(pg_config);
        command.arg("--bindir");
        dirs.extend(RunAs::run("pg_config", command).await.ok().map(PathBuf::from));
    }
    for (parent, prefix) in VERSIONED {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let versions = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
        dirs.extend(versions.map(|entry| entry.path().join("bin")));
    }
    // Links are followed, since some machines link only a few of the programs elsewhere.
    let homes =
        dirs.iter().filter_map(|dir| Some(dir.join("postgres").canonicalize().ok()?.parent()?.to_owned()));
    let mut seen = BTreeSet::new();
    homes.filter(|dir| seen.insert(dir.clone())).collect()
}

/// Runs as the server's user: a server that this user cannot execute is useless.
async fn server_version(dir: &Path, run_as: &RunAs) -> Option<u32> {
    if !PROGRAMS.iter().all(|program| dir.join(program).exists()) {
        return None;
    }
    let mut command = run_as.command(dir.join("postgres"));
    command.arg("--version");
    major(&RunAs::run("postgres", command).await.ok()?)
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` is 15, `17beta2` is 17.
fn major(version: &str) -> Option<u32> {
    let number = version.split_whitespace().nth(2)?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_the_server_prints() {
        let texts = [
            "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)",
            "postgres (PostgreSQL) 17beta2",
            "postgres (PostgreSQL) 16devel",
            "something else",
        ];
        assert_eq!(texts.map(major), [Some(15), Some(17), Some(16), None]);
    }
}
