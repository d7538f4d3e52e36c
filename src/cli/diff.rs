//! `northgate diff`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::config::{Changes, Loaded, diff, load};

/// Show what is different between two configurations, object by object.
///
/// Exits with 0 where nothing is, with 2 where something is, and with 1 where one of them cannot be read. Values that
/// may be secrets are not shown.
#[derive(Debug, Args)]
pub(super) struct Command {
    /// A file, or a folder of *.toml files.
    old: PathBuf,
    /// Another.
    new: PathBuf,
    /// Print the changes as JSON.
    #[arg(long)]
    json: bool,
}

/// As `diff` of POSIX has it, but that what is different is no failure.
const DIFFERENT: u8 = 2;

impl Command {
    pub(super) fn run(self) -> ExitCode {
        let (Some(old), Some(new)) = (read(&self.old), read(&self.new)) else {
            return ExitCode::FAILURE;
        };
        show(&diff(&old.sources, &new.sources), self.json)
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
