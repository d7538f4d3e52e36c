//! Gauges whose values are asked for when somebody wants to know them, so that keeping them costs no request anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};

/// Gauges of one name: for each of the things that have it, one in each state.
#[derive(Clone)]
pub(super) struct Watched {
    gauges: IntGaugeVec,
    sources: Arc<Mutex<BTreeMap<Box<str>, Source>>>,
}

/// The values by state; `None` once there are none any more.
type Source = Box<dyn Fn() -> Option<Vec<(&'static str, i64)>> + Send + Sync>;

impl Watched {
    /// `labels` are the one for the thing and the one for the state.
    pub(super) fn new(opts: Opts, labels: [&str; 2]) -> prometheus::Result<Watched> {
        Ok(Watched {
            gauges: IntGaugeVec::new(opts, &labels)?,
            sources: Arc::default(),
        })
    }

    /// Asks `source` from now on, and not who was asked for it before.
    pub(super) fn watch(
        &self,
        name: &str,
        source: impl Fn() -> Option<Vec<(&'static str, i64)>> + Send + Sync + 'static,
    ) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.insert(name.into(), Box::new(source));
    }
}

impl Collector for Watched {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        // What is gone leaves no series behind.
        self.gauges.reset();
        sources.retain(|name, source| {
            let values = source();
            for (state, value) in values.iter().flatten() {
                self.gauges.with_label_values(&[name, *state]).set(*value);
            }
            values.is_some()
        });
        self.gauges.collect()
    }
}
