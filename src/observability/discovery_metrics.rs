//! Metrics of where endpoints are known from.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use prometheus::{IntCounterVec, IntGaugeVec};

use super::register::Register;
use super::{Metrics, unix_time};

const LABELS: [&str; 2] = ["northgate_upstream", "source"];

/// The kinds of why a registry fails.
const ERRORS: [&str; 4] = ["unreachable", "refused", "malformed", "unresolved"];

/// What there is to say of discovery.
pub(super) struct DiscoveryCatalog {
    pub(super) up: IntGaugeVec,
    pub(super) endpoints: IntGaugeVec,
    pub(super) heard: IntGaugeVec,
    pub(super) changed: IntGaugeVec,
    pub(super) from_disk: IntGaugeVec,
    pub(super) changes: IntCounterVec,
    pub(super) empty: IntCounterVec,
    pub(super) failures: IntCounterVec,
}

impl DiscoveryCatalog {
    pub(super) fn new(register: &Register<'_>) -> DiscoveryCatalog {
        DiscoveryCatalog {
            up: register.gauges(
                "northgate_discovery_up",
                "1 while the registry of the upstream answers, 0 while it fails.",
                &LABELS,
            ),
            endpoints: register.gauges(
                "northgate_discovery_endpoints",
                "Endpoints that are known now.",
                &LABELS,
            ),
            heard: register.gauges(
                "northgate_discovery_heard_timestamp_seconds",
                "Unix time at which the registry was heard of last, but for words of there being nothing that were not believed; the endpoints are as old as that.",
                &LABELS,
            ),
            changed: register.gauges(
                "northgate_discovery_changed_timestamp_seconds",
                "Unix time at which other endpoints were taken over last.",
                &LABELS,
            ),
            from_disk: register.gauges(
                "northgate_discovery_from_disk",
                "1 while the endpoints are those that an earlier process has kept, because the registry has not answered yet.",
                &LABELS,
            ),
            changes: register.counters(
                "northgate_discovery_changes_total",
                "Times that other endpoints were taken over.",
                &LABELS,
            ),
            empty: register.counters(
                "northgate_discovery_empty_total",
                "Times that a registry said that there are no endpoints and was not believed (on_empty).",
                &LABELS,
            ),
            failures: register.counters(
                "northgate_discovery_failures_total",
                "Times that the registry was unreachable, refused, said something malformed, or named hosts that cannot be resolved.",
                &["northgate_upstream", "source", "error"],
            ),
        }
    }
}

/// The handles of one upstream's discovery. Series appear when there is something to say.
#[derive(Clone, Debug)]
pub struct DiscoveryMetrics {
    upstream: Box<str>,
    source: &'static str,
    metrics: Metrics,
}

impl Metrics {
    /// `source` is the word of the configuration, `dns`.
    pub fn discovery(&self, upstream: &str, source: &'static str) -> DiscoveryMetrics {
        DiscoveryMetrics {
            upstream: upstream.into(),
            source,
            metrics: self.clone(),
        }
    }
}

impl DiscoveryMetrics {
    /// The registry answers.
    pub fn answers(&self) {
        self.set(&self.catalog().up, 1);
    }

    /// It has said at this time, to this process or an earlier one, that the endpoints are those that are used.
    pub fn heard(&self, at: SystemTime) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        self.set(&self.catalog().heard, seconds);
    }

    /// It does not; `error` is the kind of why.
    pub fn failed(&self, error: &'static str) {
        self.set(&self.catalog().up, 0);
        self.count(error);
    }

    /// Something of this kind has failed, whether or not the registry answers.
    pub fn count(&self, error: &'static str) {
        debug_assert!(ERRORS.contains(&error));
        let labels = [&*self.upstream, self.source, error];
        self.catalog().failures.with_label_values(&labels).inc();
    }

    /// So many endpoints are used from now on.
    pub fn changed(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.set(&self.catalog().endpoints, count);
        self.set(&self.catalog().changed, now());
        self.catalog()
            .changes
            .with_label_values(&self.labels())
            .inc();
    }

    pub fn left_empty_aside(&self) {
        self.catalog().empty.with_label_values(&self.labels()).inc();
    }

    pub fn is_from_disk(&self, is_so: bool) {
        self.set(&self.catalog().from_disk, i64::from(is_so));
    }

    /// Ends its series: nothing is followed any more.
    pub fn forget(&self) {
        let (all, labels) = (self.catalog(), self.labels());
        for gauges in [
            &all.up,
            &all.endpoints,
            &all.heard,
            &all.changed,
            &all.from_disk,
        ] {
            // It is not an error if there was never anything to say.
            let _ = gauges.remove_label_values(&labels);
        }
        for counters in [&all.changes, &all.empty] {
            let _ = counters.remove_label_values(&labels);
        }
        for error in ERRORS {
            let labels = [labels[0], labels[1], error];
            let _ = all.failures.remove_label_values(&labels);
        }
    }

    fn set(&self, gauges: &IntGaugeVec, value: i64) {
        gauges.with_label_values(&self.labels()).set(value);
    }

    fn labels(&self) -> [&str; 2] {
        [&self.upstream, self.source]
    }

    fn catalog(&self) -> &DiscoveryCatalog {
        &self.metrics.0.discovery
    }
}

fn now() -> i64 {
    i64::try_from(unix_time(Instant::now()).as_secs()).unwrap_or(i64::MAX)
}
