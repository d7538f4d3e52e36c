//! Metrics of the configuration that serves.

use super::Metrics;

impl Metrics {
    /// Says that the configuration now serving was loaded at this Unix time, in seconds.
    pub fn config_loaded_at(&self, time: f64) {
        self.0.config_loaded.set(time);
    }

    /// A configuration was loaded anew, and serves or was refused.
    pub fn config_reloaded(&self, is_applied: bool) {
        let result = if is_applied { "applied" } else { "refused" };
        self.0.config_reloads.with_label_values(&[result]).inc();
        self.0.config_reload_ok.set(f64::from(u8::from(is_applied)));
    }

    /// Says whether what serves is kept from before, because the files have errors.
    pub fn config_is_last_good(&self, is_last_good: bool) {
        self.0
            .config_last_good
            .set(f64::from(u8::from(is_last_good)));
    }

    /// Says how many objects of a kind have mistakes and are not served.
    pub fn config_quarantined(&self, kind: &str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.0
            .config_quarantined
            .with_label_values(&[kind])
            .set(count);
    }
}
