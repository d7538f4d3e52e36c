//! The configuration language by example: `tests/config/accept` holds files that must compile, `tests/config/reject`
//! files that must not, one mistake each.
//!
//! What is said of a file stands beside it in `NAME.out`, word for word, because the messages are what users read;
//! an accepted file without warnings has none. `NORTHGATE_BLESS=1 cargo test --test config` writes these anew: read
//! the difference before it is committed. Files in folders belong to the file that includes them.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use northgate::config::{Loaded, compile, load};
use northgate::observability::Metrics;

const ACCEPT: &str = "tests/config/accept";
const REJECT: &str = "tests/config/reject";

/// Problems of the whole configuration; every other one must say where it is.
const WITHOUT_A_PLACE: [&str; 2] = ["there is no listener", "there is no route"];

struct Outcome {
    loaded: Loaded,
    is_accepted: bool,
}

impl Outcome {
    fn of(path: &Path) -> Outcome {
        let mut loaded = load(path);
        let is_accepted = compile(&mut loaded, &Metrics::new()).is_some();
        Outcome {
            loaded,
            is_accepted,
        }
    }

    fn text(&self) -> String {
        self.loaded.diagnostics.render(&self.loaded.sources, false)
    }
}

#[test]
fn accepted_files_compile_with_the_warnings_that_are_pinned() {
    let mut failures = Failures::default();
    for path in files(ACCEPT, "toml") {
        let outcome = Outcome::of(&path);
        let text = outcome.text();
        if !outcome.is_accepted || outcome.loaded.diagnostics.has_errors() {
            failures.add(&path, &format!("must be accepted, but:\n{text}"));
        } else {
            failures.compare(&path.with_extension("out"), &text);
        }
    }
    failures.settle();
}

#[test]
fn rejected_files_are_rejected_in_the_words_that_are_pinned() {
    let mut failures = Failures::default();
    for path in files(REJECT, "toml") {
        let outcome = Outcome::of(&path);
        let text = outcome.text();
        if outcome.is_accepted || !outcome.loaded.diagnostics.has_errors() {
            failures.add(&path, &format!("must be rejected, but:\n{text}"));
        } else {
            failures.compare(&path.with_extension("out"), &text);
        }
    }
    failures.settle();
}

#[test]
fn every_problem_says_where_it_is() {
    let mut failures = Failures::default();
    for path in [files(ACCEPT, "toml"), files(REJECT, "toml")].concat() {
        let Loaded {
            sources,
            diagnostics,
            ..
        } = Outcome::of(&path).loaded;
        for report in diagnostics.reports(&sources) {
            let is_exempt = WITHOUT_A_PLACE
                .iter()
                .any(|begin| report.message.starts_with(begin));
            let has_place =
                report.path.is_some() && report.line.is_some() && report.column.is_some();
            if !has_place && !is_exempt {
                failures.add(&path, &format!("no place: {}", report.message));
            }
        }
    }
    failures.settle();
}

/// Golden files that nothing compares with would go stale unseen.
#[test]
fn every_golden_file_has_its_configuration() {
    let mut failures = Failures::default();
    for path in [files(ACCEPT, "out"), files(REJECT, "out")].concat() {
        if !path.with_extension("toml").exists() {
            failures.add(&path, "there is no .toml of this name");
        }
    }
    failures.settle();
}

/// A folder is read as all `*.toml` files in it.
#[test]
fn a_folder_is_one_configuration() {
    let whole = Outcome::of(Path::new("tests/config/accept/folder"));
    assert!(whole.is_accepted, "{}", whole.text());
    assert_eq!(whole.text(), "");
    assert_eq!(whole.loaded.document.routes.len(), 1);
    let empty = Outcome::of(Path::new("tests/config"));
    assert!(!empty.is_accepted);
    assert!(empty.text().contains("no *.toml file"), "{}", empty.text());
}

#[test]
fn a_path_that_is_not_there_is_an_error() {
    let outcome = Outcome::of(Path::new("tests/config/no-such.toml"));
    assert!(!outcome.is_accepted);
    assert!(
        outcome.text().contains("tests/config/no-such.toml"),
        "{}",
        outcome.text()
    );
}

/// Files of one folder by name, so that failures come in the same order everywhere.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("tests run in the crate's root");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort_unstable();
    files
}

/// All that is wrong, so that one run shows everything.
#[derive(Default)]
struct Failures(String);

impl Failures {
    fn add(&mut self, path: &Path, what: &str) {
        let _ = writeln!(self.0, "--- {}: {what}", path.display());
    }

    /// An absent golden file is an empty one.
    fn compare(&mut self, golden: &Path, text: &str) {
        if std::env::var_os("NORTHGATE_BLESS").is_some_and(|value| value == "1") {
            let written = if text.is_empty() {
                std::fs::remove_file(golden).or_else(|error| match error.kind() {
                    std::io::ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                })
            } else {
                std::fs::write(golden, text)
            };
            written.expect("golden files can be written");
            return;
        }
        let pinned = std::fs::read_to_string(golden).unwrap_or_default();
        if pinned != text {
            self.add(
                golden,
                &format!("is no longer what is said.\n=== pinned\n{pinned}=== now\n{text}"),
            );
        }
    }

    fn settle(self) {
        assert!(self.0.is_empty(), "\n{}", self.0);
    }
}
