use std::time::Duration;

use super::Shared;
use super::problem::HttpProblem;
use super::query::Query;
use crate::feed::Start;
use chainflume_outbox::Position;

/// How long a read waits for the position it asks for: several times the way of a commit to this server.
const POSITION_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the feed is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until this server has everything up to `min_position`, so that who wrote something reads it.
pub(super) async fn reached(shared: &Shared, query: &Query) -> Result<(), HttpProblem> {
    let Some(wanted) = query.min_position()? else { return Ok(()) };
    if !is_there(shared, &wanted) {
        exists(shared, &wanted).await?;
    }
    let waited = async {
        while !is_there(shared, &wanted) {
            tokio::time::sleep(LOOK).await;
        }
    };
    let detail = "this server is not at min_position yet; try again";
    let timed_out = |_| HttpProblem::new(503, "position_timeout", detail);
    tokio::time::timeout(POSITION_TIMEOUT, waited).await.map_err(timed_out)?;
    // A number alone has no meaning in another history.
    match shared.feed.start(wanted).await.map_err(|error| HttpProblem::of_store(&error))? {
        Start::Gap(gap) if gap.reason == crate::feed::Reason::Epoch => Err(mismatch()),
        Start::Ahead => Err(ahead()),
        Start::After(_) | Start::Gap(_) => Ok(()),
    }
}

fn is_there(shared: &Shared, wanted: &Position) -> bool {
    shared.feed.newest().seq >= wanted.seq
}

/// Whether the database has the position, which this server has not seen yet.
async fn exists(shared: &Shared, wanted: &Position) -> Result<(), HttpProblem> {
    let newest = shared.outbox.state().await.map_err(|error| HttpProblem::of_store(&error))?.last;
    let epoch = shared.outbox.epoch().await.map_err(|error| HttpProblem::of_store(&error))?;
    if newest >= wanted.seq {
        return Ok(());
    }
    // A position of an earlier history may be beyond the end of this one.
    if wanted.epoch.as_ref().is_some_and(|known| *known != epoch) {
        return Err(mismatch());
    }
    Err(ahead())
}

fn mismatch() -> HttpProblem {
    HttpProblem::new(
        409,
        "epoch_mismatch",
        "the position is of another history of the database; begin without it",
    )
}

fn ahead() -> HttpProblem {
    HttpProblem::new(400, "position_ahead", "the position is ahead of every message")
}
