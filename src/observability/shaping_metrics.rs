//! Metrics of requests that do not simply go to the one upstream of their route.

use prometheus::{IntCounterVec, IntGaugeVec};

use super::metrics::{Metrics, RouteMetrics};
use super::register::Register;

/// What there is to say of them.
pub(super) struct ShapingCatalog {
    fallbacks: IntCounterVec,
    mirrored: IntCounterVec,
    compared: IntCounterVec,
    rolled_back: IntGaugeVec,
    rollbacks: IntCounterVec,
}

impl ShapingCatalog {
    pub(super) fn new(register: &Register<'_>) -> ShapingCatalog {
        ShapingCatalog {
            fallbacks: register.counters(
                "northgate_fallbacks_total",
                "Times that a step of the route's fallback was taken: why, and what the step is.",
                &["http_route", "reason", "northgate_fallback"],
            ),
            mirrored: register.counters(
                "northgate_mirrored_requests_total",
                "Requests of a mirror's sample: sent, failed, dropped, too_large or incomplete.",
                &["http_route", "northgate_upstream", "result"],
            ),
            compared: register.counters(
                "northgate_mirror_comparisons_total",
                "Responses that were compared with the mirror's: same, or different in status or content; too_large or unknown where that cannot be said.",
                &["http_route", "northgate_upstream", "result"],
            ),
            rolled_back: register.gauges(
                "northgate_canary_rolled_back",
                "1 while a guarded branch of a split gets no requests because it has broken its guard, else 0.",
                &["http_route", "northgate_upstream"],
            ),
            rollbacks: register.counters(
                "northgate_canary_rollbacks_total",
                "Times that a branch of a split has broken its guard.",
                &["http_route", "northgate_upstream"],
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

/// The handles of one route's mirror.
#[derive(Clone, Debug)]
pub struct MirrorMetrics {
    mirrored: IntCounterVec,
    compared: IntCounterVec,
    route: Box<str>,
    upstream: Box<str>,
}

impl MirrorMetrics {
    pub fn count(&self, result: &str) {
        let labels = [&*self.route, &*self.upstream, result];
        self.mirrored.with_label_values(&labels).inc();
    }

    pub fn compared(&self, result: &str) {
        let labels = [&*self.route, &*self.upstream, result];
        self.compared.with_label_values(&labels).inc();
    }
}

/// The handles of one guarded branch.
#[derive(Clone, Debug)]
pub struct CanaryMetrics {
    metrics: Metrics,
    route: Box<str>,
    upstream: Box<str>,
}

impl CanaryMetrics {
    /// It has broken its guard.
    pub fn rolled_back(&self) {
        let rollbacks = &self.metrics.0.shaping.rollbacks;
        rollbacks.with_label_values(&self.labels()).inc();
        self.show(true);
    }

    pub fn show(&self, is_rolled_back: bool) {
        let gauge = &self.metrics.0.shaping.rolled_back;
        let gauge = gauge.with_label_values(&self.labels());
        gauge.set(i64::from(is_rolled_back));
    }

    /// There is no such branch any more.
    pub fn forget(&self) {
        // An error only says that there was no such series.
        let _ = self
            .metrics
            .0
            .shaping
            .rolled_back
            .remove_label_values(&self.labels());
    }

    fn labels(&self) -> [&str; 2] {
        [&self.route, &self.upstream]
    }
}

impl Metrics {
    pub fn mirror(&self, route: &str, upstream: &str) -> MirrorMetrics {
        MirrorMetrics {
            mirrored: self.0.shaping.mirrored.clone(),
            compared: self.0.shaping.compared.clone(),
            route: route.into(),
            upstream: upstream.into(),
        }
    }

    pub fn canary(&self, route: &str, upstream: &str) -> CanaryMetrics {
        CanaryMetrics {
            metrics: self.clone(),
            route: route.into(),
            upstream: upstream.into(),
        }
    }
}
