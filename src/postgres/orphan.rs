use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::error::{At, PostgresError};

const POLL: Duration = Duration::from_millis(20);

/// What is sent to a server nobody owns any more, and how long it then has: the postmaster is asked for a
/// fast shutdown, then everybody is told to leave, then everybody is killed.
const STEPS: [(Signal, Duration); 3] = [
    (Signal::INT, Duration::from_secs(10)),
    (Signal::QUIT, Duration::from_secs(5)),
    (Signal::KILL, Duration::from_secs(5)),
];

/// Ends what a killed daemon left of the server on `cluster`, and removes its pid file.
///
/// The caller holds the lock of the data directory, so whatever still runs there belongs to nobody.
/// PostgreSQL itself believes a pid file whose number is alive, and the number may have gone to another
/// program since; we look at who really works there.
pub(super) async fn clear(cluster: &Path) -> Result<(), PostgresError> {
    for (signal, patience) in STEPS {
        let pids = processes(cluster);
        if pids.is_empty() {
            break;
        }
        let postmaster = recorded(cluster).filter(|pid| pids.contains(pid));
        // Backends take SIGINT for "cancel the query", so without a postmaster they are left to notice.
        let targets = if signal == Signal::INT { postmaster.into_iter().collect() } else { pids.clone() };
        tracing::warn!(cluster = %cluster.display(), ?pids, ?signal, "ending what is left of an earlier PostgreSQL");
        for pid in targets {
            // It may have ended meanwhile.
            let _ = kill_process(pid, signal);
        }
        let until = Instant::now() + patience;
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

/// The postmaster's own record: its pid on line 1, `ready` on line 8 once it accepts connections
/// (PostgreSQL's `pidfile.h`, what `pg_ctl -w` reads too).
pub(super) fn pid_file(cluster: &Path) -> PathBuf {
    cluster.join("postmaster.pid")
}

fn recorded(cluster: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(pid_file(cluster)).ok()?;
    Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
}

/// Server processes that work in `cluster`: the postmaster goes there at its start and its children stay.
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
