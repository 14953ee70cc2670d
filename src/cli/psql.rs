use super::args::PsqlArgs;
use super::block_on;
use super::exit::{Exit, Failure};
use crate::app::{self, Loaded};

/// Opens the database in psql.
pub(super) fn psql(loaded: &Loaded, args: &PsqlArgs) -> anyhow::Result<Exit> {
    let ended = block_on(app::psql(loaded, &args.arguments))??;
    match ended.code() {
        Some(0) => Ok(Exit::Done),
        Some(code) => Err(Failure::new(Exit::Failed, format!("psql ended with code {code}")).into()),
        None => Err(Failure::new(Exit::Failed, "psql was killed".to_owned()).into()),
    }
}
