//! Metrics of limits.

use std::sync::OnceLock;

use prometheus::{IntCounter, IntGauge};

use super::Metrics;
use super::series::Series;

/// What a limit has decided about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Admitted,
    Refused,
    /// It would have been refused, had the limit not been told to watch only.
    Shadow,
}

impl Decision {
    pub fn as_str(self) -> &'static str {
        match self {
            Decision::Admitted => "admitted",
            Decision::Refused => "refused",
            Decision::Shadow => "shadow",
        }
    }
}

/// The handles of one limit. Series appear when there is something to say.
#[derive(Debug)]
pub struct LimitMetrics {
    limit: Box<str>,
    metrics: Metrics,
    decisions: Series<Decision, IntCounter>,
    keys: OnceLock<IntGauge>,
}

impl Metrics {
    /// `limit` is where it stands in the configuration: `routes.search.policies.rate_limit`.
    pub fn limit(&self, limit: &str) -> LimitMetrics {
        LimitMetrics {
            limit: limit.into(),
            metrics: self.clone(),
            decisions: Series::default(),
            keys: OnceLock::new(),
        }
    }
}

impl LimitMetrics {
    /// Counts a request.
    pub fn count(&self, decision: Decision) {
        let make = || {
            let decisions = &self.metrics.0.limit_decisions;
            decisions.with_label_values(&[&*self.limit, decision.as_str()])
        };
        self.decisions.handle(decision, make).inc();
    }

    /// So many keys are known more or, below zero, fewer.
    pub fn add_keys(&self, count: i64) {
        let keys = self.keys.get_or_init(|| {
            let keys = &self.metrics.0.limit_keys;
            keys.with_label_values(&[&*self.limit])
        });
        keys.add(count);
    }
}
