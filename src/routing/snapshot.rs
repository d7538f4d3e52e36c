//! A configuration as it runs: immutable, shared by all requests that began under it.

use std::sync::Arc;

use http::Method;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};

use super::{Captures, Lookup, RequestParts, Route, Table};
use crate::listener::Listener;
use crate::upstream::Upstream;

/// Everything that requests need. A reload makes a new one; requests in flight keep theirs.
#[derive(Debug)]
pub struct Snapshot {
    /// By [`Listener::id`].
    pub listeners: Box<[View]>,
    /// What a request has before its listener is known.
    pub fallback: Arc<Route>,
    pub upstreams: Box<[Arc<Upstream>]>,
}

/// What requests on one listener see.
#[derive(Debug)]
pub struct View {
    pub listener: Arc<Listener>,
    /// The routes on it. Listeners that inherit the same policies share a table.
    pub table: Arc<Table<Arc<Route>>>,
    /// The route of requests that no route matches: it has the listener's policies and no action.
    pub fallback: Arc<Route>,
}

impl View {
    /// The route that answers a preflight of CORS, and what its path captured. `None` for any other request, and
    /// for a preflight that is to be treated like any other request.
    ///
    /// A preflight asks for a method, and whether that may be used is for the route to say that takes it: one that
    /// takes only `POST` would never see its preflights otherwise. Where a route takes the method and its policies
    /// answer no preflights, no other route answers in its stead: it would give leave that the route denies.
    pub fn preflight(&self, request: &RequestParts<'_>) -> Option<(&Arc<Route>, Captures)> {
        if *request.method != Method::OPTIONS || !request.headers.contains_key(ORIGIN) {
            return None;
        }
        let wanted = request.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        let method = Method::from_bytes(wanted.as_bytes()).ok()?;
        let wanted = RequestParts {
            method: &method,
            ..*request
        };
        let (route, captures) = match self.table.find(&wanted) {
            Lookup::Found(route, captures) => (route, captures),
            Lookup::MethodNotAllowed(_) | Lookup::NotFound => (&self.fallback, Captures::default()),
        };
        route
            .pipeline
            .answers_preflights()
            .then_some((route, captures))
    }
}
