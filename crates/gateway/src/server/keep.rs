use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::revoked::Revoked;
use super::{Access, Auth, PublicServer};
use crate::grants::Grants;
use chainflume_core::domain::causes;
use chainflume_db::StoreError;
use chainflume_ops::health::Heartbeat;
use chainflume_ops::telemetry::LogLimiter;

/// How often new revocations are read: every server knows them within two seconds.
const LOOK: Duration = Duration::from_secs(1);
/// Looks from one sweep, and one reading of all revocations, to the next: a minute.
const ROUND: u32 = 60;

/// What was read last.
#[derive(Default)]
struct RevocationsRead {
    number: i64,
}

impl PublicServer {
    /// Reads what was revoked, before the first request.
    ///
    /// # Errors
    /// A database error.
    pub async fn load(&self, grants: &Grants) -> Result<(), StoreError> {
        match &self.settings.auth {
            Auth::Open => Ok(()),
            Auth::Required(access) => RevocationsRead::default().all(grants, &access.revoked).await,
        }
    }

    /// Follows revocations and deletes what is over, until `stop`. An error of the database is logged and tried again; what was
    /// revoked before stays revoked.
    pub async fn keep_access(&self, grants: &Grants, stop: CancellationToken, heartbeat: Heartbeat) {
        let (mut read, lines) = (RevocationsRead::default(), LogLimiter::default());
        for round in 0u32.. {
            let done = heartbeat.wait(self.turn(&mut read, grants, round)).await;
            if let Err(error) = done
                && let Some(suppressed) = lines.admit("access")
            {
                let suppressed = suppressed.field();
                tracing::warn!(error = %causes(&error), suppressed, "revocations cannot be read; those known stay in force");
            }
            if !heartbeat.pause(LOOK, &stop).await {
                return;
            }
        }
    }

    async fn turn(&self, read: &mut RevocationsRead, grants: &Grants, round: u32) -> Result<(), StoreError> {
        if round % ROUND == ROUND - 1 {
            grants.sweep(self.settings.revocations_kept).await?;
        }
        let Auth::Required(access) = &self.settings.auth else { return Ok(()) };
        // A failover to a server without the last commits gives their numbers again, so all are read now and then.
        if round.is_multiple_of(ROUND) {
            return read.all(grants, &access.revoked).await;
        }
        let new = grants.revocations(read.number).await?;
        if let Some(last) = new.last() {
            read.number = last.number;
            tracing::info!(revocations = new.len(), "credentials were revoked");
            access.revoked.add(new.into_iter().map(|new| (new.what, new.at)));
        }
        Ok(())
    }

    /// Follows the public keys of the issuer until `stop`.
    pub async fn keep_keys(&self, stop: CancellationToken, heartbeat: Heartbeat) {
        match &self.settings.auth {
            Auth::Required(Access { issued: Some(keys), .. }) => keys.keep(&stop, &heartbeat).await,
            _ => heartbeat.wait(stop.cancelled()).await,
        }
    }
}

impl RevocationsRead {
    async fn all(&mut self, grants: &Grants, revoked: &Revoked) -> Result<(), StoreError> {
        let all = grants.revocations(0).await?;
        self.number = all.last().map_or(0, |last| last.number);
        revoked.replace(all.into_iter().map(|one| (one.what, one.at)));
        Ok(())
    }
}
