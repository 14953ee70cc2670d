use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::args::{Global, InitArgs};
use super::exit::{Exit, Failure, OrExit};
use super::known_chains::{CONFIRMATIONS, KNOWN_CHAINS, KnownChain};
use super::output;
use crate::config::{Config, MANUAL, ProcessEnvironment};
use chainflume_core::mapping::Family;

mod draft;

use draft::ConfigDraft;

/// Writes a commented configuration for the contract the arguments name.
pub(super) fn init(global: &Global, args: &InitArgs) -> anyhow::Result<Exit> {
    let Some(family) = args.family.filter(|_| !args.manual) else {
        output::print(MANUAL.as_bytes())?;
        return Ok(Exit::Done);
    };
    let path = args.output.clone().or_else(|| global.config.clone()).unwrap_or("chainflume.toml".into());
    let stdout = path == Path::new("-");
    let place = if stdout { PathBuf::from("chainflume.toml") } else { path.clone() };
    let mut draft = draft(args, family, &place)?;
    // Read as `check` would read it, before anything is written: what is wrong with the arguments is wrong
    // with the file, and the reader reports it best.
    let config = Config::parse(&place, &draft.with_stand_ins().render(), &ProcessEnvironment);
    let config = config.or_exit(Exit::Usage)?;
    draft.events =
        config.sources.iter().flat_map(|s| &s.events).map(|event| event.signature.clone()).collect();
    if stdout {
        output::print(draft.render().as_bytes())?;
    } else {
        write(&path, &draft.render(), args.force)?;
        output::print(next_steps(args, &draft.chain, &path).as_bytes())?;
    }
    Ok(Exit::Done)
}

/// The node of a chain whose variable is not set.
const LOCAL_NODE: &str = "http://127.0.0.1:8545";

/// The variable with a URL of a chain's node: `MAINNET_HTTP` for mainnet.
fn variable(chain: &str, suffix: &str) -> String {
    format!("{}_{suffix}", chain.to_uppercase().replace('-', "_"))
}

/// What the reader does after the file is written.
fn next_steps(args: &InitArgs, chain: &str, path: &Path) -> String {
    let shown = path.display();
    let mut variables = Vec::new();
    if args.http.is_none() {
        variables.push(variable(chain, "HTTP"));
    }
    if args.ws.is_none() {
        variables.push(variable(chain, "WS"));
    }
    let variables = match variables.as_slice() {
        [] => String::new(),
        [ws] if args.http.is_some() => format!("set {ws} to the WebSocket URL of the node, "),
        all => format!("set {} to the URLs of your node (else it is {LOCAL_NODE}), ", all.join(" and ")),
    };
    format!(
        "wrote {shown}; next: {variables}run `chainflume check --config {shown}` and then `chainflume run`; `chainflume psql` reads \
         what is stored\n"
    )
}

fn draft(args: &InitArgs, family: Family, place: &Path) -> anyhow::Result<ConfigDraft> {
    let (chain, chain_id) = chain(args)?;
    if family == Family::Generic && args.abi.is_none() {
        let text = "the generic family takes its events from the contract's ABI: add --abi FILE";
        return Err(Failure::new(Exit::Usage, text).into());
    }
    let known = KNOWN_CHAINS.iter().find(|known| known.chain_id == chain_id);
    // The default makes the file right before the variable is set.
    let http = || format!("${{{}:-{LOCAL_NODE}}}", variable(&chain, "HTTP"));
    let ws = || format!("${{{}:-}}", variable(&chain, "WS"));
    let name = match family {
        Family::Stake => "stake_vault",
        Family::Erc20 => "token",
        Family::Erc721 => "collection",
        Family::Generic => "contract",
    };
    Ok(ConfigDraft {
        http: args.http.clone().unwrap_or_else(http),
        ws: args.ws.clone().unwrap_or_else(ws),
        chain,
        chain_id,
        block_time: known.map_or("12s", |known| known.block_time),
        confirmations: known.map_or(CONFIRMATIONS, |known| known.confirmations),
        name: args.name.clone().unwrap_or_else(|| name.to_owned()),
        family,
        addresses: args.address.clone(),
        abi: args.abi.as_deref().map(|abi| abi_beside(abi, place)).transpose()?,
        start_block: args.start_block,
        events: Vec::new(),
    })
}

/// Name and id, each from the other where one is left out.
fn chain(args: &InitArgs) -> Result<(String, u64), Failure> {
    let known = |fits: &dyn Fn(&KnownChain) -> bool| KNOWN_CHAINS.iter().find(|chain| fits(chain));
    let by_name = |name: &str| known(&|chain| chain.name == name);
    let by_id = |id: u64| known(&|chain| chain.chain_id == id);
    let missing = |what: String| {
        let names: Vec<_> = KNOWN_CHAINS.iter().map(|chain| chain.name).collect();
        Failure::new(Exit::Usage, format!("{what} (known without: {})", names.join(", ")))
    };
    Ok(match (&args.chain, args.chain_id) {
        (Some(name), Some(id)) => (name.clone(), id),
        (Some(name), None) => match by_name(name) {
            Some(chain) => (name.clone(), chain.chain_id),
            None => return Err(missing(format!("give the id of chain `{name}` with --chain-id"))),
        },
        (None, Some(id)) => match by_id(id) {
            Some(chain) => (chain.name.to_owned(), id),
            None => return Err(missing(format!("give chain {id} a name with --chain"))),
        },
        (None, None) => ("mainnet".to_owned(), 1),
    })
}

/// The path to the ABI as the file has to contain it: its paths are relative to its own folder, those of the
/// command line to the current one.
fn abi_beside(abi: &Path, place: &Path) -> anyhow::Result<String> {
    let here = place.parent().is_none_or(|folder| folder.as_os_str().is_empty() || folder == Path::new("."));
    let abi = if here { abi.to_path_buf() } else { std::path::absolute(abi).or_exit(Exit::Failed)? };
    let text = abi.into_os_string().into_string();
    text.map_err(|_| Failure::new(Exit::Usage, "--abi is not UTF-8; rename the file").into())
}

fn write(path: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    let shown = path.display();
    // create_new and not a look beforehand: what appears in between is not overwritten either.
    let opened = match force {
        true => fs::File::create(path),
        false => OpenOptions::new().write(true).create_new(true).open(path),
    };
    opened.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| {
        let text = match error.kind() {
            ErrorKind::AlreadyExists => {
                format!("{shown} exists; overwrite it with --force, or write another with --output")
            }
            ErrorKind::NotFound => format!("{shown}: the folder does not exist; create it first"),
            _ => format!("{shown} cannot be written: {error}"),
        };
        Failure::new(Exit::Failed, text).into()
    })
}
