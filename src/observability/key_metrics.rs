//! Metrics of the keys that verify tokens.

use std::time::Duration;

use super::Metrics;

/// The handles of one provider's keys. Series appear when there is something to say.
#[derive(Clone, Debug)]
pub struct KeyMetrics {
    provider: Box<str>,
    metrics: Metrics,
}

impl Metrics {
    /// `provider` is as the configuration has it, `jwt.main`.
    pub fn keys(&self, provider: &str) -> KeyMetrics {
        KeyMetrics {
            provider: provider.into(),
            metrics: self.clone(),
        }
    }
}

impl KeyMetrics {
    /// Keys were fetched at this Unix time.
    pub fn fetched(&self, at: Duration) {
        self.count("fetched");
        let times = &self.metrics.0.keys_fetched;
        let at = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
        times.with_label_values(&[&*self.provider]).set(at);
    }

    /// No keys were to be had.
    pub fn failed(&self) {
        self.count("failed");
    }

    /// So many keys are used from now on.
    pub fn used(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let keys = &self.metrics.0.keys;
        keys.with_label_values(&[&*self.provider]).set(count);
    }

    fn count(&self, result: &str) {
        let fetches = &self.metrics.0.key_fetches;
        fetches.with_label_values(&[&*self.provider, result]).inc();
    }
}
