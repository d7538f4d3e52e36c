//! `northgate schema`

use std::process::ExitCode;

use clap::Args;

/// Print the JSON Schema of the configuration language, for editors.
#[derive(Debug, Args)]
pub(super) struct Command {}

impl Command {
    pub(super) fn run(self) -> ExitCode {
        super::print(&format!("{:#}\n", crate::config::schema()))
    }
}
