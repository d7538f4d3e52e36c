//! The parts of aggregations, each as a route of its own that matches nothing.

use std::sync::Arc;

use crate::actions::Action;
use crate::cache::Cache;
use crate::routing::Route;

/// The name of a part's route.
pub fn part_name(route: &str, part: &str) -> String {
    format!("{route}.parts.{part}")
}

/// How the parts of a route are asked for; none where it puts nothing together. Of the route's policies they have what is done to
/// requests to upstreams.
pub(super) fn routes(route: &Route, cache: &Arc<Cache>) -> Box<[Arc<Route>]> {
    let Action::Aggregate(aggregate) = &*route.action else {
        return Box::default();
    };
    let plan = aggregate.plan();
    let parts = plan.parts().iter().zip(aggregate.parts()).enumerate();
    let routes = parts.map(|(index, (part, action))| {
        let name = part_name(&route.name, part.name());
        let rules = aggregate.rules(index, cache);
        Arc::new(Route {
            pipeline: route.pipeline.of_part(&name, rules.map(Arc::new)),
            name: name.into(),
            span: route.span,
            written: None,
            action: action.clone(),
            timeout: Some(part.timeout.unwrap_or(plan.timeout)),
            criticality: route.criticality,
            metrics: route.metrics.clone(),
            part_metrics: Some(Box::new(route.metrics.part(part.name()))),
            parts: Box::default(),
            largest_part: plan.limits.part_bytes,
        })
    });
    routes.collect()
}
