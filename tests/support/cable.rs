//! The connection between a daemon and its database, which can be cut at the worst point: after the server has executed
//! a statement and before the daemon gets the answer.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::task::AbortOnDropHandle;

static CABLES: AtomicU64 = AtomicU64::new(0);

/// A socket that passes everything to a PostgreSQL server until it is cut.
pub struct Cable {
    url: String,
    folder: PathBuf,
    cut: Arc<Mutex<Cut>>,
    _forwarder: AbortOnDropHandle<()>,
}

/// The next cut. A cut closes one connection on both sides and is then over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cut {
    /// Nothing.
    #[default]
    None,
    /// The n-th next piece of the server's answers is lost; 1 for the next.
    Answer(u64),
    /// The next `commit` reaches the server, and its answer is lost.
    Commit,
}

impl Cable {
    /// Opens a cable to the database of this URL (`postgres:///name?host=folder&…`).
    pub fn lay(url: &str) -> Self {
        let (start, rest) = url.split_once("host=").expect("the url names its folder");
        let (server, more) = rest.split_once('&').expect("the url names more than its folder");
        let number = CABLES.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(format!("/tmp/cf-cable-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder).expect("/tmp takes a folder");
        let listener = UnixListener::bind(folder.join(".s.PGSQL.5432")).expect("a new folder takes a socket");
        let cut = Arc::default();
        let forwarder =
            tokio::spawn(pass_on(listener, PathBuf::from(server).join(".s.PGSQL.5432"), Arc::clone(&cut)));
        let url = format!("{start}host={}&{more}", folder.display());
        Self { url, folder, cut, _forwarder: AbortOnDropHandle::new(forwarder) }
    }

    /// The database at this end of the cable.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sets the next cut.
    pub fn set(&self, cut: Cut) {
        *lock(&self.cut) = cut;
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn lock(cut: &Mutex<Cut>) -> MutexGuard<'_, Cut> {
    cut.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn pass_on(listener: UnixListener, server: PathBuf, cut: Arc<Mutex<Cut>>) {
    let mut lines = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while lines.try_join_next().is_some() {}
        let Ok(server) = UnixStream::connect(&server).await else { continue };
        let cut = Arc::clone(&cut);
        lines.spawn(async move {
            let ((from_client, to_client), (from_server, to_server)) =
                (client.into_split(), server.into_split());
            let committing = AtomicU64::new(0);
            // The end of either direction ends both.
            tokio::select! {
                () = asked(from_client, to_server, (&cut, &committing)) => {}
                () = answered(from_server, to_client, (&cut, &committing)) => {}
            }
        });
    }
}

async fn asked(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    (cut, committing): (&Mutex<Cut>, &AtomicU64),
) {
    let mut buffer = vec![0; 1 << 14];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        // The driver's simple query, and not another statement that contains the word.
        let commits = buffer[..read].windows(7).any(|word| word == b"COMMIT\0");
        if commits && *lock(cut) == Cut::Commit {
            *lock(cut) = Cut::None;
            committing.store(1, Ordering::Relaxed);
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn answered(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    (cut, committing): (&Mutex<Cut>, &AtomicU64),
) {
    let mut buffer = vec![0; 1 << 14];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if committing.load(Ordering::Relaxed) == 1 || is_lost(&mut lock(cut)) {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

fn is_lost(cut: &mut Cut) -> bool {
    let Cut::Answer(left) = cut else { return false };
    *left = left.saturating_sub(1);
    let lost = *left == 0;
    if lost {
        *cut = Cut::None;
    }
    lost
}
