//! Any text as a configuration.

use super::{compile, load_text};
use crate::observability::Metrics;
use crate::text::fuzz::fuzz_from;

const WORDS: [&str; 22] = [
    "[listeners.a]\n",
    "[routes.b]\n",
    "[upstreams.c]\n",
    "bind = \"127.0.0.1:1\"\n",
    "match = { path = \"/{id}\" }\n",
    "\n",
    "[",
    "]",
    "{",
    "}",
    "=",
    "\"",
    "'''",
    "\"\"\"",
    "#",
    ",",
    "1",
    "\"5s\"",
    "\"1KiB\"",
    "true",
    "é",
    "\u{feff}",
];

/// These would have files looked for and read, by names that nobody chose, or keys made.
const NOT_HERE: [&str; 9] = [
    "include",
    "file",
    "path =",
    "cert",
    "key",
    "ca",
    "env",
    "credential",
    "self_signed",
];

#[test]
fn fuzz_configurations() {
    let folders = ["tests/config/accept", "tests/config/reject"];
    fuzz_from(&folders, &WORDS, |input| {
        let text = String::from_utf8_lossy(input);
        if text.contains("include") {
            return String::new();
        }
        let mut loaded = load_text("fuzz.toml", &text);
        let reads_nothing = !NOT_HERE.iter().any(|word| text.contains(word));
        let compiled = reads_nothing.then(|| compile(&mut loaded, &Metrics::new()));
        // Errors are accepted only where something is not served for them.
        let is_whole = compiled
            .flatten()
            .is_some_and(|it| it.quarantined.is_empty());
        assert!(!(is_whole && loaded.diagnostics.has_errors()));
        let reports = loaded.diagnostics.reports(&loaded.sources);
        for report in &reports {
            assert!(
                report
                    .line
                    .is_none_or(|line| line <= text.lines().count() + 1)
            );
        }
        let shown = loaded.diagnostics.render(&loaded.sources, false);
        assert_eq!(shown.is_empty(), reports.is_empty());
        // The kind of problem is how it ends: its words, without what was written.
        let message = reports.first().map_or("", |report| &report.message);
        message
            .split(", got")
            .next()
            .unwrap_or_default()
            .chars()
            .take(60)
            .collect()
    });
}
