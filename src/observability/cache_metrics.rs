//! Metrics of the cache: per route what it has done, and as a whole how full it is.
//!
//! What is kept as a whole is asked for when somebody wants to know it, so that keeping it costs no request anything.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts};

use super::register::Register;
use super::{Metrics, RouteMetrics};

/// In seconds: what pages, lists and assets are kept for.
const AGES: [f64; 9] = [
    1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0, 604_800.0,
];

/// What there is to say of the cache.
pub(super) struct CacheCatalog {
    pub(super) requests: IntCounterVec,
    pub(super) sent: IntCounterVec,
    pub(super) ages: HistogramVec,
    figures: Figures,
}

/// One number of the cache as a whole, and what it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheFigure {
    pub family: CacheFamily,
    /// The tier, the kind of purge, the operation.
    pub label: &'static str,
    pub value: u64,
}

/// What a number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheFamily {
    Entries,
    Bytes,
    Bound,
    Evictions,
    Purges,
    Marks,
    Disk,
    Broadcast,
    Untold,
    Heard,
}

const FAMILIES: [(CacheFamily, &str, &str, &str); 10] = [
    (
        CacheFamily::Entries,
        "northgate_cache_entries",
        "Responses, and what tells their variants apart, in each tier now.",
        "tier",
    ),
    (
        CacheFamily::Bytes,
        "northgate_cache_bytes",
        "Bytes that each tier takes now; bodies are those in memory, with those that are only read any more.",
        "tier",
    ),
    (
        CacheFamily::Bound,
        "northgate_cache_bound_bytes",
        "Bytes that each tier may take.",
        "tier",
    ),
    (
        CacheFamily::Evictions,
        "northgate_cache_evictions_total",
        "Responses that had to go for others, in each tier.",
        "tier",
    ),
    (
        CacheFamily::Purges,
        "northgate_cache_purges_total",
        "Purges that were done here, by what they are about: of operators, clients, writes and other gateways.",
        "kind",
    ),
    (
        CacheFamily::Marks,
        "northgate_cache_marks",
        "Of how many things it is known that they were purged: kept by themselves, or folded with others.",
        "state",
    ),
    (
        CacheFamily::Disk,
        "northgate_cache_disk_operations_total",
        "What the disk was asked for and what came of it.",
        "operation",
    ),
    (
        CacheFamily::Broadcast,
        "northgate_cache_broadcast_total",
        "Purges that other gateways were told of or were heard of, and how often something was missed and all was purged.",
        "result",
    ),
    (
        CacheFamily::Untold,
        "northgate_cache_broadcast_untold",
        "Purges that wait to be told to other gateways.",
        "state",
    ),
    (
        CacheFamily::Heard,
        "northgate_cache_broadcast_heard_timestamp_seconds",
        "Unix time at which it was looked last whether others have purged.",
        "state",
    ),
];

/// The numbers; `None` once there is no cache any more.
type Source = Box<dyn Fn() -> Option<Vec<CacheFigure>> + Send + Sync>;

/// Numbers that are asked for when they are shown.
#[derive(Clone)]
struct Figures {
    families: Arc<[(CacheFamily, Family)]>,
    source: Arc<Mutex<Option<Source>>>,
}

enum Family {
    Counters(IntCounterVec),
    Gauges(IntGaugeVec),
}

impl Family {
    fn new(name: &str, help: &str, label: &str) -> prometheus::Result<Family> {
        let opts = Opts::new(name, help);
        Ok(match name.ends_with("_total") {
            true => Family::Counters(IntCounterVec::new(opts, &[label])?),
            false => Family::Gauges(IntGaugeVec::new(opts, &[label])?),
        })
    }

    fn reset(&self) {
        match self {
            Family::Counters(counters) => counters.reset(),
            Family::Gauges(gauges) => gauges.reset(),
        }
    }

    fn show(&self, label: &str, value: u64) {
        match self {
            Family::Counters(counters) => counters.with_label_values(&[label]).inc_by(value),
            Family::Gauges(gauges) => {
                let value = i64::try_from(value).unwrap_or(i64::MAX);
                gauges.with_label_values(&[label]).set(value);
            }
        }
    }

    fn as_collector(&self) -> &dyn Collector {
        match self {
            Family::Counters(counters) => counters,
            Family::Gauges(gauges) => gauges,
        }
    }
}

impl Figures {
    fn new() -> prometheus::Result<Figures> {
        let families = FAMILIES
            .iter()
            .map(|(family, name, help, label)| Ok((*family, Family::new(name, help, label)?)));
        Ok(Figures {
            families: families.collect::<prometheus::Result<_>>()?,
            source: Arc::default(),
        })
    }
}

impl Collector for Figures {
    fn desc(&self) -> Vec<&Desc> {
        let families = self.families.iter();
        families
            .flat_map(|(_, family)| family.as_collector().desc())
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Who asks at the same time waits: the numbers are put down and read again.
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        self.families.iter().for_each(|(_, family)| family.reset());
        let figures = source.as_ref().and_then(|source| source());
        for figure in figures.iter().flatten() {
            let family = self.families.iter().find(|(it, _)| *it == figure.family);
            if let Some((_, family)) = family {
                family.show(figure.label, figure.value);
            }
        }
        let families = self.families.iter();
        families
            .flat_map(|(_, family)| family.as_collector().collect())
            .collect()
    }
}

impl CacheCatalog {
    pub(super) fn new(register: &Register<'_>) -> CacheCatalog {
        CacheCatalog {
            requests: register.counters(
                "northgate_cache_requests_total",
                "Requests to routes with a cache, by what it has done: hit, stale, revalidated, collapsed, miss, pass.",
                &["http_route", "result"],
            ),
            sent: register.counters(
                "northgate_cache_response_body_bytes_total",
                "Bytes of response bodies sent by routes with a cache, by what it has done.",
                &["http_route", "result"],
            ),
            ages: register.durations_within(
                "northgate_cache_age_seconds",
                "Age of responses that were kept before they were asked for.",
                &["http_route"],
                &AGES,
            ),
            figures: register.add(Figures::new()),
        }
    }
}

/// The handles of what the cache has done in one way for one route.
#[derive(Debug)]
pub(super) struct CachedSeries {
    requests: IntCounter,
    sent: IntCounter,
}

impl Metrics {
    /// Asks `source` from now on.
    pub fn watch_cache(
        &self,
        source: impl Fn() -> Option<Vec<CacheFigure>> + Send + Sync + 'static,
    ) {
        let figures = &self.0.cache.figures;
        let mut place = figures
            .source
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *place = Some(Box::new(source));
    }
}

impl RouteMetrics {
    /// Counts a request that the cache has had to do with. `result` is one of a few words; the age is in seconds, of what was
    /// kept before.
    pub fn count_cached(&self, result: &'static str, age: Option<u64>, sent: u64) {
        let cache = &self.metrics.0.cache;
        let series = self.cached.handle(result, || CachedSeries {
            requests: cache.requests.with_label_values(&[&*self.route, result]),
            sent: cache.sent.with_label_values(&[&*self.route, result]),
        });
        series.requests.inc();
        series.sent.inc_by(sent);
        if let Some(age) = age {
            let make = || -> Histogram { cache.ages.with_label_values(&[&*self.route]) };
            self.ages.handle((), make).observe(age as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(metrics: &Metrics, name: &str) -> Vec<String> {
        let text = String::from_utf8(metrics.expose()).unwrap();
        let of_name = text.lines().filter(|line| line.starts_with(name));
        of_name.map(str::to_owned).collect()
    }

    #[test]
    fn figures_are_asked_for_when_they_are_shown() {
        let metrics = Metrics::new();
        assert!(lines(&metrics, "northgate_cache").is_empty());
        let figure = |family, label, value| CacheFigure {
            family,
            label,
            value,
        };
        let asked = Arc::new(Mutex::new(0));
        let counted = asked.clone();
        metrics.watch_cache(move || {
            let mut asked = counted.lock().unwrap();
            *asked += 1;
            Some(vec![
                figure(CacheFamily::Entries, "memory", 7),
                figure(CacheFamily::Evictions, "memory", 10 + *asked),
            ])
        });
        for evicted in [11, 12] {
            let expected = [
                "northgate_cache_entries{tier=\"memory\"} 7".to_owned(),
                format!("northgate_cache_evictions_total{{tier=\"memory\"}} {evicted}"),
            ];
            assert_eq!(lines(&metrics, "northgate_cache"), expected);
        }
        metrics.watch_cache(|| None);
        assert!(lines(&metrics, "northgate_cache").is_empty());
    }

    #[test]
    fn a_route_counts_what_the_cache_has_done() {
        let metrics = Metrics::new();
        let route = metrics.route("a");
        route.count_cached("miss", None, 10);
        route.count_cached("hit", Some(70), 10);
        route.count_cached("hit", Some(5), 10);
        let expected = [
            "northgate_cache_requests_total{http_route=\"a\",result=\"hit\"} 2",
            "northgate_cache_requests_total{http_route=\"a\",result=\"miss\"} 1",
        ];
        assert_eq!(lines(&metrics, "northgate_cache_requests_total"), expected);
        let expected = [
            "northgate_cache_age_seconds_sum{http_route=\"a\"} 75",
            "northgate_cache_age_seconds_count{http_route=\"a\"} 2",
        ];
        let ages = lines(&metrics, "northgate_cache_age_seconds_");
        assert_eq!(ages[ages.len() - 2..], expected);
        let sent = lines(&metrics, "northgate_cache_response_body_bytes_total");
        assert_eq!(sent.len(), 2, "{sent:?}");
        metrics.retain(|owner| owner != super::super::Owner::Route("a"));
        assert!(lines(&metrics, "northgate_cache").is_empty());
    }
}
