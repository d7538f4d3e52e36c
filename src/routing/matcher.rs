//! All conditions of one route.

use http::header::CONTENT_TYPE;
use http::{HeaderName, Method};

use super::condition::{HeaderCondition, QueryCondition, ValueMatch};
use super::host::HostMatch;
use super::method::MethodSet;
use super::path::{PathError, PathProblem, PathTemplate};
use super::precedence::{HostRank, LeafRank, MethodRank};
use super::table::RequestParts;

/// The conditions of a route. They must all hold; of several hosts or methods, one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    hosts: Box<[HostMatch]>,
    path: PathTemplate,
    /// `None` for any. Never empty otherwise.
    methods: Option<MethodSet>,
    headers: Box<[HeaderCondition]>,
    query: Box<[QueryCondition]>,
}

/// Collects conditions. What is never said stays unrestricted, and saying a thing twice says it once.
#[derive(Clone, Debug, Default)]
pub struct MatcherBuilder {
    hosts: Vec<HostMatch>,
    path: Option<PathTemplate>,
    methods: MethodSet,
    headers: Vec<HeaderCondition>,
    query: Vec<QueryCondition>,
}

impl Matcher {
    /// A builder that so far matches every request.
    #[must_use]
    pub fn builder() -> MatcherBuilder {
        MatcherBuilder::default()
    }

    /// A builder for the calls of a gRPC service, or of one of its methods: `POST` to `/service/method` with
    /// a content type that starts with `application/grpc`. Without a method, the path captures `method`.
    ///
    /// # Errors
    /// If a name is not a plain segment of a path.
    pub fn grpc(service: &str, method: Option<&str>) -> Result<MatcherBuilder, PathError> {
        let is_plain =
            |name: &str| !name.is_empty() && !name.contains(['/', '{', '}', '?', '#', '%', ';']);
        let method_at = service.len() + 2;
        for (at, name) in [(1, Some(service)), (method_at, method)] {
            if name.is_some_and(|name| !is_plain(name)) {
                return Err(PathError {
                    at,
                    problem: PathProblem::InvalidGrpcName,
                });
            }
        }
        let path = PathTemplate::parse(&format!("/{service}/{}", method.unwrap_or("{method}")))?;
        let grpc = ValueMatch::Prefix("application/grpc".into());
        Ok(Self::builder()
            .path(path)
            .method(Method::POST)
            .header(CONTENT_TYPE, grpc))
    }

    /// The hosts; none means any.
    #[must_use]
    pub fn hosts(&self) -> &[HostMatch] {
        &self.hosts
    }

    /// The path template.
    #[must_use]
    pub fn path(&self) -> &PathTemplate {
        &self.path
    }

    /// The methods; `None` means any.
    #[must_use]
    pub fn methods(&self) -> Option<&MethodSet> {
        self.methods.as_ref()
    }

    /// The header conditions, sorted.
    #[must_use]
    pub fn headers(&self) -> &[HeaderCondition] {
        &self.headers
    }

    /// The query conditions, sorted.
    #[must_use]
    pub fn query(&self) -> &[QueryCondition] {
        &self.query
    }

    /// How the method matches, if it does.
    pub(super) fn method_rank(&self, method: &Method) -> Option<MethodRank> {
        match &self.methods {
            None => Some(MethodRank::Any),
            Some(methods) if methods.contains(method) => Some(MethodRank::Listed),
            Some(methods) if *method == Method::HEAD && methods.contains(&Method::GET) => {
                Some(MethodRank::Implied)
            }
            Some(_) => None,
        }
    }

    /// Whether the headers and the query hold.
    pub(super) fn accepts_fields(&self, request: &RequestParts<'_>) -> bool {
        self.headers
            .iter()
            .all(|condition| condition.is_met(request.headers))
            && self
                .query
                .iter()
                .all(|condition| condition.is_met(request.query))
    }

    /// How the host, a normalised one, matches best, if it does.
    pub(super) fn host_rank(&self, host: &str) -> Option<HostRank> {
        if self.hosts.is_empty() {
            return Some(HostRank::Any);
        }
        self.hosts
            .iter()
            .filter_map(|pattern| pattern.rank(host))
            .max()
    }

    pub(super) fn leaf_rank<'a>(&self, name: &'a str, method: MethodRank) -> LeafRank<'a> {
        LeafRank {
            method,
            headers: self.headers.len(),
            query: self.query.len(),
            name: std::cmp::Reverse(name),
        }
    }

    /// The order of routes in a leaf. It cannot know which method a request will have, so listed and implied
    /// methods rank alike.
    pub(super) fn static_rank<'a>(&self, name: &'a str) -> LeafRank<'a> {
        let method = if self.methods.is_some() {
            MethodRank::Listed
        } else {
            MethodRank::Any
        };
        self.leaf_rank(name, method)
    }
}

impl MatcherBuilder {
    /// Adds a host; without any, every host matches.
    #[must_use]
    pub fn host(mut self, host: impl Into<HostMatch>) -> Self {
        self.hosts.push(host.into());
        self
    }

    /// Sets the path; without it, every path matches.
    #[must_use]
    pub fn path(mut self, path: PathTemplate) -> Self {
        self.path = Some(path);
        self
    }

    /// Adds a method; without any, every method matches. `GET` implies `HEAD`.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.methods.insert(method);
        self
    }

    /// Adds a condition on a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: ValueMatch) -> Self {
        self.headers.push(HeaderCondition { name, value });
        self
    }

    /// Adds a condition on a query parameter, named as decoded.
    #[must_use]
    pub fn query(mut self, name: &str, value: ValueMatch) -> Self {
        self.query.push(QueryCondition {
            name: name.into(),
            value,
        });
        self
    }

    /// The matcher.
    #[must_use]
    pub fn build(self) -> Matcher {
        Matcher {
            hosts: sorted(self.hosts),
            path: self.path.unwrap_or_else(PathTemplate::any),
            methods: Some(self.methods).filter(|methods| !methods.is_empty()),
            headers: sorted(self.headers),
            query: sorted(self.query),
        }
    }
}

/// Sorted and without repetitions, so that equal sets of conditions are equal values and saying a condition
/// twice does not raise a route's precedence.
fn sorted<T: Ord>(mut items: Vec<T>) -> Box<[T]> {
    items.sort_unstable();
    items.dedup();
    items.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_post_with_its_content_type() {
        let check = |service: &str, method: Option<&str>, expected: Result<&str, usize>| {
            let built = Matcher::grpc(service, method).map(MatcherBuilder::build);
            let path = built
                .as_ref()
                .map(|matcher| matcher.path().to_string())
                .map_err(|error| error.at);
            assert_eq!(
                path.as_deref().map_err(|at| *at),
                expected,
                "{service} {method:?}"
            );
            if let Ok(matcher) = built {
                assert_eq!(
                    matcher.methods().map(MethodSet::allow).as_deref(),
                    Some("POST")
                );
                assert_eq!(matcher.headers().len(), 1);
            }
        };
        check("shop.Orders", Some("List"), Ok("/shop.Orders/List"));
        check("shop.Orders", None, Ok("/shop.Orders/{method}"));
        check("", None, Err(1));
        check("a/b", None, Err(1));
        check("{a}", Some("List"), Err(1));
        check("a", Some(""), Err(3));
        check("a", Some("b/c"), Err(3));
    }

    #[test]
    fn repetitions_do_not_count() {
        let value = || ValueMatch::Exact("1".into());
        let matcher = Matcher::builder()
            .host(("a.example", false))
            .host(("A.example.", false))
            .query("q", value())
            .query("q", value())
            .query("r", value())
            .build();
        assert_eq!((matcher.hosts().len(), matcher.query().len()), (1, 2));
        assert_eq!(matcher.methods(), None);
        assert!(matcher.path().is_any());
    }
}
