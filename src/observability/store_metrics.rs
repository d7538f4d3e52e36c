//! Metrics of stores, and of what is counted in them.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::Metrics;
use super::register::Register;

/// In seconds, from what a server beside the gateway takes to what nobody waits for.
const BUCKETS: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

pub(super) struct StoreCatalog {
    pub(super) durations: HistogramVec,
    pub(super) down: IntGaugeVec,
    pub(super) decisions: IntCounterVec,
    pub(super) sync_lag: HistogramVec,
    pub(super) unshared: IntCounterVec,
}

impl StoreCatalog {
    pub(super) fn new(register: &Register<'_>) -> StoreCatalog {
        StoreCatalog {
            durations: register.durations_within(
                "northgate_store_command_duration_seconds",
                "Duration of commands to a store, by what came of them: ok, error, timeout, or down, which was not sent.",
                &["northgate_store", "result"],
                &BUCKETS,
            ),
            down: register.gauges(
                "northgate_store_servers_down",
                "Servers of the store that are not asked, because they did not answer.",
                &["northgate_store"],
            ),
            decisions: register.counters(
                "northgate_store_limit_decisions_total",
                "Decisions of limits that are shared in the store, by mode and by who made them: shared; or, while the store could not be asked, local, allowed or denied.",
                &["northgate_store", "mode", "by"],
            ),
            sync_lag: register.durations_within(
                "northgate_store_sync_lag_seconds",
                "How old the oldest change of a limit in fast mode was when the store had it.",
                &["northgate_store"],
                &BUCKETS,
            ),
            unshared: register.counters(
                "northgate_store_unshared_changes_total",
                "Changes of limits in fast mode that the store was not told of in time: it did not answer, or there were too many.",
                &["northgate_store"],
            ),
        }
    }
}

/// What came of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreResult {
    Ok,
    /// The server has answered with an error, or the connection broke.
    Error,
    Timeout,
    /// It was not sent.
    Down,
}

impl StoreResult {
    const ALL: [&'static str; 4] = ["ok", "error", "timeout", "down"];
}

/// How a limit is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharingMode {
    Exact,
    Fast,
}

/// Who has made a decision about a limit that is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecidedBy {
    /// What is counted by all.
    Shared,
    /// What is counted here, since the store could not be asked.
    Local,
    /// The configuration, since the store could not be asked.
    Allowed,
    /// As above.
    Denied,
}

const MODES: [&str; 2] = ["exact", "fast"];
const DECIDERS: [&str; 4] = ["shared", "local", "allowed", "denied"];

/// The handles of one store. Series appear when there is something to say, and those that are kept make none of a store
/// that is gone.
#[derive(Debug)]
pub struct StoreMetrics {
    store: Box<str>,
    metrics: Metrics,
    durations: [OnceLock<Histogram>; 4],
    decisions: [[OnceLock<IntCounter>; 4]; 2],
    down: OnceLock<IntGauge>,
    sync_lag: OnceLock<Histogram>,
    unshared: OnceLock<IntCounter>,
}

impl Metrics {
    /// `store` is its name in the configuration.
    pub fn store(&self, store: &str) -> StoreMetrics {
        StoreMetrics {
            store: store.into(),
            metrics: self.clone(),
            durations: Default::default(),
            decisions: Default::default(),
            down: OnceLock::new(),
            sync_lag: OnceLock::new(),
            unshared: OnceLock::new(),
        }
    }
}

impl StoreMetrics {
    pub fn store(&self) -> &str {
        &self.store
    }

    /// A command has ended.
    pub fn observe(&self, result: StoreResult, took: Duration) {
        let labels = [&*self.store, StoreResult::ALL[result as usize]];
        let make = || self.catalog().durations.with_label_values(&labels);
        let histogram = self.durations[result as usize].get_or_init(make);
        histogram.observe(took.as_secs_f64());
    }

    /// A limit was asked about a request.
    pub fn decided(&self, mode: SharingMode, by: DecidedBy) {
        let labels = [&*self.store, MODES[mode as usize], DECIDERS[by as usize]];
        let make = || self.catalog().decisions.with_label_values(&labels);
        self.decisions[mode as usize][by as usize]
            .get_or_init(make)
            .inc();
    }

    /// What is counted here was told to the store; the oldest of it was so old.
    pub fn synced(&self, oldest: Duration) {
        let make = || self.catalog().sync_lag.with_label_values(&[&*self.store]);
        let histogram = self.sync_lag.get_or_init(make);
        histogram.observe(oldest.as_secs_f64());
    }

    /// So many changes were not told to the store in time.
    pub fn unshared(&self, changes: usize) {
        let make = || self.catalog().unshared.with_label_values(&[&*self.store]);
        self.unshared.get_or_init(make).inc_by(changes as u64);
    }

    /// One of its servers is not asked any more.
    pub fn server_fails(&self) {
        self.servers_down().inc();
    }

    /// One of its servers is asked again.
    pub fn server_answers(&self) {
        self.servers_down().dec();
    }

    fn servers_down(&self) -> &IntGauge {
        let make = || self.catalog().down.with_label_values(&[&*self.store]);
        self.down.get_or_init(make)
    }

    fn catalog(&self) -> &StoreCatalog {
        &self.metrics.0.stores
    }
}
