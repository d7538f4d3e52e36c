//! Problems of a value that is being compiled, said under its full path.

use std::fmt;

use super::wording::write_key;
use super::{Diagnostic, Diagnostics, Span};

/// A value that is being compiled: what it is called, `routes.order.policies`, and where its problems go.
///
/// Its path is put into words only where something is wrong, so that going deeper costs nothing.
#[derive(Debug)]
pub struct Subject<'a> {
    path: Path<'a>,
    diagnostics: &'a mut Diagnostics,
}

#[derive(Clone, Copy, Debug)]
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl<'a> Subject<'a> {
    pub fn new(diagnostics: &'a mut Diagnostics, key: &'a str) -> Self {
        let path = Path {
            parent: None,
            step: Step::Key(key),
        };
        Subject { path, diagnostics }
    }

    /// The value under a key of this one.
    pub fn key<'b>(&'b mut self, key: &'b str) -> Subject<'b> {
        self.deeper(Step::Key(key))
    }

    /// An element of this array.
    pub fn index(&mut self, index: usize) -> Subject<'_> {
        self.deeper(Step::Index(index))
    }

    fn deeper<'b>(&'b mut self, step: Step<'b>) -> Subject<'b> {
        let path = Path {
            parent: Some(&self.path),
            step,
        };
        Subject {
            path,
            diagnostics: self.diagnostics,
        }
    }

    /// `message` follows the path: as it is where it is a predicate ("must …", "is …"), after a colon otherwise.
    pub fn error(&mut self, span: Span, message: impl fmt::Display) -> &mut Diagnostic {
        let message = sentence(&self.path, &message.to_string());
        self.diagnostics.error(span, message)
    }

    /// Like [`Subject::error`].
    pub fn warning(&mut self, span: Span, message: impl fmt::Display) -> &mut Diagnostic {
        let message = sentence(&self.path, &message.to_string());
        self.diagnostics.warning(span, message)
    }

    /// How much has been said so far, for [`Subject::unsay`].
    pub fn mark(&self) -> usize {
        self.diagnostics.len()
    }

    /// Takes back all that was said since this mark.
    pub fn unsay(&mut self, mark: usize) {
        self.diagnostics.truncate(mark);
    }

    /// How many errors there are so far, of this and everything else: for telling whether a step added some.
    pub fn error_count(&self) -> usize {
        self.diagnostics.error_count()
    }
}

/// Verbs that a message about a value may begin with.
const PREDICATES: [&str; 8] = [
    "must ", "is ", "has ", "can ", "needs ", "belongs ", "begins ", "changes ",
];

/// A subject and what is said of it.
pub(super) fn sentence(subject: &dyn fmt::Display, message: &str) -> String {
    let colon = match PREDICATES.iter().any(|verb| message.starts_with(verb)) {
        true => "",
        false => ":",
    };
    format!("{subject}{colon} {message}")
}

/// Its path.
impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => {
                if self.parent.is_some() {
                    f.write_str(".")?;
                }
                write_key(f, key)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SourceId;
    use super::*;

    fn check(message: &str, expected: &str) {
        let mut diagnostics = Diagnostics::new();
        let mut route = Subject::new(&mut diagnostics, "routes");
        let mut route = route.key("a b");
        let (span, before) = (Span::start_of(SourceId(0)), route.error_count());
        route.key("hosts").index(2).error(span, message).help("go");
        assert_eq!(route.error_count(), before + 1);
        let messages: Vec<_> = diagnostics.iter().map(|one| &*one.message).collect();
        assert_eq!(messages, [expected]);
    }

    #[test]
    fn what_is_said_follows_the_path() {
        check("must be a host", "routes.\"a b\".hosts[2] must be a host");
        check("is empty", "routes.\"a b\".hosts[2] is empty");
        check("no such file", "routes.\"a b\".hosts[2]: no such file");
    }
}
