//! `northgate check`

use std::process::ExitCode;

use clap::Args;

use super::ConfigPath;
use crate::config::{compile, load};
use crate::observability::Metrics;

/// Check a configuration: print every problem, and fail if there is an error.
///
/// Fails as well where `gateway.on_error = "quarantine"` would have the gateway serve the rest; then it tells what is
/// not served. What is kept in `gateway.state_dir` is no part of it.
#[derive(Debug, Args)]
pub(super) struct Command {
    #[command(flatten)]
    path: ConfigPath,
    /// Fail on warnings, too.
    #[arg(long)]
    strict: bool,
    /// Print the problems as JSON.
    #[arg(long)]
    json: bool,
}

impl Command {
    pub(super) fn run(self) -> ExitCode {
        let mut loaded = load(&self.path.config);
        let configuration = compile(&mut loaded, &Metrics::new());
        if self.json {
            let reports = loaded.diagnostics.reports(&loaded.sources);
            match serde_json::to_string_pretty(&reports) {
                Ok(text) => super::print(&format!("{text}\n")),
                Err(error) => {
                    eprintln!("error: {error}");
                    return ExitCode::FAILURE;
                }
            };
        } else {
            super::report(&loaded);
        }
        match configuration {
            None => ExitCode::FAILURE,
            // It would serve, and it is not as it should be.
            Some(configuration) if loaded.diagnostics.has_errors() => {
                for object in &configuration.quarantined {
                    eprintln!("quarantined: {object}");
                }
                ExitCode::FAILURE
            }
            Some(_) if self.strict && !loaded.diagnostics.is_empty() => ExitCode::FAILURE,
            Some(configuration) => {
                if !self.json {
                    let snapshot = &configuration.snapshot;
                    let routes = loaded.document.routes.len();
                    eprintln!(
                        "ok: {}, {}, {}",
                        count(snapshot.listeners.len(), "listener"),
                        count(snapshot.upstreams.len(), "upstream"),
                        count(routes, "route")
                    );
                }
                ExitCode::SUCCESS
            }
        }
    }
}

/// `1 route`, `2 routes`
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
