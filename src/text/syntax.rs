//! Errors of TOML's syntax, in fewer and plainer words than the parser's: one slip, such as an unclosed bracket,
//! makes it complain of every later line.

use std::collections::HashSet;
use std::ops::Range;

use toml::de::DeTable;

use super::invalid::quoted;
use super::nesting::{end_of_line, end_of_string};
use super::problem::Segment;
use super::wording::path_text;
use super::{Diagnostics, SourceId, Span};

/// A file with more errors than this is no TOML.
const MOST_ERRORS: usize = 64;

/// Reports what the parser found in `text`. `root` is what it could make of it all the same.
pub(super) fn report(
    diagnostics: &mut Diagnostics,
    source: SourceId,
    text: &str,
    root: &DeTable<'_>,
    errors: &[toml::de::Error],
) {
    let mut report = Report {
        diagnostics,
        source,
        text,
        root,
        told: HashSet::new(),
    };
    let end = report.unclosed().unwrap_or(text.len());
    for error in errors.iter().take(MOST_ERRORS) {
        let at = error.span().unwrap_or(0..0);
        if at.start > end {
            continue;
        }
        match error.message() {
            "duplicate key" => report.duplicate(at),
            message if is_of_a_value(message) => report.bare_value(at, message),
            message => {
                report.error(at, message);
            }
        }
    }
}

struct Report<'r, 'i> {
    diagnostics: &'r mut Diagnostics,
    source: SourceId,
    text: &'r str,
    root: &'r DeTable<'i>,
    /// Where the values and tables begin that were reported, so that nothing inside them is.
    told: HashSet<usize>,
}

impl Report<'_, '_> {
    fn error(&mut self, at: Range<usize>, message: impl Into<String>) -> &mut super::Diagnostic {
        self.diagnostics.error(Span::new(self.source, at), message)
    }

    /// A bracket that is never closed swallows the rest of the file: gives its place, behind which nothing that
    /// the parser says is of use.
    fn unclosed(&mut self) -> Option<usize> {
        let (at, kind) = match unclosed_bracket(self.text)? {
            (at, b'[') => (at, ("array", ']')),
            (at, _) => (at, ("inline table", '}')),
        };
        self.error(at..at + 1, format!("this {} is never closed", kind.0))
            .help(format!("add `{}` at its end", kind.1));
        Some(at)
    }

    fn bare_value(&mut self, at: Range<usize>, message: &str) {
        let is_end = |c: char| c.is_whitespace() || "=,[]{}#\"'".contains(c);
        let before = self.text.get(..at.start).unwrap_or("");
        let start = before.rfind(is_end).map_or(0, |end| end + 1);
        let after = self.text.get(at.start..).unwrap_or("");
        let end = at.start + after.find(is_end).unwrap_or(after.len());
        match self.text.get(start..end) {
            None | Some("") => {
                self.error(at, "there is no value");
            }
            Some(_) if !self.told.insert(start) => {}
            Some(word)
                if word.starts_with(|c: char| c.is_ascii_digit()) && is_number_like(word) =>
            {
                self.error(start..end, message);
            }
            Some(word) => {
                let help = format!("write {}", quoted(word));
                self.error(start..end, "string values must be quoted")
                    .help(help);
            }
        }
    }

    /// TOML has one word for a key and a table that are there already, and does not say where.
    fn duplicate(&mut self, at: Range<usize>) {
        let line = self.line_start(at.start);
        let is_header = self.is_header(line);
        let header = match is_header {
            true => Some(line),
            false => self.header_before(line),
        };
        // All keys of a table that is there twice are there twice.
        if !is_header && header.is_some_and(|header| self.told.contains(&header)) {
            return;
        }
        let path = self.path(header, line, at.end);
        let name = path_text(
            &path
                .iter()
                .rev()
                .cloned()
                .map(Segment::Key)
                .collect::<Vec<_>>(),
        );
        // The parser goes on with the key of a second table, so it has to be asked about what comes before.
        let before = is_header.then(|| {
            DeTable::parse_recoverable(self.text.get(..line).unwrap_or(""))
                .0
                .into_inner()
        });
        let first = first(before.as_ref().unwrap_or(self.root), &path);
        let message = match (&*name, is_header) {
            ("", _) => format!(
                "{} is defined twice",
                self.text.get(at.clone()).unwrap_or("")
            ),
            (name, true) => format!("the table [{name}] is defined twice"),
            (name, false) => format!("the key {name} is defined twice"),
        };
        let source = self.source;
        let problem = self.error(at, message);
        if let Some(first) = first {
            problem.also(Span::new(source, first), "first defined here");
        }
        if is_header {
            self.told.insert(line);
        }
    }

    fn line_start(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or("");
        before.rfind('\n').map_or(0, |end| end + 1)
    }

    fn is_header(&self, line: usize) -> bool {
        let line = self.text.get(line..).unwrap_or("");
        line.trim_start_matches([' ', '\t']).starts_with('[')
    }

    fn header_before(&self, mut line: usize) -> Option<usize> {
        while line > 0 {
            line = self.line_start(line - 1);
            if self.is_header(line) {
                return Some(line);
            }
        }
        None
    }

    /// The keys from the root to the key that ends at `end`. The parser itself takes them apart, from a document
    /// that has nothing else. Empty where the place is not a line of its own, as in an inline table.
    fn path(&self, header: Option<usize>, line: usize, end: usize) -> Vec<String> {
        let key = self.text.get(line..end).unwrap_or("").trim_start();
        let header = header.filter(|&header| header != line).map(|header| {
            let rest = self.text.get(header..).unwrap_or("");
            rest.lines().next().unwrap_or("")
        });
        let document = match header {
            _ if key.starts_with('[') => format!("[{}]", key.trim_start_matches('[')),
            Some(header) => format!("{header}\n{key} = 0"),
            None => format!("{key} = 0"),
        };
        let (root, errors) = DeTable::parse_recoverable(&document);
        let mut path = Vec::new();
        let mut table = Some(root.get_ref());
        while let Some(inner) = table.filter(|_| errors.is_empty()) {
            let Some((key, value)) = inner.iter().next() else {
                break;
            };
            path.push(key.get_ref().to_string());
            table = value.get_ref().as_table();
        }
        path
    }
}

/// Where the last key of a path stands.
fn first(root: &DeTable<'_>, path: &[String]) -> Option<Range<usize>> {
    let (last, tables) = path.split_last()?;
    let mut table = root;
    for key in tables {
        table = table.get(&**key)?.get_ref().as_table()?;
    }
    table.get_key_value(&**last).map(|(key, _)| key.span())
}

fn is_of_a_value(message: &str) -> bool {
    [
        "string values must be quoted",
        "invalid float",
        "invalid integer",
        "invalid date",
        "invalid time",
        "invalid value",
    ]
    .iter()
    .any(|begin| message.starts_with(begin))
}

fn is_number_like(word: &str) -> bool {
    word.bytes()
        .all(|byte| byte.is_ascii_digit() || b"_.eE+-".contains(&byte))
        && word.matches('.').count() < 2
}

/// The first bracket of a value that nothing closes. Strings, comments and headers of tables are skipped as TOML
/// has them.
fn unclosed_bracket(text: &str) -> Option<(usize, u8)> {
    let bytes = text.as_bytes();
    let mut open: Vec<(usize, u8)> = Vec::new();
    let mut is_line_start = true;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'#' => at = end_of_line(bytes, at),
            b'"' | b'\'' => {
                at = end_of_string(bytes, at, byte);
                // Then it is the string that is never closed, and the parser says so.
                if at >= bytes.len() {
                    return None;
                }
            }
            b'[' if is_line_start && open.is_empty() => at = end_of_line(bytes, at),
            b'[' | b'{' => open.push((at, byte)),
            b']' => drop(open.pop_if(|(_, opened)| *opened == b'[')),
            b'}' => drop(open.pop_if(|(_, opened)| *opened == b'{')),
            _ => {}
        }
        is_line_start = byte == b'\n' || (is_line_start && (byte == b' ' || byte == b'\t'));
        at += 1;
    }
    open.first().copied()
}

#[cfg(test)]
mod tests {
    use super::super::{Sources, Table};
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let mut sources = Sources::new();
        let source = sources.add("a.toml", text);
        let mut diagnostics = Diagnostics::new();
        assert!(Table::parse(&mut diagnostics, source, text).is_none());
        let place = |span: Span| {
            let at = sources.position(span);
            format!("{}:{}", at.line, at.column)
        };
        let said = diagnostics.iter().map(|one| {
            let mut said = format!(
                "{} {}",
                one.span.map(place).unwrap_or_default(),
                one.message
            );
            for (span, _) in &one.notes {
                said += &format!(" (see {})", place(*span));
            }
            if let Some(help) = &one.help {
                said += &format!(" ({help})");
            }
            said
        });
        assert_eq!(said.collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn duplicates_say_what_and_where() {
        check(
            "a = 1\na = 2",
            &["2:1 the key a is defined twice (see 1:1)"],
        );
        check(
            "[t.u]\nb.c = 1\nb.c = 2",
            &["3:3 the key t.u.b.c is defined twice (see 2:3)"],
        );
        check(
            "[t.\"u v\"]\na = 1\n[x]\n[t.\"u v\"]\na = 1\nb = 2\n",
            &["4:4 the table [t.\"u v\"] is defined twice (see 1:4)"],
        );
        check("a = { b = 1, b = 2 }", &["1:14 b is defined twice"]);
    }

    #[test]
    fn one_unclosed_bracket_is_one_error() {
        check(
            "a = [1, 2\n[t]\nb = \"]\" # ]\nc = [3]\n",
            &["1:5 this array is never closed (add `]` at its end)"],
        );
        check(
            "z = x\na = { b = [1]\n[t]\n",
            &[
                "1:5 string values must be quoted (write \"x\")",
                "2:5 this inline table is never closed (add `}` at its end)",
            ],
        );
    }

    #[test]
    fn an_unclosed_string_hides_brackets() {
        check(
            "a = [\"\"\"x\n[t]\n",
            &[
                "3:1 unclosed array, expected `]`",
                "3:1 invalid multi-line basic string, expected `\"`",
            ],
        );
    }

    #[test]
    fn bare_values_want_quotes() {
        let quotes = |word: &str| format!("1:5 string values must be quoted (write \"{word}\")");
        for word in [
            "127.0.0.1:8080",
            "on",
            "10.0.0.0/8",
            "5s",
            "http://a/b",
            "v1",
        ] {
            check(&format!("a = {word}"), &[&*quotes(word)]);
        }
        check(
            "a = [x, y]",
            &[
                "1:6 string values must be quoted (write \"x\")",
                "1:9 string values must be quoted (write \"y\")",
            ],
        );
        check("a =\nb = 1", &["1:4 there is no value"]);
    }
}
