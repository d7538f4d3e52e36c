//! Ending the series of what is no more.

use std::collections::HashMap;

use prometheus::core::{MetricVec, MetricVecBuilder};
use prometheus::proto::LabelPair;

use super::Metrics;

/// What a series is of, by the label that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner<'n> {
    Route(&'n str),
    Upstream(&'n str),
    Listener(&'n str),
    /// `jwt.main`
    Provider(&'n str),
    /// `routes.search.policies.rate_limit`
    Limit(&'n str),
    Store(&'n str),
    /// Of an aggregation.
    Part {
        route: &'n str,
        part: &'n str,
    },
}

impl Metrics {
    /// Ends the series of everything that is not there any more. It walks over all series, so that it is nothing for
    /// the request path; series that are made in the meantime must be of what is there.
    pub fn retain(&self, is_there: impl Fn(Owner<'_>) -> bool) {
        let all = &*self.0;
        for durations in [
            &all.server_duration,
            &all.client_duration,
            &all.upstream_bulkheads.waits,
            &all.route_bulkheads.waits,
            &all.stores.durations,
            &all.stores.sync_lag,
            &all.concurrency.waits,
            &all.cache.ages,
            &all.parts.durations,
        ] {
            retain(durations, &is_there);
        }
        for counters in [
            &all.server_received,
            &all.server_sent,
            &all.client_failures,
            &all.connections_total,
            &all.connections_refused,
            &all.connections_closed,
            &all.certificate_reloads,
            &all.key_fetches,
            &all.stores.decisions,
            &all.stores.unshared,
            &all.upstream_bulkheads.refused,
            &all.route_bulkheads.refused,
            &all.concurrency.refused,
            &all.limit_decisions,
            &all.discovery.changes,
            &all.discovery.empty,
            &all.discovery.failures,
            &all.cache.requests,
            &all.cache.sent,
            &all.parts.results,
        ] {
            retain(counters, &is_there);
        }
        for gauges in [
            &all.server_active,
            &all.server_passive,
            &all.endpoint_healthy,
            &all.endpoint_active,
            &all.upstream_panic,
            &all.connections,
            &all.certificate_not_after,
            &all.keys,
            &all.keys_fetched,
            &all.limit_keys,
            &all.stores.down,
            &all.discovery.up,
            &all.discovery.endpoints,
            &all.discovery.heard,
            &all.discovery.changed,
            &all.discovery.from_disk,
        ] {
            retain(gauges, &is_there);
        }
    }
}

fn retain<B: MetricVecBuilder>(series: &MetricVec<B>, is_there: &impl Fn(Owner<'_>) -> bool) {
    use prometheus::core::Collector;
    for family in series.collect() {
        for metric in family.get_metric() {
            let labels = metric.get_label();
            let mut owners = labels.iter().filter_map(|label| owner(label, labels));
            if owners.all(is_there) {
                continue;
            }
            let pairs = labels.iter().map(|label| (label.name(), label.value()));
            let labels: HashMap<&str, &str> = pairs.collect();
            // What is gone already has been ended by somebody else.
            let _ = series.remove(&labels);
        }
    }
}

/// `all` are the labels of its series.
fn owner<'l>(label: &'l LabelPair, all: &'l [LabelPair]) -> Option<Owner<'l>> {
    Some(match label.name() {
        "http_route" => Owner::Route(label.value()),
        "northgate_upstream" => Owner::Upstream(label.value()),
        "northgate_listener" => Owner::Listener(label.value()),
        "northgate_provider" => Owner::Provider(label.value()),
        "northgate_limit" => Owner::Limit(label.value()),
        "northgate_store" => Owner::Store(label.value()),
        "northgate_part" => Owner::Part {
            route: all.iter().find(|it| it.name() == "http_route")?.value(),
            part: label.value(),
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Decision, StoreResult};
    use super::*;

    #[test]
    fn what_is_gone_has_no_series() {
        let metrics = Metrics::new();
        for name in ["stays", "goes"] {
            let route = metrics.route(name);
            route.observe(&http::Method::GET, 200, "", Duration::from_millis(1));
            route.count_bytes(1, 1);
            let upstream = metrics.upstream(name);
            upstream.observe(200, Duration::from_millis(1));
            upstream.count_failure("upstream_unhealthy");
            upstream.endpoint_healthy("127.0.0.1:1").set(1);
            let listener = metrics.listener(name);
            listener.connections.inc();
            listener.passive_requests.inc();
            for bulkhead in [
                metrics.upstream_bulkhead(name),
                metrics.route_bulkhead(name),
            ] {
                bulkhead.waited(Duration::from_millis(1));
                bulkhead.refused("full");
            }
            let keys = metrics.keys(name);
            keys.used(1);
            keys.fetched(Duration::from_secs(1));
            let limit = metrics.limit(name);
            limit.count(Decision::Admitted);
            limit.add_keys(1);
            let discovery = metrics.discovery(name, "dns");
            discovery.heard(std::time::SystemTime::now());
            discovery.failed("refused");
            discovery.changed(1);
            discovery.left_empty_aside();
            discovery.is_from_disk(true);
            let store = metrics.store(name);
            store.observe(StoreResult::Ok, Duration::from_millis(1));
            store.server_fails();
        }
        metrics.retain(|owner| {
            let (Owner::Route(name)
            | Owner::Upstream(name)
            | Owner::Listener(name)
            | Owner::Provider(name)
            | Owner::Limit(name)
            | Owner::Store(name)
            | Owner::Part { part: name, .. }) = owner;
            name == "stays"
        });
        let text = String::from_utf8(metrics.expose()).unwrap();
        assert!(!text.contains("\"goes\""), "{text}");
        for label in [
            "http_route",
            "northgate_upstream",
            "northgate_listener",
            "northgate_provider",
            "northgate_limit",
        ] {
            assert!(
                text.contains(&format!("{label}=\"stays\"")),
                "{label}: {text}"
            );
        }
    }
}
