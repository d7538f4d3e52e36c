//! How the reader's problems are put into words.

use std::fmt;

use serde::de::{Expected, Unexpected};

use super::invalid::quoted;
use super::nearest;
use super::problem::Segment;

/// The message and help for a key that nobody asked for.
pub(super) fn unknown_key(key: &str, known: &[&str]) -> (String, Option<String>) {
    let key_text = quoted(key);
    match nearest(key, known.iter().copied()) {
        Some(near) => (
            format!("unknown key {key_text}, did you mean \"{near}\"?"),
            None,
        ),
        None if known.is_empty() => (
            format!("unknown key {key_text}"),
            Some("no keys belong here".to_owned()),
        ),
        None => (
            format!("unknown key {key_text}"),
            Some(format!("known keys are {}", listed(known, "and"))),
        ),
    }
}

/// `"a"`, `"a" or "b"`, `"a", "b" or "c"`.
pub(super) fn one_of(words: &[&str]) -> String {
    listed(words, "or")
}

pub(super) fn listed(words: &[&str], last: &str) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [some @ .., end] => format!("{} {last} {end}", some.join(", ")),
    }
}

/// `match.from[0]`, from segments that begin with the innermost.
pub(super) fn path_text(segments: &[Segment]) -> String {
    let mut text = String::new();
    for segment in segments.iter().rev() {
        match segment {
            Segment::Index(index) => text.push_str(&format!("[{index}]")),
            Segment::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                // Writing to a String cannot fail.
                let _ = write_key(&mut text, key);
            }
        }
    }
    text
}

/// A key as TOML would have it, in quotes where it must be.
pub fn write_key(out: &mut dyn fmt::Write, key: &str) -> fmt::Result {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !key.is_empty() && key.chars().all(is_bare) {
        true => out.write_str(key),
        false => write!(out, "{}", quoted(key)),
    }
}

/// serde names Rust's types; people who write TOML do not know them.
pub(super) fn plain_words(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    let range = |range: &str| format!("a whole number from {range}");
    match text.as_str() {
        "u8" => range("0 to 255"),
        "u16" => range("0 to 65535"),
        "u32" => range("0 to 4294967295"),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "a nonzero u8" => range("1 to 255"),
        "a nonzero u16" => range("1 to 65535"),
        "a nonzero u32" => range("1 to 4294967295"),
        "a nonzero u64" | "a nonzero usize" => "a whole number, 1 or more".to_owned(),
        "i8" => range("-128 to 127"),
        "i16" => range("-32768 to 32767"),
        "i32" => range("-2147483648 to 2147483647"),
        "i64" | "isize" | "u128" | "i128" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "an array".to_owned(),
        "a map" => "a table".to_owned(),
        "path string" => "a path".to_owned(),
        text if text.starts_with("struct ") => "a table".to_owned(),
        text => text.to_owned(),
    }
}

/// A value that serde describes, as a message quotes it.
pub(super) fn found(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Str(text) => quoted(text).to_string(),
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Char(value) => value.to_string(),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_name_the_nearest_or_all() {
        let (message, help) = unknown_key("upstreem", &["upstream", "match"]);
        assert_eq!(
            (message.as_str(), help),
            ("unknown key \"upstreem\", did you mean \"upstream\"?", None)
        );
        let (message, help) = unknown_key("zzz\u{1b}", &["upstream", "match"]);
        assert_eq!(message, "unknown key \"zzz\\u{1b}\"");
        assert_eq!(
            help.as_deref(),
            Some("known keys are \"upstream\" and \"match\"")
        );
    }
}
