//! Holds the rules of the architecture over `src/`: which room may use which, where the engine's types may appear,
//! how long a file may be, and what no code may be called or do.
//!
//! It reads the text of the files, not their meaning: comments and literals are blanked, and what stands behind
//! `#[cfg(test)]` is left out where a rule is only for code that runs.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Component, Path, PathBuf};

/// From the lowest to the highest; a room may use every room of a lower tier.
const TIERS: [&[&str]; 10] = [
    &["text"],
    &["response", "observability", "identity", "limits"],
    &["facts", "http1"],
    &["discovery", "listener"],
    &["upstream", "cache"],
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
        let mut before = "";
        for (line, word) in words(&file.all_code) {
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
        // What a trait of somebody else's calls a function is not ours to choose.
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

/// One file under `src/`.
struct SourceFile {
    /// Relative to the crate.
    path: PathBuf,
    /// The folder or file right under `src/`; none for `main.rs` and `lib.rs`.
    room: Option<String>,
    text: String,
    /// Without comments and the insides of literals, byte for byte in the same place.
    all_code: String,
    /// Also without what is only compiled for tests.
    code: String,
}

impl SourceFile {
    fn read(path: PathBuf) -> SourceFile {
        let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
        let all_code = blank_comments_and_literals(&text);
        let code = blank_tests(&all_code);
        let below: Vec<String> = path
            .components()
            .skip(1)
            .filter_map(|component| match component {
                Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
                _ => None,
            })
            .collect();
        let room = match below.as_slice() {
            [file] if ["main.rs", "lib.rs"].contains(&file.as_str()) => None,
            [first, ..] => Some(first.trim_end_matches(".rs").to_owned()),
            [] => None,
        };
        SourceFile {
            path,
            room,
            text,
            all_code,
            code,
        }
    }

    /// The rooms named by `crate::ROOM`, `crate::{ROOM, …}` and a `super::` that leaves the room.
    fn rooms_used(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let out_of_room = "super::".repeat(self.module_depth());
        for root in ["crate::", out_of_room.as_str()] {
            for (at, _) in self.code.match_indices(root) {
                let before = self.code[..at].chars().next_back();
                if before.is_some_and(|before| is_word(before) || before == ':') {
                    continue;
                }
                let line = line_of(&self.code, at);
                let names = first_names(&self.code[at + root.len()..]);
                // Public items of the crate's root, such as macros, are in no room.
                found.extend(
                    names
                        .into_iter()
                        .filter(|name| name.starts_with(char::is_lowercase))
                        .map(|name| (line, name)),
                );
            }
        }
        found
    }

    /// How many `super` lead from this file's module to the crate's root.
    fn module_depth(&self) -> usize {
        let components = self.path.components().count() - 1;
        if self.path.ends_with("mod.rs") {
            components - 1
        } else {
            components
        }
    }
}

/// All files that run; those behind `#[cfg(test)] mod NAME;` are left out.
fn files() -> Vec<SourceFile> {
    let mut paths = Vec::new();
    collect(Path::new("src"), &mut paths);
    paths.sort_unstable();
    assert!(paths.len() > 50, "tests run in the crate's root");
    let files: Vec<SourceFile> = paths.into_iter().map(SourceFile::read).collect();
    let tests: BTreeSet<PathBuf> = files.iter().flat_map(test_modules).collect();
    files
        .into_iter()
        .filter(|file| !tests.contains(&file.path))
        .collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// The files of `#[cfg(test)] mod NAME;`.
fn test_modules(file: &SourceFile) -> Vec<PathBuf> {
    let is_door = ["mod.rs", "lib.rs", "main.rs"]
        .iter()
        .any(|door| file.path.ends_with(door));
    let folder = if is_door {
        folder_of(&file.path)
    } else {
        file.path.with_extension("")
    };
    let modules = file
        .all_code
        .match_indices("#[cfg(test)]")
        .filter_map(|(at, attribute)| {
            let item = at + attribute.len();
            let end = item + file.all_code[item..].find([';', '{'])?;
            let (attributes, name) = file.all_code[item..end].rsplit_once("mod ")?;
            if !file.all_code[end..].starts_with(';') {
                return None;
            }
            Some(match attributes.contains("path") {
                // The literal is blank in the code.
                true => vec![folder_of(&file.path).join(file.text[item..end].split('"').nth(1)?)],
                false => vec![
                    folder.join(format!("{name}.rs")),
                    folder.join(name).join("mod.rs"),
                ],
            })
        });
    modules.flatten().collect()
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Blanks the item behind every `#[cfg(test)]`.
fn blank_tests(code: &str) -> String {
    blank_items(code, |item| item.starts_with("#[cfg(test)]"))
}

/// Whether an item begins here that is `impl TRAIT for TYPE {`.
fn is_trait_implementation(item: &str) -> bool {
    item.starts_with("impl")
        && item.split_once('{').is_some_and(|(head, _)| {
            !head.contains(';') && words(head).any(|(_, word)| word == "for")
        })
}

/// Blanks every item that begins so, up to its `;` or the end of its block.
fn blank_items(code: &str, begins: impl Fn(&str) -> bool) -> String {
    let mut bytes = code.as_bytes().to_vec();
    let mut at = 0;
    while let Some(first) = code[at..].chars().next() {
        let follows_word = code[..at].chars().next_back().is_some_and(is_word);
        if follows_word || !begins(&code[at..]) {
            at += first.len_utf8();
            continue;
        }
        let end = at + item_length(&code[at..]);
        blank(&mut bytes[at..end]);
        at = end;
    }
    String::from_utf8(bytes).expect("whole items were blanked")
}

fn item_length(item: &str) -> usize {
    let mut depth = 0usize;
    for (index, byte) in item.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && (byte == b';' || byte == b'}') {
            return index + 1;
        }
    }
    item.len()
}

/// Keeps the lines where they are.
fn blank(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
}

/// A small lexer of Rust: comments (nested ones too), strings, raw strings, characters. Quotes stay.
fn blank_comments_and_literals(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        let (skipped, quote) = match rest {
            [b'/', b'/', ..] => (line_length(rest), 0),
            [b'/', b'*', ..] => (block_comment_length(rest), 0),
            [b'"', ..] => (string_length(rest), 1),
            [b'r', ..] if !follows_word(text, at) => match raw_string_length(rest) {
                0 => (0, 0),
                length => (length, 1),
            },
            [b'\'', ..] => (character_length(&text[at..]), 1),
            _ => (0, 0),
        };
        if skipped == 0 {
            at += 1;
            continue;
        }
        let (from, to) = (
            at + quote,
            (at + skipped).saturating_sub(quote).max(at + quote),
        );
        blank(&mut bytes[from..to]);
        at += skipped;
    }
    String::from_utf8(bytes).expect("whole characters were blanked")
}

fn line_length(rest: &[u8]) -> usize {
    let newline = rest.iter().position(|&byte| byte == b'\n');
    newline.unwrap_or(rest.len())
}

fn block_comment_length(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn string_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn follows_word(text: &str, at: usize) -> bool {
    // `br"…"` is a raw string, `for r in` is not.
    let before = text[..at].chars().next_back();
    before.is_some_and(|before| is_word(before) && before != 'b')
}

fn raw_string_length(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let body = &rest[2 + hashes..];
    let end = body
        .windows(close.len())
        .position(|window| window == close.as_bytes());
    end.map_or(rest.len(), |end| 2 + hashes + end + close.len())
}

/// Of `'x'` or `'\n'`; 0 for a lifetime.
fn character_length(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => {
            characters.next();
            let end = characters.find(|(_, character)| *character == '\'');
            end.map_or(0, |(at, _)| at + 1)
        }
        Some(_) => match characters.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

/// The name that a path begins with, or those of a group `{a::b, c::{d, e}}`.
fn first_names(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        return vec![
            path.chars()
                .take_while(|&character| is_word(character))
                .collect(),
        ];
    };
    let mut names = Vec::new();
    let (mut depth, mut name, mut is_first) = (0, String::new(), true);
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                names.push(std::mem::take(&mut name));
                is_first = true;
                if character == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ if depth == 0 && is_word(character) && is_first => name.push(character),
            _ if !name.is_empty() => is_first = false,
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Every word of the code with its line.
fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().enumerate().flat_map(|(number, line)| {
        line.split(|character| !is_word(character))
            .filter(|word| !word.is_empty())
            .map(move |word| (number + 1, word))
    })
}

/// Whether the line has the text with no word running into it: `panic!`, not `no_panic!`.
fn contains_token(line: &str, token: &str) -> bool {
    line.match_indices(token).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !token.starts_with(is_word) || !before.is_some_and(is_word)
    })
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
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

#[test]
fn the_lexer_sees_code_only() {
    fn check(text: &str, expected: &str) {
        assert_eq!(blank_comments_and_literals(text), expected, "{text}");
    }
    check("a // b\nc", "a     \nc");
    check("a /* b /* c */ d */ e", "a                   e");
    check(r#"f("a\"b") + 'c' + '\''"#, "f(\"    \") + ' ' + '  '");
    check("r#\"a\"b\"# + x", "r      # + x");
    check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
    check("for r in s {}", "for r in s {}");
}

#[test]
fn the_lexer_sees_tests() {
    let code = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\nfn c() {}\n#[cfg(test)]\nmod d;\nfn e() {}";
    let left = blank_tests(code);
    let rest: Vec<&str> = left
        .split_whitespace()
        .filter(|word| word.ends_with("()"))
        .collect();
    assert_eq!(rest, ["a()", "c()", "e()"]);
}

#[test]
fn the_lexer_sees_implementations_of_traits() {
    assert!(is_trait_implementation(
        "impl<T> Stream for Wrapped<T> { fn get_x() {} }"
    ));
    assert!(!is_trait_implementation(
        "impl Wrapped { fn f() { for x in y {} } }"
    ));
}

#[test]
fn paths_give_their_first_names() {
    assert_eq!(first_names("text::{Span, Name};"), ["text"]);
    assert_eq!(
        first_names("{admin, listener::{A, b}, text};"),
        ["admin", "listener", "text"]
    );
    assert_eq!(first_names("{\n    admin as other,\n};"), ["admin"]);
}
