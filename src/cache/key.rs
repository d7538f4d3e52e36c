//! What is asked for, in 128 bits.

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA256, digest};
use smallvec::SmallVec;

use super::key_hash::Key;
use crate::facts::{KeyPart, View, host};
use crate::limits::KeyParts;

/// Which parameters of the query tell one thing from another. A fill asks the upstream with those and no others: what is not
/// in the key can then poison nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// All of it, as it is.
    Whole,
    /// These, in the order of their names.
    Only(Box<[Pattern]>),
    /// All but these, in the order of their names.
    Without(Box<[Pattern]>),
}

/// A name, or what names begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    is_beginning: bool,
}

impl Pattern {
    fn of(text: &str) -> Pattern {
        let beginning = text.strip_suffix('*');
        Pattern {
            text: beginning.unwrap_or(text).into(),
            is_beginning: beginning.is_some(),
        }
    }

    fn matches(&self, name: &str) -> bool {
        match self.is_beginning {
            true => name.starts_with(&*self.text),
            false => *name == *self.text,
        }
    }
}

impl Query {
    pub fn only(names: &[String]) -> Query {
        Query::Only(names.iter().map(|name| Pattern::of(name)).collect())
    }

    pub fn without(names: &[String]) -> Query {
        Query::Without(names.iter().map(|name| Pattern::of(name)).collect())
    }

    /// The part of a query that counts, without its question mark. Names are compared as they are written: `%61` is not `a`,
    /// and the upstream gets what was compared.
    pub fn of<'q>(&self, query: Option<&'q str>) -> Option<Cow<'q, str>> {
        let query = query?;
        let (patterns, is_kept) = match self {
            Query::Whole => return Some(Cow::Borrowed(query)),
            Query::Only(patterns) => (patterns, true),
            Query::Without(patterns) => (patterns, false),
        };
        let name = |pair: &'q str| pair.split_once('=').map_or(pair, |(name, _)| name);
        let counts = |pair: &&'q str| {
            let named = patterns.iter().any(|it| it.matches(name(pair)));
            !pair.is_empty() && named == is_kept
        };
        let mut pairs: SmallVec<[&str; 8]> = query.split('&').filter(counts).collect();
        // Stable: of two with one name the first stays the first.
        pairs.sort_by_key(|pair| name(pair));
        (!pairs.is_empty()).then(|| Cow::Owned(pairs.join("&")))
    }
}

/// Parts of a key on their way into it, each with its length, so that no two lists of parts are alike.
#[derive(Default)]
pub(super) struct Parts(SmallVec<[u8; 256]>);

impl KeyParts for Parts {
    fn part(&mut self, bytes: &[u8]) {
        self.0
            .extend_from_slice(&(bytes.len() as u64 + 1).to_le_bytes());
        self.0.extend_from_slice(bytes);
    }

    fn absent(&mut self) {
        self.0.extend_from_slice(&[0; 8]);
    }
}

impl Parts {
    fn perhaps(&mut self, part: Option<&str>) {
        match part {
            Some(part) => self.part(part.as_bytes()),
            None => self.absent(),
        }
    }

    /// Costs one SHA-256. Its first half is as hard to hit by choosing URLs as a hash of 128 bits can be.
    pub(super) fn key(&self) -> Key {
        Key::of_digest(digest(&SHA256, &self.0).as_ref())
    }
}

/// What tells callers apart beside what they ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaryBy {
    parts: Box<[KeyPart]>,
    /// What is kept by one rule is not found by another, though values may be alike.
    text: Box<str>,
}

impl VaryBy {
    /// `text` tells one list of parts from another.
    pub fn new(parts: impl IntoIterator<Item = KeyPart>, text: &str) -> VaryBy {
        VaryBy {
            parts: parts.into_iter().collect(),
            text: text.into(),
        }
    }

    pub fn parts(&self) -> &[KeyPart] {
        &self.parts
    }
}

/// Where a request goes, which is what its URL means.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The name of its route: two routes have two upstreams.
    pub route: &'a str,
    /// The branch that it takes, where the route has several: they may answer differently.
    pub branch: Option<&'a str>,
    /// What is written into requests for the upstream of a part.
    pub written: Option<&'a str>,
}

/// The key of what a request asks for, whatever its variant.
pub(super) fn primary(
    scope: Scope<'_>,
    query: Option<&str>,
    vary_by: Option<&VaryBy>,
    view: View<'_>,
) -> Key {
    let mut parts = Parts::default();
    parts.part(scope.route.as_bytes());
    parts.perhaps(scope.branch);
    parts.perhaps(scope.written);
    parts.part(view.facts.scheme.as_str().as_bytes());
    let host = host(view.request).unwrap_or_default();
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        parts.part(host.to_ascii_lowercase().as_bytes());
    } else {
        parts.part(host.as_bytes());
    }
    parts.part(view.request.uri.path().as_bytes());
    parts.perhaps(query);
    parts.perhaps(vary_by.map(|it| &*it.text));
    for part in vary_by.map(VaryBy::parts).unwrap_or_default() {
        part.add(&mut parts, view);
    }
    parts.key()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_of_a_query() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        let only = Query::only(&names(&["b", "a"]));
        let without = Query::without(&names(&["utm_*", "x"]));
        let check = |rule: &Query, query: Option<&str>, expected: Option<&str>| {
            assert_eq!(rule.of(query).as_deref(), expected, "{rule:?} {query:?}");
        };
        check(&Query::Whole, None, None);
        check(&Query::Whole, Some(""), Some(""));
        check(&Query::Whole, Some("b=1&a=2&"), Some("b=1&a=2&"));
        check(&only, None, None);
        check(&only, Some("c=1"), None);
        check(&only, Some("b=1&c=3&a=2&b=0"), Some("a=2&b=1&b=0"));
        check(&only, Some("a&&b="), Some("a&b="));
        check(&only, Some("A=1&%61=2&ab=3"), None);
        check(
            &without,
            Some("utm_source=1&z=1&y&x=2&utm_=3"),
            Some("y&z=1"),
        );
        check(&without, Some("xx=1&utm=2"), Some("utm=2&xx=1"));
        // What follows a second `=` is of the value.
        check(&only, Some("a==1&a=x"), Some("a==1&a=x"));
    }

    #[test]
    fn parts_are_apart() {
        let key = |list: &[Option<&[u8]>]| {
            let mut parts = Parts::default();
            for part in list {
                match part {
                    Some(part) => parts.part(part),
                    None => parts.absent(),
                }
            }
            parts.key()
        };
        let lists: [&[Option<&[u8]>]; 7] = [
            &[],
            &[None],
            &[Some(b"")],
            &[Some(b"ab")],
            &[Some(b"a"), Some(b"b")],
            &[Some(b"a"), None, Some(b"b")],
            &[Some(b"a\x02\0\0\0\0\0\0\0b")],
        ];
        for (place, list) in lists.iter().enumerate() {
            for other in &lists[place + 1..] {
                assert_ne!(key(list), key(other), "{list:?} {other:?}");
            }
        }
    }
}
