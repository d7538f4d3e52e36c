//! Metrics of how endpoints are chosen.

use prometheus::IntGaugeVec;

use super::UpstreamMetrics;
use super::register::Register;

pub(super) fn panic(register: &Register<'_>) -> IntGaugeVec {
    register.gauges(
        "northgate_upstream_panic",
        "1 while endpoints are used that are not healthy, since too few others are left.",
        &["northgate_upstream"],
    )
}

impl UpstreamMetrics {
    /// Whether endpoints are used that are not healthy. The series begins with the first time.
    pub fn set_panic(&self, is_in_panic: bool) {
        let gauge = &self.metrics.0.upstream_panic;
        let gauge = gauge.with_label_values(&[&*self.upstream]);
        gauge.set(i64::from(is_in_panic));
    }
}
