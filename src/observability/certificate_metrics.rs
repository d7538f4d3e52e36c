//! Metrics of the certificates of a listener.

use prometheus::{IntCounterVec, IntGaugeVec};

/// The handles for the certificates of one listener. Series appear when there is something to say.
#[derive(Clone, Debug)]
pub struct CertificateMetrics {
    pub(super) listener: Box<str>,
    pub(super) reloads: IntCounterVec,
    pub(super) not_after: IntGaugeVec,
}

impl CertificateMetrics {
    /// Files that have changed were taken up.
    pub fn taken(&self) {
        self.reloads
            .with_label_values(&[&*self.listener, "taken"])
            .inc();
    }

    /// Files that have changed are bad, and what was there serves on.
    pub fn refused(&self) {
        self.reloads
            .with_label_values(&[&*self.listener, "refused"])
            .inc();
    }

    /// When a certificate expires, in Unix time.
    pub fn not_after(&self, certificate: &str, at: i64) {
        self.not_after
            .with_label_values(&[&*self.listener, certificate])
            .set(at);
    }
}
