//! The catalog of metrics, named by the OpenTelemetry HTTP semantic conventions in their Prometheus form.
//!
//! Labels hold names from configuration, methods and statuses only, never what a client wrote.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Registry, TextEncoder,
};

use super::CertificateMetrics;
use super::balance_metrics;
use super::bulkhead_metrics::{BulkheadCatalog, Kind};
use super::cache_metrics::{CacheCatalog, CachedSeries};
use super::discovery_metrics::DiscoveryCatalog;
use super::guard_metrics::GuardCatalog;
use super::overload_metrics::OverloadCatalog;
use super::part_metrics::PartCatalog;
use super::register::Register;
use super::retry_metrics::RetryCatalog;
use super::series::Series;
use super::shaping_metrics::ShapingCatalog;
use super::store_metrics::StoreCatalog;

/// Every metric of one gateway. Cloning costs a reference.
#[derive(Clone)]
pub struct Metrics(pub(super) Arc<Catalog>);

pub(super) struct Catalog {
    registry: Registry,
    pub(super) server_duration: HistogramVec,
    pub(super) server_active: IntGaugeVec,
    pub(super) server_passive: IntGaugeVec,
    pub(super) server_received: IntCounterVec,
    pub(super) server_sent: IntCounterVec,
    pub(super) client_duration: HistogramVec,
    pub(super) client_failures: IntCounterVec,
    pub(super) endpoint_healthy: IntGaugeVec,
    pub(super) endpoint_active: IntGaugeVec,
    pub(super) upstream_panic: IntGaugeVec,
    pub(super) connections: IntGaugeVec,
    pub(super) connections_total: IntCounterVec,
    pub(super) connections_refused: IntCounterVec,
    pub(super) connections_closed: IntCounterVec,
    pub(super) certificate_reloads: IntCounterVec,
    pub(super) certificate_not_after: IntGaugeVec,
    access_log_dropped: IntCounter,
    pub(super) config_loaded: Gauge,
    pub(super) config_reloads: IntCounterVec,
    pub(super) config_reload_ok: Gauge,
    pub(super) config_last_good: Gauge,
    pub(super) config_quarantined: IntGaugeVec,
    pub(super) keys: IntGaugeVec,
    pub(super) keys_fetched: IntGaugeVec,
    pub(super) key_fetches: IntCounterVec,
    pub(super) upstream_bulkheads: BulkheadCatalog,
    pub(super) route_bulkheads: BulkheadCatalog,
    pub(super) concurrency: BulkheadCatalog,
    pub(super) overload: OverloadCatalog,
    pub(super) guards: GuardCatalog,
    pub(super) limit_decisions: IntCounterVec,
    pub(super) limit_keys: IntGaugeVec,
    pub(super) stores: StoreCatalog,
    pub(super) discovery: DiscoveryCatalog,
    pub(super) shaping: ShapingCatalog,
    pub(super) retries: RetryCatalog,
    pub(super) cache: CacheCatalog,
    pub(super) parts: PartCatalog,
    upgrades: IntCounterVec,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    pub fn new() -> Metrics {
        let registry = Registry::new();
        let register = Register(&registry);
        register_process(&registry);
        let catalog = Catalog {
            server_duration: register.durations(
                "http_server_request_duration_seconds",
                "Duration of requests from their complete header to the end of their response.",
                &[
                    "http_route",
                    "http_request_method",
                    "http_response_status_code",
                    "error_type",
                ],
            ),
            server_active: register.gauges(
                "http_server_active_requests",
                "Requests being served now.",
                &["northgate_listener"],
            ),
            server_passive: register.gauges(
                "northgate_passive_requests",
                "Of the requests being served, those that make no work: open tunnels, and answers that wait for a client to read them.",
                &["northgate_listener"],
            ),
            server_received: register.counters(
                "http_server_request_body_bytes_total",
                "Bytes of request bodies received.",
                &["http_route"],
            ),
            server_sent: register.counters(
                "http_server_response_body_bytes_total",
                "Bytes of response bodies sent.",
                &["http_route"],
            ),
            client_duration: register.durations(
                "http_client_request_duration_seconds",
                "Duration of exchanges with an upstream, from the first attempt to the end.",
                &["northgate_upstream", "http_response_status_code"],
            ),
            client_failures: register.counters(
                "northgate_upstream_failures_total",
                "Attempts on an upstream that failed, by the code of the failure.",
                &["northgate_upstream", "error_type"],
            ),
            endpoint_healthy: register.gauges(
                "northgate_endpoint_healthy",
                "1 while the endpoint can be chosen, 0 while checks find it unhealthy, it is ejected, or its breaker is open.",
                &["northgate_upstream", "server_address"],
            ),
            endpoint_active: register.gauges(
                "northgate_endpoint_active_requests",
                "Requests that the endpoint is serving now.",
                &["northgate_upstream", "server_address"],
            ),
            upstream_panic: balance_metrics::panic(&register),
            connections: register.gauges(
                "northgate_connections",
                "Client connections open now.",
                &["northgate_listener"],
            ),
            connections_total: register.counters(
                "northgate_connections_total",
                "Client connections accepted.",
                &["northgate_listener"],
            ),
            connections_refused: register.counters(
                "northgate_connections_refused_total",
                "Client connections closed before their first request, by reason.",
                &["northgate_listener", "reason"],
            ),
            connections_closed: register.counters(
                "northgate_connections_closed_total",
                "Client connections closed by the gateway after they were in use, by reason.",
                &["northgate_listener", "reason"],
            ),
            certificate_reloads: register.counters(
                "northgate_certificate_reloads_total",
                "Times that changed files of certificates were taken up, or refused because they are bad.",
                &["northgate_listener", "result"],
            ),
            certificate_not_after: register.gauges(
                "northgate_certificate_not_after_timestamp_seconds",
                "Unix time at which the certificate expires.",
                &["northgate_listener", "certificate"],
            ),
            access_log_dropped: register.counter(
                "northgate_access_log_dropped_total",
                "Access records dropped because they could not be written in time.",
            ),
            config_loaded: register.gauge(
                "northgate_config_loaded_timestamp_seconds",
                "Unix time at which the configuration now serving was loaded.",
            ),
            config_reloads: register.counters(
                "northgate_config_reloads_total",
                "Times that the configuration was loaded anew, and applied or refused.",
                &["result"],
            ),
            config_reload_ok: register.gauge(
                "northgate_config_last_reload_successful",
                "1 unless the last reload was refused; then what serves is older than the files.",
            ),
            config_last_good: register.gauge(
                "northgate_config_last_good",
                "1 where the files have errors and the configuration that served before is served, else 0.",
            ),
            config_quarantined: register.gauges(
                "northgate_config_quarantined",
                "Objects that have mistakes and are not served.",
                &["kind"],
            ),
            keys: register.gauges(
                "northgate_identity_keys",
                "Keys that verify tokens of the provider now.",
                &["northgate_provider"],
            ),
            keys_fetched: register.gauges(
                "northgate_identity_keys_fetched_timestamp_seconds",
                "Unix time at which the keys of the provider were fetched last.",
                &["northgate_provider"],
            ),
            key_fetches: register.counters(
                "northgate_identity_key_fetches_total",
                "Times that the keys of the provider were asked for: fetched, or failed.",
                &["northgate_provider", "result"],
            ),
            retries: RetryCatalog::new(&register),
            upstream_bulkheads: BulkheadCatalog::new(&register, Kind::Upstream),
            route_bulkheads: BulkheadCatalog::new(&register, Kind::Route),
            concurrency: BulkheadCatalog::new(&register, Kind::Concurrency),
            overload: OverloadCatalog::new(&register),
            guards: GuardCatalog::new(&register),
            limit_decisions: register.counters(
                "northgate_limit_decisions_total",
                "Requests that a limit has admitted or refused, or would have refused: shadow.",
                &["northgate_limit", "decision"],
            ),
            limit_keys: register.gauges(
                "northgate_limit_keys",
                "Keys that the limit knows now.",
                &["northgate_limit"],
            ),
            stores: StoreCatalog::new(&register),
            discovery: DiscoveryCatalog::new(&register),
            shaping: ShapingCatalog::new(&register),
            cache: CacheCatalog::new(&register),
            parts: PartCatalog::new(&register),
            upgrades: register.counters(
                "northgate_upgrades_total",
                "Times that another program was to take the place of this one: handed_over, failed, or taken_back.",
                &["result"],
            ),
            registry,
        };
        catalog.config_reload_ok.set(1.0);
        Metrics(Arc::new(catalog))
    }

    /// Access records that were dropped because the writer could not keep up.
    pub fn access_log_dropped(&self) -> IntCounter {
        self.0.access_log_dropped.clone()
    }

    /// An upgrade has come to this.
    pub fn upgraded(&self, result: &'static str) {
        self.0.upgrades.with_label_values(&[result]).inc();
    }

    /// The Prometheus text exposition of everything.
    pub fn expose(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.0.registry.gather(), &mut text) {
            log::error!("cannot encode the metrics: {error}");
        }
        text
    }

    /// The content type of [`Metrics::expose`].
    pub fn content_type() -> &'static str {
        prometheus::TEXT_FORMAT
    }

    pub fn route(&self, route: &str) -> RouteMetrics {
        RouteMetrics {
            route: route.into(),
            metrics: self.clone(),
            durations: Series::default(),
            bytes: Series::default(),
            cached: Series::default(),
            ages: Series::default(),
        }
    }

    pub fn listener(&self, listener: &str) -> ListenerMetrics {
        let refused = |reason: &str| {
            let refused = &self.0.connections_refused;
            refused.with_label_values(&[listener, reason])
        };
        let closed = |reason: &str| {
            self.0
                .connections_closed
                .with_label_values(&[listener, reason])
        };
        ListenerMetrics {
            active_requests: self.0.server_active.with_label_values(&[listener]),
            passive_requests: self.0.server_passive.with_label_values(&[listener]),
            connections: self.0.connections.with_label_values(&[listener]),
            connections_total: self.0.connections_total.with_label_values(&[listener]),
            refused_full: refused("full"),
            refused_address: refused("address"),
            refused_handshakes: refused("handshakes"),
            refused_proxy_protocol: refused("proxy_protocol"),
            refused_handshake: refused("tls_handshake"),
            refused_timeout: refused("timeout"),
            closed_idle: closed("idle"),
            closed_age: closed("age"),
            closed_requests: closed("requests"),
            closed_slow_read: closed("slow_read"),
            closed_h2_flood: closed("h2_flood"),
            closed_h2_protocol: closed("h2_protocol"),
            certificates: CertificateMetrics {
                listener: listener.into(),
                reloads: self.0.certificate_reloads.clone(),
                not_after: self.0.certificate_not_after.clone(),
            },
        }
    }
}

#[cfg(target_os = "linux")]
fn register_process(registry: &Registry) {
    let process = prometheus::process_collector::ProcessCollector::for_self();
    registry
        .register(Box::new(process))
        .expect("process metrics have names of their own");
}

#[cfg(not(target_os = "linux"))]
fn register_process(_: &Registry) {}

/// The handles of one route. Series appear when they are first needed, so that 50,000 routes cost nothing until
/// they are used.
#[derive(Debug)]
pub struct RouteMetrics {
    pub(super) route: Box<str>,
    pub(super) metrics: Metrics,
    durations: Series<(MethodLabel, u16, &'static str), Histogram>,
    bytes: Series<(), (IntCounter, IntCounter)>,
    pub(super) cached: Series<&'static str, CachedSeries>,
    pub(super) ages: Series<(), Histogram>,
}

impl RouteMetrics {
    /// Counts one exchange. `error` is the code of the gateway's own failure, or `""`.
    pub fn observe(&self, method: &Method, status: u16, error: &'static str, duration: Duration) {
        let method = MethodLabel::of(method);
        let make = || {
            let mut status_text = itoa::Buffer::new();
            let labels = [&*self.route, method.0, status_text.format(status), error];
            self.metrics.0.server_duration.with_label_values(&labels)
        };
        self.durations
            .handle((method, status, error), make)
            .observe(duration.as_secs_f64());
    }

    pub fn count_bytes(&self, received: u64, sent: u64) {
        let (receive, send) = self.bytes.handle((), || {
            (
                self.metrics
                    .0
                    .server_received
                    .with_label_values(&[&self.route]),
                self.metrics.0.server_sent.with_label_values(&[&self.route]),
            )
        });
        receive.inc_by(received);
        send.inc_by(sent);
    }
}

/// The handles of one listener.
#[derive(Debug)]
pub struct ListenerMetrics {
    pub active_requests: IntGauge,
    pub passive_requests: IntGauge,
    pub connections: IntGauge,
    pub connections_total: IntCounter,
    pub refused_full: IntCounter,
    pub refused_address: IntCounter,
    pub refused_handshakes: IntCounter,
    pub refused_proxy_protocol: IntCounter,
    pub refused_handshake: IntCounter,
    pub refused_timeout: IntCounter,
    /// It was not used for `timeouts.keepalive`.
    pub closed_idle: IntCounter,
    /// It was as old as `timeouts.max_connection_age`.
    pub closed_age: IntCounter,
    /// It had carried `limits.requests_per_connection`.
    pub closed_requests: IntCounter,
    /// The client did not take what it had asked for.
    pub closed_slow_read: IntCounter,
    /// More resets, control frames or refused requests than a client needs.
    pub closed_h2_flood: IntCounter,
    /// What came is not HTTP/2.
    pub closed_h2_protocol: IntCounter,
    pub certificates: CertificateMetrics,
}

/// A method as a label: the known ones by name, `_OTHER` for what a client invents, as the conventions ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MethodLabel(&'static str);

impl MethodLabel {
    fn of(method: &Method) -> MethodLabel {
        MethodLabel(match *method {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            Method::HEAD => "HEAD",
            Method::OPTIONS => "OPTIONS",
            Method::TRACE => "TRACE",
            Method::CONNECT => "CONNECT",
            _ => "_OTHER",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_is_one_sample_of_its_route() {
        let metrics = Metrics::new();
        let route = metrics.route("get-order");
        route.observe(&Method::GET, 200, "", Duration::from_millis(7));
        route.observe(
            &Method::from_bytes(b"BREW").unwrap(),
            404,
            "route_not_found",
            Duration::ZERO,
        );
        let text = String::from_utf8(metrics.expose()).unwrap();
        assert!(text.contains("http_server_request_duration_seconds_count{error_type=\"\",http_request_method=\"GET\",http_response_status_code=\"200\",http_route=\"get-order\"} 1"), "{text}");
        assert!(text.contains("http_request_method=\"_OTHER\""), "{text}");
        assert!(text.contains("process_cpu_seconds_total"), "{text}");
    }

    #[test]
    fn an_unused_route_has_no_series() {
        let metrics = Metrics::new();
        let _routes: Vec<_> = (0..100)
            .map(|n| metrics.route(&format!("route-{n}")))
            .collect();
        assert!(
            !String::from_utf8(metrics.expose())
                .unwrap()
                .contains("route-")
        );
    }
}
