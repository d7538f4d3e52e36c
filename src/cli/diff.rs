//! `northgate diff`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::Method;

use super::admin_client::{AdminAddress, Answer};
use crate::config::{Changes, Loaded, diff, load};

/// Show what a reload would change, or what is different between two configurations, object by object.
///
/// Without files the running gateway is asked, which compares what it serves with its files. Exits with 0 where
/// nothing is, with 2 where something is, and with 1 where one of them cannot be read.
///
/// Values that may be secrets are shown as ***: what stands under a key that sounds like one, what headers are set to
/// but for well-known ones, and names, passwords and the values of queries in URLs. Nothing else is hidden.
#[derive(Debug, Args)]
pub(super) struct Command {
    /// A file, or a folder of *.toml files.
    #[arg(requires = "new")]
    old: Option<PathBuf>,
    /// Another.
    new: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminAddress,
    /// Print the changes as JSON.
    #[arg(long)]
    json: bool,
}

/// For the largest configurations.
const DEADLINE: Duration = Duration::from_secs(60);
/// As `diff` of POSIX has it, but that what is different is no failure.
const DIFFERENT: u8 = 2;

impl Command {
    pub(super) fn run(self) -> ExitCode {
        let (Some(old), Some(new)) = (&self.old, &self.new) else {
            return match self.admin.ask(Method::GET, "/diff", DEADLINE) {
                Ok(answer) => self.tell(&answer),
                Err(error) => {
                    eprintln!("error: {error}");
                    ExitCode::FAILURE
                }
            };
        };
        match (read(old), read(new)) {
            (Some(old), Some(new)) => show(&diff(&old.sources, &new.sources), self.json),
            _ => ExitCode::FAILURE,
        }
    }

    /// Shows what the gateway has answered.
    fn tell(&self, answer: &Answer) -> ExitCode {
        match serde_json::from_slice::<Changes>(&answer.body) {
            Ok(changes) => show(&changes, self.json),
            Err(_) => super::reload::tell(answer, "compared"),
        }
    }
}

/// None where it cannot be read as a whole, after its problems were printed.
fn read(path: &Path) -> Option<Loaded> {
    let loaded = load(path);
    if loaded.diagnostics.has_errors() {
        super::report(&loaded);
        return None;
    }
    Some(loaded)
}

fn show(changes: &Changes, as_json: bool) -> ExitCode {
    let text = match as_json {
        false => Ok(changes.to_string()),
        true => serde_json::to_string_pretty(changes).map(|text| text + "\n"),
    };
    let printed = match text {
        Ok(text) => super::print(&text),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    };
    match printed == ExitCode::SUCCESS && !changes.is_empty() {
        true => ExitCode::from(DIFFERENT),
        false => printed,
    }
}
