//! The table of all routes, and the lookup.

use std::ops::{Deref, DerefMut};

use crate::text::give_way;
use http::{HeaderMap, Method};

use super::captures::Captures;
use super::host::{self, HostIndex};
use super::matcher::Matcher;
use super::method::MethodSet;
use super::path::next_segment;
use super::precedence::MethodRank;
use super::trie::{Leaf, NodeId, RouteId, Trie};

/// What of a request is matched.
#[derive(Clone, Copy, Debug)]
pub struct RequestParts<'r> {
    /// The `Host` header or `:authority`, with or without a port.
    pub host: &'r str,
    /// The path, normalised, without the query.
    pub path: &'r str,
    /// The query, raw and without its `?`.
    pub query: Option<&'r str>,
    /// The method.
    pub method: &'r Method,
    /// The headers.
    pub headers: &'r HeaderMap,
}

/// The outcome of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<'t, R> {
    /// The payload of the winning route, and what its path captured.
    Found(&'t R, Captures),
    /// Nothing matched, but with one of these methods something would have.
    MethodNotAllowed(MethodSet),
    /// Nothing matched.
    NotFound,
}

/// An immutable routing table.
#[derive(Debug)]
pub struct Table<R> {
    pub(super) routes: Routes<R>,
    pub(super) trie: Trie,
    hosts: HostIndex,
}

/// Many routes take long to let go, and requests do not wait for that.
#[derive(Debug)]
pub(super) struct Routes<R>(Vec<Route<R>>);

impl<R> Deref for Routes<R> {
    type Target = Vec<Route<R>>;

    fn deref(&self) -> &Vec<Route<R>> {
        &self.0
    }
}

impl<R> DerefMut for Routes<R> {
    fn deref_mut(&mut self) -> &mut Vec<Route<R>> {
        &mut self.0
    }
}

impl<R> Drop for Routes<R> {
    fn drop(&mut self) {
        for (step, route) in self.0.drain(..).enumerate() {
            drop(route);
            give_way(step);
        }
    }
}

#[derive(Debug)]
pub(super) struct Route<R> {
    pub(super) name: Box<str>,
    pub(super) matcher: Matcher,
    pub(super) payload: R,
}

/// Collects routes.
#[derive(Debug)]
pub struct TableBuilder<R> {
    table: Table<R>,
}

impl<R> Default for TableBuilder<R> {
    fn default() -> Self {
        let table = Table {
            routes: Routes(Vec::new()),
            trie: Trie::default(),
            hosts: HostIndex::default(),
        };
        Self { table }
    }
}

impl<R> TableBuilder<R> {
    /// A builder without routes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route. Names are the last rule of precedence and therefore ought to be unique; a route with
    /// several matchers may be inserted once for each, all under its name.
    pub fn insert(&mut self, name: &str, matcher: Matcher, payload: R) {
        let Table {
            routes,
            trie,
            hosts,
        } = &mut self.table;
        let id = RouteId::try_from(routes.len()).expect("fewer than 2^32 routes fit in memory");
        if matcher.hosts().is_empty() {
            let root = hosts.root(None, || trie.add_node());
            trie.insert(root, matcher.path(), id);
        }
        for host in matcher.hosts() {
            let root = hosts.root(Some(host), || trie.add_node());
            trie.insert(root, matcher.path(), id);
        }
        routes.push(Route {
            name: name.into(),
            matcher,
            payload,
        });
    }

    /// The table.
    #[must_use]
    pub fn build(self) -> Table<R> {
        let Table {
            mut routes,
            mut trie,
            hosts,
        } = self.table;
        for (step, leaf) in trie.leaves_mut().enumerate() {
            give_way(step);
            leaf.sort_by_cached_key(|&id| {
                let route = &routes[id as usize];
                std::cmp::Reverse(route.matcher.static_rank(&route.name))
            });
        }
        routes.shrink_to_fit();
        trie.shrink();
        Table {
            routes,
            trie,
            hosts,
        }
    }
}

impl<R> Table<R> {
    /// The route that answers the request; the rules and the cost are the [room's](super).
    #[must_use]
    pub fn find(&self, request: &RequestParts<'_>) -> Lookup<'_, R> {
        match self.search(request) {
            Ok((id, captures)) => Lookup::Found(&self.route(id).payload, captures),
            Err(allowed) if allowed.is_empty() => Lookup::NotFound,
            Err(mut allowed) => {
                allowed.insert_implied();
                Lookup::MethodNotAllowed(allowed)
            }
        }
    }

    /// The number of routes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there are no routes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Every route, as inserted.
    /// It gives way to other threads now and then: all routes may be many.
    pub fn routes(&self) -> impl Iterator<Item = (&str, &Matcher, &R)> {
        self.routes.iter().enumerate().map(|(step, route)| {
            give_way(step);
            (&*route.name, &route.matcher, &route.payload)
        })
    }

    /// Route ids are made by the builder only, so they are always in the table.
    pub(super) fn route(&self, id: RouteId) -> &Route<R> {
        &self.routes[id as usize]
    }

    /// The winner, or the methods of the routes that failed on their method alone.
    pub(super) fn search(
        &self,
        request: &RequestParts<'_>,
    ) -> Result<(RouteId, Captures), MethodSet> {
        let host = if self.hosts.tells_hosts_apart() {
            host::normalise(request.host)
        } else {
            "".into()
        };
        let mut search = Search {
            table: self,
            request,
            captures: Captures::default(),
            allowed: MethodSet::EMPTY,
        };
        let tail = request.path.strip_prefix('/');
        let found = self
            .hosts
            .roots(&host)
            .find_map(|root| search.walk(root, tail));
        let Search {
            mut captures,
            allowed,
            ..
        } = search;
        let id = found.ok_or(allowed)?;
        // "No path" shares its leaf with `/{*rest}` but has no name for what that captures.
        captures.truncate(self.route(id).matcher.path().captures().len());
        Ok((id, captures))
    }
}

/// One lookup in progress.
struct Search<'s, R> {
    table: &'s Table<R>,
    request: &'s RequestParts<'s>,
    captures: Captures,
    allowed: MethodSet,
}

impl<R> Search<'_, R> {
    /// The best match at or below a node for what is left of the path; `None` is left when it has ended.
    /// On success the captures are those of the match, otherwise as before. Recursion goes no deeper than
    /// the longest template.
    fn walk(&mut self, node: NodeId, tail: Option<&str>) -> Option<RouteId> {
        let table = self.table;
        let path = self.request.path;
        let node = table.trie.node(node);
        let depth = self.captures.len();
        if let Some(here) = tail {
            let (segment, next) = next_segment(here);
            let found = node
                .literal(segment)
                .and_then(|child| self.walk(child, next));
            if found.is_some() {
                return found;
            }
            if let Some(child) = node.param().filter(|_| !segment.is_empty()) {
                self.captures.push_param(path, here, segment);
                let found = self.walk(child, next);
                if found.is_some() {
                    return found;
                }
                self.captures.truncate(depth);
            }
        } else if let Some(id) = self.choose(&node.end) {
            return Some(id);
        }
        let id = self.choose(&node.rest)?;
        self.captures.push_rest(path, tail);
        Some(id)
    }

    /// The first route of a leaf whose remaining conditions hold. A route that lists the method precedes one
    /// that only implies it, which the order of the leaf cannot express.
    fn choose(&mut self, leaf: &Leaf) -> Option<RouteId> {
        let mut implied = None;
        for &id in leaf {
            let matcher = &self.table.route(id).matcher;
            match matcher.method_rank(self.request.method) {
                Some(MethodRank::Any) if implied.is_some() => break,
                Some(MethodRank::Implied) if implied.is_some() => {}
                _ if !matcher.accepts_fields(self.request) => {}
                Some(MethodRank::Implied) => implied = Some(id),
                Some(MethodRank::Any | MethodRank::Listed) => return Some(id),
                None => self
                    .allowed
                    .insert_all(matcher.methods().unwrap_or(&MethodSet::EMPTY)),
            }
        }
        implied
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
