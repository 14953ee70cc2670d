use std::io::ErrorKind;
use std::path::Path;

use super::binaries::Binaries;
use super::error::{At, PostgresError};
use super::user::RunAs;
use super::{USER, orphan};

/// Major version of the cluster; `None` if there is no cluster.
pub(super) fn version(cluster: &Path) -> Result<Option<u32>, PostgresError> {
    let path = cluster.join("PG_VERSION");
    match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => Ok(other.at("read", &path)?.trim().parse().ok()),
    }
}

/// Creates the cluster if there is none.
///
/// `initdb` works in a directory beside it that is renamed at the end, so a cluster is complete or absent. `initdb`
/// writes `PG_VERSION` early, so an incomplete directory would look like a cluster.
pub(super) async fn ensure(cluster: &Path, binaries: &Binaries, run_as: &RunAs) -> Result<(), PostgresError> {
    if version(cluster)?.is_some() {
        return Ok(());
    }
    let unfinished = cluster.with_extension("new");
    orphan::clear(&unfinished).await?;
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).at("remove", &unfinished)?;
    }
    run_as.make_dir(&unfinished)?;
    tracing::info!(path = %cluster.display(), "creating a PostgreSQL cluster");
    let mut initdb = run_as.command(binaries.program("initdb"));
    // A user with access to the socket's directory (mode 0700) may connect: the server's user and root.
    // The C locale sorts the same on every machine and libc, so no upgrade breaks an index.
    initdb.args(["--username", USER, "--auth-local=trust", "--auth-host=reject"]);
    initdb.args(["--encoding=UTF8", "--locale=C", "--data-checksums", "--pgdata"]).arg(&unfinished);
    RunAs::run("initdb", initdb).await?;
    std::fs::rename(&unfinished, cluster).at("put the new cluster at", cluster)?;
    if let Some(parent) = cluster.parent() {
        std::fs::File::open(parent).and_then(|dir| dir.sync_all()).at("sync", parent)?;
    }
    Ok(())
}
