//! Putting metrics into the registry.

use prometheus::{
    Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
};

use super::Watched;

/// The buckets that the OpenTelemetry HTTP conventions advise for durations in seconds.
const DURATION_BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Registers metrics at start, where a bad name is a mistake in this file.
pub(super) struct Register<'a>(pub(super) &'a Registry);

impl Register<'_> {
    const INVARIANT: &'static str = "the catalog's names and labels are valid and unique";

    pub(super) fn add<M: prometheus::core::Collector + Clone + 'static>(
        &self,
        metric: prometheus::Result<M>,
    ) -> M {
        let metric = metric.expect(Self::INVARIANT);
        self.0
            .register(Box::new(metric.clone()))
            .expect(Self::INVARIANT);
        metric
    }

    pub(super) fn durations(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        self.add(HistogramVec::new(
            HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.into()),
            labels,
        ))
    }

    pub(super) fn durations_within(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> HistogramVec {
        self.add(HistogramVec::new(
            HistogramOpts::new(name, help).buckets(buckets.into()),
            labels,
        ))
    }

    pub(super) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    pub(super) fn watched(&self, name: &str, help: &str, labels: [&str; 2]) -> Watched {
        self.add(Watched::new(Opts::new(name, help), labels))
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::new(name, help))
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.add(Gauge::new(name, help))
    }
}
