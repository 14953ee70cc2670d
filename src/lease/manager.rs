use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::decide::{Facts, Move, decide, instance};
use super::handle::{LeaseCell, LeaseHandle, SlotState};
use chainflume_core::domain::causes;
use chainflume_db::{
    Epoch, InstanceRow, LeaseClaim, LeaseName, LeaseSession, LeaseState, LeaseTable, StoreError,
};
use chainflume_ops::health::{Board, Heartbeat, LeaseHealth};
use chainflume_ops::metrics;
use chainflume_store::Store;

/// Takes, renews and releases leases.
pub struct LeaseManager {
    settings: Settings,
    session: LeaseSession,
    board: Board,
    manager_wake: Arc<Notify>,
    slots: BTreeMap<LeaseName, LeaseSlot>,
    renewed_at: Option<Instant>,
    /// Since when each free lease was seen free, and with which epoch.
    idle: BTreeMap<LeaseName, (u64, Instant)>,
    /// Other instances with the name of this one, and the end of their life as first seen.
    namesakes: BTreeMap<String, u64>,
    /// Those of them that have extended it since.
    twins: BTreeSet<String>,
    /// Whether no other instance was on the database when it was last read. Then no operator asks who leads.
    is_alone: bool,
    failing: bool,
}

/// A lease that this instance competes for.
struct LeaseSlot {
    cell: Arc<LeaseCell>,
    /// The epoch, while this instance holds the lease.
    epoch: Option<Epoch>,
}

/// A longer round is cancelled, and its connection is closed.
const ROUND_TIMEOUT: Duration = Duration::from_secs(5);

/// The name of the instance with a number that no other run has.
pub fn holder(name: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{name}#{:x}-{:x}", std::process::id(), now.as_micros())
}

impl LeaseManager {
    /// Creates the manager without reading or taking anything.
    pub fn new(settings: Settings, store: &Store, board: Board) -> Self {
        let session = store.lease_session(holder(&settings.name), settings.length);
        Self {
            settings,
            session,
            board,
            manager_wake: Arc::default(),
            slots: BTreeMap::new(),
            renewed_at: None,
            idle: BTreeMap::new(),
            namesakes: BTreeMap::new(),
            twins: BTreeSet::new(),
            is_alone: true,
            failing: false,
        }
    }

    /// The handle for the worker of the lease `name`.
    pub fn handle(&mut self, name: LeaseName) -> LeaseHandle {
        let cell = Arc::new(LeaseCell::new(self.manager_wake.clone()));
        self.board.lease(name.as_str(), |_| {});
        metrics::lease_starts(name.as_str());
        self.slots.insert(name, LeaseSlot { cell: cell.clone(), epoch: None });
        LeaseHandle(cell)
    }

    /// Keeps leases until `end`. After `stop` it takes no lease, and releases each one when its worker has finished.
    /// While the database is unreachable, nothing changes: the database decides who leads, and a replaced leader can
    /// commit nothing. May be called again after a panic: a round may be interrupted anywhere.
    pub async fn run(&mut self, stop: &CancellationToken, end: &CancellationToken, heartbeat: &Heartbeat) {
        while !end.is_cancelled() {
            heartbeat.beat();
            let round = tokio::time::timeout(ROUND_TIMEOUT, self.round(stop)).await;
            let round = round.unwrap_or_else(|_| Err(NO_ANSWER.to_owned()));
            self.report(round.err());
            tokio::select! {
                () = end.cancelled() => {}
                () = self.manager_wake.notified() => {}
                () = tokio::time::sleep(self.settings.check_every()) => {}
            }
        }
        let _in_time = tokio::time::timeout(LEAVE_TIMEOUT, self.leave()).await;
    }

    async fn round(&mut self, stop: &CancellationToken) -> Result<(), String> {
        let text = |error: StoreError| causes(&error);
        if self.renewed_at.is_none_or(|at| at.elapsed() >= self.settings.renew_every()) {
            self.renew().await.map_err(text)?;
        }
        self.give_back().await.map_err(text)?;
        if stop.is_cancelled() {
            return Ok(());
        }
        let table = self.session.table().await.map_err(text)?;
        self.update_idle(&table);
        self.find_twins(&table);
        self.is_alone = self.settings.sole || table.instances.iter().all(|row| self.is_own(&row.holder));
        for next in self.decide(&table) {
            match next {
                Move::Take(claim) => self.take(&claim).await.map_err(text)?,
                Move::Yield { name } => self.hand_over(&name),
            }
        }
        Ok(())
    }

    async fn renew(&mut self) -> Result<(), StoreError> {
        let wants = self.slots.keys().map(LeaseName::to_string);
        let wants: Vec<String> = wants.chain(self.settings.follows.iter().cloned()).collect();
        let held: Vec<(LeaseName, Epoch)> =
            self.slots.iter().filter_map(|(name, slot)| Some((name.clone(), slot.epoch?))).collect();
        let begun = Instant::now();
        let kept = self.session.renew(&wants, &held).await?;
        self.renewed_at = Some(begun);
        for (name, epoch) in held.iter().filter(|(name, _)| !kept.contains(name)) {
            tracing::warn!(lease = name.as_str(), %epoch, "another instance took the lease; this instance is a standby");
            if let Some(slot) = self.slots.get_mut(name) {
                slot.epoch = None;
                slot.cell.end();
            }
        }
        Ok(())
    }

    /// Leases whose worker has finished.
    async fn give_back(&mut self) -> Result<(), StoreError> {
        for (name, slot) in &mut self.slots {
            let Some(epoch) = slot.epoch else { continue };
            if matches!(slot.cell.state(), SlotState::Vacant | SlotState::Gone) {
                self.session.release(name, epoch).await?;
                slot.epoch = None;
                match self.is_alone {
                    true => tracing::debug!(lease = name.as_str(), %epoch, "lease released"),
                    false => tracing::info!(lease = name.as_str(), %epoch, "lease released"),
                }
                self.board.lease(name.as_str(), |lease| *lease = LeaseHealth::default());
            }
        }
        Ok(())
    }

    async fn take(&mut self, claim: &LeaseClaim) -> Result<(), StoreError> {
        let name = &claim.name;
        let Some(slot) = self.slots.get_mut(name) else { return Ok(()) };
        // Waits for a worker that still finishes an earlier turn.
        if slot.cell.state() != SlotState::Vacant {
            return Ok(());
        }
        if let Some(epoch) = self.session.take(claim).await? {
            slot.epoch = Some(epoch);
            slot.cell.grant(epoch);
            self.idle.remove(name);
            metrics::lease_taken(name.as_str());
            match (self.is_alone, claim.is_orphan) {
                (true, _) => tracing::debug!(lease = name.as_str(), %epoch, "lease taken"),
                (false, true) => {
                    tracing::warn!(lease = name.as_str(), %epoch, "lease taken: its holder is gone");
                }
                (false, false) => tracing::info!(lease = name.as_str(), %epoch, "lease taken"),
            }
            let holder = Some(self.session.holder().to_owned());
            self.board.lease(name.as_str(), |lease| {
                *lease = LeaseHealth { held: true, holder, epoch: epoch.number() }
            });
        }
        Ok(())
    }

    fn hand_over(&mut self, name: &LeaseName) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        if slot.cell.state() == SlotState::Working {
            tracing::info!(
                lease = name.as_str(),
                "lease is handed over to an instance that leads fewer chains"
            );
        }
        slot.cell.end();
    }

    fn decide(&self, table: &LeaseTable) -> Vec<Move> {
        let wants: Vec<LeaseName> = self.slots.keys().cloned().collect();
        let held: BTreeSet<LeaseName> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.epoch.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        let idle = self.idle.iter().map(|(name, (_, at))| (name.clone(), at.elapsed())).collect();
        decide(&Facts {
            settings: &self.settings,
            me: self.session.holder(),
            wants: &wants,
            held: &held,
            table,
            idle: &idle,
            twins: &self.twins,
        })
    }

    /// Remembers since when leases are free, and reports their holders on the health board.
    fn update_idle(&mut self, table: &LeaseTable) {
        for (name, slot) in &self.slots {
            let row = table.leases.iter().find(|lease| lease.name == *name);
            let epoch = row.map_or(0, |row| row.epoch.number());
            if row.is_some_and(|row| row.state == LeaseState::Held) || slot.epoch.is_some() {
                self.idle.remove(name);
            } else if self.idle.get(name).is_none_or(|(seen, _)| *seen != epoch) {
                self.idle.insert(name.clone(), (epoch, Instant::now()));
            }
            if slot.epoch.is_none() {
                let holder = row.filter(|row| row.state != LeaseState::Free).map(|row| row.holder.clone());
                self.board.lease(name.as_str(), |lease| *lease = LeaseHealth { held: false, holder, epoch });
            }
        }
    }

    /// Whether a holder is this run, or an earlier run of this instance.
    fn is_own(&self, holder: &str) -> bool {
        instance(holder) == instance(self.session.holder()) && !self.twins.contains(holder)
    }

    /// A killed run of this instance no longer extends its life. An instance of the same name that does is another
    /// daemon, with its own leases.
    fn find_twins(&mut self, table: &LeaseTable) {
        let me = self.session.holder();
        let same = |row: &&InstanceRow| row.holder != me && instance(&row.holder) == instance(me);
        for row in table.instances.iter().filter(same) {
            let first = *self.namesakes.entry(row.holder.clone()).or_insert(row.until);
            if row.until > first && self.twins.insert(row.holder.clone()) {
                tracing::warn!(
                    holder = row.holder,
                    "another daemon on this database has the same name; give each its own in [standby] name"
                );
            }
        }
    }

    /// Logs the first failure of a series, and its end.
    fn report(&mut self, error: Option<String>) {
        match &error {
            Some(error) if !self.failing => {
                tracing::warn!(error, "leases cannot be renewed; the renewal is retried");
            }
            None if self.failing => tracing::info!("leases are renewed again"),
            _ => {}
        }
        self.failing = error.is_some();
        if self.failing {
            // The next session is a new one. It must be registered before this instance counts as gone.
            self.renewed_at = None;
            metrics::lease_error();
        }
    }

    /// Every worker has ended, or was aborted.
    async fn leave(&mut self) {
        let held = self.slots.iter().filter_map(|(name, slot)| Some((name, slot.epoch?)));
        for (name, epoch) in held {
            if self.session.release(name, epoch).await.is_err() {
                return;
            }
        }
        // Without an answer the session expires on its own.
        let _released = self.session.leave().await;
    }
}

const NO_ANSWER: &str = "the database does not answer";
/// Timeout of the release of all leases when the daemon ends.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(250);
