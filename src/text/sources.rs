//! The loaded files, kept so that a span can be shown to a person.

use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use super::{SourceId, Span};

/// Every loaded file: its path as shown to the user, and its text.
#[derive(Debug, Default)]
pub struct Sources {
    files: Vec<File>,
}

#[derive(Debug)]
struct File {
    path: Box<str>,
    text: Box<str>,
    /// The byte at which each line begins, once it is asked for; the first is 0, so it is never empty.
    lines: OnceLock<Box<[usize]>>,
}

/// A place as people name it: both numbers count from 1, and a column is a character, not a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position<'s> {
    pub path: &'s str,
    pub line: usize,
    pub column: usize,
}

impl Sources {
    pub fn new() -> Self {
        Sources::default()
    }

    pub fn add(&mut self, path: impl Into<Box<str>>, text: impl Into<Box<str>>) -> SourceId {
        let text = text.into();
        let id = u32::try_from(self.files.len()).expect("fewer than 2^32 files fit in memory");
        self.files.push(File {
            path: path.into(),
            text,
            lines: OnceLock::new(),
        });
        SourceId(id)
    }

    /// Paths and texts, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|file| (&*file.path, &*file.text))
    }

    pub fn ids(&self) -> impl Iterator<Item = SourceId> + use<> {
        (0..self.files.len() as u32).map(SourceId)
    }

    /// The path that was given for a source; `""` for an id of another `Sources`.
    pub fn path(&self, source: SourceId) -> &str {
        self.file(source).map_or("", |file| &file.path)
    }

    /// The folder of a source, which paths in it are relative to; empty where its path names none.
    pub fn folder(&self, source: SourceId) -> &Path {
        Path::new(self.path(source))
            .parent()
            .unwrap_or(Path::new(""))
    }

    /// The whole text of a source; `""` for an id of another `Sources`.
    pub fn text(&self, source: SourceId) -> &str {
        self.file(source).map_or("", |file| &file.text)
    }

    /// Where a span begins.
    pub fn position(&self, span: Span) -> Position<'_> {
        let Some(file) = self.file(span.source) else {
            return Position {
                path: "",
                line: 1,
                column: 1,
            };
        };
        let start = file.char_boundary(span.start as usize);
        let line = file.line_of(start);
        let before = file.text.get(file.line_start(line)..start).unwrap_or("");
        Position {
            path: &file.path,
            line: line + 1,
            column: before.chars().count() + 1,
        }
    }

    /// The line on which a span begins, and the part of it the span covers, in bytes of that line.
    ///
    /// A span of many lines is cut at the end of its first: the excerpt shows where to look, not everything.
    pub fn excerpt(&self, span: Span) -> (&str, Range<usize>) {
        let Some(file) = self.file(span.source) else {
            return ("", 0..0);
        };
        let start = file.char_boundary(span.start as usize);
        let end = file.char_boundary((span.end as usize).max(start));
        let line_start = file.line_start(file.line_of(start));
        let line = file
            .text
            .get(line_start..)
            .and_then(|rest| rest.split('\n').next())
            .unwrap_or("");
        let line = line.strip_suffix('\r').unwrap_or(line);
        let within = |at: usize| (at - line_start).min(line.len());
        (line, within(start)..within(end))
    }

    fn file(&self, source: SourceId) -> Option<&File> {
        self.files.get(source.0 as usize)
    }
}

impl File {
    fn lines(&self) -> &[usize] {
        self.lines.get_or_init(|| {
            let breaks = self.text.match_indices('\n').map(|(at, _)| at + 1);
            std::iter::once(0).chain(breaks).collect()
        })
    }

    fn line_of(&self, at: usize) -> usize {
        self.lines()
            .partition_point(|&start| start <= at)
            .saturating_sub(1)
    }

    fn line_start(&self, line: usize) -> usize {
        self.lines().get(line).copied().unwrap_or(0)
    }

    /// The parser may point between the bytes of a broken character; the nearest boundary before it will do.
    fn char_boundary(&self, at: usize) -> usize {
        self.text.floor_char_boundary(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, at: Range<usize>, position: (usize, usize), excerpt: &str) {
        let mut sources = Sources::new();
        let source = sources.add("a.toml", text);
        let span = Span::new(source, at);
        let found = sources.position(span);
        assert_eq!((found.line, found.column), position, "{text:?}");
        let (line, part) = sources.excerpt(span);
        assert_eq!(&line[part], excerpt, "{text:?}");
    }

    #[test]
    fn places() {
        check("", 0..0, (1, 1), "");
        check("a = 1\n", 4..5, (1, 5), "1");
        check("a = 1\nb = 22\n", 10..12, (2, 5), "22");
        check("a = 1\r\nb = 2\r\n", 4..14, (1, 5), "1");
        check("é = 1", 3..4, (1, 3), "=");
        check("é = 1", 1..4, (1, 1), "é =");
        check("a\n", 2..2, (2, 1), "");
        check("a", 90..99, (1, 2), "");
    }

    #[test]
    fn foreign_ids_do_not_panic() {
        let sources = Sources::new();
        let span = Span::start_of(SourceId(7));
        assert_eq!(sources.position(span).path, "");
        assert_eq!(sources.excerpt(span), ("", 0..0));
    }
}
