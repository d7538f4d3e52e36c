//! Metrics of the parts of aggregations.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::register::Register;
use super::series::Series;
use super::{Metrics, RouteMetrics};

pub(super) struct PartCatalog {
    pub(super) results: IntCounterVec,
    pub(super) durations: HistogramVec,
}

impl PartCatalog {
    pub(super) fn new(register: &Register<'_>) -> PartCatalog {
        PartCatalog {
            results: register.counters(
                "northgate_part_results_total",
                "How parts of aggregations have ended: ok, stale, left_out, default, failed or cancelled; and what had failed.",
                &["http_route", "northgate_part", "result", "error_type"],
            ),
            durations: register.durations(
                "northgate_part_duration_seconds",
                "How long parts of aggregations that were asked for took, whatever came of it.",
                &["http_route", "northgate_part"],
            ),
        }
    }
}

/// The handles of one part. Series appear when there is something to say, and are found again without a look-up.
#[derive(Debug)]
pub struct PartMetrics {
    route: Box<str>,
    part: Box<str>,
    metrics: Metrics,
    results: Series<(&'static str, &'static str), IntCounter>,
    durations: Series<(), Histogram>,
}

impl RouteMetrics {
    /// Of the part of that name.
    pub fn part(&self, name: &str) -> PartMetrics {
        PartMetrics {
            route: self.route.clone(),
            part: name.into(),
            metrics: self.metrics.clone(),
            results: Series::default(),
            durations: Series::default(),
        }
    }
}

impl PartMetrics {
    /// It has ended like this; `error` is what had failed, or `""`. Both are of the few words that the gateway has for it.
    pub fn ended(&self, result: &'static str, error: &'static str) {
        let make = || {
            let labels = [&*self.route, &*self.part, result, error];
            self.metrics.0.parts.results.with_label_values(&labels)
        };
        self.results.handle((result, error), make).inc();
    }

    /// It was asked for, and that took so long.
    pub fn took(&self, time: Duration) {
        let make = || {
            let labels = [&*self.route, &*self.part];
            self.metrics.0.parts.durations.with_label_values(&labels)
        };
        self.durations.handle((), make).observe(time.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::super::Owner;
    use super::*;

    #[test]
    fn parts_are_counted_and_go_with_what_they_are_of() {
        let metrics = Metrics::new();
        let expose = || String::from_utf8(metrics.expose()).unwrap();
        let home = metrics.route("home");
        let (cart, tips) = (home.part("cart"), home.part("tips"));
        assert!(!expose().contains("northgate_part="), "nothing to say yet");
        cart.ended("failed", "timeout");
        cart.ended("failed", "timeout");
        cart.took(Duration::from_millis(80));
        tips.ended("ok", "");
        let text = expose();
        let line = "northgate_part_results_total{error_type=\"timeout\",http_route=\"home\",northgate_part=\"cart\",result=\"failed\"} 2";
        assert!(text.contains(line), "{text}");
        let line =
            "northgate_part_duration_seconds_count{http_route=\"home\",northgate_part=\"cart\"} 1";
        assert!(text.contains(line), "{text}");
        // A part that is no more, of a route that is.
        let gone = Owner::Part {
            route: "home",
            part: "cart",
        };
        metrics.retain(|owner| owner != gone);
        let text = expose();
        assert!(!text.contains("\"cart\""), "{text}");
        assert!(text.contains("\"tips\""), "{text}");
        metrics.retain(|owner| owner != Owner::Route("home"));
        assert!(!expose().contains("\"tips\""));
    }
}
