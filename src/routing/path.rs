//! Path templates: `/v1/orders/{id}`, `/assets/{*rest}`.

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

use super::captures::Captures;
use super::precedence::SegmentRank;
use crate::text::{
    Backslashes, EncodedSlashes, InvalidUtf8, PathRefusal, PathRules, normalise_path,
};

/// The most segments a template may have. It bounds the depth of the trie, and so the work and the stack
/// that the longest request path can cost.
pub const MAX_SEGMENTS: usize = 128;

/// A parsed path template, its literals in the normal form that requests' paths have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathTemplate {
    /// Once checked it splits into segments without ambiguity, so they are not kept a second time.
    text: Box<str>,
    captures: Box<[Box<str>]>,
}

/// One segment of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    Literal(&'a str),
    Param,
    Rest,
}

/// What is wrong with a template, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{problem} (at byte {at})")]
pub struct PathError {
    /// The byte of the template at which the problem starts.
    pub at: usize,
    /// What is wrong there.
    pub problem: PathProblem,
}

/// The ways in which a template can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PathProblem {
    /// `v1/orders`
    #[error("a path must start with `/`")]
    NoLeadingSlash,
    /// `/a//b`: requests have repeated slashes merged before they are routed.
    #[error("a path must not contain `//`")]
    EmptySegment,
    /// `/a/../b`, also percent-encoded: requests have dot segments resolved before they are routed.
    #[error("a path must not contain `.` or `..` segments")]
    DotSegment,
    /// `/a?b` or `/a#b`
    #[error("a path must not contain `?` or `#`; match the query by query conditions")]
    QueryOrFragment,
    /// `/a;v=1`
    #[error("a path must not contain `;`: routes do not see parameters of segments")]
    Parameters,
    /// `/100%`, `/a%00`: there is no normal form.
    #[error("requests for such a path are refused: {0}")]
    Refused(PathRefusal),
    /// `/{id`
    #[error("`{{` is never closed in its segment")]
    UnclosedBrace,
    /// `/id}`
    #[error("`}}` without `{{`")]
    UnopenedBrace,
    /// `/file-{id}`
    #[error("a parameter must be a whole segment")]
    PartialSegment,
    /// `/{}` or `/{*}`
    #[error("a parameter needs a name")]
    EmptyName,
    /// `/{a-b}`
    #[error(
        "the parameter name `{0}` may have only letters, digits and `_`, and not start with a digit"
    )]
    InvalidName(Box<str>),
    /// `/{id}/{id}`
    #[error("the parameter name `{0}` is used twice")]
    DuplicateName(Box<str>),
    /// `/{*rest}/a`
    #[error("`{{*…}}` must be the last segment")]
    RestNotLast,
    /// More than [`MAX_SEGMENTS`].
    #[error("a path may have at most {MAX_SEGMENTS} segments")]
    TooManySegments,
    /// A gRPC service or method that is not one segment.
    #[error("a gRPC service or method must be a plain name")]
    InvalidGrpcName,
}

impl PathTemplate {
    /// Any path at all: `/{*rest}` without a capture.
    #[must_use]
    pub fn any() -> Self {
        Self {
            text: "/{*}".into(),
            captures: Box::default(),
        }
    }

    /// Parses a template.
    ///
    /// # Errors
    /// The first problem from the left.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let fail = |at, problem| Err(PathError { at, problem });
        let Some(tail) = text.strip_prefix('/') else {
            return fail(0, PathProblem::NoLeadingSlash);
        };
        let mut captures: Vec<Box<str>> = Vec::new();
        let mut normal = String::with_capacity(text.len());
        let mut at = 1;
        let mut segments = tail.split('/').enumerate().peekable();
        while let Some((position, segment)) = segments.next() {
            let is_last = segments.peek().is_none();
            if position >= MAX_SEGMENTS {
                return fail(at, PathProblem::TooManySegments);
            }
            if segment.is_empty() && !is_last {
                return fail(at, PathProblem::EmptySegment);
            }
            let parsed = parse_segment(segment).map_err(|(offset, problem)| PathError {
                at: at + offset,
                problem,
            })?;
            normal.push('/');
            normal.push_str(&parsed.normal);
            if let Some(Parameter { name, is_rest }) = parsed.parameter {
                if is_rest && !is_last {
                    return fail(at, PathProblem::RestNotLast);
                }
                if captures.iter().any(|other| **other == *name) {
                    return fail(at, PathProblem::DuplicateName(name.into()));
                }
                captures.push(name.into());
            }
            at += segment.len() + 1;
        }
        Ok(Self {
            text: normal.into(),
            captures: captures.into(),
        })
    }

    /// The names of the captures, in the order of the path.
    #[must_use]
    pub fn captures(&self) -> &[Box<str>] {
        &self.captures
    }

    /// Whether this is [`PathTemplate::any`].
    #[must_use]
    pub fn is_any(&self) -> bool {
        &*self.text == "/{*}"
    }

    /// What the template captures from `path`, or `None` if it does not match.
    #[must_use]
    pub fn capture(&self, path: &str) -> Option<Captures> {
        let mut captures = Captures::default();
        let mut tail = path.strip_prefix('/');
        for segment in self.segments() {
            if segment == Segment::Rest {
                captures.push_rest(path, tail);
                captures.truncate(self.captures.len());
                return Some(captures);
            }
            let here = tail?;
            let (text, next) = next_segment(here);
            match segment {
                Segment::Literal(literal) if literal == text => {}
                Segment::Param if !text.is_empty() => captures.push_param(path, here, text),
                _ => return None,
            }
            tail = next;
        }
        tail.is_none().then_some(captures)
    }

    /// How many of the template's segments match the path's, from the left.
    pub(super) fn shared_segments(&self, path: &str) -> usize {
        let wanted = self.segments();
        let mut tail = path.strip_prefix('/');
        let given = std::iter::from_fn(|| {
            let (text, next) = next_segment(tail?);
            tail = next;
            Some(text)
        });
        let is_shared = |(segment, text): &(Segment<'_>, &str)| match segment {
            Segment::Literal(literal) => literal == text,
            Segment::Param => !text.is_empty(),
            Segment::Rest => false,
        };
        wanted.zip(given).take_while(is_shared).count()
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        // A `strip_prefix` that failed would give no segments; `parse` has seen to the slash.
        self.text
            .strip_prefix('/')
            .into_iter()
            .flat_map(|tail| tail.split('/'))
            .map(|segment| match segment.strip_prefix('{') {
                None => Segment::Literal(segment),
                Some(inner) if inner.starts_with('*') => Segment::Rest,
                Some(_) => Segment::Param,
            })
    }

    pub(super) fn rank(&self) -> Box<[SegmentRank]> {
        let ranks = self.segments().map(|segment| match segment {
            Segment::Literal(_) => SegmentRank::Literal,
            Segment::Param => SegmentRank::Param,
            Segment::Rest => SegmentRank::Rest,
        });
        ranks.chain([SegmentRank::End]).collect()
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

struct ParsedSegment<'a> {
    normal: Cow<'a, str>,
    /// `None` for a literal.
    parameter: Option<Parameter<'a>>,
}

struct Parameter<'a> {
    name: &'a str,
    is_rest: bool,
}

/// An error comes with its offset in the segment.
fn parse_segment(segment: &str) -> Result<ParsedSegment<'_>, (usize, PathProblem)> {
    if let Some(at) = segment.find(['?', '#']) {
        return Err((at, PathProblem::QueryOrFragment));
    }
    let lower = segment.to_ascii_lowercase().replace("%2e", ".");
    if lower == "." || lower == ".." {
        return Err((0, PathProblem::DotSegment));
    }
    let Some(brace) = segment.find(['{', '}']) else {
        return Ok(ParsedSegment {
            normal: normalise_literal(segment)?,
            parameter: None,
        });
    };
    let (before, from_brace) = segment.split_at(brace);
    let Some(inside) = from_brace.strip_prefix('{') else {
        return Err((brace, PathProblem::UnopenedBrace));
    };
    let Some((inner, after)) = inside.split_once('}') else {
        return Err((brace, PathProblem::UnclosedBrace));
    };
    if !before.is_empty() || !after.is_empty() {
        return Err((brace, PathProblem::PartialSegment));
    }
    let (name, is_rest) = inner
        .strip_prefix('*')
        .map_or((inner, false), |name| (name, true));
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() {
        Err((brace, PathProblem::EmptyName))
    } else if !name.bytes().all(is_word) || name.starts_with(|first: char| first.is_ascii_digit()) {
        Err((brace, PathProblem::InvalidName(name.into())))
    } else {
        Ok(ParsedSegment {
            normal: segment.into(),
            parameter: Some(Parameter { name, is_rest }),
        })
    }
}

/// The literal as it stands in a normalised path, whatever a listener may let in. People may also write spaces and
/// letters beyond ASCII as they are.
fn normalise_literal(segment: &str) -> Result<Cow<'_, str>, (usize, PathProblem)> {
    const LENIENT: PathRules = PathRules {
        encoded_slashes: EncodedSlashes::Keep,
        backslashes: Backslashes::Keep,
        merge_slashes: true,
        invalid_utf8: InvalidUtf8::Keep,
    };
    if let Some(at) = segment.find(';') {
        return Err((at, PathProblem::Parameters));
    }
    let mut path = String::from("/");
    for byte in segment.bytes() {
        if byte == b' ' || !byte.is_ascii() {
            path.push_str(&format!("%{byte:02X}"));
        } else {
            path.push(char::from(byte));
        }
    }
    let normal = normalise_path(&path, &LENIENT)
        .map_err(|refusal| (0, PathProblem::Refused(refusal)))?
        .unwrap_or(path);
    // What was put before it comes off again.
    let literal = normal.strip_prefix('/').unwrap_or_default();
    Ok(literal.to_owned().into())
}

/// The name of the first segment of `tail`, which starts after a slash, and what follows the next slash if there is
/// one. Parameters, from the first `;` on, are no part of the name: they never decide which route matches.
pub(super) fn next_segment(tail: &str) -> (&str, Option<&str>) {
    let is_end = |byte: u8| byte == b'/' || byte == b';';
    let Some(end) = tail.bytes().position(is_end) else {
        return (tail, None);
    };
    let (name, after) = tail.split_at(end);
    let next = match after.strip_prefix('/') {
        Some(next) => Some(next),
        None => after.split_once('/').map(|(_, next)| next),
    };
    (name, next)
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
