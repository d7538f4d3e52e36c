//! Metrics of requests that are sent more than once.

use prometheus::IntCounterVec;

use super::UpstreamMetrics;
use super::register::Register;

/// What there is to say of them.
pub(super) struct RetryCatalog {
    retries: IntCounterVec,
    stopped: IntCounterVec,
    hedges: IntCounterVec,
}

impl RetryCatalog {
    pub(super) fn new(register: &Register<'_>) -> RetryCatalog {
        RetryCatalog {
            retries: register.counters(
                "northgate_upstream_retries_total",
                "Requests that were sent again, by what they were sent again for, and whether to another endpoint or to one that had been tried.",
                &["northgate_upstream", "reason", "endpoint"],
            ),
            stopped: register.counters(
                "northgate_upstream_retries_stopped_total",
                "Failures that there was no further try for although the conditions were met, by what was in the way, such as the budget.",
                &["northgate_upstream", "reason"],
            ),
            hedges: register.counters(
                "northgate_upstream_hedges_total",
                "Requests that a second endpoint was asked for because the first took its time, by what came of it: won, lost or failed.",
                &["northgate_upstream", "result"],
            ),
        }
    }
}

impl UpstreamMetrics {
    /// A request is sent again.
    pub fn count_retry(&self, reason: &str, is_other: bool) {
        let endpoint = if is_other { "other" } else { "same" };
        let labels = [self.upstream(), reason, endpoint];
        let retries = &self.catalog().retries.retries;
        retries.with_label_values(&labels).inc();
    }

    /// A second endpoint was asked because the first took its time.
    pub fn count_hedge(&self, result: &str) {
        let hedges = &self.catalog().retries.hedges;
        hedges.with_label_values(&[self.upstream(), result]).inc();
    }

    /// A request is not sent again.
    pub fn count_stopped_retry(&self, reason: &str) {
        let stopped = &self.catalog().retries.stopped;
        stopped.with_label_values(&[self.upstream(), reason]).inc();
    }
}
