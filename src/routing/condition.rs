//! Conditions on headers and query parameters.

use std::cmp::Ordering;
use std::fmt;

use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use super::query;
use crate::text::{RegexError, RegexPattern};

/// What a value must be. Of a repeated header or parameter, any value will do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueMatch {
    /// Exactly this, byte by byte.
    Exact(Box<str>),
    /// Something that starts with this.
    Prefix(Box<str>),
    /// Something that this matches as a whole.
    Regex(RegexPattern),
    /// Anything (`true`), or nothing at all (`false`).
    Present(bool),
}

/// A header that a request must, or must not, have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderCondition {
    /// The header's name.
    pub name: HeaderName,
    /// What one of its values must be.
    pub value: ValueMatch,
}

/// A query parameter that a request must, or must not, have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryCondition {
    /// The parameter's name, decoded.
    pub name: Box<str>,
    /// What one of its values, decoded, must be.
    pub value: ValueMatch,
}

impl HeaderCondition {
    /// Whether the headers satisfy the condition.
    #[must_use]
    pub fn is_met(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(&self.name).iter();
        match &self.value {
            ValueMatch::Present(wanted) => values.next().is_some() == *wanted,
            wanted => values.any(|value| wanted.accepts(value.as_bytes())),
        }
    }
}

impl QueryCondition {
    /// Whether the query string satisfies the condition.
    #[must_use]
    pub fn is_met(&self, query: Option<&str>) -> bool {
        let mut values = query::values(query, &self.name);
        match &self.value {
            ValueMatch::Present(wanted) => values.next().is_some() == *wanted,
            wanted => values.any(|raw| {
                if !query::is_escaped(raw) {
                    return wanted.accepts(raw.as_bytes());
                }
                let decoded: SmallVec<[u8; 256]> = query::decoded(raw).collect();
                wanted.accepts(&decoded)
            }),
        }
    }
}

impl ValueMatch {
    /// Compiles a regular expression (the `regex` crate's syntax), which must match the whole value.
    ///
    /// # Errors
    /// If it is malformed or compiles to more than 1 MiB.
    pub fn regex(source: &str) -> Result<Self, RegexError> {
        RegexPattern::new(source).map(Self::Regex)
    }

    fn accepts(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(wanted) => value == wanted.as_bytes(),
            Self::Prefix(wanted) => value.starts_with(wanted.as_bytes()),
            Self::Regex(wanted) => wanted.is_match(value),
            Self::Present(wanted) => *wanted,
        }
    }
}

impl PartialOrd for HeaderCondition {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HeaderCondition {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name
            .as_str()
            .cmp(other.name.as_str())
            .then_with(|| self.value.cmp(&other.value))
    }
}

impl fmt::Display for ValueMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(wanted) => write!(f, "`{wanted}`"),
            Self::Prefix(wanted) => write!(f, "prefix `{wanted}`"),
            Self::Regex(wanted) => write!(f, "regex `{}`", wanted.source()),
            Self::Present(true) => f.write_str("present"),
            Self::Present(false) => f.write_str("absent"),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn exact(text: &str) -> ValueMatch {
        ValueMatch::Exact(text.into())
    }

    fn prefix(text: &str) -> ValueMatch {
        ValueMatch::Prefix(text.into())
    }

    fn regex(source: &str) -> ValueMatch {
        ValueMatch::regex(source).expect(source)
    }

    #[test]
    fn headers() {
        let check = |value: ValueMatch, given: &[&[u8]], expected: bool| {
            let name = HeaderName::from_static("x-env");
            let mut headers = HeaderMap::new();
            for value in given {
                headers.append(
                    &name,
                    HeaderValue::from_bytes(value).expect("a header value"),
                );
            }
            let condition = HeaderCondition { name, value };
            assert_eq!(
                condition.is_met(&headers),
                expected,
                "{} {given:?}",
                condition.value
            );
        };
        check(exact("dev"), &[b"dev"], true);
        check(exact("dev"), &[b"Dev"], false);
        check(exact("dev"), &[], false);
        check(exact("dev"), &[b"prod", b"dev"], true);
        check(prefix("de"), &[b"dev"], true);
        check(prefix("dev"), &[b"de"], false);
        check(regex("d.v"), &[b"dev"], true);
        check(regex("d.v"), &[b"devel"], false);
        check(regex("a|dev"), &[b"xdev"], false);
        check(regex("d.*"), &[b"d\xff"], false);
        check(ValueMatch::Present(true), &[b""], true);
        check(ValueMatch::Present(true), &[], false);
        check(ValueMatch::Present(false), &[], true);
        check(ValueMatch::Present(false), &[b"x"], false);
    }

    #[test]
    fn queries() {
        let check = |value: ValueMatch, query: Option<&str>, expected: bool| {
            let condition = QueryCondition {
                name: "q x".into(),
                value,
            };
            assert_eq!(
                condition.is_met(query),
                expected,
                "{} {query:?}",
                condition.value
            );
        };
        check(exact("1"), Some("q+x=1"), true);
        check(exact("1"), Some("qx=1"), false);
        check(exact("ü 1"), Some("a&q%20x=0&q+x=%c3%bc+1"), true);
        check(exact(""), Some("q+x"), true);
        check(prefix("a b"), Some("q+x=a+bc"), true);
        check(regex("[a ]+"), Some("q+x=a+%61"), true);
        check(regex("a+"), Some("q+x=ab"), false);
        check(ValueMatch::Present(true), Some("q+x"), true);
        check(ValueMatch::Present(false), Some("q+x"), false);
        check(ValueMatch::Present(false), None, true);
    }
}
