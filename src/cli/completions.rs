//! `northgate completions`

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;

/// Print the completions of the command line for a shell.
#[derive(Debug, Args)]
pub(super) struct Command {
    /// For whom.
    shell: Shell,
}

impl Command {
    pub(super) fn run(self) -> ExitCode {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "northgate", &mut script);
        super::print(&String::from_utf8_lossy(&script))
    }
}
