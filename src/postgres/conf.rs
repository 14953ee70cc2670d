use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::binaries::Binaries;
use super::error::{At, PostgresError};
use super::user::RunAs;

/// Settings that differ from PostgreSQL's defaults, with the reason: for a shared machine of 1 to 4 GB.
const PARAMETERS: [(&str, &str, &str); 10] = [
    ("max_connections", "50", "the daemon's pool, its commands, and a few people with psql"),
    ("shared_buffers", "128MB", "holds the hot ends of the indexes; the kernel caches the rest"),
    ("max_wal_size", "1GB", "a history sync writes much: fewer checkpoints, fewer full pages"),
    ("min_wal_size", "512MB", "files of the log stay: making one takes 80 ms, in which every commit waits"),
    ("jit", "off", "our queries are short: compiling them takes longer than running them"),
    (
        "max_parallel_workers_per_gather",
        "0",
        "parallel queries need /dev/shm (64 MB in a container) and the cores the daemon uses",
    ),
    ("timezone", "'UTC'", "times are block times"),
    ("log_timezone", "'UTC'", "the same clock as the daemon's log"),
    ("log_checkpoints", "off", "a line every few minutes without a use"),
    ("log_line_prefix", "'%m [%p] '", "time and process: enough to follow one"),
];

/// Writes the server's configuration and returns its path.
///
/// It replaces the cluster's own file, which is not read: root must not write to a place where the server's user could
/// have put a link. Settings made by `alter system` are read after this file and override it.
pub(super) async fn write(
    data_dir: &Path,
    cluster: &Path,
    binaries: &Binaries,
    run_as: &RunAs,
) -> Result<PathBuf, PostgresError> {
    let path = data_dir.join("postgresql.conf");
    // A server refuses to start with a compression method that it was built without. The cluster's own file is not read
    // here either.
    let mut ask = run_as.command(binaries.program("postgres"));
    ask.args(["-C", "wal_compression", "-c", "wal_compression=lz4", "-c", "config_file=/dev/null", "-D"])
        .arg(cluster);
    let compression = if RunAs::run("postgres", ask).await.is_ok() { "lz4" } else { "on" };
    std::fs::write(&path, text(compression)).at("write", &path)?;
    super::user::let_others_read(&path)?;
    Ok(path)
}

fn text(compression: &str) -> String {
    let mut text = String::from(
        "# Written by chainflume at every start: changes made here are lost.\n\
         # `alter system set …` keeps yours, and wins over this file.\n",
    );
    let reason =
        "full pages are most of that log; lz4, where there is one, is quicker by far than the server's own";
    let compression = ("wal_compression", compression, reason);
    for (name, value, reason) in PARAMETERS.into_iter().chain([compression]) {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n# {reason}\n{name} = {value}\n");
    }
    text
}
