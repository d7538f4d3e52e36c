//! What callers without a good credential are told, and the words that it is made of.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use http::HeaderValue;

use crate::text::{Invalid, ParsedText, parsed_text};

/// 1 to 64 of `[A-Za-z0-9_.~-]`: the name of a scheme, a cookie or a parameter, which none of them has to escape.
#[derive(Clone, PartialEq, Eq)]
pub struct Word(Box<str>);

/// The realm of a challenge (RFC 9110 section 11.5): 1 to 64 visible characters of ASCII and spaces, no `"` and no `\`.
#[derive(Clone, PartialEq, Eq)]
pub struct Realm(Box<str>);

const LONGEST: usize = 64;

impl Realm {
    /// The value of `WWW-Authenticate`: `Basic realm="api"`. What follows begins with a comma.
    pub fn challenge(&self, scheme: &str, rest: &str) -> HeaderValue {
        let value = HeaderValue::from_str(&format!("{scheme} realm=\"{}\"{rest}", self.0));
        // Scheme, realm and rest are all visible ASCII.
        value.unwrap_or_else(|_| HeaderValue::from_static("Unknown"))
    }
}

impl Default for Realm {
    fn default() -> Realm {
        Realm("api".into())
    }
}

impl Deref for Word {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Word {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Word, Invalid> {
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'~' | b'-');
        match (1..=LONGEST).contains(&text.len()) && text.bytes().all(is_plain) {
            true => Ok(Word(text.into())),
            false => Err(Invalid::Word { got: text.into() }),
        }
    }
}

impl FromStr for Realm {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Realm, Invalid> {
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        match (1..=LONGEST).contains(&text.len()) && text.bytes().all(is_plain) {
            true => Ok(Realm(text.into())),
            false => Err(Invalid::Realm { got: text.into() }),
        }
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ParsedText for Word {
    const EXPECTED: &'static str = "a name such as \"api_key\"";
}

impl ParsedText for Realm {
    const EXPECTED: &'static str = "a realm such as \"api\"";
}

parsed_text!(
    Word,
    "string",
    r"^[A-Za-z0-9_.~-]{1,64}$",
    "1 to 64 letters, digits, \"_\", \".\", \"~\" or \"-\"."
);

parsed_text!(
    Realm,
    "string",
    r#"^[ !#-\[\]-~]{1,64}$"#,
    "1 to 64 visible characters of ASCII and spaces, without quotes and backslashes."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_realms_need_no_escape() {
        for text in ["api_key", "ApiKey", "a.b~c-d", &"w".repeat(64)] {
            assert!(text.parse::<Word>().is_ok(), "{text}");
        }
        for text in [
            "",
            "a b",
            "a=b",
            "a&b",
            "a%20",
            "a;",
            "é",
            "a\n",
            &"w".repeat(65),
        ] {
            assert!(text.parse::<Word>().is_err(), "{text}");
        }
        let realm: Realm = "The shop's API, v1".parse().expect("a realm");
        let challenge = realm.challenge("Basic", ", charset=\"UTF-8\"");
        assert_eq!(
            challenge,
            "Basic realm=\"The shop's API, v1\", charset=\"UTF-8\""
        );
        for text in ["", "a\"", "a\\", "é", "a\r\nb", "\t", &"r".repeat(65)] {
            assert!(text.parse::<Realm>().is_err(), "{text}");
        }
    }
}
