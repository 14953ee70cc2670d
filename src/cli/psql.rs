use std::path::Path;

use super::args::{Global, PsqlArgs};
use super::exit::{Exit, Failure};
use super::{block_on, load_for_command};
use crate::app;

/// Opens the database in psql.
pub(super) fn psql(global: &Global, args: &PsqlArgs) -> anyhow::Result<Exit> {
    if global.config.as_ref().is_some_and(|path| is_statement(path)) {
        let text = "-c names the configuration file; arguments of psql follow --, as in `chainflume psql -- -c \"select …\"`";
        return Err(Failure::new(Exit::Usage, text.to_owned()).into());
    }
    let ended = block_on(app::psql(&load_for_command(global)?, &args.arguments))??;
    match ended.code() {
        Some(0) => Ok(Exit::Done),
        Some(code) => Err(Failure::new(Exit::Failed, format!("psql ended with code {code}")).into()),
        None => Err(Failure::new(Exit::Failed, "psql was killed".to_owned()).into()),
    }
}

/// Whether the path of the configuration is rather a statement for `psql -c`.
fn is_statement(path: &Path) -> bool {
    !path.exists() && path.to_str().is_some_and(|text| text.trim().contains(char::is_whitespace))
}
