//! The command line: one file per command.
//!
//! In: arguments. Out: an exit code, and what people read on the terminal. A command must never hold logic that
//! another part of the program could need.

mod address;
mod admin_client;
mod breakers;
mod cache;
mod canaries;
mod check;
mod completions;
mod demo;
mod demo_keys;
mod diff;
mod errors;
mod explain;
mod health;
mod key;
mod limits;
mod log;
mod man;
mod reload;
mod run;
mod schema;
mod token;
mod upgrade;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Configuration, Loaded, compile, load};
use crate::observability::Metrics;

/// An API gateway and edge proxy: one front door for every service behind it.
#[derive(Debug, Parser)]
#[command(name = "northgate", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Command),
    Reload(reload::Command),
    Upgrade(upgrade::Command),
    Check(check::Command),
    Diff(diff::Command),
    Explain(explain::Command),
    Health(health::Command),
    Limits(limits::Command),
    Breakers(breakers::Command),
    Canaries(canaries::Command),
    Cache(cache::Command),
    Purge(cache::Purge),
    Schema(schema::Command),
    Errors(errors::Command),
    Key(key::Command),
    Token(token::Command),
    Demo(demo::Command),
    Completions(completions::Command),
    Man(man::Command),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(command) => command.run(),
        Command::Reload(command) => command.run(),
        Command::Upgrade(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Diff(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Health(command) => command.run(),
        Command::Limits(command) => command.run(),
        Command::Breakers(command) => command.run(),
        Command::Canaries(command) => command.run(),
        Command::Cache(command) => command.run(),
        Command::Purge(command) => command.run(),
        Command::Schema(command) => command.run(),
        Command::Errors(command) => command.run(),
        Command::Key(command) => command.run(),
        Command::Token(command) => command.run(),
        Command::Demo(command) => command.run(),
        Command::Completions(command) => command.run(),
        Command::Man(command) => command.run(),
    }
}

/// Where the configuration is.
#[derive(Debug, Args)]
struct ConfigPath {
    /// The configuration: a file, or a folder of *.toml files.
    #[arg(
        short,
        long = "config",
        value_name = "FILE",
        default_value = "/etc/northgate/northgate.toml"
    )]
    config: PathBuf,
}

/// Loads and compiles, and prints every problem to standard error. `Err` where there are errors.
fn configuration(path: &Path, metrics: &Metrics) -> Result<(Loaded, Configuration), ExitCode> {
    let mut loaded = load(path);
    let configuration = compile(&mut loaded, metrics);
    report(&loaded);
    match configuration {
        Some(configuration) => Ok((loaded, configuration)),
        None => Err(ExitCode::FAILURE),
    }
}

/// Prints the problems of a configuration, if it has any.
fn report(loaded: &Loaded) {
    if !loaded.diagnostics.is_empty() {
        let color = std::io::stderr().is_terminal();
        eprint!("{}", loaded.diagnostics.render(&loaded.sources, color));
    }
}

/// Writes to standard output; a reader that went away (`| head`) is no error.
fn print(text: &str) -> ExitCode {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
