//! Metrics of doors with so many places behind them.

use std::time::Duration;

use super::{Metrics, Watched};

/// The handles of one bulkhead. Series appear when there is something to say.
#[derive(Clone, Debug)]
pub struct BulkheadMetrics {
    name: Box<str>,
    kind: Kind,
    metrics: Metrics,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Upstream,
    Route,
}

impl Metrics {
    pub fn upstream_bulkhead(&self, upstream: &str) -> BulkheadMetrics {
        self.bulkhead(upstream, Kind::Upstream)
    }

    pub fn route_bulkhead(&self, route: &str) -> BulkheadMetrics {
        self.bulkhead(route, Kind::Route)
    }

    fn bulkhead(&self, name: &str, kind: Kind) -> BulkheadMetrics {
        BulkheadMetrics {
            name: name.into(),
            kind,
            metrics: self.clone(),
        }
    }
}

impl BulkheadMetrics {
    /// Asks `read` for the places in each state whenever somebody wants to know, in the place of who was asked before;
    /// until it says that there are none any more.
    pub fn watch<const N: usize>(
        &self,
        read: impl Fn() -> Option<[(&'static str, u32); N]> + Send + Sync + 'static,
    ) {
        let places: &Watched = match self.kind {
            Kind::Upstream => &self.metrics.0.upstream_places,
            Kind::Route => &self.metrics.0.route_places,
        };
        let read = move || {
            let states = read()?.map(|(state, count)| (state, i64::from(count)));
            Some(states.to_vec())
        };
        places.watch(&self.name, read);
    }

    /// Somebody has waited for so long, whatever came of it.
    pub fn waited(&self, time: Duration) {
        let waits = match self.kind {
            Kind::Upstream => &self.metrics.0.upstream_waits,
            Kind::Route => &self.metrics.0.route_waits,
        };
        let series = waits.with_label_values(&[&*self.name]);
        series.observe(time.as_secs_f64());
    }

    /// Somebody has got no place.
    pub fn refused(&self, reason: &str) {
        let refused = match self.kind {
            Kind::Upstream => &self.metrics.0.upstream_refused,
            Kind::Route => &self.metrics.0.route_refused,
        };
        refused.with_label_values(&[&*self.name, reason]).inc();
    }
}
