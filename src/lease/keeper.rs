use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::chair::{Chair, Term};
use super::decide::{Facts, Move, decide, instance};
use chainflume_core::domain::causes;
use chainflume_db::{Epoch, InstanceRow, LeaseSession, LeaseState, LeaseTable, StoreError};
use chainflume_ops::health::{Board, LeaseHealth, Pulse};
use chainflume_ops::metrics;
use chainflume_store::Store;

/// Takes leases, makes them last, gives them back.
pub struct Keeper {
    settings: Settings,
    session: LeaseSession,
    board: Board,
    kick: Arc<Notify>,
    seats: BTreeMap<String, Seat>,
    renewed_at: Option<Instant>,
    /// Since when each lease that nobody holds was seen like that, and at which epoch.
    idle: BTreeMap<String, (u64, Instant)>,
    /// Others of this instance's name, and until when each had said that it lives when it was first seen.
    namesakes: BTreeMap<String, u64>,
    /// Those of them that have said so again since.
    twins: BTreeSet<String>,
    failing: bool,
}

/// A lease this instance would hold.
struct Seat {
    term: Arc<watch::Sender<Term>>,
    /// While it holds it.
    epoch: Option<Epoch>,
}

/// A round that takes longer is given up and its connection with it.
const PATIENCE: Duration = Duration::from_secs(5);

/// An instance's name with a number that no other run of it has.
pub fn holder(name: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{name}#{:x}-{:x}", std::process::id(), now.as_micros())
}

impl Keeper {
    /// Nothing is asked and nothing taken yet.
    pub fn new(settings: Settings, store: &Store, board: Board) -> Self {
        let session = store.lease_session(holder(&settings.name), settings.length);
        Self {
            settings,
            session,
            board,
            kick: Arc::default(),
            seats: BTreeMap::new(),
            renewed_at: None,
            idle: BTreeMap::new(),
            namesakes: BTreeMap::new(),
            twins: BTreeSet::new(),
            failing: false,
        }
    }

    /// A chair for whoever leads by the lease `name`.
    pub fn chair(&mut self, name: String) -> Chair {
        let term = Arc::new(watch::Sender::new(Term::Vacant));
        self.board.lease(&name, |_| {});
        metrics::lease_starts(&name);
        self.seats.insert(name, Seat { term: term.clone(), epoch: None });
        Chair { term, kick: self.kick.clone() }
    }

    /// Keeps leases until `end`. From `stop` on none is taken, and each is given back as soon as its worker has finished.
    /// While the database is away everything stays as it is: who leads is what the database says, and a leader that
    /// was replaced meanwhile can commit nothing. May be called again where it panicked: a round may break off anywhere.
    pub async fn run(&mut self, stop: &CancellationToken, end: &CancellationToken, pulse: &Pulse) {
        while !end.is_cancelled() {
            pulse.beat();
            let round = tokio::time::timeout(PATIENCE, self.round(stop)).await;
            let round = round.unwrap_or_else(|_| Err(LATE.to_owned()));
            self.say(round.err());
            tokio::select! {
                () = end.cancelled() => {}
                () = self.kick.notified() => {}
                () = tokio::time::sleep(self.settings.look_every()) => {}
            }
        }
        let _in_time = tokio::time::timeout(LAST_WORDS, self.leave()).await;
    }

    async fn round(&mut self, stop: &CancellationToken) -> Result<(), String> {
        let told = |error: StoreError| causes(&error);
        if self.renewed_at.is_none_or(|at| at.elapsed() >= self.settings.renew_every()) {
            self.renew().await.map_err(told)?;
        }
        self.give_back().await.map_err(told)?;
        if stop.is_cancelled() {
            return Ok(());
        }
        let roll = self.session.roll().await.map_err(told)?;
        self.note(&roll);
        self.note_twins(&roll);
        for next in self.decide(&roll) {
            match next {
                Move::Take { name, seen, is_orphan } => {
                    self.take(name, seen, is_orphan).await.map_err(told)?;
                }
                Move::Yield { name } => self.hand_over(&name),
            }
        }
        Ok(())
    }

    async fn renew(&mut self) -> Result<(), StoreError> {
        let wants: Vec<String> = self.seats.keys().cloned().collect();
        let held: Vec<(String, Epoch)> =
            self.seats.iter().filter_map(|(name, seat)| Some((name.clone(), seat.epoch?))).collect();
        let begun = Instant::now();
        let kept = self.session.renew(&wants, &held).await?;
        self.renewed_at = Some(begun);
        for (name, epoch) in held.iter().filter(|(name, _)| !kept.contains(name)) {
            tracing::warn!(lease = name, %epoch, "another instance has taken the lease; this one waits");
            if let Some(seat) = self.seats.get_mut(name) {
                seat.epoch = None;
                seat.end();
            }
        }
        Ok(())
    }

    /// Leases whose worker has finished.
    async fn give_back(&mut self) -> Result<(), StoreError> {
        for (name, seat) in &mut self.seats {
            let Some(epoch) = seat.epoch else { continue };
            if matches!(*seat.term.borrow(), Term::Vacant | Term::Gone) {
                self.session.release(name, epoch).await?;
                seat.epoch = None;
                tracing::info!(lease = name, %epoch, "lease given back");
                self.board.lease(name, |lease| *lease = LeaseHealth::default());
            }
        }
        Ok(())
    }

    async fn take(&mut self, name: String, seen: u64, is_orphan: bool) -> Result<(), StoreError> {
        let Some(seat) = self.seats.get_mut(&name) else { return Ok(()) };
        // A worker that still finishes an earlier turn is waited for.
        if *seat.term.borrow() != Term::Vacant {
            return Ok(());
        }
        if let Some(epoch) = self.session.take(&name, seen, is_orphan).await? {
            seat.epoch = Some(epoch);
            seat.term.send_replace(Term::Granted(epoch));
            self.idle.remove(&name);
            metrics::lease_taken(&name);
            if is_orphan {
                tracing::warn!(lease = name, %epoch, "lease taken: its holder is gone");
            } else {
                tracing::info!(lease = name, %epoch, "lease taken");
            }
            let holder = Some(self.session.holder().to_owned());
            self.board
                .lease(&name, |lease| *lease = LeaseHealth { held: true, holder, epoch: epoch.number() });
        }
        Ok(())
    }

    fn hand_over(&mut self, name: &str) {
        let Some(seat) = self.seats.get_mut(name) else { return };
        if *seat.term.borrow() == Term::Working {
            tracing::info!(lease = name, "lease goes to an instance that leads less");
        }
        seat.end();
    }

    fn decide(&self, roll: &LeaseTable) -> Vec<Move> {
        let wants: Vec<String> = self.seats.keys().cloned().collect();
        let held: BTreeSet<String> = self
            .seats
            .iter()
            .filter(|(_, seat)| seat.epoch.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        let idle = self.idle.iter().map(|(name, (_, at))| (name.clone(), at.elapsed())).collect();
        decide(&Facts {
            settings: &self.settings,
            me: self.session.holder(),
            wants: &wants,
            held: &held,
            roll,
            idle: &idle,
            twins: &self.twins,
        })
    }

    /// Remembers since when leases are idle, and tells the board who holds what.
    fn note(&mut self, roll: &LeaseTable) {
        for (name, seat) in &self.seats {
            let row = roll.leases.iter().find(|lease| lease.name == *name);
            let epoch = row.map_or(0, |row| row.epoch.number());
            if row.is_some_and(|row| row.standing == LeaseState::Held) || seat.epoch.is_some() {
                self.idle.remove(name);
            } else if self.idle.get(name).is_none_or(|(seen, _)| *seen != epoch) {
                self.idle.insert(name.clone(), (epoch, Instant::now()));
            }
            if seat.epoch.is_none() {
                let holder = row.filter(|row| row.standing != LeaseState::Free).map(|row| row.holder.clone());
                self.board.lease(name, |lease| *lease = LeaseHealth { held: false, holder, epoch });
            }
        }
    }

    /// A killed run of this instance says nothing any more. What has its name and goes on saying that it lives is another
    /// daemon, whose leases are its own.
    fn note_twins(&mut self, roll: &LeaseTable) {
        let me = self.session.holder();
        let same = |row: &&InstanceRow| row.holder != me && instance(&row.holder) == instance(me);
        for row in roll.instances.iter().filter(same) {
            let first = *self.namesakes.entry(row.holder.clone()).or_insert(row.until);
            if row.until > first && self.twins.insert(row.holder.clone()) {
                tracing::warn!(
                    holder = row.holder,
                    "another daemon on this database has the same name; give each its own in [standby] name"
                );
            }
        }
    }

    /// Says so when it begins to fail, and when that is over.
    fn say(&mut self, error: Option<String>) {
        match &error {
            Some(error) if !self.failing => {
                tracing::warn!(error, "leases cannot be renewed; tried again");
            }
            None if self.failing => tracing::info!("leases are renewed again"),
            _ => {}
        }
        self.failing = error.is_some();
        if self.failing {
            // The next session is another; it has to be known before this instance is thought to be gone.
            self.renewed_at = None;
            metrics::lease_error();
        }
    }

    /// Every worker has ended, or was cut off.
    async fn leave(&mut self) {
        let held = self.seats.iter().filter_map(|(name, seat)| Some((name, seat.epoch?)));
        for (name, epoch) in held {
            if self.session.release(name, epoch).await.is_err() {
                return;
            }
        }
        // It ends by itself otherwise.
        let _told = self.session.leave().await;
    }
}

impl Seat {
    /// Tells the worker to finish.
    fn end(&self) {
        self.term.send_if_modified(|term| {
            let next = match *term {
                Term::Granted(_) => Term::Vacant,
                Term::Working => Term::Ending,
                other => other,
            };
            std::mem::replace(term, next) != next
        });
    }
}

const LATE: &str = "the database does not answer";
/// For giving back what is still held when the daemon goes.
const LAST_WORDS: Duration = Duration::from_millis(250);
