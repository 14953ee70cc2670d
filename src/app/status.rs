//! `status`: what the database holds, and what a running daemon reports about itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::followed;
use crate::admin::{self, Report};
use crate::roles::AppError;
use crate::roles::Loaded;
use crate::roles::database::{OpenDatabase, store_error};
use chainflume_core::domain::SourceDifference;
use chainflume_db::{LeaseRow, LeaseState, Schema};
use chainflume_store::{ReorgRecord, SourceStatus, Store, UndoReason};

/// All that can be reported, whether a daemon runs or not.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// What the daemon reports; `None` when none answers on the admin address.
    pub daemon: Option<Report>,
    /// Why the rest is missing: the database cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// What is stored.
    pub sources: Vec<StoredSource>,
    /// What differs between the configuration and what the database was filled by.
    pub differences: Vec<StoredDifference>,
    /// The leaders, by the leases in the database.
    pub leases: Vec<StoredLease>,
    /// The newest reorgs, newest first.
    pub reorgs: Vec<StoredReorg>,
    /// Balances below zero, by chain id.
    pub negative_balances: BTreeMap<u64, u64>,
}

/// A source as the database has it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredSource {
    /// Name of its chain.
    pub chain: String,
    /// EIP-155.
    pub chain_id: u64,
    /// Its name.
    pub source: String,
    /// `stake`, `erc20`, `erc721` or `generic`.
    pub family: String,
    /// First block; `None` while `start_block = "latest"` is not decided.
    pub start_block: Option<u64>,
    /// Whether `start_block` is "latest".
    pub starts_at_latest: bool,
    /// Newest block stored.
    pub tip: Option<u64>,
    /// Its hash.
    pub tip_hash: Option<String>,
    /// When the tip last moved, in seconds since the Unix epoch.
    pub updated_at: Option<u64>,
    /// Events stored.
    pub events: u64,
    /// Dead letters that are open.
    pub open_dead_letters: u64,
}

/// A difference between the configuration and what the database was filled by.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredDifference {
    /// Name of the chain.
    pub chain: String,
    /// Name of the source.
    pub source: String,
    /// Whether what it is about is not followed until an operator decides.
    pub blocks: bool,
    /// Whether it is a past that the daemon reads by itself.
    pub unread: bool,
    /// For a person.
    pub text: String,
}

/// A lease as the database has it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredLease {
    /// `chain <id>`, `sink <name>` or `outbox`.
    pub lease: String,
    /// Who holds it, or held it until its session was gone; `None` while it is free.
    pub holder: Option<String>,
    /// Whether the session of the holder is there.
    #[serde(skip)]
    pub is_held: bool,
    /// The fencing token.
    pub epoch: u64,
    /// Until it ends if it is not renewed.
    pub seconds_left: u64,
}

/// A reorg as the database remembers it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredReorg {
    /// EIP-155.
    pub chain_id: u64,
    /// The newest block that stayed.
    pub ancestor: u64,
    /// Blocks undone.
    pub depth: u64,
    /// Events undone.
    pub events: u64,
    /// When, in seconds since the Unix epoch.
    pub detected_at: u64,
    /// Why: `rewind` and `removal` are by an operator.
    pub reason: UndoReason,
}

/// Reorgs shown.
const REORGS: u32 = 5;

/// Reads the database, starting the private one for a moment where no daemon runs it, and asks the daemon.
///
/// # Errors
/// When the database cannot be read, after `show` has got what the daemon reports. A daemon that does not answer is no error.
pub async fn status<E>(
    loaded: &Loaded,
    show: impl FnOnce(&Status) -> Result<(), E>,
) -> Result<Result<(), E>, AppError> {
    let daemon = admin::ask(loaded.config.admin.listen).await;
    match look(loaded, daemon.clone()).await {
        Ok(status) => Ok(show(&status)),
        Err(AppError::Unavailable(reason)) if daemon.is_some() => {
            let status = Status { unreadable: Some(reason.clone()), ..nothing(daemon) };
            show(&status).map_or_else(|error| Ok(Err(error)), |()| Err(AppError::Unavailable(reason)))
        }
        Err(error) => Err(error),
    }
}

fn nothing(daemon: Option<Report>) -> Status {
    Status {
        daemon,
        unreadable: None,
        sources: Vec::new(),
        differences: Vec::new(),
        leases: Vec::new(),
        reorgs: Vec::new(),
        negative_balances: BTreeMap::new(),
    }
}

/// [`status`] again and again.
#[derive(Default)]
pub struct StatusWatch {
    last: Option<Status>,
}

impl StatusWatch {
    /// What can be reported now. A private database that no daemon runs is started for the first look alone: nothing moves
    /// in it, and a daemon could not start while it is held here.
    ///
    /// # Errors
    /// As [`status`]; the next look may succeed.
    pub async fn look(&mut self, loaded: &Loaded) -> Result<Status, AppError> {
        let daemon = admin::ask(loaded.config.admin.listen).await;
        let status = match &self.last {
            Some(last) if daemon.is_none() && loaded.config.database.url.is_none() => {
                Status { daemon, ..last.clone() }
            }
            Some(last) => match tokio::time::timeout(LOOK_TIMEOUT, look(loaded, daemon.clone())).await {
                Ok(Ok(status)) => status,
                // The daemon reports what is wrong with the database.
                _ if daemon.is_some() => Status { daemon, ..last.clone() },
                Ok(failed) => return failed,
                Err(_) => {
                    let text = format!("the database has not answered for {} s", LOOK_TIMEOUT.as_secs());
                    return Err(AppError::Unavailable(text));
                }
            },
            None => look(loaded, daemon).await?,
        };
        self.last = Some(status.clone());
        Ok(status)
    }
}

/// How long a watched status waits for the database; then the rest of the status is shown without it.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);

async fn look(loaded: &Loaded, daemon: Option<Report>) -> Result<Status, AppError> {
    let nothing = nothing(daemon);
    let Some(database) = OpenDatabase::open_daemons_made(loaded).await? else { return Ok(nothing) };
    let status = read(loaded, &database.store, nothing).await;
    database.close().await;
    status
}

async fn read(loaded: &Loaded, store: &Store, nothing: Status) -> Result<Status, AppError> {
    if store.schema().await.map_err(store_error)? == Schema::Missing {
        return Ok(nothing);
    }
    let daemon = nothing.daemon;
    let sources = store.status().await.map_err(store_error)?.into_iter().map(stored_source).collect();
    let reorgs = store.reorgs(REORGS).await.map_err(store_error)?.into_iter().map(stored_reorg).collect();
    let leases = store.leases().await.map_err(store_error)?.into_iter().map(stored_lease).collect();
    let differences = followed::differences(loaded, store).await?;
    let differences = differences.into_iter().map(stored_difference).collect();
    let negative_balances = store.negative_balances().await.map_err(store_error)?.into_iter().collect();
    Ok(Status { daemon, unreadable: None, sources, differences, leases, reorgs, negative_balances })
}

fn stored_source(status: SourceStatus) -> StoredSource {
    StoredSource {
        chain: status.chain,
        chain_id: status.chain_id,
        source: status.source,
        family: status.family,
        start_block: status.start_block,
        starts_at_latest: status.starts_at_latest,
        tip: status.checkpoint.map(|tip| tip.number),
        tip_hash: status.checkpoint.map(|tip| tip.hash.to_string()),
        updated_at: status.updated_at,
        events: status.events,
        open_dead_letters: status.dead_letters_open,
    }
}

fn stored_difference((chain, difference): (String, SourceDifference)) -> StoredDifference {
    StoredDifference {
        chain,
        source: difference.source().to_owned(),
        blocks: difference.blocks(),
        unread: matches!(difference, SourceDifference::Unread(_)),
        text: difference.to_string(),
    }
}

fn stored_lease(row: LeaseRow) -> StoredLease {
    let LeaseRow { name, holder, epoch, state, left } = row;
    let holder = (state != LeaseState::Free).then_some(holder);
    let is_held = state == LeaseState::Held;
    StoredLease {
        lease: name.to_string(),
        holder,
        is_held,
        epoch: epoch.number(),
        seconds_left: left.as_secs(),
    }
}

fn stored_reorg(reorg: ReorgRecord) -> StoredReorg {
    let ReorgRecord { chain_id, ancestor, depth, events, detected_at, reason, .. } = reorg;
    StoredReorg { chain_id, ancestor: ancestor.number, depth, events, detected_at, reason }
}
