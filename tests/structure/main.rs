//! Holds the rules of the architecture over `src/`: which room may use which, where the engine's types may appear,
//! how long a file may be, and what no code may be called or do.
//!
//! It reads the text of the files, not their meaning: comments and literals are blanked, and what stands behind
//! `#[cfg(test)]` is left out where a rule is only for code that runs.

mod lexer;
mod source;

use std::fmt::Write;

use self::lexer::{blank_items, contains_token, is_trait_implementation, line_of, words};
use self::source::{SourceFile, files};

/// From the lowest to the highest; a room may use every room of a lower tier.
const TIERS: [&[&str]; 13] = [
    &["text"],
    &["response", "observability", "trust"],
    &["stores"],
    &["identity", "limits"],
    &["facts", "http1"],
    &["discovery", "listener"],
    &["upstream", "cache"],
    &["aggregation"],
    &["policies", "actions"],
    &["routing"],
    &["config", "proxy", "admin"],
    &["gateway"],
    &["cli"],
];

/// Who may use whom although they are on one tier.
const NEIGHBOURS: [(&str, &str); 1] = [("config", "admin")];

/// The only users of a room, where not everybody above may be one.
const EXCLUSIVE: [(&str, &[&str]); 3] = [
    ("config", &["gateway", "cli"]),
    ("admin", &["config", "gateway"]),
    ("demo", &["cli"]),
];

/// It stands beside the gateway, as much a stranger to it as any other upstream.
const STRANGER: &str = "demo";

const LONGEST_FILE: usize = 500;

#[test]
fn rooms_use_only_what_is_below_them() {
    let mut violations = Violations::default();
    for file in files() {
        let Some(room) = &file.room else { continue };
        if room != STRANGER && tier(room).is_none() {
            violations.add(
                &file,
                1,
                format!("the room {room} is in no tier; add it to TIERS and to the architecture"),
            );
        }
        for (line, used) in file.rooms_used() {
            if let Some(why) = refusal(room, &used) {
                violations.add(&file, line, why);
            }
        }
    }
    violations.settle();
}

/// Why `room` may not use `used`; `None` where it may.
fn refusal(room: &str, used: &str) -> Option<String> {
    if room == used {
        return None;
    }
    if room == STRANGER {
        return Some(format!("{STRANGER} uses {used}; it may use no room"));
    }
    let exclusive = EXCLUSIVE.iter().find(|(only, _)| *only == used);
    if let Some((_, users)) = exclusive {
        let is_user = users.contains(&room);
        return (!is_user).then(|| {
            format!(
                "{room} uses {used}, which only {} may use",
                users.join(" and ")
            )
        });
    }
    let (Some(mine), Some(other)) = (tier(room), tier(used)) else {
        return Some(format!("{room} uses {used}, which is no room"));
    };
    let is_allowed = other < mine || NEIGHBOURS.contains(&(room, used));
    (!is_allowed).then(|| format!("{room} uses {used}, which is not below it"))
}

fn tier(room: &str) -> Option<usize> {
    TIERS.iter().position(|rooms| rooms.contains(&room))
}

#[test]
fn the_table_of_rooms_is_what_is_meant() {
    let allowed = |room: &str, used: &str| refusal(room, used).is_none();
    assert!(allowed("routing", "text") && allowed("cli", "demo") && allowed("config", "admin"));
    assert!(allowed("gateway", "config") && allowed("proxy", "routing"));
    assert!(!allowed("text", "routing") && !allowed("policies", "actions"));
    assert!(!allowed("proxy", "config") && !allowed("cli", "admin") && !allowed("gateway", "demo"));
    assert!(!allowed("demo", "text") && !allowed("admin", "config"));
}

#[test]
fn types_of_the_engine_stay_where_they_belong() {
    let mut violations = Violations::default();
    for file in files() {
        let room = file.room.as_deref().unwrap_or_default();
        for (line, word) in words(&file.code) {
            let home = match word {
                "Session" if room != "proxy" => "the proxy room",
                // The engine's trait has it in its signatures.
                "HttpPeer" if room != "upstream" && !file.path.ends_with("proxy/mod.rs") => {
                    "the upstream room"
                }
                // The gateway is its own: Pingora's owns the process, the signals and the listeners.
                "Server" => "Pingora alone",
                _ => continue,
            };
            violations.add(&file, line, format!("{word} belongs to {home}"));
        }
    }
    violations.settle();
}

/// What is said about a request, and what limits go by, comes from what was proven and not from what was shown.
#[test]
fn nothing_but_authenticators_reads_credentials() {
    let mut violations = Violations::default();
    for file in files() {
        let room = file.room.as_deref().unwrap_or_default();
        let is_told = ["observability", "limits"].contains(&room)
            || file.path.ends_with("proxy/record.rs")
            || file.path.ends_with("facts/template.rs");
        for (line, word) in words(&file.code) {
            if is_told && ["AUTHORIZATION", "PROXY_AUTHORIZATION", "COOKIE"].contains(&word) {
                violations.add(&file, line, format!("{word} is for authenticators"));
            }
        }
    }
    violations.settle();
}

#[test]
fn files_are_short() {
    let mut violations = Violations::default();
    for file in files() {
        let lines = file.text.lines().count();
        if lines > LONGEST_FILE {
            violations.add(
                &file,
                LONGEST_FILE,
                format!("{lines} lines, past {LONGEST_FILE}; split it"),
            );
        }
    }
    violations.settle();
}

#[test]
fn names_say_something() {
    const EMPTY_ENDINGS: [&str; 6] = ["Manager", "Helper", "Util", "Info", "Data", "Impl"];
    const EMPTY_MODULES: [&str; 7] = [
        "utils", "util", "common", "misc", "types", "prelude", "helpers",
    ];
    let mut violations = Violations::default();
    for file in files() {
        let module = file.path.file_stem().and_then(|stem| stem.to_str());
        if let Some(module) = module.filter(|module| EMPTY_MODULES.contains(module)) {
            violations.add(&file, 1, format!("a module called {module}"));
        }
        // What a trait of somebody else's calls a type or a function is not ours to choose.
        let all_own = blank_items(&file.all_code, is_trait_implementation);
        let mut before = "";
        for (line, word) in words(&all_own) {
            let ending = EMPTY_ENDINGS.iter().find(|ending| word.ends_with(**ending));
            let is_type = ["struct", "enum", "trait", "type", "union"].contains(&before);
            match (before, ending) {
                (_, Some(ending)) if is_type => {
                    violations.add(&file, line, format!("{word}: {ending} says nothing"));
                }
                ("mod", _) if EMPTY_MODULES.contains(&word) => {
                    violations.add(&file, line, format!("a module called {word}"));
                }
                _ => {}
            }
            before = word;
        }
        let own = blank_items(&file.code, is_trait_implementation);
        let mut before = "";
        for (line, word) in words(&own) {
            if let ("fn", Some(name)) = (before, word.strip_prefix("get_")) {
                violations.add(&file, line, format!("{word}: call it {name}"));
            }
            before = word;
        }
    }
    violations.settle();
}

#[test]
fn running_code_neither_panics_nor_blocks() {
    const BANNED: [(&str, &str); 6] = [
        (".unwrap()", "handle it, or state the invariant by expect"),
        ("panic!", "untrusted input must not panic"),
        ("todo!", "finish it"),
        ("unimplemented!", "finish it"),
        ("dbg!", "left over"),
        ("thread::sleep", "a thread that sleeps serves nobody"),
    ];
    let mut violations = Violations::default();
    for file in files() {
        for (number, line) in file.code.lines().enumerate() {
            for (banned, why) in BANNED {
                if contains_token(line, banned) {
                    violations.add(&file, number + 1, format!("{banned}: {why}"));
                }
            }
        }
    }
    violations.settle();
}

#[test]
fn exceptions_have_reasons() {
    let mut violations = Violations::default();
    for file in files() {
        for attribute in ["#[ignore", "#[allow(", "#![allow(", "#[expect("] {
            for (at, _) in file.all_code.match_indices(attribute) {
                let end = file.all_code[at..].find(']').map_or(at, |end| at + end);
                let inside = &file.all_code[at..end];
                // `#[ignore = "…"]` carries its reason as its value.
                if !inside.contains("reason") && !inside.contains("ignore =") {
                    let line = line_of(&file.all_code, at);
                    violations.add(&file, line, format!("{attribute}…] without a reason"));
                }
            }
        }
    }
    violations.settle();
}

#[test]
fn every_room_says_what_it_is_for() {
    let mut violations = Violations::default();
    for file in files() {
        let depth = file.path.components().count();
        let is_door =
            file.path.ends_with("mod.rs") && depth == "src/room/mod.rs".matches('/').count() + 1;
        if is_door && !file.text.starts_with("//! ") {
            violations.add(
                &file,
                1,
                "a room's mod.rs begins with its docs (`//! `)".into(),
            );
        }
    }
    violations.settle();
}

/// All that is wrong, so that one run shows everything.
#[derive(Default)]
struct Violations(String);

impl Violations {
    fn add(&mut self, file: &SourceFile, line: usize, what: String) {
        let _ = writeln!(self.0, "{}:{line}: {what}", file.path.display());
    }

    fn settle(self) {
        assert!(self.0.is_empty(), "\n{}", self.0);
    }
}
