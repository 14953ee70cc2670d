use std::path::{Path, PathBuf};

use super::args::Global;
use super::exit::{Exit, Failure};
use crate::config::Environment;

/// Where a configuration is looked for when none is named, in this order.
const PLACES: [&str; 2] = ["chainflume.toml", "/etc/chainflume/chainflume.toml"];

/// The file named by `--config`, else by CHAINFLUME_CONFIG, else the first of the usual places that is there.
pub(super) fn config_path(global: &Global, environment: &dyn Environment) -> anyhow::Result<PathBuf> {
    let named = || environment.var("CHAINFLUME_CONFIG").ok().filter(|path| !path.is_empty());
    if let Some(path) = global.config.clone().or_else(|| named().map(PathBuf::from)) {
        return Ok(path);
    }
    // A file that is there and cannot be read is an error of its own, not a reason to take the next.
    let found = PLACES.iter().map(Path::new).find(|path| path.symlink_metadata().is_ok());
    found.map(Path::to_path_buf).ok_or_else(|| {
        let [here, system] = PLACES;
        let text = format!(
            "no configuration: neither {here} nor {system} is there; write one with `chainflume init`, \
             or name one with --config"
        );
        Failure::new(Exit::Config, text).into()
    })
}
