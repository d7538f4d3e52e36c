//! `northgate man`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory};

use super::Cli;

/// Write the manual pages into a folder: northgate.1, and one for each command.
#[derive(Debug, Args)]
pub(super) struct Command {
    /// It has to exist.
    folder: PathBuf,
}

impl Command {
    pub(super) fn run(self) -> ExitCode {
        match clap_mangen::generate_to(Cli::command(), &self.folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {}: {error}", self.folder.display());
                ExitCode::FAILURE
            }
        }
    }
}
