//! Metrics of how much the gateway itself has to do.

use std::time::Duration;

use prometheus::{Gauge, IntCounter, IntCounterVec};

use super::Metrics;
use super::register::Register;

/// What there is to say of the load.
pub(super) struct OverloadCatalog {
    lag: Gauge,
    cpu: Gauge,
    in_flight: Gauge,
    level: Gauge,
    shed: IntCounterVec,
}

impl OverloadCatalog {
    pub(super) fn new(register: &Register<'_>) -> OverloadCatalog {
        OverloadCatalog {
            lag: register.gauge(
                "northgate_overload_lag_seconds",
                "How late the threads that serve come to what is due; 0 where gateway.overload does not measure it.",
            ),
            cpu: register.gauge(
                "northgate_overload_cpu_ratio",
                "The share of its processors that the process uses; 0 where gateway.overload does not measure it.",
            ),
            in_flight: register.gauge(
                "northgate_overload_in_flight",
                "Requests in flight, as gateway.overload has measured it last.",
            ),
            level: register.gauge(
                "northgate_overload_level",
                "How many classes of requests are refused: 0.5 is half of low, 2 is all of low and normal.",
            ),
            shed: register.counters(
                "northgate_overload_shed_total",
                "Requests that were refused because of the load, by their class.",
                &["class"],
            ),
        }
    }
}

/// The handles of the one who refuses.
#[derive(Clone, Debug)]
pub struct OverloadMetrics {
    metrics: Metrics,
    shed: Box<[IntCounter]>,
}

impl Metrics {
    /// `classes` are all that there are.
    pub fn overload<'c>(&self, classes: impl Iterator<Item = &'c str>) -> OverloadMetrics {
        let shed = &self.0.overload.shed;
        OverloadMetrics {
            metrics: self.clone(),
            shed: classes
                .map(|class| shed.with_label_values(&[class]))
                .collect(),
        }
    }
}

impl OverloadMetrics {
    /// A request of this class has been refused, which is one by its place among all.
    pub fn shed(&self, class: usize) {
        if let Some(shed) = self.shed.get(class) {
            shed.inc();
        }
    }

    /// What has been measured, and what has come of it.
    pub fn measured(&self, lag: Duration, cpu: f64, in_flight: u64, classes: f64) {
        let all = &self.metrics.0.overload;
        all.lag.set(lag.as_secs_f64());
        all.cpu.set(cpu);
        all.in_flight.set(in_flight as f64);
        all.level.set(classes);
    }
}
