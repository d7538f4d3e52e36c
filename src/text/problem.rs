//! The reader's error type: what serde complained about, where, and which value to leave out of the next try.

use std::fmt;

use serde::de::{Expected, Unexpected};

use super::de::{NodeId, Value};
use super::invalid::quoted;
use super::subject::sentence;
use super::wording::{found, one_of, path_text, plain_words, unknown_key};
use super::{Diagnostic, Severity, Span, nearest};

/// One problem of one object. Boxed, because serde passes it through every return value.
#[derive(Debug)]
pub(super) struct Error(Box<Detail>);

#[derive(Debug)]
struct Detail {
    problem: Problem,
    /// From the innermost value outwards: it is filled while serde unwinds.
    path: Vec<Segment>,
    span: Option<Span>,
    culprit: Option<NodeId>,
    is_echo: bool,
    is_private: bool,
    help: Option<String>,
}

#[derive(Debug)]
enum Problem {
    UnknownKey {
        key: String,
        known: &'static [&'static str],
    },
    /// The only key of a table that chooses.
    UnknownChoice {
        key: String,
        known: &'static [&'static str],
    },
    UnknownWord {
        word: String,
        known: &'static [&'static str],
    },
    Missing {
        key: &'static str,
    },
    Wrong {
        expected: String,
        got: Option<String>,
    },
    /// What a type's own `Deserialize` says. By convention it begins with "must" and follows the path; a second
    /// line is the help.
    Other {
        message: String,
    },
}

#[derive(Clone, Debug)]
pub(super) enum Segment {
    Key(String),
    Index(usize),
}

impl Error {
    fn new(problem: Problem) -> Self {
        let (path, span, culprit) = (Vec::new(), None, None);
        Error(Box::new(Detail {
            problem,
            path,
            span,
            culprit,
            is_echo: false,
            is_private: false,
            help: None,
        }))
    }

    pub(super) fn wrong(expected: impl Into<String>, got: impl Into<Option<String>>) -> Self {
        Error::new(Problem::Wrong {
            expected: expected.into(),
            got: got.into(),
        })
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Makes an unknown word an unknown key, for the key that chooses.
    pub(super) fn chosen_by_key(mut self) -> Self {
        if let Problem::UnknownWord { word, known } = self.0.problem {
            self.0.problem = Problem::UnknownChoice { key: word, known };
        }
        self
    }

    /// Says which value was being read; the innermost caller knows best, so the others change nothing.
    pub(super) fn locate(mut self, value: Value<'_, '_>) -> Self {
        if self.0.span.is_none() {
            self.0.span = Some(value.span());
            self.0.is_echo = match &self.0.problem {
                Problem::Missing { key } => value.has_ignored_key(key),
                _ => value.holds_ignored(),
            };
        }
        self
    }

    /// Like `locate`, for what is wrong with a key rather than its value.
    pub(super) fn at(mut self, span: Span) -> Self {
        self.0.span.get_or_insert(span);
        self
    }

    /// Adds a step to the path. `culprit` is what the next try leaves out, if nothing smaller is known.
    pub(super) fn within(mut self, segment: Segment, culprit: impl Into<Option<NodeId>>) -> Self {
        self.0.path.push(segment);
        self.0.culprit = self.0.culprit.or(culprit.into());
        self
    }

    /// For values that may be secrets: neither the value nor its line is shown.
    pub(super) fn private(mut self) -> Self {
        self.0.is_private = true;
        if let Problem::Wrong { got, .. } = &mut self.0.problem {
            *got = None;
        }
        self
    }

    /// Widens the expectation, unless the problem lies deeper inside the value.
    pub(super) fn or_off(mut self) -> Self {
        let is_here = self.0.path.is_empty() && self.0.span.is_none();
        if let Problem::Wrong { expected, .. } = &mut self.0.problem
            && is_here
        {
            expected.push_str(" or \"off\"");
        }
        self
    }

    pub(super) fn culprit(&self) -> Option<NodeId> {
        self.0.culprit
    }

    /// True when an earlier problem of the same object explains this one, so that it is not worth a word.
    pub(super) fn is_echo(&self) -> bool {
        self.0.is_echo
    }

    /// The key that an unknown one was probably meant to be.
    pub(super) fn meant(&self) -> Option<&'static str> {
        match &self.0.problem {
            Problem::UnknownKey { key, known } => nearest(key, known.iter().copied()),
            _ => None,
        }
    }

    pub(super) fn into_diagnostic(self, object: &str) -> Diagnostic {
        let mut detail = *self.0;
        // An unknown key is a problem of the table that it stands in.
        if matches!(detail.problem, Problem::UnknownKey { .. }) && !detail.path.is_empty() {
            detail.path.remove(0);
        }
        let path = path_text(&detail.path);
        // An empty path means the object itself.
        let dot = match path.is_empty() || path.starts_with('[') {
            true => "",
            false => ".",
        };
        let subject = format!("{object}{dot}{path}");
        let must_be = |expected: &str| format!("{subject} must be {expected}");
        let (message, help) = match detail.problem {
            Problem::UnknownKey { key, known } | Problem::UnknownChoice { key, known } => {
                let (message, help) = unknown_key(&key, known);
                (sentence(&subject, &message), help)
            }
            Problem::UnknownWord { word, known } => {
                let help = nearest(&word, known.iter().copied())
                    .map(|near| format!("did you mean \"{near}\"?"));
                let expected = one_of(known);
                (
                    format!("{}, got {}", must_be(&expected), quoted(&word)),
                    help,
                )
            }
            Problem::Missing { key } => (format!("{subject}: missing key \"{key}\""), None),
            Problem::Wrong {
                expected,
                got: Some(got),
            } => (format!("{}, got {got}", must_be(&expected)), None),
            Problem::Wrong {
                expected,
                got: None,
            } => (must_be(&expected), None),
            Problem::Other { message } => match message.split_once('\n') {
                Some((message, help)) => (sentence(&subject, message), Some(help.to_owned())),
                None => (sentence(&subject, &message), None),
            },
        };
        let mut diagnostic = Diagnostic::new(Severity::Error, detail.span, message);
        diagnostic.help = help.or(detail.help);
        diagnostic.is_private = detail.is_private;
        diagnostic
    }
}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Error::new(Problem::Other {
            message: message.to_string(),
        })
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Error::wrong(plain_words(expected), found(unexpected))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Error::invalid_type(unexpected, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Error::wrong(plain_words(expected), format!("an array of {length}"))
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Error::new(Problem::UnknownKey {
            key: key.to_owned(),
            known,
        })
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Error::new(Problem::UnknownWord {
            word: word.to_owned(),
            known,
        })
    }

    fn missing_field(key: &'static str) -> Self {
        Error::new(Problem::Missing { key })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.problem)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use serde::de::Error as _;

    use super::*;

    fn check(error: Error, expected: &str) {
        assert_eq!(error.into_diagnostic("routes.home").message, expected);
    }

    #[test]
    fn messages() {
        let key = |name: &str| Segment::Key(name.to_owned());
        check(
            Error::missing_field("path"),
            "routes.home: missing key \"path\"",
        );
        check(
            Error::missing_field("path").within(key("match"), None),
            "routes.home.match: missing key \"path\"",
        );
        check(
            Error::wrong("a table", "3".to_owned()),
            "routes.home must be a table, got 3",
        );
        check(
            Error::wrong("a table", None).within(Segment::Index(2), None),
            "routes.home[2] must be a table",
        );
        check(
            Error::custom("must be odd")
                .within(key("a b"), None)
                .within(key("c"), None),
            "routes.home.c.\"a b\" must be odd",
        );
        check(
            Error::custom("no regex").within(key("c"), None),
            "routes.home.c: no regex",
        );
        check(
            Error::unknown_variant("x", &["a", "b", "c"]),
            "routes.home must be \"a\", \"b\" or \"c\", got \"x\"",
        );
        check(
            Error::invalid_type(Unexpected::Bool(true), &"u16"),
            "routes.home must be a whole number from 0 to 65535, got true",
        );
    }
}
