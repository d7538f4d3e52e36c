//! `northgate health`

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::StatusCode;

use super::admin_client::AdminAddress;

/// What checks of containers allow, and more than it takes.
const DEADLINE: Duration = Duration::from_secs(2);

/// Ask the running gateway whether it is ready: 0 where it is, 1 where it starts, drains or is not there.
///
/// For health checks where there is no curl, as in a container. With --admin no configuration is read.
#[derive(Debug, Args)]
pub(super) struct Command {
    #[command(flatten)]
    admin: AdminAddress,
}

impl Command {
    pub(super) fn run(self) -> ExitCode {
        match self.admin.ask_openly("/readyz", DEADLINE) {
            Ok(answer) if answer.status == StatusCode::OK => ExitCode::SUCCESS,
            Ok(answer) => {
                eprintln!("not ready: {}", answer.status);
                ExitCode::FAILURE
            }
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        }
    }
}
