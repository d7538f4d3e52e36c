//! Header names, and patterns of them.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use super::parsed::ParsedText;
use super::{Invalid, parsed_text};

/// An HTTP field name (RFC 9110, section 5.1), in lower case however it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderName(http::HeaderName);

impl HeaderName {
    pub fn into_inner(self) -> http::HeaderName {
        self.0
    }
}

impl From<http::HeaderName> for HeaderName {
    fn from(name: http::HeaderName) -> HeaderName {
        HeaderName(name)
    }
}

impl Deref for HeaderName {
    type Target = http::HeaderName;

    fn deref(&self) -> &http::HeaderName {
        &self.0
    }
}

impl PartialOrd for HeaderName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HeaderName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.as_str().cmp(other.0.as_str())
    }
}

impl FromStr for HeaderName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let name = http::HeaderName::from_bytes(text.as_bytes());
        name.map(HeaderName)
            .map_err(|_| Invalid::HeaderName { got: text.into() })
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl ParsedText for HeaderName {
    const EXPECTED: &'static str = "a header name such as \"x-request-id\"";
}

parsed_text!(
    HeaderName,
    "string",
    r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
    "The name of an HTTP header; upper and lower case are the same."
);

/// Headers that frame a message or belong to one connection. Setting one would break the message or the next one
/// on the connection, so the engine alone writes them.
const OF_THE_ENGINE: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What is said of them.
pub const ENGINE_OWNED: &str = "belongs to the connection or the framing and cannot be changed";

/// Whether only the engine may write this header.
pub fn is_engine_owned(name: &http::HeaderName) -> bool {
    OF_THE_ENGINE.contains(&name.as_str())
}

/// Whether a name has nothing but letters, digits and dashes, so that no server takes it for another name.
///
/// Servers that hand headers on as variables (CGI, WSGI, PHP) make `_` of every dash, and some of every other
/// character that is no letter and no digit: `x_user_id` and `x.user.id` are `x-user-id` to them.
pub fn is_plain(name: &str) -> bool {
    // Without a way out in between: most names are, and the loop is the shorter for it.
    let is_plain_byte = |byte: u8| PLAIN[usize::from(byte)];
    name.bytes()
        .fold(true, |is_plain, byte| is_plain & is_plain_byte(byte))
}

/// The bytes of plain names: every request's names are looked through for others.
static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        plain[byte] = plain_byte(byte as u8) == byte as u8;
        byte += 1;
    }
    plain
};

/// The plain name that some server takes this one for; see [`is_plain`].
pub fn plain(name: &str) -> String {
    name.bytes().map(plain_byte).map(char::from).collect()
}

const fn plain_byte(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() {
        byte
    } else {
        b'-'
    }
}

/// A header name, or the beginning of several: `x-internal-*`.
///
/// A bare `*` is refused: no rule means all headers, and who writes one has made a slip that removes them all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HeaderPattern {
    Exact(http::HeaderName),
    /// In lower case, without the star.
    Prefix(Box<str>),
}

impl HeaderPattern {
    pub fn matches(&self, name: &http::HeaderName) -> bool {
        match self {
            HeaderPattern::Exact(exact) => exact == name,
            HeaderPattern::Prefix(prefix) => name.as_str().starts_with(&**prefix),
        }
    }

    /// Whether it does not match a name, but some server takes that for one that it does match; see [`is_plain`].
    pub fn matches_twin(&self, name: &http::HeaderName) -> bool {
        let text = name.as_str();
        let (own, may_be) = match self {
            HeaderPattern::Exact(exact) => (exact.as_str(), exact.as_str().len() == text.len()),
            HeaderPattern::Prefix(prefix) => (&**prefix, prefix.len() <= text.len()),
        };
        let mut pairs = own.bytes().zip(text.bytes());
        may_be
            && pairs.all(|(own, other)| plain_byte(own) == plain_byte(other))
            && !self.matches(name)
    }

    /// Whether it is [`is_plain`].
    pub fn is_plain(&self) -> bool {
        match self {
            HeaderPattern::Exact(name) => is_plain(name.as_str()),
            HeaderPattern::Prefix(prefix) => is_plain(prefix),
        }
    }
}

impl FromStr for HeaderPattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let name = text.strip_suffix('*').unwrap_or(text);
        // RFC 9110 allows a star inside a name; in a pattern it would look like a wildcard that is none.
        let parsed = http::HeaderName::from_bytes(name.as_bytes())
            .ok()
            .filter(|name| !name.as_str().contains('*'));
        match parsed {
            Some(name) if text.ends_with('*') => Ok(HeaderPattern::Prefix(name.as_str().into())),
            Some(name) => Ok(HeaderPattern::Exact(name)),
            None => Err(Invalid::HeaderPattern { got: text.into() }),
        }
    }
}

impl fmt::Display for HeaderPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderPattern::Exact(name) => f.write_str(name.as_str()),
            HeaderPattern::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

impl ParsedText for HeaderPattern {
    const EXPECTED: &'static str = "a header name such as \"server\" or \"x-internal-*\"";
}

parsed_text!(
    HeaderPattern,
    "string",
    r"^[A-Za-z0-9!#$%&'+.^_`|~-]+\*?$",
    "The name of an HTTP header, or the beginning of some with a star: \"x-internal-*\"."
);

#[cfg(test)]
mod tests {
    use super::super::parsed::tests::check;
    use super::*;

    #[test]
    fn names() {
        check::<HeaderName>("X-Request-ID", Ok("x-request-id"));
        for text in ["", "x y", "x:y", "é", "a\nb"] {
            let wrong = format!("must be a header name such as \"x-request-id\", got {text:?}");
            check::<HeaderName>(text, Err(&wrong));
        }
    }

    #[test]
    fn patterns() {
        check::<HeaderPattern>("Server", Ok("server"));
        check::<HeaderPattern>("X-Internal-*", Ok("x-internal-*"));
        for text in ["", "*", "*-x", "x**", "x-*-y", "a b*"] {
            assert!(text.parse::<HeaderPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn matching() {
        let check = |pattern: &str, name: &'static str, expected: bool| {
            let pattern: HeaderPattern = pattern.parse().expect("a good pattern");
            assert_eq!(
                pattern.matches(&http::HeaderName::from_static(name)),
                expected,
                "{pattern} {name}"
            );
        };
        check("server", "server", true);
        check("server", "server-timing", false);
        check("X-Internal-*", "x-internal-id", true);
        check("x-internal-*", "x-internal-", true);
        check("x-internal-*", "x-internal", false);
    }

    #[test]
    fn twins_are_what_a_server_may_take_for_the_same() {
        let check = |pattern: &str, name: &str, expected: bool| {
            let pattern: HeaderPattern = pattern.parse().unwrap();
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            assert_eq!(pattern.matches_twin(&name), expected, "{pattern} {name}");
        };
        check("x-user-id", "x_user_id", true);
        check("x-user-id", "x.user+id", true);
        check("x_user_id", "x-user-id", true);
        check("x_user_id", "X~User_Id", true);
        check("x-user-id", "x-user-id", false);
        check("x-user-id", "x_user_id_2", false);
        check("x-user-id", "xuserid", false);
        check("x-internal-*", "x_internal.role", true);
        check("x_internal*", "x-internal-role", true);
        check("x-internal-*", "x-internal-a_b", false);
        check("x-internal-*", "x_internal", false);
    }

    #[test]
    fn plain_names_have_letters_digits_and_dashes() {
        let check = |name: &str, expected: &str| {
            assert_eq!(plain(name), expected);
            assert_eq!(is_plain(name), name == expected, "{name}");
        };
        check("x-user-id-2", "x-user-id-2");
        check("x_user.id+2", "x-user-id-2");
        check("a!#$%&'*+.^_`|~b", "a--------------b");
    }
}
