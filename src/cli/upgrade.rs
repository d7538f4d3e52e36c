//! `northgate upgrade`

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::Method;

use super::admin_client::AdminAddress;
use super::reload;

/// Longer than `gateway.upgrade_timeout` can be.
const DEADLINE: Duration = Duration::from_secs(270);

/// Let the program that now stands where the running gateway was started from take its place. No connection is lost;
/// where the new one does not come to serve, the exit code is 1, and the running one serves on.
#[derive(Debug, Args)]
pub(super) struct Command {
    #[command(flatten)]
    admin: AdminAddress,
}

impl Command {
    pub(super) fn run(self) -> ExitCode {
        match self.admin.ask(Method::POST, "/upgrade", DEADLINE) {
            Ok(answer) => reload::tell(&answer, "upgraded"),
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        }
    }
}
