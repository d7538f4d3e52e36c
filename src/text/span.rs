//! Places in source text, and values that remember theirs.

use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// Which loaded file; handed out by [`Sources::add`](super::Sources::add).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub(super) u32);

/// A range of bytes of one source. Ordered by source, then position, so that problems sort as they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub source: SourceId,
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// Offsets past 4 GiB stick at the last byte that can be named; only the printed position suffers.
    pub fn new(source: SourceId, range: std::ops::Range<usize>) -> Self {
        let clamp = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Span {
            source,
            start: clamp(range.start),
            end: clamp(range.end),
        }
    }

    /// The very beginning of a source, for problems of the file as a whole.
    pub fn start_of(source: SourceId) -> Self {
        Span {
            source,
            start: 0,
            end: 0,
        }
    }
}

/// Where a text begins that was parsed by itself: the parser's places count from there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
    pub(super) source: SourceId,
    /// The byte of the source.
    pub(super) start: usize,
}

impl Anchor {
    pub(super) fn start_of(source: SourceId) -> Self {
        Anchor { source, start: 0 }
    }

    pub(super) fn span(self, at: std::ops::Range<usize>) -> Span {
        Span::new(self.source, self.start + at.start..self.start + at.end)
    }
}

/// A value and where it was written. Compares, hashes and prints as the value alone.
#[derive(Clone, Copy)]
pub struct Spanned<T> {
    pub value: T,
    pub span: Span,
}

impl<T> Spanned<T> {
    pub fn new(value: T, span: Span) -> Self {
        Spanned { value, span }
    }

    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned {
            value: change(self.value),
            span: self.span,
        }
    }
}

impl Spanned<String> {
    /// The place of some bytes of the text; of all of it where escapes or an empty range leave that open.
    pub fn part(&self, at: std::ops::Range<usize>) -> Span {
        let (start, end) = (self.span.start as usize, self.span.end as usize);
        // What is as long as its text and two quotes has no escapes: each of them is longer than what it means.
        let is_plain = end.saturating_sub(start) == self.value.len() + 2;
        match is_plain && !at.is_empty() && at.end <= self.value.len() {
            true => Span::new(self.span.source, start + 1 + at.start..start + 1 + at.end),
            false => self.span,
        }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Borrow<T> for Spanned<T> {
    fn borrow(&self) -> &T {
        &self.value
    }
}

impl Borrow<str> for Spanned<String> {
    fn borrow(&self) -> &str {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: fmt::Display> fmt::Display for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Spanned<T> {}

impl<T: PartialOrd> PartialOrd for Spanned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl<T: Ord> Ord for Spanned<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.value.cmp(&other.value)
    }
}

impl<T: Hash> Hash for Spanned<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.value.hash(state);
    }
}

/// The reader recognises this name and answers with source, start, end and value; serde has no other way to
/// carry a position. Any other deserializer refuses the type.
pub(super) const SPANNED: &str = "$northgate::Spanned";

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple_struct(SPANNED, 4, Parts(PhantomData))
    }
}

struct Parts<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Parts<T> {
    type Value = Spanned<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that comes through the configuration reader")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Spanned<T>, A::Error> {
        let incomplete = || A::Error::invalid_length(0, &"a source, a range and a value");
        let source = SourceId(parts.next_element()?.ok_or_else(incomplete)?);
        let start = parts.next_element()?.ok_or_else(incomplete)?;
        let end = parts.next_element()?.ok_or_else(incomplete)?;
        let value = parts.next_element()?.ok_or_else(incomplete)?;
        Ok(Spanned {
            value,
            span: Span { source, start, end },
        })
    }
}

impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(value: &str, start: usize) -> Spanned<String> {
        Spanned::new(value.to_owned(), Span::new(SourceId(0), start..start + 1))
    }

    #[test]
    fn compares_and_prints_as_its_value() {
        assert_eq!(at("a", 0), at("a", 7));
        assert!(at("a", 9) < at("b", 0));
        assert_eq!(format!("{:?}", at("a", 0)), "\"a\"");
    }

    #[test]
    fn parts_are_known_where_the_text_is_plain() {
        let check = |length: usize, at: std::ops::Range<usize>, expected: (u32, u32)| {
            let span = Span::new(SourceId(0), 10..10 + length);
            let part = Spanned::new("abc".to_owned(), span).part(at);
            assert_eq!((part.start, part.end), expected);
        };
        check(5, 0..1, (11, 12));
        check(5, 1..3, (12, 14));
        check(5, 1..1, (10, 15));
        check(5, 1..4, (10, 15));
        check(7, 0..1, (10, 17));
    }

    #[test]
    fn spans_sort_by_source_then_place() {
        let early = Span::new(SourceId(0), 5..6);
        let late = Span::new(SourceId(0), 9..10);
        let other = Span::new(SourceId(1), 0..1);
        assert!(early < late && late < other);
    }

    #[test]
    fn other_deserializers_are_refused() {
        assert!(serde_json::from_str::<Spanned<u8>>("1").is_err());
    }

    #[test]
    fn schema_is_that_of_the_value() {
        let spanned = schemars::schema_for!(Spanned<String>);
        assert_eq!(spanned, schemars::schema_for!(String));
    }
}
