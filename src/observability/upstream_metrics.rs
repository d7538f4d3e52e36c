//! Metrics of upstreams and their endpoints.

use std::time::Duration;

use prometheus::{Histogram, IntGauge};

use super::Metrics;
use super::guard_metrics::GuardCatalog;
use super::metrics::Catalog;
use super::series::Series;

/// The handles of one upstream.
#[derive(Debug)]
pub struct UpstreamMetrics {
    pub(super) upstream: Box<str>,
    pub(super) metrics: Metrics,
    durations: Series<u16, Histogram>,
}

impl Metrics {
    pub fn upstream(&self, upstream: &str) -> UpstreamMetrics {
        UpstreamMetrics {
            upstream: upstream.into(),
            metrics: self.clone(),
            durations: Series::default(),
        }
    }
}

impl UpstreamMetrics {
    pub(super) fn name(&self) -> &str {
        &self.upstream
    }

    pub(super) fn guards(&self) -> &GuardCatalog {
        &self.metrics.0.guards
    }

    /// Counts one exchange; status 0 where there was no response.
    pub fn observe(&self, status: u16, duration: Duration) {
        let make = || {
            let mut text = itoa::Buffer::new();
            self.metrics
                .0
                .client_duration
                .with_label_values(&[&*self.upstream, text.format(status)])
        };
        self.durations
            .handle(status, make)
            .observe(duration.as_secs_f64());
    }

    pub fn count_failure(&self, code: &'static str) {
        self.metrics
            .0
            .client_failures
            .with_label_values(&[&*self.upstream, code])
            .inc();
    }

    pub fn endpoint_healthy(&self, endpoint: &str) -> IntGauge {
        self.metrics
            .0
            .endpoint_healthy
            .with_label_values(&[&*self.upstream, endpoint])
    }

    pub fn endpoint_active(&self, endpoint: &str) -> IntGauge {
        self.metrics
            .0
            .endpoint_active
            .with_label_values(&[&*self.upstream, endpoint])
    }

    /// Ends the series of an endpoint that is gone.
    pub fn forget_endpoint(&self, endpoint: &str) {
        self.forget_breaker(Some(endpoint));
        self.forget_ejection(endpoint);
        let (catalog, labels) = (&self.metrics.0, [&*self.upstream, endpoint]);
        // It is not an error if nothing was ever counted for it.
        let _ = catalog.endpoint_healthy.remove_label_values(&labels);
        let _ = catalog.endpoint_active.remove_label_values(&labels);
    }

    pub(super) fn upstream(&self) -> &str {
        &self.upstream
    }

    pub(super) fn catalog(&self) -> &Catalog {
        &self.metrics.0
    }
}
