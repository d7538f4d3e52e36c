//! Which of two routes that both match a request is the more specific. The greater wins.

use std::cmp::Reverse;
use std::fmt;

/// A route's specificity for one request. The order of the fields is the order of the rules, and `Ord` on
/// each is the rule itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence<'a> {
    /// How the host matched.
    pub host: HostRank,
    /// How each segment of the template matched, from the left.
    pub path: Box<[SegmentRank]>,
    /// The rest, which also orders the routes of one host and one path.
    pub leaf: LeafRank<'a>,
}

/// What distinguishes routes with the same host and path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeafRank<'a> {
    /// How the method matched.
    pub method: MethodRank,
    /// The number of header conditions.
    pub headers: usize,
    /// The number of query conditions.
    pub query: usize,
    /// Alphabetically first wins.
    pub name: Reverse<&'a str>,
}

/// How a host matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostRank {
    /// The route names no host.
    Any,
    /// By a wildcard whose suffix has this many bytes.
    Suffix(usize),
    /// By name.
    Exact,
}

/// How one segment of a template matched. Templates that match the same path differ first where their
/// segments differ in kind, so comparing these from the left is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SegmentRank {
    /// `{*rest}`.
    Rest,
    /// `{param}`.
    Param,
    /// Literally.
    Literal,
    /// The template ends with the path. Of all others only a rest can match here too.
    End,
}

/// How a method matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MethodRank {
    /// The route lists no method.
    Any,
    /// `HEAD`, by a route that lists `GET`.
    Implied,
    /// The route lists it.
    Listed,
}

/// The rule that decided between two routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Criterion {
    /// A more specific host.
    Host,
    /// A more specific path.
    Path,
    /// A more specific method.
    Method,
    /// More header conditions.
    Headers,
    /// More query conditions.
    Query,
    /// The name, when all else is equal.
    Name,
}

impl Precedence<'_> {
    /// The first rule by which the two differ.
    #[must_use]
    pub fn decided_by(&self, other: &Self) -> Criterion {
        let differs = [
            (self.host != other.host, Criterion::Host),
            (self.path != other.path, Criterion::Path),
            (self.leaf.method != other.leaf.method, Criterion::Method),
            (self.leaf.headers != other.leaf.headers, Criterion::Headers),
            (self.leaf.query != other.leaf.query, Criterion::Query),
        ];
        differs
            .into_iter()
            .find(|(differs, _)| *differs)
            .map_or(Criterion::Name, |(_, criterion)| criterion)
    }
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Path => "path",
            Self::Method => "method",
            Self::Headers => "headers",
            Self::Query => "query",
            Self::Name => "name",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: LeafRank<'_> = LeafRank {
        method: MethodRank::Any,
        headers: 0,
        query: 0,
        name: Reverse("m"),
    };

    fn precedence(
        host: HostRank,
        path: &[SegmentRank],
        leaf: LeafRank<'static>,
    ) -> Precedence<'static> {
        Precedence {
            host,
            path: path.into(),
            leaf,
        }
    }

    #[test]
    fn each_rule_yields_to_the_one_before() {
        use SegmentRank::{End, Literal, Param, Rest};
        let rest = |leaf| precedence(HostRank::Any, &[Rest], leaf);
        let rich = LeafRank {
            method: MethodRank::Listed,
            headers: 9,
            query: 9,
            name: Reverse("a"),
        };
        let ascending = [
            (
                rest(LeafRank {
                    name: Reverse("z"),
                    ..PLAIN
                }),
                Criterion::Name,
            ),
            (rest(PLAIN), Criterion::Query),
            (rest(LeafRank { query: 1, ..PLAIN }), Criterion::Headers),
            (
                rest(LeafRank {
                    headers: 1,
                    ..PLAIN
                }),
                Criterion::Method,
            ),
            (
                rest(LeafRank {
                    method: MethodRank::Implied,
                    ..PLAIN
                }),
                Criterion::Method,
            ),
            (rest(rich), Criterion::Path),
            (
                precedence(HostRank::Any, &[Param, End], PLAIN),
                Criterion::Path,
            ),
            (
                precedence(HostRank::Any, &[Literal, Rest], rich),
                Criterion::Path,
            ),
            (
                precedence(HostRank::Any, &[Literal, End], PLAIN),
                Criterion::Host,
            ),
            (
                precedence(HostRank::Suffix(3), &[Rest], PLAIN),
                Criterion::Host,
            ),
            (
                precedence(HostRank::Suffix(7), &[Literal, End], rich),
                Criterion::Host,
            ),
            (precedence(HostRank::Exact, &[Rest], PLAIN), Criterion::Name),
        ];
        for pair in ascending.windows(2) {
            let [(lesser, criterion), (greater, _)] = pair else {
                unreachable!("windows of two")
            };
            assert!(lesser < greater, "{lesser:?} < {greater:?}");
            assert_eq!(
                greater.decided_by(lesser),
                *criterion,
                "{greater:?} {lesser:?}"
            );
        }
    }
}
