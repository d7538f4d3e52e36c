//! Metrics of requests that do not simply go to the one upstream of their route.

use prometheus::IntCounterVec;

use super::metrics::RouteMetrics;
use super::register::Register;

/// What there is to say of them.
pub(super) struct ShapingCatalog {
    fallbacks: IntCounterVec,
}

impl ShapingCatalog {
    pub(super) fn new(register: &Register<'_>) -> ShapingCatalog {
        ShapingCatalog {
            fallbacks: register.counters(
                "northgate_fallbacks_total",
                "Times that a step of the route's fallback was taken: why, and what the step is.",
                &["http_route", "reason", "northgate_fallback"],
            ),
        }
    }
}

impl RouteMetrics {
    /// A step of the route's fallback was taken.
    pub fn count_fallback(&self, reason: &str, answer: &str) {
        let fallbacks = &self.metrics.0.shaping.fallbacks;
        let labels = [&*self.route, reason, answer];
        fallbacks.with_label_values(&labels).inc();
    }
}
