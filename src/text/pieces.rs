//! Large files, piece by piece: what the parser makes of a text takes forty times as much memory as the text.
//!
//! A file is cut at headers of named objects, `[routes.home]`, and each piece is read and let go before the next
//! is parsed. That is only done where nothing can be lost by it; whatever is unusual about a file (errors of syntax,
//! sections of one object that stand apart, keys of an object before the first header) has it read as a whole.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use super::span::Anchor;
use super::{Diagnostics, SourceId, Table};

/// Bytes of the smallest piece but the last; files that are no longer are read as a whole. What the parser makes of one
/// stays in the processor's cache.
const PIECE: usize = 32 * 1024;

/// Only the very first character of a file may be one.
/// How many lines are looked at before other threads have their turn; each takes some tens of nanoseconds.
const LINES_AT_A_TIME: usize = 8192;
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads a file: gives its table to `take`, or the tables of its pieces in their order. `objects` are the keys of
/// the tables that hold named objects; of such a table each piece has some, any other stands in one piece. None,
/// after a report, when the text is no TOML.
pub fn read<S: Default>(
    diagnostics: &mut Diagnostics,
    source: SourceId,
    text: &str,
    objects: &[&str],
    mut take: impl FnMut(&mut S, Table<'_, '_>),
) -> Option<S> {
    if text.len() > PIECE
        && let Some((sections, found)) = in_pieces(source, text, objects, PIECE, &mut take)
    {
        diagnostics.extend(found);
        return Some(sections);
    }
    let mut sections = S::default();
    take(&mut sections, Table::parse(diagnostics, source, text)?);
    Some(sections)
}

/// None where the file must be read as a whole; then nothing counts that was taken so far.
///
/// Every piece begins at a line, and it is TOML by itself or there is no result, so a cut inside a string or an
/// array does no harm. Pieces of TOML are TOML together if no table is defined in two of them.
pub(super) fn in_pieces<S: Default>(
    source: SourceId,
    text: &str,
    objects: &[&str],
    least: usize,
    take: &mut impl FnMut(&mut S, Table<'_, '_>),
) -> Option<(S, Diagnostics)> {
    let mut sections = S::default();
    let mut found = Diagnostics::new();
    let mut seen = Seen::default();
    for (index, piece) in cut(text, objects, least)?.into_iter().enumerate() {
        let start = piece.start;
        let anchor = Anchor { source, start };
        let table = Table::piece(&mut found, anchor, text.get(piece)?)?;
        for (key, mut names) in table.definitions() {
            let is_apart = match objects.contains(&key) {
                // What stands before the headers may define a whole table of objects, or extend it.
                true => index > 0 && names.all(|name| seen.is_new((key, Some(name)))),
                false => seen.is_new((key, None)),
            };
            if !is_apart {
                return None;
            }
        }
        take(&mut sections, table);
        // A piece is a step as long as many others.
        std::thread::yield_now();
    }
    Some((sections, found))
}

/// What was defined so far, by its hash: two of the same only have the file read as a whole.
#[derive(Default)]
struct Seen {
    hashes: HashSet<u64>,
    hasher: RandomState,
}

impl Seen {
    fn is_new(&mut self, definition: (&str, Option<&str>)) -> bool {
        self.hashes.insert(self.hasher.hash_one(definition))
    }
}

/// What stands before the first header, and then the pieces. None where a header leaves open what it defines.
fn cut(text: &str, objects: &[&str], least: usize) -> Option<Vec<Range<usize>>> {
    let mut pieces = Vec::new();
    let mut object = "";
    let (mut start, mut at) = (0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if number % LINES_AT_A_TIME == 0 {
            std::thread::yield_now();
        }
        let begin = at;
        at += line.len();
        let line = match begin {
            0 => line.trim_start_matches(BYTE_ORDER_MARK),
            _ => line,
        };
        let Some(header) = line.trim_start_matches([' ', '\t']).strip_prefix('[') else {
            continue;
        };
        let is_next = match Header::parse(header, objects)? {
            Header::Object(of) => std::mem::replace(&mut object, of) != of,
            Header::Other => false,
        };
        if pieces.is_empty() || (is_next && begin - start >= least) {
            pieces.push(start..begin);
            start = begin;
        }
    }
    pieces.push(start..text.len());
    Some(pieces)
}

enum Header<'t> {
    /// Of a named object, or of a table in it: `routes.home` of `[routes.home.policies]`.
    Object(&'t str),
    Other,
}

impl<'t> Header<'t> {
    /// `text` is what follows the bracket. None for `[routes]`, and where the first key is not written plainly.
    fn parse(text: &'t str, objects: &[&str]) -> Option<Header<'t>> {
        let text = text.strip_prefix('[').unwrap_or(text);
        let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let (key, rest) = text.split_at(text.find(|c| !is_bare(c))?);
        if key.is_empty() {
            return None;
        }
        if !objects.contains(&key) {
            return Some(Header::Other);
        }
        let name = rest.strip_prefix('.')?;
        let end = match name.chars().next()? {
            quote @ ('"' | '\'') => 2 + name.get(1..)?.find(quote)?,
            _ => name.find(['.', ']'])?,
        };
        Some(Header::Object(text.get(..key.len() + 1 + end)?))
    }
}

#[cfg(test)]
mod tests;
