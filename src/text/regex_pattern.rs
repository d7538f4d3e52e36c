//! Regular expressions over whole values.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use regex::bytes::{Regex, RegexBuilder};

use super::{Spanned, Subject};

/// One that compiles to more than this is refused: there can be many.
const REGEX_BYTES: usize = 1 << 20;

/// A compiled regular expression that matches whole values; compared by its source.
#[derive(Clone, Debug)]
pub struct RegexPattern {
    source: Box<str>,
    compiled: Regex,
}

/// A regular expression that is malformed or compiles to too much.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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

impl RegexPattern {
    /// Compiles an expression in the `regex` crate's syntax. It must match the whole of a value, and its cost is
    /// linear in the length of that.
    ///
    /// # Errors
    /// If it is malformed or compiles to more than 1 MiB.
    pub fn new(source: &str) -> Result<RegexPattern, RegexError> {
        // Alone first, so that an error quotes what was written and `)(` does not pass by being wrapped.
        build_regex(source)?;
        let compiled = build_regex(&format!(r"\A(?:{source})\z"))?;
        Ok(RegexPattern {
            source: source.into(),
            compiled,
        })
    }

    /// As [`RegexPattern::new`]; `None` after a diagnostic.
    pub fn build(source: &Spanned<String>, subject: &mut Subject<'_>) -> Option<RegexPattern> {
        match RegexPattern::new(source) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let at = error.at().map_or(0..0, |at| at..source.len().min(at + 1));
                subject.error(source.part(at), error);
                None
            }
        }
    }

    #[must_use]
    pub fn is_match(&self, value: &[u8]) -> bool {
        self.compiled.is_match(value)
    }

    /// The expression as written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
}

fn build_regex(source: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(source).size_limit(REGEX_BYTES).build()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_bad_expressions() {
        let check = |source: &str, expected: &str, at: Option<usize>| {
            let error = RegexPattern::new(source).expect_err(source);
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
