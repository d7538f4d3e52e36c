//! Routes that can never win.

use crate::text::give_way;
use std::collections::HashMap;

use super::matcher::Matcher;
use super::table::Table;
use super::trie::RouteId;

/// A route that another one always precedes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shadow<'t> {
    /// The route that never wins.
    pub name: &'t str,
    /// A route that wins instead; for a route with several hosts, on one of them.
    pub by: &'t str,
}

impl<R> Table<R> {
    /// Routes that can never win, by name, because on each of their hosts another route wins every request
    /// that they match. Only routes in one leaf are compared, which takes time near linear in their number.
    ///
    /// That is enough, since a route of another host or path shape is either preceded or not wider. And in a
    /// leaf, a route that both precedes another and is no narrower must have the same header and query
    /// conditions and more or the same methods: with more conditions it would be narrower, with fewer it
    /// would not precede. Several routes that only together cover one are not reported.
    #[must_use]
    #[expect(
        clippy::mutable_key_type,
        reason = "a regex has a cache inside but is hashed by its source"
    )]
    pub fn shadowed(&self) -> Vec<Shadow<'_>> {
        let mut found: HashMap<RouteId, (usize, RouteId)> = HashMap::new();
        for (step, leaf) in self.trie.leaves().enumerate() {
            give_way(step);
            if leaf.len() < 2 {
                continue;
            }
            let mut groups: HashMap<_, Vec<RouteId>> = HashMap::new();
            for &id in leaf {
                let matcher = &self.route(id).matcher;
                // Grouping bounds the comparisons: of the 512 sets of standard methods, no two kept routes of
                // a group have the same.
                let kept = groups
                    .entry((matcher.headers(), matcher.query()))
                    .or_default();
                match kept
                    .iter()
                    .find(|&&other| allows_all(&self.route(other).matcher, matcher))
                {
                    Some(&by) => found.entry(id).or_insert((0, by)).0 += 1,
                    None => kept.push(id),
                }
            }
        }
        let is_shadowed = |&(id, (leaves, _)): &(RouteId, (usize, RouteId))| {
            leaves == self.route(id).matcher.hosts().len().max(1)
        };
        let shadow = |(id, (_, by))| Shadow {
            name: &self.route(id).name,
            by: &self.route(by).name,
        };
        let mut shadows: Vec<_> = found.into_iter().filter(is_shadowed).map(shadow).collect();
        shadows.sort_unstable();
        shadows
    }
}

/// Whether `wider`, which precedes `narrower` in a leaf, allows all of its methods. A route for any method
/// is preceded by all that list some, so only another such route can.
fn allows_all(wider: &Matcher, narrower: &Matcher) -> bool {
    match (wider.methods(), narrower.methods()) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wider), Some(narrower)) => wider.is_superset(narrower),
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::super::condition::ValueMatch;
    use super::super::matcher::MatcherBuilder;
    use super::super::path::PathTemplate;
    use super::super::table::TableBuilder;
    use super::*;

    fn on(path: &str) -> MatcherBuilder {
        Matcher::builder().path(PathTemplate::parse(path).expect(path))
    }

    #[test]
    fn finds_routes_that_never_win() {
        let check = |routes: &[(&str, MatcherBuilder)], expected: &[(&str, &str)]| {
            let mut builder = TableBuilder::new();
            for (name, matcher) in routes {
                builder.insert(name, matcher.clone().build(), ());
            }
            let table = builder.build();
            let shadows: Vec<_> = table
                .shadowed()
                .iter()
                .map(|shadow| (shadow.name, shadow.by))
                .collect();
            assert_eq!(shadows, expected, "{routes:?}");
        };
        let q = |value: &str| on("/u").query("q", ValueMatch::Exact(value.into()));
        let get = |path: &str| on(path).method(Method::GET);
        let at = |names: &[&str]| {
            names
                .iter()
                .fold(on("/u"), |matcher, name| matcher.host((*name, false)))
        };
        check(&[], &[]);
        check(&[("b", on("/u")), ("a", on("/u"))], &[("b", "a")]);
        check(
            &[("a", on("/u/{id}")), ("b", on("/u/{name}"))],
            &[("b", "a")],
        );
        check(
            &[
                ("a", on("/u/{id}")),
                ("b", on("/u/{*name}")),
                ("c", on("/u")),
            ],
            &[],
        );
        check(
            &[("a", on("/{*all}")), ("b", Matcher::builder())],
            &[("b", "a")],
        );
        check(&[("a", get("/u")), ("b", on("/u"))], &[]);
        check(&[("a", on("/u")), ("b", get("/u"))], &[]);
        check(
            &[("a", get("/u").method(Method::PUT)), ("b", get("/u"))],
            &[("b", "a")],
        );
        check(
            &[("a", get("/u")), ("b", on("/u").method(Method::HEAD))],
            &[],
        );
        check(&[("a", on("/u")), ("b", q("1"))], &[]);
        check(&[("a", q("1")), ("b", q("2"))], &[]);
        check(
            &[("a", q("1")), ("b", q("1")), ("c", q("1"))],
            &[("b", "a"), ("c", "a")],
        );
        check(&[("a", on("/u")), ("b", at(&["x"]))], &[]);
        check(&[("a", at(&["x"])), ("b", at(&["x", "y"]))], &[]);
        check(
            &[("a", at(&["x"])), ("b", at(&["x", "y"])), ("c", at(&["y"]))],
            &[("c", "b")],
        );
        check(
            &[("a", at(&["x", "y"])), ("b", at(&["y", "x"]))],
            &[("b", "a")],
        );
    }
}
