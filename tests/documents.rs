//! Documents say what is true: every configuration that is shipped and every TOML block of a document is loaded and
//! compiled, and every link to a file finds it.
//!
//! Blocks are taken from all `*.md` files and from the `//!` and `///` comments under `src/`. The rule for them:
//! - A block with a `bind` in it is a whole configuration and must compile as it stands.
//! - Any other block is a fragment. One that begins with a key is the inside of `[routes.example]`. Then it gets what
//!   it lacks, and only that: listeners a `bind`, upstreams without `discovery` `endpoints`, routes a `match` whose path has every `{NAME}`
//!   and `{path.NAME}` of the block, routes without an action the upstream `stub`, the admin listener a `bind`; and the
//!   listeners and upstreams that it names without defining them.
//! - Files with an absolute path are those of the reader's machine, and so are credentials; that they are not here is
//!   no mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use northgate::config::{compile, load, load_text};
use northgate::observability::Metrics;
use regex::Regex;
use serde_json::Value;

/// A starter, made to be edited: it may leave something unused.
const MAY_WARN: &str = "conf/northgate.toml";

#[test]
fn shipped_configurations_compile() {
    let mut failures = String::new();
    let shipped = ["conf", "loadtest", "packaging"].map(|folder| files(folder, "toml"));
    let shipped = shipped.concat();
    assert!(shipped.len() >= 2);
    for path in shipped {
        let mut loaded = load(&path);
        let is_compiled = compile(&mut loaded, &Metrics::new()).is_some();
        let is_silent = loaded.diagnostics.is_empty() || path == Path::new(MAY_WARN);
        if !is_compiled || !is_silent {
            failures += &loaded.diagnostics.render(&loaded.sources, false);
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

#[test]
fn blocks_of_documents_compile() {
    let mut failures = String::new();
    let mut count = 0;
    for path in files(".", "md") {
        let text = read(&path);
        for block in blocks(text.lines().enumerate()) {
            count += 1;
            failures += &block.problems(&path);
        }
    }
    for path in files("src", "rs") {
        let text = read(&path);
        for comment in ["//!", "///"] {
            let lines = text
                .lines()
                .enumerate()
                .filter_map(|(number, line)| {
                    Some((number, line.trim_start().strip_prefix(comment)?))
                })
                .map(|(number, line)| (number, line.strip_prefix(' ').unwrap_or(line)));
            for block in blocks(lines) {
                count += 1;
                failures += &block.problems(&path);
            }
        }
    }
    assert!(count >= 2, "the policies have examples: {count} blocks");
    assert!(failures.is_empty(), "\n{failures}");
}

#[test]
fn links_lead_somewhere() {
    let link = Regex::new(r"\]\(([^()\s]+)\)").expect("it is a pattern");
    let mut failures = String::new();
    for path in files(".", "md") {
        for (number, line) in prose(&read(&path)) {
            for found in link.captures_iter(&line) {
                if let Err(why) = follow(&path, &found[1]) {
                    let _ = writeln!(
                        failures,
                        "{}:{number}: {}: {why}",
                        path.display(),
                        &found[1]
                    );
                }
            }
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// Addresses of other hosts are not tried: a test must not need the Internet.
fn follow(from: &Path, target: &str) -> Result<(), &'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let folder = from.parent().unwrap_or(Path::new(""));
    let to = if file.is_empty() {
        from.to_path_buf()
    } else {
        folder.join(file)
    };
    if !to.exists() {
        return Err("there is no such file");
    }
    let is_document = to.extension().is_some_and(|extension| extension == "md");
    if heading.is_empty() || !is_document || anchors(&read(&to)).contains(heading) {
        return Ok(());
    }
    Err("the file has no such heading")
}

/// As GitHub makes them from headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).into_iter().filter_map(|(_, line)| {
        Some(
            line.strip_prefix('#')?
                .trim_start_matches('#')
                .trim()
                .to_owned(),
        )
    });
    headings
        .map(|heading| {
            heading
                .to_lowercase()
                .chars()
                .filter(|character| character.is_alphanumeric() || " -_".contains(*character))
                .map(|character| if character == ' ' { '-' } else { character })
                .collect()
        })
        .collect()
}

/// The lines outside fenced blocks, with their numbers.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut is_fenced = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        if let Some(info) = fence.map(str::trim_end) {
            is_fenced = !is_fenced || !info.is_empty();
        } else if !is_fenced {
            lines.push((index + 1, line.to_owned()));
        }
    }
    lines
}

/// A TOML block of a document.
#[derive(Debug)]
struct Block {
    /// The line of its fence, from 1.
    line: usize,
    text: String,
}

/// The blocks fenced by ```` ```toml ````.
fn blocks<'t>(lines: impl Iterator<Item = (usize, &'t str)>) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut is_other = false;
    for (index, line) in lines {
        let fence = line.trim_start().strip_prefix("```").map(str::trim_end);
        match (fence, &mut open) {
            // Only a bare fence closes; one with words is content of the block that is open.
            (Some(""), Some(_)) => blocks.extend(open.take()),
            (Some(""), None) => is_other = !is_other,
            (_, None) if is_other => {}
            (Some(info), None) if info.split([',', ' ']).next() == Some("toml") => {
                open = Some(Block {
                    line: index + 1,
                    text: String::new(),
                });
            }
            (Some(_), None) => is_other = true,
            (_, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

impl Block {
    /// What is wrong with it, as `check` would say; empty where nothing is.
    fn problems(&self, path: &Path) -> String {
        let name = format!("{}:{} (block)", path.display(), self.line);
        let text = match completed(&self.text) {
            Ok(text) => text,
            Err(error) => return format!("{name}: {error}\n"),
        };
        let mut loaded = load_text(&name, &text);
        let is_compiled = compile(&mut loaded, &Metrics::new()).is_some();
        let is_excused = loaded
            .diagnostics
            .reports(&loaded.sources)
            .iter()
            .filter(|report| report.severity == northgate::text::Severity::Error)
            .all(|report| is_of_the_readers_machine(&report.message));
        if is_compiled || is_excused {
            String::new()
        } else {
            loaded.diagnostics.render(&loaded.sources, false)
        }
    }
}

fn is_of_the_readers_machine(message: &str) -> bool {
    let has_absolute_path = message
        .split_whitespace()
        .any(|word| word.starts_with('/') && word.len() > 1);
    has_absolute_path && message.contains("No such file or directory")
        || message.contains("there are no credentials")
}

/// The block with what it lacks, by the rule at the top.
fn completed(block: &str) -> Result<String, toml::de::Error> {
    let mut text = block.to_owned();
    let first = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .unwrap_or_default();
    if !first.starts_with('[') && !first.starts_with("include") {
        text = format!("[routes.example]\n{text}");
    }
    let document: Value = toml::from_str(&text)?;
    let is_whole = text
        .lines()
        .any(|line| line.trim_start().starts_with("bind"));
    if !is_whole {
        for (table, keys) in lacking(&document, &text) {
            add(&mut text, &table, &keys);
        }
    }
    Ok(text)
}

/// Keys by table, for a fragment.
fn lacking(document: &Value, text: &str) -> BTreeMap<String, String> {
    let mut lacking: BTreeMap<String, String> = BTreeMap::new();
    let mut lack = |table: String, key: &str| {
        let _ = writeln!(lacking.entry(table).or_default(), "{key}");
    };
    let sections = |name: &str| document[name].as_object().cloned().unwrap_or_default();
    let (listeners, upstreams, routes) = (
        sections("listeners"),
        sections("upstreams"),
        sections("routes"),
    );
    let mut named_listeners: BTreeSet<String> = listeners.keys().cloned().collect();
    let mut named_upstreams: BTreeSet<String> = upstreams.keys().cloned().collect();
    for (name, route) in &routes {
        let table = format!("routes.{name}");
        if route["match"].is_null() {
            lack(
                table.clone(),
                &format!("match = {{ path = \"{}\" }}", path_of(text)),
            );
        }
        let has_action = [
            "upstream",
            "split",
            "aggregate",
            "batch",
            "redirect",
            "respond",
            "login",
        ]
        .iter()
        .any(|action| !route[*action].is_null());
        if !has_action {
            lack(table, "upstream = \"stub\"");
            named_upstreams.insert("stub".into());
        }
        named_upstreams.extend(route["upstream"].as_str().map(str::to_owned));
        let parts = route["aggregate"]["parts"].as_object().cloned();
        let of_parts = parts.unwrap_or_default();
        let of_parts = of_parts
            .values()
            .filter_map(|part| part["upstream"].as_str());
        named_upstreams.extend(of_parts.map(str::to_owned));
        let on = route["listeners"].as_array().cloned().unwrap_or_default();
        named_listeners.extend(on.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    if named_listeners.is_empty() {
        named_listeners.insert("public".into());
    }
    for name in named_listeners {
        lack(format!("listeners.{name}"), "bind = \"127.0.0.1:0\"");
    }
    for name in named_upstreams {
        let is_defined = upstreams.get(&name).is_some_and(|upstream| {
            !upstream["endpoints"].is_null() || !upstream["discovery"].is_null()
        });
        if !is_defined {
            lack(format!("upstreams.{name}"), "endpoints = [\"127.0.0.1:9\"]");
        }
    }
    if document["admin"].is_object() {
        lack("admin".into(), "bind = \"127.0.0.1:0\"");
    }
    lacking
}

/// A path template with every parameter that the text uses.
fn path_of(text: &str) -> String {
    let parameter = Regex::new(r"\{(?:path\.)?([a-z_][a-z0-9_]*)\}").expect("it is a pattern");
    let names: BTreeSet<&str> = parameter
        .captures_iter(text)
        .filter_map(|found| Some(found.get(1)?.as_str()))
        .collect();
    names
        .iter()
        .fold("/example".into(), |path, name| format!("{path}/{{{name}}}"))
}

/// Adds keys under the table's header, or the table where it has none of its own.
fn add(text: &mut String, table: &str, keys: &str) {
    let header = format!("[{table}]");
    let at = text
        .match_indices(&header)
        .map(|(at, _)| at)
        .find(|&at| at == 0 || text[..at].ends_with('\n'));
    match at.and_then(|at| Some(at + text[at..].find('\n')? + 1)) {
        Some(after) => text.insert_str(after, keys),
        None => {
            let _ = write!(text, "\n{header}\n{keys}");
        }
    }
}

/// All files below a folder, hidden ones and what cargo builds apart.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from(folder)];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("tests run in the crate's root") {
            let path = entry.expect("the folder can be read").path();
            let path = path.strip_prefix("./").unwrap_or(&path).to_path_buf();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') || path == Path::new("target") {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort_unstable();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn fragments_are_completed() {
    fn check(fragment: &str, expected: Option<&str>) {
        let block = Block {
            line: 1,
            text: fragment.to_owned(),
        };
        let problems = block.problems(Path::new("t.md"));
        match expected {
            None => assert_eq!(problems, "", "{fragment}"),
            Some(expected) => assert!(problems.contains(expected), "{fragment}: {problems}"),
        }
    }
    check("rewrite = { path = \"/orders/{id}\" }\n", None);
    check(
        "[routes.a.policies]\nrequest_headers = { set = { x-order = \"{path.id}\" } }\n",
        None,
    );
    check("[listeners.public]\nprotocols = [\"h2\"]\n", None);
    check("[upstreams.orders]\nbalance = \"least_request\"\n", None);
    check(
        "[upstreams.orders]\ntls = { ca = \"/no/such/ca.pem\" }\n",
        None,
    );
    check("[admin]\ntoken = { file = \"/no/such/token\" }\n", None);
    check(
        "[routes.a]\nmatch = { path = \"/\" }\nlisteners = [\"inside\"]\nupstream = \"orders\"\n",
        None,
    );
    check(
        "[routes.a]\nupstrem = \"orders\"\n",
        Some("did you mean \"upstream\"?"),
    );
    check(
        "[upstreams.orders]\ntls = { ca = \"ca.pem\" }\n",
        Some("No such file"),
    );
    // A whole configuration gets nothing.
    check(
        "[listeners.a]\nbind = \"127.0.0.1:0\"\n[routes.a]\nmatch = { path = \"/\" }\nupstream = \"orders\"\n",
        Some("there is no upstream \"orders\""),
    );
    check("[routes.a\n", Some("t.md:1 (block)"));
}

#[test]
fn blocks_are_found() {
    let text =
        "a\n```toml\nx = 1\n```\n```rust\n```\n```sh\n```toml\n```\n```toml,whole\ny = 1\n```\n";
    let found: Vec<(usize, String)> = blocks(text.lines().enumerate())
        .into_iter()
        .map(|block| (block.line, block.text))
        .collect();
    assert_eq!(found[0], (2, "x = 1\n".to_owned()));
    assert_eq!(found.len(), 2, "{found:?}");
}
