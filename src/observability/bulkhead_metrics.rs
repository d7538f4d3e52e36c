//! Metrics of doors with so many places behind them.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounter, IntCounterVec};

use super::register::Register;
use super::series::Series;
use super::{Metrics, Watched};

/// What there is to say of the bulkheads of one kind.
pub(super) struct BulkheadCatalog {
    places: Watched,
    pub(super) waits: HistogramVec,
    pub(super) refused: IntCounterVec,
}

/// What is behind the door.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Upstream,
    Route,
    /// Of each caller, all together.
    Concurrency,
}

impl BulkheadCatalog {
    pub(super) fn new(register: &Register<'_>, kind: Kind) -> BulkheadCatalog {
        let (what, label) = match kind {
            Kind::Upstream => ("upstream", "northgate_upstream"),
            Kind::Route => ("route", "http_route"),
            Kind::Concurrency => ("concurrency", "northgate_limit"),
        };
        BulkheadCatalog {
            places: register.watched(
                &format!("northgate_{what}_places"),
                "Places for requests: in_flight are taken, so many are waiting, limit is how many there are, keys how many callers have one or wait.",
                [label, "state"],
            ),
            waits: register.durations(
                &format!("northgate_{what}_wait_seconds"),
                "How long requests waited for a place, of those that had to.",
                &[label],
            ),
            refused: register.counters(
                &format!("northgate_{what}_refused_total"),
                "Requests that got no place: full, late, or displaced by a more important one.",
                &[label, "reason"],
            ),
        }
    }
}

/// The handles of one bulkhead. Series appear when there is something to say.
#[derive(Debug)]
pub struct BulkheadMetrics {
    name: Box<str>,
    kind: Kind,
    metrics: Metrics,
    refused: Series<&'static str, IntCounter>,
}

impl Metrics {
    pub fn upstream_bulkhead(&self, upstream: &str) -> BulkheadMetrics {
        self.bulkhead(upstream, Kind::Upstream)
    }

    pub fn route_bulkhead(&self, route: &str) -> BulkheadMetrics {
        self.bulkhead(route, Kind::Route)
    }

    /// `limit` is where it stands in the configuration.
    pub fn concurrency(&self, limit: &str) -> BulkheadMetrics {
        self.bulkhead(limit, Kind::Concurrency)
    }

    fn bulkhead(&self, name: &str, kind: Kind) -> BulkheadMetrics {
        BulkheadMetrics {
            name: name.into(),
            kind,
            metrics: self.clone(),
            refused: Series::default(),
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
        let read = move || {
            let states = read()?.map(|(state, count)| (state, i64::from(count)));
            Some(states.to_vec())
        };
        self.catalog().places.watch(&self.name, read);
    }

    /// Somebody has waited for so long, whatever came of it.
    pub fn waited(&self, time: Duration) {
        let series = self.catalog().waits.with_label_values(&[&*self.name]);
        series.observe(time.as_secs_f64());
    }

    /// Somebody has got no place.
    pub fn refused(&self, reason: &'static str) {
        let make = || {
            let labels = [&*self.name, reason];
            self.catalog().refused.with_label_values(&labels)
        };
        self.refused.handle(reason, make).inc();
    }

    fn catalog(&self) -> &BulkheadCatalog {
        match self.kind {
            Kind::Upstream => &self.metrics.0.upstream_bulkheads,
            Kind::Route => &self.metrics.0.route_bulkheads,
            Kind::Concurrency => &self.metrics.0.concurrency,
        }
    }
}
