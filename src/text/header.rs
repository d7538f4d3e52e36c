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
}
