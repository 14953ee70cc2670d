//! The admin role: the admin address, alerts, leases, the database probe and systemd. It watches the other loops.

mod alerts;
mod notify;
mod probe;

pub(crate) use alerts::post;
pub use alerts::watch;
pub(crate) use notify::stopping;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::database::OpenDatabase;
use super::error::AppError;
use super::loops::anew;
use super::parts::{Loaded, admin_settings};
use crate::admin::AdminServer;
use crate::lease::LeaseManager;
use crate::postgres::PrivatePostgres;
use chainflume_ops::health::{Board, Heartbeat};
use chainflume_ops::metrics;
use chainflume_ops::shutdown::{self, DrainReport};
use chainflume_ops::supervise::{Loop, Supervisor};
use chainflume_store::Store;

/// Loops that end after all others, since an operator wants to see the drain.
pub(crate) struct Background {
    supervisor: Supervisor,
    board: Board,
    end: CancellationToken,
    tasks: JoinSet<()>,
}

/// They have nothing to finish but the answer to a scrape.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// These turn every second or two, and nothing in a turn takes longer than a few seconds.
const HUNG: Duration = Duration::from_secs(20);

impl Background {
    /// Nothing runs yet.
    pub(crate) fn new(supervisor: &Supervisor, board: &Board) -> Self {
        let (end, tasks) = (CancellationToken::new(), JoinSet::new());
        Self { supervisor: supervisor.clone(), board: board.clone(), end, tasks }
    }

    /// Everything but the alerts, whose settings may be wrong.
    pub(crate) fn watch_all(
        &mut self,
        database: &OpenDatabase,
        admin: AdminServer,
        manager: Option<LeaseManager>,
        stop: &CancellationToken,
    ) {
        if let Some(manager) = manager {
            self.leases(manager, stop.clone());
        }
        self.probe(&database.store);
        self.notify();
        self.admin(admin);
        if let Some(private) = &database.private {
            self.postgres(private);
        }
    }

    /// Sends alerts.
    ///
    /// # Errors
    /// What is wrong with the URL of the webhook.
    pub(crate) fn alerts(&mut self, loaded: &Loaded) -> Result<(), AppError> {
        let (loaded, board, end) = (loaded.clone(), self.board.clone(), self.end.clone());
        let mut watch = anew(alerts::watch(&loaded, &board)?, move || alerts::watch(&loaded, &board));
        self.keep("alerts", move |heartbeat| {
            let (watch, end) = (watch(), end.clone());
            async move {
                if let Some(watch) = watch {
                    watch.run(end, heartbeat).await;
                }
            }
        });
        Ok(())
    }

    /// The manager stays what it is when it fails, since it knows what is held here: a round of it may break off anywhere.
    fn leases(&mut self, manager: LeaseManager, stop: CancellationToken) {
        let (manager, end) = (Arc::new(Mutex::new(manager)), self.end.clone());
        self.keep("leases", move |heartbeat| {
            let (manager, stop, end) = (manager.clone(), stop.clone(), end.clone());
            async move { manager.lock().await.run(&stop, &end, &heartbeat).await }
        });
    }

    /// Asks whether the database takes writes.
    pub(crate) fn probe(&mut self, store: &Store) {
        let (store, board, end) = (store.clone(), self.board.clone(), self.end.clone());
        self.keep("probe", move |heartbeat| probe::run(store.clone(), board.clone(), end.clone(), heartbeat));
    }

    fn notify(&mut self) {
        let (board, end) = (self.board.clone(), self.end.clone());
        self.keep("systemd", move |heartbeat| notify::run(board.clone(), end.clone(), heartbeat));
    }

    /// Answers on the admin address.
    pub(crate) fn admin(&mut self, admin: AdminServer) {
        let (admin, end) = (Arc::new(admin), self.end.clone());
        self.keep("admin", move |heartbeat| {
            let (admin, end) = (admin.clone(), end.clone());
            async move {
                if let Err(error) = heartbeat.wait(admin.serve(end)).await {
                    tracing::error!(%error, "the admin address is lost; it is bound again");
                }
            }
        });
    }

    /// No other task can start a server whose manager is gone: the process has to end.
    fn postgres(&mut self, private: &PrivatePostgres) {
        let (ended, end) = (private.ended(), self.end.clone());
        let this = Loop::new("postgres", HUNG);
        self.tasks.spawn(self.supervisor.end_with(this, self.end.clone(), move |heartbeat| async move {
            end.run_until_cancelled(heartbeat.wait(ended.cancelled())).await;
        }));
    }

    fn keep<F, W>(&mut self, name: &str, start: F)
    where
        F: FnMut(Heartbeat) -> W + Send + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(self.supervisor.keep(Loop::new(name, HUNG), self.end.clone(), start));
    }

    /// Ends them.
    pub(crate) async fn drain(self) -> DrainReport<()> {
        self.end.cancel();
        shutdown::drain(LAST_WORDS, self.tasks).await
    }
}

/// Takes the admin address.
pub(crate) async fn bind(loaded: &Loaded, board: &Board) -> Result<AdminServer, AppError> {
    let handle = metrics::install().map_err(anyhow::Error::from)?;
    AdminServer::bind(admin_settings(&loaded.config), board.clone(), handle).await.map_err(|error| {
        let text = format!("{}: admin.listen: {error}", loaded.path.display());
        if error.is_taken() { AppError::Busy(text) } else { AppError::Config(text) }
    })
}
