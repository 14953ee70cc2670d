//! The command line: reads the arguments, finds and loads the configuration, hands both to the room that does
//! the work, and turns what comes back into one line on stderr and an exit code.

pub mod args;
pub mod exit;

mod chains;
mod check;
mod dead_letters;
mod init;
mod keys;
mod known_chains;
mod locate;
mod output;
mod progress;
mod psql;
mod replay;
mod reread;
mod rewind;
mod sinks;
mod sources;
mod status;
mod table;
mod views;
mod webhooks;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, Parser};

use args::{Cli, Command, CompletionsArgs, Global, KeysCommand, ManArgs};
use exit::{Exit, OrExit};

use crate::app::{self, Loaded};
use crate::config::{CommandEnvironment, Config, LineFormat, LogConfig, LogLevel, ProcessEnvironment};
use chainflume_core::domain::MESSAGE_SCHEMA;
use chainflume_ops::telemetry;

/// How long the end of the process waits for the last lines to be written: long for a disk, short for a reader that is stopped.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Runs the command the process was started with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refused(&error).into(),
    };
    // Rust's own code for a panic is 101, which no page knows.
    let exit = match catch_unwind(AssertUnwindSafe(|| dispatch(cli))) {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => {
            output::complain(&format!("error: {error:#}"));
            Exit::of(&error)
        }
        Err(_panic) => Exit::Internal,
    };
    telemetry::flush(LAST_LINES);
    exit.into()
}

fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    let Cli { global, command } = cli;
    match command {
        Command::Run => {
            let loaded = load(&global)?;
            let log = loaded.config.log.clone();
            with_logs(&log, async || Ok(app::run(loaded).await?))
        }
        Command::Serve => {
            let loaded = load(&global)?;
            let log = loaded.config.log.clone();
            with_logs(&log, async || Ok(app::serve(loaded).await?))
        }
        Command::Demo(args) => demo(&global, args),
        Command::Init(args) => init::init(&global, &args),
        Command::Check(args) => check::check(&global, &args),
        Command::Migrate => with_config(&global, migrate),
        Command::Status(args) => with_config(&global, async |loaded| status::status(&loaded, &args).await),
        Command::Backfill(args) => {
            with_config(&global, async |loaded| reread::backfill(&loaded, &args).await)
        }
        Command::Verify(args) => with_config(&global, async |loaded| reread::verify(&loaded, &args).await),
        Command::Rewind(args) => with_config(&global, async |loaded| rewind::rewind(&loaded, &args).await),
        Command::Replay(args) => with_config(&global, async |loaded| replay::replay(&loaded, &args).await),
        Command::DeadLetters(command) => {
            with_config(&global, async |loaded| dead_letters::dead_letters(&loaded, &command).await)
        }
        Command::Sinks(command) => with_config(&global, async |loaded| sinks::sinks(&loaded, &command).await),
        Command::Sources(command) => {
            with_config(&global, async |loaded| sources::sources(&loaded, &command).await)
        }
        Command::Chains(command) => {
            with_config(&global, async |loaded| chains::chains(&loaded, &command).await)
        }
        Command::Webhooks(command) => {
            with_config(&global, async |loaded| webhooks::webhooks(&loaded, &command).await)
        }
        Command::Psql(args) => psql::psql(&global, &args),
        Command::Views(args) => with_config(&global, async |loaded| views::views(&loaded, &args).await),
        Command::Keys(KeysCommand::New) => keys::new(),
        Command::Keys(command) => with_config(&global, async |loaded| keys::keys(&loaded, &command).await),
        Command::Schema => output::print(MESSAGE_SCHEMA.as_bytes()).map(|()| Exit::Done),
        Command::Completions(args) => completions(&args),
        Command::Man(args) => man(&args),
    }
}

/// Help and version were asked for and are no error; all else clap refuses is wrong usage, for which its own
/// code is 2.
fn refused(error: &clap::Error) -> Exit {
    // With a closed stdout or stderr there is no reader.
    let _ = error.print();
    if error.use_stderr() { Exit::Usage } else { Exit::Done }
}

/// Loads the configuration and runs a command that a person waits for: its answer is what is printed, and logs are for
/// what went wrong, unless asked for. What is configured is for the daemon.
fn with_config(
    global: &Global,
    command: impl AsyncFnOnce(Loaded) -> anyhow::Result<()>,
) -> anyhow::Result<Exit> {
    let loaded = load_for_command(global)?;
    let log = global.log(&LogConfig { format: LineFormat::Human, level: LogLevel::Warn });
    with_logs(&log, async || command(loaded).await)
}

/// The demo speaks for itself; of the daemon's own lines only what went wrong is shown, unless asked for.
fn demo(global: &Global, args: args::DemoArgs) -> anyhow::Result<Exit> {
    let log = global.log(&LogConfig { format: LineFormat::Human, level: LogLevel::Error });
    let args::DemoArgs { run_for, data_dir, block_time, keep, without_redis } = args;
    with_logs(&log, async || {
        let options = app::DemoOptions { run_for, data_dir, block_time, keep, without_redis };
        Ok(app::demo(options).await?)
    })
}

/// Sets up the logs and runs a command to its end.
fn with_logs(log: &LogConfig, command: impl AsyncFnOnce() -> anyhow::Result<()>) -> anyhow::Result<Exit> {
    telemetry::init(&app::telemetry_settings(log)).or_exit(Exit::Usage)?;
    block_on(command())??;
    Ok(Exit::Done)
}

async fn migrate(loaded: Loaded) -> anyhow::Result<()> {
    let migrated = app::migrate(&loaded).await?;
    let text =
        format!("the database is at migration {}; {} were applied now\n", migrated.version, migrated.applied);
    output::print(text.as_bytes())
}

/// Runs `work` to its end, and nothing that it left behind: a name server that does not answer holds a thread
/// for half a minute, and the end of the process is not to wait for it.
fn block_on<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(done)
}

/// The configuration, with the log options of the command line.
fn load(global: &Global) -> anyhow::Result<Loaded> {
    let environment = ProcessEnvironment;
    let path = locate::config_path(global, &environment)?;
    let mut config = Config::load(&path, &environment)?;
    config.log = global.log(&config.log);
    Ok(Loaded { path, config })
}

/// As [`load`], with the variables that systemd gives the service, where this user may read them.
fn load_for_command(global: &Global) -> anyhow::Result<Loaded> {
    let path = locate::config_path(global, &ProcessEnvironment)?;
    let environment = CommandEnvironment::beside(&path, ProcessEnvironment);
    // A process of the service has them already.
    let is_service = std::env::var_os("INVOCATION_ID").is_some();
    if let Some(file) = environment.denied.as_ref().filter(|_| !is_service) {
        let file = file.display();
        output::complain(&format!(
            "note: {file} may not be read by this user; its variables count as not set"
        ));
    }
    let mut config = Config::load(&path, &environment)?;
    config.log = global.log(&config.log);
    Ok(Loaded { path, config })
}

fn completions(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "chainflume", &mut script);
    output::print(&script)?;
    Ok(Exit::Done)
}

/// One page for the program and one for each command, as `git-log(1)` is for `git log`.
fn man(args: &ManArgs) -> anyhow::Result<Exit> {
    std::fs::create_dir_all(&args.folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &args.folder))
        .with_context(|| args.folder.display().to_string())?;
    Ok(Exit::Done)
}
