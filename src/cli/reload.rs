//! `northgate reload`

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::{Method, StatusCode};

use super::admin_client::{AdminAddress, Answer};
use crate::gateway::{Outcome, Report};

/// For the largest configurations, and names of upstreams that do not resolve.
const DEADLINE: Duration = Duration::from_secs(60);

/// Have the running gateway load its configuration anew. It answers with every problem; a configuration with errors
/// changes nothing, and the exit code is then 1.
#[derive(Debug, Args)]
pub(super) struct Command {
    #[command(flatten)]
    admin: AdminAddress,
}

impl Command {
    pub(super) fn run(self) -> ExitCode {
        match self.admin.ask(Method::POST, "/reload", DEADLINE) {
            Ok(answer) => tell(&answer, "reloaded"),
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Says what has become of an order, in the words of the gateway; `done` is what it is called where it was done.
pub(super) fn tell(answer: &Answer, done: &str) -> ExitCode {
    let report: Report = match serde_json::from_slice(&answer.body) {
        Ok(report) => report,
        Err(_) => {
            let said = String::from_utf8_lossy(&answer.body);
            eprintln!("error: {}: {}", answer.status, said.trim_end());
            if answer.status == StatusCode::NOT_FOUND {
                eprintln!("help: is this the admin listener of a gateway?");
            }
            return ExitCode::FAILURE;
        }
    };
    let end = if report.problems.is_empty() || report.problems.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    eprint!("{}{end}", report.problems);
    match report.outcome {
        Outcome::Applied => {
            for note in &report.notes {
                eprintln!("note: {note}");
            }
            super::print(&format!("{done}\n"))
        }
        Outcome::Refused => {
            for note in &report.notes {
                eprintln!("error: {note}");
            }
            eprintln!("what served before serves on");
            ExitCode::FAILURE
        }
    }
}
