//! Conditions on headers and query parameters.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use http::{HeaderMap, HeaderName};
use regex::bytes::{Regex, RegexBuilder};
use smallvec::SmallVec;
use thiserror::Error;

use super::query;

/// A regular expression that compiles to more than this is refused: routes are many.
const REGEX_BYTES: usize = 1 << 20;

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

/// A compiled regular expression that matches whole values; compared by its source.
#[derive(Clone, Debug)]
pub struct RegexPattern {
    source: Box<str>,
    compiled: Regex,
}

/// A regular expression that is malformed or compiles to too much.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RegexError {
    /// What is wrong and at which byte, where that is known.
    #[error("is no regular expression: {what}")]
    Malformed {
        /// In the words of the `regex` crate.
        what: Box<str>,
        /// A byte of the expression.
        at: Option<usize>,
    },
    /// Counted repetitions of repetitions, mostly.
    #[error("is too large: it compiles to more than {} MiB", REGEX_BYTES >> 20)]
    TooLarge,
}

impl RegexError {
    /// The byte at which the problem begins, where that is known.
    #[must_use]
    pub fn at(&self) -> Option<usize> {
        match self {
            Self::Malformed { at, .. } => *at,
            Self::TooLarge => None,
        }
    }
}

/// The crate tells a place only in a drawing for terminals: the pattern and below it carets, both indented by
/// four, and then `error: ` and the problem.
impl From<regex::Error> for RegexError {
    fn from(error: regex::Error) -> Self {
        let drawing = match error {
            regex::Error::Syntax(drawing) => drawing,
            regex::Error::CompiledTooBig(_) => return Self::TooLarge,
            other => other.to_string(),
        };
        let lines: Vec<&str> = drawing.lines().collect();
        let what = lines.last().copied().unwrap_or_default();
        let at = match *lines {
            [_, pattern, carets, _] if carets.trim_start().starts_with('^') => {
                let column = carets.len() - carets.trim_start().len();
                let byte = pattern.char_indices().nth(column).map(|(byte, _)| byte);
                byte.and_then(|byte| byte.checked_sub(4))
            }
            _ => None,
        };
        Self::Malformed {
            what: what.trim_start_matches("error: ").into(),
            at,
        }
    }
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
        // Alone first, so that an error quotes what was written and `)(` does not pass by being wrapped.
        build_regex(source)?;
        let compiled = build_regex(&format!(r"\A(?:{source})\z"))?;
        Ok(Self::Regex(RegexPattern {
            source: source.into(),
            compiled,
        }))
    }

    fn accepts(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(wanted) => value == wanted.as_bytes(),
            Self::Prefix(wanted) => value.starts_with(wanted.as_bytes()),
            Self::Regex(wanted) => wanted.compiled.is_match(value),
            Self::Present(wanted) => *wanted,
        }
    }
}

fn build_regex(source: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(source).size_limit(REGEX_BYTES).build()
}

impl RegexPattern {
    /// The expression as written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
}

impl PartialEq for RegexPattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for RegexPattern {}

impl PartialOrd for RegexPattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RegexPattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.source.cmp(&other.source)
    }
}

impl Hash for RegexPattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.source.hash(state);
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
            Self::Regex(wanted) => write!(f, "regex `{}`", wanted.source),
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

    #[test]
    fn refuses_bad_expressions() {
        let check = |source: &str, expected: &str, at: Option<usize>| {
            let error = ValueMatch::regex(source).expect_err(source);
            assert_eq!((error.to_string().as_str(), error.at()), (expected, at));
        };
        check("a(", "is no regular expression: unclosed group", Some(1));
        check("é(", "is no regular expression: unclosed group", Some(2));
        check(")(", "is no regular expression: unopened group", Some(0));
        check("\n(", "is no regular expression: unclosed group", None);
        check(
            "(?:(?:a{1000}){1000}){1000}",
            "is too large: it compiles to more than 1 MiB",
            None,
        );
    }
}
