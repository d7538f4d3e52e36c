//! Whether bytes are JSON (RFC 8259), and not too deep.

use smallvec::SmallVec;
use thiserror::Error;

/// Why bytes are not taken for JSON.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NotJson {
    /// From this byte on.
    #[error("no JSON from byte {0} on")]
    Syntax(usize),
    #[error("nested too deeply")]
    TooDeep,
}

/// The text of a JSON document with no white space around it. One pass, without recursion; `deepest` is how many arrays and
/// objects may be within each other.
///
/// A byte order mark is no JSON here (RFC 8259 section 8.1 lets a reader choose), and escapes of half a pair of surrogates
/// are, as the grammar has them.
pub fn check(bytes: &[u8], deepest: usize) -> Result<&str, NotJson> {
    let text = std::str::from_utf8(bytes).map_err(|error| NotJson::Syntax(error.valid_up_to()))?;
    let mut reader = Reader { bytes, at: 0 };
    reader.document(deepest)?;
    Ok(text.trim_matches(WHITE))
}

const WHITE: [char; 4] = [' ', '\t', '\n', '\r'];

/// What has been opened and not closed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Array,
    Object,
}

struct Reader<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl Reader<'_> {
    fn document(&mut self, deepest: usize) -> Result<(), NotJson> {
        let mut open: SmallVec<[Open; 64]> = SmallVec::new();
        loop {
            // A value is expected here.
            self.skip_white();
            let opened = match self.peek() {
                Some(b'{') => Some(Open::Object),
                Some(b'[') => Some(Open::Array),
                _ => None,
            };
            match opened {
                None => self.scalar()?,
                Some(_) if open.len() >= deepest => return Err(NotJson::TooDeep),
                Some(one) => {
                    self.at += 1;
                    self.skip_white();
                    let closing = if one == Open::Array { b']' } else { b'}' };
                    if self.peek() == Some(closing) {
                        self.at += 1;
                    } else {
                        open.push(one);
                        if one == Open::Object {
                            self.name()?;
                        }
                        continue;
                    }
                }
            }
            // A value has ended here.
            loop {
                self.skip_white();
                let Some(innermost) = open.last().copied() else {
                    return match self.at == self.bytes.len() {
                        true => Ok(()),
                        false => self.fail(),
                    };
                };
                match (self.peek(), innermost) {
                    (Some(b','), Open::Array) => self.at += 1,
                    (Some(b','), Open::Object) => {
                        self.at += 1;
                        self.skip_white();
                        self.name()?;
                    }
                    (Some(b']'), Open::Array) | (Some(b'}'), Open::Object) => {
                        self.at += 1;
                        open.pop();
                        continue;
                    }
                    _ => return self.fail(),
                }
                break;
            }
        }
    }

    /// A name of an object, and the colon behind it.
    fn name(&mut self) -> Result<(), NotJson> {
        self.string()?;
        self.skip_white();
        self.expect(b":")
    }

    fn scalar(&mut self) -> Result<(), NotJson> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b't') => self.expect(b"true"),
            Some(b'f') => self.expect(b"false"),
            Some(b'n') => self.expect(b"null"),
            _ => self.number(),
        }
    }

    fn string(&mut self) -> Result<(), NotJson> {
        self.expect(b"\"")?;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
            let Some(place) = rest.iter().position(special) else {
                self.at = self.bytes.len();
                return self.fail();
            };
            self.at += place;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                _ => return self.fail(),
            }
        }
    }

    fn escape(&mut self) -> Result<(), NotJson> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 2..self.at + 6);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return self.fail();
                }
                self.at += 6;
            }
            _ => return self.fail(),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), NotJson> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// One or more.
    fn digits(&mut self) -> Result<(), NotJson> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        match self.at > start {
            true => Ok(()),
            false => self.fail(),
        }
    }

    fn expect(&mut self, wanted: &[u8]) -> Result<(), NotJson> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if !rest.starts_with(wanted) {
            return self.fail();
        }
        self.at += wanted.len();
        Ok(())
    }

    fn skip_white(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn fail(&self) -> Result<(), NotJson> {
        Err(NotJson::Syntax(self.at))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    #[test]
    fn what_is_json() {
        let check = |text: &str, expected: Result<&str, NotJson>| {
            assert_eq!(check(text.as_bytes(), 3), expected, "{text}");
        };
        for text in [
            "0",
            "-0",
            "1.5e-7",
            "1E+9",
            "\"\"",
            "\"\\u00e9\\n\"",
            "null",
            "true",
            "false",
            "[]",
            "{}",
            "[1,[],{}]",
            "{\"a\":{\"b\":[ ]},\"a\":1}",
            "123456789012345678901234567890",
        ] {
            check(text, Ok(text));
        }
        check(" \t\r\n[ 1 , 2 ] \n", Ok("[ 1 , 2 ]"));
        for (text, at) in [
            ("", 0),
            (" ", 1),
            ("01", 1),
            ("-", 1),
            ("1.", 2),
            ("1e", 2),
            (".5", 0),
            ("+1", 0),
            ("\"", 1),
            ("\"\n\"", 1),
            ("\"\\x\"", 1),
            ("\"\\u12g4\"", 1),
            ("[1", 2),
            ("[1,]", 3),
            ("[,1]", 1),
            ("[1 2]", 3),
            ("{a:1}", 1),
            ("{\"a\"}", 4),
            ("{\"a\":1,}", 7),
            ("[1}", 2),
            ("]", 0),
            ("nul", 0),
            ("1 1", 2),
            ("\u{feff}1", 0),
            ("NaN", 0),
        ] {
            check(text, Err(NotJson::Syntax(at)));
        }
        check("[[[]]]", Ok("[[[]]]"));
        check("[[[[]]]]", Err(NotJson::TooDeep));
        check("[[[1]],{}]", Ok("[[[1]],{}]"));
        assert_eq!(super::check(b"\"\xff\"", 3), Err(NotJson::Syntax(1)));
    }

    #[test]
    fn depth_costs_no_stack() {
        let text = "[".repeat(1_000_000);
        assert_eq!(check(text.as_bytes(), 64), Err(NotJson::TooDeep));
        let end = NotJson::Syntax(1_000_000);
        assert_eq!(check(text.as_bytes(), usize::MAX), Err(end));
    }

    fn agrees(text: &str) {
        let ours = check(text.as_bytes(), 100).is_ok();
        let theirs = serde_json::from_str::<IgnoredAny>(text).is_ok();
        assert_eq!(ours, theirs, "{text}");
    }

    proptest! {
        /// Of what is made of the pieces of JSON it says what the library says.
        #[test]
        fn the_library_agrees(pieces in prop::collection::vec(0..24_usize, 0..12)) {
            let all = [
                "{", "}", "[", "]", ",", ":", "\"a\"", "\"", "\\", "1", "-", "0", ".", "e", "+", " ",
                "true", "null", "\\u", "00", "\t", "é", "\"b\":", "\u{1}",
            ];
            agrees(&pieces.iter().map(|&piece| all[piece]).collect::<String>());
        }

        #[test]
        fn what_the_library_writes_is_json(text in ".*", number in any::<f64>()) {
            agrees(&serde_json::json!({ &text: [text, number, { "a": null }] }).to_string());
        }
    }
}
