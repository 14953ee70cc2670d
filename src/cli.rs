//! The command line: reads the arguments, finds and loads the configuration, hands both to whoever does
//! the work, and turns what comes back into one line on stderr and an exit code.

pub mod args;
pub mod exit;

mod check;
mod init;
mod known_chains;
mod locate;
mod output;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Cli, Command, CompletionsArgs, Global};
use exit::Exit;

use crate::config::{Config, ProcessEnvironment};

/// Runs the command the process was started with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refused(&error).into(),
    };
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::complain(&format!("error: {error:#}"));
            Exit::of(&error).into()
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    let Cli { global, command } = cli;
    match command {
        Command::Init(args) => init::init(&global, &args),
        Command::Check(args) => check::check(&global, &args),
        Command::Completions(args) => completions(&args),
    }
}

/// Help and version were asked for and are no error; all else clap refuses is wrong usage, for which its own
/// code is 2.
fn refused(error: &clap::Error) -> Exit {
    // A closed stdout or stderr leaves nobody to tell.
    let _ = error.print();
    if error.use_stderr() { Exit::Usage } else { Exit::Done }
}

/// The configuration, with what the command line says about logs put into it.
fn load(global: &Global) -> anyhow::Result<Config> {
    let environment = ProcessEnvironment;
    let path = locate::config_path(global, &environment)?;
    let mut config = Config::load(&path, &environment)?;
    config.log = global.log(&config.log);
    Ok(config)
}

fn completions(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "chainflume", &mut script);
    output::print(&script)?;
    Ok(Exit::Done)
}
