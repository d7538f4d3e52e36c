//! `northgate run`

use std::process::ExitCode;

use clap::Args;

use super::ConfigPath;
use crate::config::{self, NoLastGood, Start, StartRefused};
use crate::gateway;

/// Run the gateway until SIGTERM or SIGINT.
///
/// Where the files have errors and a last good configuration is kept in `gateway.state_dir`, that is served.
#[derive(Debug, Args)]
pub(super) struct Command {
    #[command(flatten)]
    path: ConfigPath,
}

impl Command {
    pub(super) fn run(self) -> ExitCode {
        super::log::start();
        let Start {
            configuration,
            metrics,
            loaded,
        } = match config::start(&self.path.config) {
            Ok(start) => start,
            Err(no_start) => {
                let StartRefused { loaded, last_good } = *no_start;
                super::report(&loaded);
                refused(&last_good);
                return ExitCode::FAILURE;
            }
        };
        super::report(&loaded);
        drop(loaded);
        match gateway::run(configuration, Some(self.path.config), metrics, |_| {}) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                log::error!("{error}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Who keeps no state has nothing to be told of it.
fn refused(last_good: &NoLastGood) {
    if let NoLastGood::Refused(kept) = last_good {
        super::report(kept);
    }
    if !matches!(last_good, NoLastGood::NoFolder) {
        log::error!("{last_good}");
    }
}
