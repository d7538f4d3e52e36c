//! Problems as people and machines read them.

use std::fmt::Write as _;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Diagnostic, Diagnostics, Severity, Sources, Span};

/// One problem for a program: the admin API answers with these. Position is absent where there is none.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    pub path: Option<String>,
    pub line: Option<usize>,
    pub column: Option<usize>,
    pub severity: Severity,
    pub message: String,
    pub help: Option<String>,
}

/// Whether escape codes may be written: a terminal yes, a log or a file no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Coloured,
}

impl Diagnostics {
    /// Every problem with its excerpt, then one line that counts them; `""` when there is none.
    ///
    /// The first line of each is `PATH:LINE:COLUMN: error: MESSAGE`, which editors and `grep` understand.
    pub fn render(&self, sources: &Sources, color: bool) -> String {
        let style = if color { Style::Coloured } else { Style::Plain };
        let mut out = String::new();
        for diagnostic in self.iter() {
            render_one(&mut out, sources, diagnostic, style);
        }
        if !self.is_empty() {
            out.push_str(&self.summary());
            out.push('\n');
        }
        out
    }

    pub fn reports(&self, sources: &Sources) -> Vec<Report> {
        let report = |one: &Diagnostic| {
            let position = one.span.map(|span| sources.position(span));
            Report {
                path: position.map(|at| at.path.to_owned()),
                line: position.map(|at| at.line),
                column: position.map(|at| at.column),
                severity: one.severity,
                message: one.message.clone(),
                help: one.help.clone(),
            }
        };
        self.iter().map(report).collect()
    }
}

fn render_one(out: &mut String, sources: &Sources, diagnostic: &Diagnostic, style: Style) {
    let word = diagnostic.severity.as_str();
    let (on, off) = match (style, diagnostic.severity) {
        (Style::Plain, _) => ("", ""),
        (Style::Coloured, Severity::Error) => ("\u{1b}[1;31m", "\u{1b}[0m"),
        (Style::Coloured, Severity::Warning) => ("\u{1b}[1;33m", "\u{1b}[0m"),
    };
    if let Some(span) = diagnostic.span {
        let at = sources.position(span);
        let _ = write!(out, "{}:{}:{}: ", at.path, at.line, at.column);
    }
    let _ = writeln!(out, "{on}{word}{off}: {}", diagnostic.message);
    if let Some(span) = diagnostic.span.filter(|_| !diagnostic.is_private) {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        excerpt(
            out,
            sources,
            (span, diagnostic.label.as_deref()),
            (level, style),
        );
    }
    for (span, note) in &diagnostic.notes {
        let at = sources.position(*span);
        let _ = writeln!(out, "{}:{}:{}: note: {note}", at.path, at.line, at.column);
        excerpt(out, sources, (*span, None), (Level::NOTE, style));
    }
    if let Some(help) = &diagnostic.help {
        let _ = writeln!(out, "  help: {help}");
    }
}

/// Only the one line goes to the renderer: it indexes all it is given, and files may have a million lines.
fn excerpt(
    out: &mut String,
    sources: &Sources,
    (span, label): (Span, Option<&str>),
    (level, style): (Level<'_>, Style),
) {
    let (line, part) = sources.excerpt(span);
    if line.is_empty() {
        return;
    }
    let annotation = AnnotationKind::Primary.span(part).label(label);
    let snippet = Snippet::source(line)
        .line_start(sources.position(span).line)
        .annotation(annotation);
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Coloured => Renderer::styled(),
    };
    out.push_str(&renderer.render(&[Group::with_level(level).element(snippet)]));
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[routes.a]\nper = \"five\"\n\n[routes.b]\nö = \"x\"\n";

    fn sample() -> (Sources, Diagnostics) {
        let mut sources = Sources::new();
        let source = sources.add("conf/shop.toml", TEXT);
        let at = |range| Span::new(source, range);
        let mut diagnostics = Diagnostics::new();
        diagnostics
            .warning(at(41..44), "odd value")
            .label("here")
            .help("write another");
        diagnostics
            .error(at(17..23), "per must be a duration")
            .also(at(25..35), "defined here");
        diagnostics.error(None, "cannot read extra.toml");
        (sources, diagnostics)
    }

    #[test]
    fn plain() {
        let (sources, diagnostics) = sample();
        let expected = r#"error: cannot read extra.toml
conf/shop.toml:2:7: error: per must be a duration
  |
2 | per = "five"
  |       ^^^^^^
conf/shop.toml:4:1: note: defined here
  |
4 | [routes.b]
  | ^^^^^^^^^^
conf/shop.toml:5:5: warning: odd value
  |
5 | ö = "x"
  |     ^^^ here
  help: write another
2 errors, 1 warning
"#;
        assert_eq!(diagnostics.render(&sources, false), expected);
    }

    #[test]
    fn colour_only_when_asked() {
        let (sources, diagnostics) = sample();
        assert!(
            diagnostics
                .render(&sources, true)
                .contains("\u{1b}[1;31merror\u{1b}[0m: per")
        );
        assert!(!diagnostics.render(&sources, false).contains('\u{1b}'));
        assert_eq!(Diagnostics::new().render(&sources, true), "");
    }

    #[test]
    fn private_lines_are_not_shown() {
        let (sources, mut diagnostics) = sample();
        diagnostics
            .error(Span::start_of(super::super::SourceId(0)), "hidden")
            .is_private = true;
        assert!(
            diagnostics
                .render(&sources, false)
                .contains("error: hidden\nconf/shop.toml:2:7")
        );
    }

    #[test]
    fn machine_form() {
        let (sources, diagnostics) = sample();
        let json = serde_json::to_value(diagnostics.reports(&sources)).expect("reports serialise");
        assert_eq!(json[0]["path"], serde_json::Value::Null);
        assert_eq!(json[1]["line"], 2);
        assert_eq!(json[2]["severity"], "warning");
        assert_eq!(json[2]["help"], "write another");
    }
}
