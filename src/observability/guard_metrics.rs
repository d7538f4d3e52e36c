//! Metrics of breakers and of ejection.

use prometheus::{IntCounterVec, IntGaugeVec};

use super::UpstreamMetrics;
use super::register::Register;

/// What there is to say of them.
pub(super) struct GuardCatalog {
    ejected: IntGaugeVec,
    ejections: IntCounterVec,
    breakers: IntGaugeVec,
    breakers_opened: IntCounterVec,
}

impl GuardCatalog {
    pub(super) fn new(register: &Register<'_>) -> GuardCatalog {
        let endpoint = ["northgate_upstream", "server_address"];
        GuardCatalog {
            ejected: register.gauges(
                "northgate_endpoint_ejected",
                "1 while the endpoint is ejected, 0 once it is back.",
                &endpoint,
            ),
            ejections: register.counters(
                "northgate_ejections_total",
                "Times that an endpoint was ejected, by what it had done.",
                &["northgate_upstream", "reason"],
            ),
            breakers: register.gauges(
                "northgate_breaker_state",
                "0 while the breaker is closed, 1 while it is half-open, 2 while it is open; of the upstream itself where there is no address.",
                &endpoint,
            ),
            breakers_opened: register.counters(
                "northgate_breaker_opened_total",
                "Times that the breaker has opened; of the upstream itself where there is no address.",
                &endpoint,
            ),
        }
    }
}

impl UpstreamMetrics {
    pub fn endpoint_ejected(&self, endpoint: &str, is_out: bool) {
        let labels = [self.name(), endpoint];
        let gauge = self.guards().ejected.with_label_values(&labels);
        gauge.set(i64::from(is_out));
    }

    pub fn count_ejection(&self, reason: &'static str) {
        let labels = [self.name(), reason];
        self.guards().ejections.with_label_values(&labels).inc();
    }

    /// The breaker of an endpoint, or of the upstream itself, is in this state.
    pub fn breaker(&self, endpoint: Option<&str>, state: i64) {
        let labels = [self.name(), endpoint.unwrap_or_default()];
        self.guards().breakers.with_label_values(&labels).set(state);
        // From the first on, so that it can be seen to grow.
        self.guards().breakers_opened.with_label_values(&labels);
    }

    pub fn breaker_opened(&self, endpoint: Option<&str>) {
        let labels = [self.name(), endpoint.unwrap_or_default()];
        let opened = self.guards().breakers_opened.with_label_values(&labels);
        opened.inc();
    }

    /// Ends the series of a breaker that is gone.
    pub fn forget_breaker(&self, endpoint: Option<&str>) {
        let labels = [self.name(), endpoint.unwrap_or_default()];
        // It is not an error if there was nothing to say.
        let _ = self.guards().breakers.remove_label_values(&labels);
        let _ = self.guards().breakers_opened.remove_label_values(&labels);
    }

    /// Ends the series of an endpoint that is not looked at any more.
    pub fn forget_ejection(&self, endpoint: &str) {
        let labels = [self.name(), endpoint];
        let _ = self.guards().ejected.remove_label_values(&labels);
    }
}
