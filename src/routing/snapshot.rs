//! A configuration as it runs: immutable, shared by all requests that began under it.

use std::sync::Arc;

use super::{Route, Table};
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
