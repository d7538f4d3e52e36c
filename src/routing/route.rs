//! A route as it runs.

use std::sync::Arc;
use std::time::Duration;

use crate::actions::Action;
use crate::observability::RouteMetrics;
use crate::policies::Pipeline;
use crate::text::Span;

/// A compiled route: what happens to the requests that it wins.
#[derive(Debug)]
pub struct Route {
    pub name: Box<str>,
    /// Where it is defined; `None` for the fallback, which nobody has written.
    pub span: Option<Span>,
    pub pipeline: Pipeline,
    pub action: Arc<Action>,
    /// For the whole exchange with an upstream.
    pub timeout: Option<Duration>,
    pub metrics: Arc<RouteMetrics>,
}
