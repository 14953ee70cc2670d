//! Notifies systemd: ready once the daemon is ready, a status line, and a watchdog tied to the loops.

use std::collections::BTreeMap;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use chainflume_ops::health::{Board, ChainHealth, ChainState, Heartbeat, PublicHealth};

/// Notifies systemd until `stop`. Does nothing where there is no systemd.
///
/// The watchdog is fed while every loop runs and turns. One that hangs, or fails again and again, is replaced with the process
/// once `WatchdogSec` has passed.
pub(super) async fn run(board: Board, stop: CancellationToken, heartbeat: Heartbeat) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut ready = false;
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        heartbeat.beat();
        let chains = board.chains();
        let writable = board.database().is_some_and(|database| database.writable);
        let works = |chain: &ChainHealth| {
            matches!(chain.state, ChainState::Syncing | ChainState::Live | ChainState::Standby)
        };
        // A public server without chains is ready when clients get messages.
        let server = board.public().filter(|_| chains.is_empty());
        let serves = server.as_ref().is_some_and(|server| server.troubles().is_empty());
        if !ready && writable && (serves || chains.values().any(works)) {
            ready = notify(&[NotifyState::Ready]);
        }
        let _sent = notify(&[NotifyState::Status(&status(&chains, server.as_ref(), writable))]);
        if board.loops().values().all(|one| one.troubles().is_empty()) {
            let _sent = notify(&[NotifyState::Watchdog]);
        }
    }
}

/// What `systemctl status` shows: `mainnet live at block 123, lag 0; base failing at block 9, lag 4`.
fn status(chains: &BTreeMap<String, ChainHealth>, server: Option<&PublicHealth>, writable: bool) -> String {
    let one = |(name, chain): (&String, &ChainHealth)| {
        // A source that is complete stays where it is.
        let reading = chain.sources.iter().filter(|source| source.idle.is_none());
        let tip = reading.map(|source| source.tip).min().flatten();
        let at = tip.map(|tip| format!(" at block {tip}, lag {}", chain.lag())).unwrap_or_default();
        format!("{name} {}{at}", chain.state.as_str())
    };
    let database = (!writable).then(|| "database takes no writes".to_owned());
    let server = server.map(|server| match server.troubles().first() {
        Some(trouble) => format!("public server: {trouble}"),
        None => format!("public server at position {}, lag {}", server.position, server.lag),
    });
    database.into_iter().chain(chains.iter().map(one)).chain(server).collect::<Vec<_>>().join("; ")
}

/// The drain has begun.
pub(crate) fn stopping() {
    let _sent = notify(&[NotifyState::Stopping]);
}

/// Whether systemd was notified, or is not there.
fn notify(states: &[NotifyState<'_>]) -> bool {
    let sent = send(states);
    if let Err(error) = &sent {
        tracing::debug!(%error, "systemd cannot be notified");
    }
    sent.is_ok()
}

/// As `sd_notify::notify`, which waits where the socket is full: a socket that is not read must not hold up a worker, or the end.
/// A lost notification is repeated a second later.
fn send(states: &[NotifyState<'_>]) -> io::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match path.as_bytes() {
        [b'@', name @ ..] => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        _ => socket.connect(&path)?,
    }
    let lines: String = states.iter().map(|state| format!("{state}\n")).collect();
    socket.send(lines.as_bytes()).map(|_| ())
}
