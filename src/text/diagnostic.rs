//! What is wrong with a configuration, collected rather than thrown, so that one run shows everything.

use super::Span;

/// An error keeps the configuration from being used; a warning does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Error,
    Warning,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One problem: where, what the rule is, what was found, and what to do about it.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    pub severity: Severity,
    /// None for a problem that is no place in a file, such as a file that cannot be read.
    pub span: Option<Span>,
    pub message: String,
    /// A few words beside the caret.
    pub label: Option<String>,
    /// Other places that matter, such as the first definition of a name that is defined twice.
    pub notes: Vec<(Span, String)>,
    pub help: Option<String>,
    /// Set where the source line may hold a secret, which must not reach a log or a terminal.
    pub is_private: bool,
}

impl Diagnostic {
    pub fn new(
        severity: Severity,
        span: impl Into<Option<Span>>,
        message: impl Into<String>,
    ) -> Self {
        Diagnostic {
            severity,
            span: span.into(),
            message: message.into(),
            label: None,
            notes: Vec::new(),
            help: None,
            is_private: false,
        }
    }

    pub fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = Some(label.into());
        self
    }

    pub fn also(&mut self, span: Span, message: impl Into<String>) -> &mut Self {
        self.notes.push((span, message.into()));
        self
    }

    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }
}

/// Everything found so far, over all files and passes.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    found: Vec<Diagnostic>,
    /// How many of them are errors: it is asked for with every object.
    errors: usize,
}

impl Diagnostics {
    pub fn new() -> Self {
        Diagnostics::default()
    }

    pub fn error(
        &mut self,
        span: impl Into<Option<Span>>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.push(Diagnostic::new(Severity::Error, span, message))
    }

    pub fn warning(
        &mut self,
        span: impl Into<Option<Span>>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.push(Diagnostic::new(Severity::Warning, span, message))
    }

    pub fn push(&mut self, diagnostic: Diagnostic) -> &mut Diagnostic {
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        self.found.push(diagnostic);
        self.found.last_mut().expect("one was pushed just now")
    }

    pub fn extend(&mut self, others: Diagnostics) {
        self.errors += others.errors;
        self.found.extend(others.found);
    }

    /// How many errors there are so far: for telling whether a step added some.
    pub fn error_count(&self) -> usize {
        self.errors
    }

    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.found.truncate(len);
        self.errors = self.count(Severity::Error);
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn count(&self, severity: Severity) -> usize {
        self.found
            .iter()
            .filter(|one| one.severity == severity)
            .count()
    }

    /// In the order of the source; problems without a place come first, those of one place as they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        let mut sorted: Vec<_> = self.found.iter().collect();
        sorted.sort_by_key(|one| one.span.map(|span| (span.source, span.start)));
        sorted.into_iter()
    }

    /// `2 errors, 1 warning`; `""` when nothing was found.
    pub fn summary(&self) -> String {
        let part = |severity: Severity| match self.count(severity) {
            0 => None,
            1 => Some(format!("1 {}", severity.as_str())),
            many => Some(format!("{many} {}s", severity.as_str())),
        };
        let parts: Vec<_> = [Severity::Error, Severity::Warning]
            .into_iter()
            .filter_map(part)
            .collect();
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::SourceId;
    use super::*;

    fn check(errors: usize, warnings: usize, expected: &str) {
        let mut diagnostics = Diagnostics::new();
        for _ in 0..errors {
            diagnostics.error(None, "bad").help("fix it");
        }
        for _ in 0..warnings {
            diagnostics.warning(None, "odd");
        }
        assert_eq!(diagnostics.summary(), expected);
        assert_eq!(diagnostics.has_errors(), errors > 0);
        assert_eq!(diagnostics.is_empty(), errors + warnings == 0);
    }

    #[test]
    fn summaries() {
        check(0, 0, "");
        check(1, 0, "1 error");
        check(2, 1, "2 errors, 1 warning");
        check(0, 3, "3 warnings");
    }

    #[test]
    fn sorted_by_place() {
        let at = |start| Span::new(SourceId(0), start..start + 1);
        let mut diagnostics = Diagnostics::new();
        diagnostics.error(at(9), "last");
        diagnostics.warning(at(2), "second");
        diagnostics.error(at(2), "third");
        diagnostics.error(None, "first");
        let order: Vec<_> = diagnostics.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(order, ["first", "second", "third", "last"]);
    }
}
