//! `northgate errors`

use std::process::ExitCode;

use clap::Args;

/// Print the error index: every failure that a client can see.
#[derive(Debug, Args)]
pub(super) struct Command {}

impl Command {
    pub(super) fn run(self) -> ExitCode {
        super::print(&crate::response::index_markdown())
    }
}
