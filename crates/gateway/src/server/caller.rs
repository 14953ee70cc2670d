use super::problem::HttpProblem;
use super::session::Session;
use super::stream::until;
use super::{Shared, now};
use chainflume_api::access::Principal;

/// Why a connection that is open has to end, whatever its client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The token has expired.
    Expired,
    /// The credential was revoked.
    Revoked,
    /// The server stops: the client reconnects, here or elsewhere.
    Stopping,
}

impl Ending {
    /// The label of the metric of dropped connections.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Stopping => "restart",
        }
    }

    /// Name of the event and code that a client gets before its connection ends; `None` where it only has to reconnect.
    pub fn event(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Expired => Some(("expired", "token_expired")),
            Self::Revoked => Some(("revoked", "credential_revoked")),
            Self::Stopping => None,
        }
    }
}

/// Sends something while the credential of the client holds and the server runs. A client may take what is sent slowly, or just as
/// fast as more comes: sending alone would go on for as long as the client likes.
pub(super) async fn unless_ended<E: From<Ending>>(
    ended: impl Future<Output = Ending>,
    sending: impl Future<Output = Result<(), E>>,
) -> Result<(), E> {
    tokio::select! {
        biased;
        ending = ended => Err(ending.into()),
        sent = sending => sent,
    }
}

impl Shared {
    /// Why the connection of this caller has to end now; `None` while it may go on.
    pub(super) fn ending(&self, principal: &Principal) -> Option<Ending> {
        if principal.expires_at().is_some_and(|at| now() >= at) {
            Some(Ending::Expired)
        } else if self.settings.auth.is_revoked(principal) {
            Some(Ending::Revoked)
        } else if self.stop.is_cancelled() {
            Some(Ending::Stopping)
        } else {
            None
        }
    }

    /// Returns when the connection of this caller has to end, with the reason.
    pub(super) async fn ended(&self, principal: &Principal) -> Ending {
        loop {
            if let Some(ending) = self.ending(principal) {
                return ending;
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = self.settings.auth.revoked(principal) => {}
                () = tokio::time::sleep(until(principal.expires_at())) => {}
            }
        }
    }

    /// The caller with a newer token, which must be of the same user and still open every room that is joined.
    pub(super) async fn refreshed(
        &self,
        principal: &Principal,
        session: &Session,
        token: &str,
    ) -> Result<Principal, HttpProblem> {
        // Keys may take seconds to come. A connection that has to end meanwhile does not wait for them.
        tokio::select! {
            () = self.settings.auth.learn(Some(token), now()) => {}
            _ = self.ended(principal) => {}
        }
        let newer = self.settings.auth.of_credential(Some(token), now())?;
        let is_same = match (principal, &newer) {
            (Principal::User(before), Principal::User(after)) => before.id == after.id,
            (before, after) => before == after,
        };
        let public = &self.settings.listener.public_rooms;
        if is_same && session.rooms().all(|room| newer.may_join(room, public)) {
            Ok(newer)
        } else {
            Err(HttpProblem::forbidden())
        }
    }
}
