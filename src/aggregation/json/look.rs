//! Looking into JSON that has been checked: where a value ends, what an object and an array have.
//!
//! Whatever the text is, nothing here panics: of what is no JSON it makes no sense, and says so by an end or by `None`.

use std::borrow::Cow;

use crate::facts::Key;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Null,
    Bool,
    Number,
    Text,
    Array,
    Object,
}

impl Kind {
    /// With its article, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Number => "a number",
            Kind::Text => "text",
            Kind::Array => "an array",
            Kind::Object => "an object",
        }
    }
}

/// By its first byte.
pub fn kind(json: &str) -> Kind {
    match json.as_bytes().first() {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b'"') => Kind::Text,
        Some(b't' | b'f') => Kind::Bool,
        Some(b'n') | None => Kind::Null,
        Some(_) => Kind::Number,
    }
}

/// What is at this place. One pass over what stands before it.
pub fn find<'t>(json: &'t str, path: &[Key]) -> Option<&'t str> {
    let mut value = json;
    for key in path {
        value = match key {
            Key::Index(index) => elements(value)?.nth(*index)?,
            Key::Field(name) => {
                let named = members(value)?.filter(|(own, _)| is_name(own, name));
                named.last()?.1
            }
        };
    }
    Some(value)
}

/// Whether a name as written in JSON, with its quotes, is this one.
pub(super) fn is_name(written: &str, name: &str) -> bool {
    match written.contains('\\') {
        false => written.get(1..written.len().saturating_sub(1)) == Some(name),
        true => name_of(written) == name,
    }
}

/// A name as written in JSON, with its quotes, without them and without escapes.
pub fn name_of(written: &str) -> Cow<'_, str> {
    match written.contains('\\') {
        false => {
            let inner = written.get(1..written.len().saturating_sub(1));
            Cow::Borrowed(inner.unwrap_or_default())
        }
        // Half a pair of surrogates is no text. Such a name is known by how it is written.
        true => text_of(written).map_or(Cow::Borrowed(written), Cow::Owned),
    }
}

/// The text that a string is. `None` where it is no string, or has half a pair of surrogates.
pub fn text_of(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

/// The names, as they are written, and the values of an object. `None` where it is none.
pub fn members(json: &str) -> Option<impl Iterator<Item = (&str, &str)>> {
    let inner = json.strip_prefix('{')?.strip_suffix('}')?;
    let mut rest = inner;
    Some(std::iter::from_fn(move || {
        let (name, after) = value(rest)?;
        let after = skip_white(after).strip_prefix(':')?;
        let (value, after) = value(after)?;
        rest = skip_comma(after);
        Some((name, value))
    }))
}

/// The values of an array. `None` where it is none.
pub fn elements(json: &str) -> Option<impl Iterator<Item = &str>> {
    let mut rest = json.strip_prefix('[')?.strip_suffix(']')?;
    Some(std::iter::from_fn(move || {
        let (value, after) = value(rest)?;
        rest = skip_comma(after);
        Some(value)
    }))
}

fn skip_white(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\n', '\r'])
}

fn skip_comma(text: &str) -> &str {
    let text = skip_white(text);
    text.strip_prefix(',').unwrap_or(text)
}

/// The first value, and what follows it.
fn value(text: &str) -> Option<(&str, &str)> {
    let text = skip_white(text);
    let end = end_of_value(text.as_bytes())?;
    text.split_at_checked(end)
}

fn end_of_value(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b'"' => end_of_text(bytes, 0),
        b'{' | b'[' => {
            let mut depth = 0_usize;
            let mut at = 0;
            loop {
                let rest = bytes.get(at..)?;
                at += rest
                    .iter()
                    .position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']'))?;
                match bytes.get(at)? {
                    b'"' => {
                        at = end_of_text(bytes, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    _ => depth = depth.checked_sub(1)?,
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => {
            let is_end = |byte: &u8| {
                matches!(
                    byte,
                    b',' | b'}' | b']' | b':' | b' ' | b'\t' | b'\n' | b'\r'
                )
            };
            let end = bytes.iter().position(is_end).unwrap_or(bytes.len());
            (end > 0).then_some(end)
        }
    }
}

/// Behind the closing quote of what begins with one at this byte.
fn end_of_text(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from + 1;
    loop {
        let rest = bytes.get(at..)?;
        at += rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_at_a_place() {
        let json = r#"{ "a" : [ 1 , {"b":"x]}\"", "c\u0061":-1.5e3} ,[ ] ], "a.b":true, "d":{"e":null}, "d": {"f" : 12345678901234567890123} }"#;
        let check = |path: &[Key], expected: Option<&str>| {
            assert_eq!(find(json, path), expected, "{path:?}");
        };
        let field = |name: &str| Key::Field(name.into());
        check(&[], Some(json));
        check(&[field("a"), Key::Index(0)], Some("1"));
        check(&[field("a"), Key::Index(1), field("b")], Some(r#""x]}\"""#));
        check(&[field("a"), Key::Index(1), field("ca")], Some("-1.5e3"));
        check(&[field("a"), Key::Index(2)], Some("[ ]"));
        check(&[field("a"), Key::Index(3)], None);
        check(&[field("a"), Key::Index(2), Key::Index(0)], None);
        check(&[field("a.b")], Some("true"));
        check(&[field("a.b"), field("c")], None);
        check(&[field("d"), field("f")], Some("12345678901234567890123"));
        check(&[field("d"), field("e")], None);
        check(&[Key::Index(0)], None);
    }

    #[test]
    fn what_is_no_json_is_nothing() {
        for text in [
            "",
            "{",
            "{\"",
            "{\"a",
            "[",
            "[\"\\",
            "{]}",
            "[}]",
            "{\"a\" 1}",
            "{,}",
            "[:]",
            "é",
            "[é",
            "{\"a\":é}",
        ] {
            let _ = find(text, &[Key::Field("a".into())]);
            let _ = find(text, &[Key::Index(1)]);
            let _ = members(text).map(Iterator::count);
            let _ = elements(text).map(Iterator::count);
        }
    }
}
