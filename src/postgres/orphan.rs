use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::error::{At, PostgresError};

const POLL: Duration = Duration::from_millis(20);

/// The signals for an orphaned server and the timeout after each: a fast shutdown for the postmaster, then a
/// termination of all processes, then a kill.
const STEPS: [(Signal, Duration); 3] = [
    (Signal::INT, Duration::from_secs(10)),
    (Signal::QUIT, Duration::from_secs(5)),
    (Signal::KILL, Duration::from_secs(5)),
];

/// Stops the rest of a killed daemon's server on `cluster`, and removes its pid file.
///
/// The caller holds the lock of the data directory, so every process there is an orphan. PostgreSQL itself trusts a pid
/// file whose number is alive, but the number may belong to another program. This function checks the working directory
/// of each process.
pub(super) async fn clear(cluster: &Path) -> Result<(), PostgresError> {
    for (signal, limit) in STEPS {
        let pids = processes(cluster);
        if pids.is_empty() {
            break;
        }
        let postmaster = recorded(cluster).filter(|pid| pids.contains(pid));
        // Backends take SIGINT as "cancel the query", so without a postmaster they get no signal here and end on their
        // own.
        let targets = if signal == Signal::INT { postmaster.into_iter().collect() } else { pids.clone() };
        tracing::warn!(cluster = %cluster.display(), ?pids, ?signal, "stopping processes of an earlier PostgreSQL");
        for pid in targets {
            // The process may have ended meanwhile.
            let _ = kill_process(pid, signal);
        }
        let until = Instant::now() + limit;
        while !processes(cluster).is_empty() && Instant::now() < until {
            sleep(POLL).await;
        }
    }
    let left = processes(cluster);
    if !left.is_empty() {
        let pids: Vec<String> = left.iter().map(|pid| pid.as_raw_nonzero().to_string()).collect();
        return Err(PostgresError::StillRunning { cluster: cluster.into(), pids: pids.join(", ") });
    }
    let pid_file = pid_file(cluster);
    match std::fs::remove_file(&pid_file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.at("remove", &pid_file),
    }
}

/// The record of the postmaster: its pid on line 1, `ready` on line 8 once it accepts connections (PostgreSQL's
/// `pidfile.h`, which `pg_ctl -w` reads too).
pub(super) fn pid_file(cluster: &Path) -> PathBuf {
    cluster.join("postmaster.pid")
}

/// The postmaster that the pid file names. A server in single-user mode, as `initdb` runs it, writes its number as a negative one.
fn recorded(cluster: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(pid_file(cluster)).ok()?;
    let number: i32 = text.lines().next()?.trim().parse().ok()?;
    Pid::from_raw(number.max(0))
}

/// Server processes whose working directory is `cluster`: the postmaster changes to it at its start, and its children
/// stay there.
fn processes(cluster: &Path) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter(|pid| serves(*pid, cluster)).collect()
}

fn serves(pid: Pid, cluster: &Path) -> bool {
    let proc = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    let runs_postgres = std::fs::read_to_string(proc.join("comm"))
        .is_ok_and(|name| matches!(name.trim(), "postgres" | "postmaster"));
    runs_postgres && std::fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd == cluster)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_of_initdb_is_no_postmaster() {
        let cluster = tempfile::tempdir().expect("a folder");
        for (text, pid) in
            [("17\n/data\n", Some(17)), ("-17\n", None), ("0\n", None), ("x\n", None), ("", None)]
        {
            std::fs::write(pid_file(cluster.path()), text).expect("written");
            assert_eq!(recorded(cluster.path()).map(Pid::as_raw_pid), pid, "{text}");
        }
    }
}
