//! A route as it runs.

use std::sync::Arc;
use std::time::Duration;

use crate::actions::Action;
use crate::limits::Criticality;
use crate::observability::{PartMetrics, RouteMetrics};
use crate::policies::Pipeline;
use crate::text::{Fingerprint, Span};

/// A compiled route: what happens to the requests that it wins.
#[derive(Debug)]
pub struct Route {
    pub name: Box<str>,
    /// Where it is defined; `None` for the fallback, which nobody has written.
    ///
    /// Of a route that was taken over by a reload, where it was defined when it was compiled.
    pub span: Option<Span>,
    /// What its definition says, where that and the definitions of its upstream, its listeners and the gateway are all
    /// that it depends on, and it is on every listener: then it need not be compiled again.
    pub written: Option<Fingerprint>,
    pub pipeline: Pipeline,
    pub action: Arc<Action>,
    /// For the whole exchange with an upstream.
    pub timeout: Option<Duration>,
    /// How much its requests matter.
    pub criticality: Criticality,
    pub metrics: Arc<RouteMetrics>,
    /// Of an aggregation: how its parts are asked for, in their order. They match nothing.
    pub parts: Box<[Arc<Route>]>,
    /// Of such a part: the largest body that is taken in, in bytes.
    pub largest_part: usize,
    /// Of such a part: what is counted of it.
    pub part_metrics: Option<Box<PartMetrics>>,
}
