//! Why a request gets the route it gets.

use std::cmp::Reverse;
use std::fmt;

use http::Method;

use super::condition::{HeaderCondition, QueryCondition};
use super::host::{self, HostMatch};
use super::matcher::Matcher;
use super::method::MethodSet;
use super::path::PathTemplate;
use super::precedence::{Criterion, Precedence};
use super::query;
use super::table::{RequestParts, Route, Table};

/// How many misses an explanation lists at most, the nearest first.
pub const MAX_MISSES: usize = 20;

/// The route that wins and those that nearly did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation<'t> {
    /// The name of the winning route.
    pub winner: Option<&'t str>,
    /// Routes whose host or path matched and that did not win, the nearest first.
    pub misses: Vec<Miss<'t>>,
}

/// A route that nearly won.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss<'t> {
    /// The route's name.
    pub name: &'t str,
    /// Why it did not win.
    pub reason: Reason<'t>,
}

/// Why a route did not win: the first of its conditions that does not hold, or a more specific route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason<'t> {
    /// None of its hosts match.
    Host {
        /// The hosts it wants.
        wanted: &'t [HostMatch],
        /// The host of the request, normalised.
        got: Box<str>,
    },
    /// Its path does not match.
    Path {
        /// The path it wants.
        wanted: &'t PathTemplate,
    },
    /// It does not allow the method.
    Method {
        /// The methods it allows.
        allowed: MethodSet,
        /// The method of the request.
        got: Method,
    },
    /// A header is not as wanted.
    Header {
        /// The condition that does not hold.
        unmet: &'t HeaderCondition,
        /// Its values in the request.
        got: Values,
    },
    /// A query parameter is not as wanted.
    Query {
        /// The condition that does not hold.
        unmet: &'t QueryCondition,
        /// Its values in the request, decoded.
        got: Values,
    },
    /// It matches, but the winner precedes it.
    Outranked {
        /// The winner's name.
        by: &'t str,
        /// The rule that decided.
        on: Criterion,
    },
}

/// What a request says where something else was wanted; repeated headers and parameters have several values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values(Box<[Box<str>]>);

impl Values {
    fn of(values: impl Iterator<Item = impl AsRef<[u8]>>) -> Self {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into();
        Self(values.map(|value| text(value.as_ref())).collect())
    }
}

impl Reason<'_> {
    /// How far the route got; more is nearer. A wrong host comes after a wrong path, since such a route is
    /// listed only when its path matches by accident or the host is mistyped.
    fn nearness(&self) -> u8 {
        match self {
            Self::Outranked { .. } => 5,
            Self::Query { .. } => 4,
            Self::Header { .. } => 3,
            Self::Method { .. } => 2,
            Self::Host { .. } => 1,
            Self::Path { .. } => 0,
        }
    }
}

impl Matcher {
    /// The slow, plain definition of a match: every condition in turn. `host` is a normalised one.
    ///
    /// # Errors
    /// The first condition that does not hold.
    pub(super) fn judge<'t>(
        &'t self,
        name: &'t str,
        host: &str,
        request: &RequestParts<'_>,
    ) -> Result<Precedence<'t>, Reason<'t>> {
        let host = self.host_rank(host).ok_or_else(|| Reason::Host {
            wanted: self.hosts(),
            got: host.into(),
        })?;
        if self.path().capture(request.path).is_none() {
            return Err(Reason::Path {
                wanted: self.path(),
            });
        }
        let method = match (self.method_rank(request.method), self.methods()) {
            (Some(rank), _) => rank,
            (None, allowed) => {
                let mut allowed = allowed.cloned().unwrap_or_default();
                allowed.insert_implied();
                let got = request.method.clone();
                return Err(Reason::Method { allowed, got });
            }
        };
        if let Some(unmet) = self
            .headers()
            .iter()
            .find(|condition| !condition.is_met(request.headers))
        {
            let got = Values::of(request.headers.get_all(&unmet.name).iter());
            return Err(Reason::Header { unmet, got });
        }
        if let Some(unmet) = self
            .query()
            .iter()
            .find(|condition| !condition.is_met(request.query))
        {
            let raw = query::values(request.query, &unmet.name);
            let got = Values::of(raw.map(|raw| query::decoded(raw).collect::<Vec<u8>>()));
            return Err(Reason::Query { unmet, got });
        }
        Ok(Precedence {
            host,
            path: self.path().rank(),
            leaf: self.leaf_rank(name, method),
        })
    }
}

impl<R> Table<R> {
    /// The names of all routes that match, whichever wins. Costs a pass over all routes.
    pub fn matching(&self, request: &RequestParts<'_>) -> impl Iterator<Item = &str> {
        let host = host::normalise(request.host).into_owned();
        let is_met = move |route: &&Route<R>| {
            let matcher = &route.matcher;
            matcher.judge(&route.name, &host, request).is_ok()
        };
        self.routes.iter().filter(is_met).map(|route| &*route.name)
    }

    /// Explains a lookup. Costs a pass over all routes: for people, not for requests.
    #[must_use]
    pub fn explain(&self, request: &RequestParts<'_>) -> Explanation<'_> {
        let host = host::normalise(request.host);
        let winner = self.search(request).ok().map(|(id, _)| self.route(id));
        let winning = winner.and_then(|route| {
            let precedence = route.matcher.judge(&route.name, &host, request).ok()?;
            Some((&*route.name, precedence))
        });
        let mut ranked = Vec::new();
        for route in self.routes.iter() {
            if winner.is_some_and(|winner| std::ptr::eq(winner, route)) {
                continue;
            }
            let reason = match (route.matcher.judge(&route.name, &host, request), &winning) {
                (Ok(precedence), Some((by, winning))) => Reason::Outranked {
                    by,
                    on: winning.decided_by(&precedence),
                },
                // Not possible: some route matches, so some route won.
                (Ok(_), None) => continue,
                (Err(Reason::Host { .. }), _)
                    if route.matcher.path().capture(request.path).is_none() =>
                {
                    continue;
                }
                (Err(reason), _) => reason,
            };
            let shared = route.matcher.path().shared_segments(request.path);
            ranked.push((
                Reverse((reason.nearness(), shared)),
                Miss {
                    name: &route.name,
                    reason,
                },
            ));
        }
        // A path without a segment in common is no near miss, and only worth a line where there is nothing better.
        let is_near = |(Reverse((nearness, shared)), _): &(Reverse<(u8, usize)>, Miss<'_>)| {
            (*nearness, *shared) != (0, 0)
        };
        if winner.is_some() || ranked.iter().any(is_near) {
            ranked.retain(is_near);
        }
        ranked.sort_by(|(near, miss), (other_near, other)| {
            near.cmp(other_near).then_with(|| miss.name.cmp(other.name))
        });
        let misses = ranked
            .into_iter()
            .take(MAX_MISSES)
            .map(|(_, miss)| miss)
            .collect();
        Explanation {
            winner: winner.map(|route| &*route.name),
            misses,
        }
    }
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("but it is absent");
        }
        f.write_str("got ")?;
        for (position, value) in self.0.iter().enumerate() {
            let and = if position > 0 { " and " } else { "" };
            write!(f, "{and}`{}`", value.escape_debug())?;
        }
        Ok(())
    }
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { wanted, got } => {
                f.write_str("host: wanted ")?;
                for (position, host) in wanted.iter().enumerate() {
                    write!(f, "{}`{host}`", if position > 0 { " or " } else { "" })?;
                }
                match &**got {
                    "" => f.write_str(", but there is none"),
                    got => write!(f, ", got `{got}`"),
                }
            }
            Self::Path { wanted } => write!(f, "path: wanted `{wanted}`"),
            Self::Method { allowed, got } => write!(f, "method: allowed {allowed}, got {got}"),
            Self::Header { unmet, got } => {
                write!(f, "header {}: wanted {}, {got}", unmet.name, unmet.value)
            }
            Self::Query { unmet, got } => {
                write!(f, "query {}: wanted {}, {got}", unmet.name, unmet.value)
            }
            Self::Outranked { by, on } => write!(f, "matches too, but {by} is more specific: {on}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, Method};

    use super::super::condition::ValueMatch;
    use super::super::matcher::MatcherBuilder;
    use super::super::table::TableBuilder;
    use super::*;

    fn on(path: &str) -> MatcherBuilder {
        Matcher::builder().path(PathTemplate::parse(path).expect(path))
    }

    #[test]
    fn says_who_won_and_why_others_lost() {
        let one = || ValueMatch::Exact("1".into());
        let env = HeaderName::from_static("x-env");
        let mut builder = TableBuilder::new();
        let routes = [
            ("order", on("/v1/orders/{id}").method(Method::GET)),
            ("order-any", on("/v1/orders/{id}")),
            ("order-write", on("/v1/orders/{id}").method(Method::PUT)),
            (
                "order-dev",
                on("/v1/orders/{id}").header(env, ValueMatch::Prefix("dev".into())),
            ),
            ("order-q", on("/v1/orders/{id}").query("q", one())),
            ("orders", on("/v1/orders")),
            (
                "z-elsewhere",
                on("/v1/orders/7")
                    .host(("b.example", false))
                    .host(("c.example", true)),
            ),
            ("far", on("/v2").host(("b.example", false))),
            ("all", Matcher::builder()),
        ];
        for (name, matcher) in routes {
            builder.insert(name, matcher.build(), ());
        }
        let table = builder.build();
        let request = RequestParts {
            host: "a.example",
            path: "/v1/orders/7",
            query: None,
            method: &Method::GET,
            headers: &HeaderMap::new(),
        };
        let explanation = table.explain(&request);
        let lines: Vec<String> = explanation
            .misses
            .iter()
            .map(|miss| format!("{}: {}", miss.name, miss.reason))
            .collect();
        assert_eq!(explanation.winner, Some("order"));
        assert_eq!(
            lines,
            [
                "order-any: matches too, but order is more specific: method",
                "all: matches too, but order is more specific: path",
                "order-q: query q: wanted `1`, but it is absent",
                "order-dev: header x-env: wanted prefix `dev`, but it is absent",
                "order-write: method: allowed PUT, got GET",
                "z-elsewhere: host: wanted `b.example` or `*.c.example`, got `a.example`",
                "orders: path: wanted `/v1/orders`",
            ]
        );
    }

    #[test]
    fn is_bounded() {
        let mut builder = TableBuilder::new();
        for index in 0..100 {
            builder.insert(&format!("r{index}"), on(&format!("/x{index}")).build(), ());
        }
        let request = RequestParts {
            host: "",
            path: "/",
            query: None,
            method: &Method::GET,
            headers: &HeaderMap::new(),
        };
        let table = builder.build();
        let explanation = table.explain(&request);
        assert_eq!(
            (explanation.winner, explanation.misses.len()),
            (None, MAX_MISSES)
        );
    }
}
