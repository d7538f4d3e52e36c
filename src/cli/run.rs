//! `northgate run`

use std::process::ExitCode;

use clap::Args;

use super::ConfigPath;
use crate::gateway;
use crate::observability::Metrics;

/// Run the gateway until SIGTERM or SIGINT.
#[derive(Debug, Args)]
pub(super) struct Command {
    #[command(flatten)]
    path: ConfigPath,
}

impl Command {
    pub(super) fn run(self) -> ExitCode {
        super::start_log();
        let metrics = Metrics::new();
        let configuration = match super::configuration(&self.path.config, &metrics) {
            Ok((_, configuration)) => configuration,
            Err(code) => return code,
        };
        match gateway::run(configuration, Some(self.path.config), metrics, |_| {}) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                log::error!("{error}");
                ExitCode::FAILURE
            }
        }
    }
}
