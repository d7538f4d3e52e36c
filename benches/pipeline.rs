//! What the gateway adds to a request: everything between the engine's callbacks and the room that answers them,
//! one benchmark per step, in the order of the steps. The engine's own work (parsing, sockets, copying bodies) is
//! what `loadtest/` measures.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue};
use northgate::config::{Configuration, compile, load_text};
use northgate::facts::{Facts, RequestId, Scheme, Template, TraceContext, Variables, View};
use northgate::observability::{AccessRecord, Format, Metrics};
use northgate::response::{Code, Dialect, Reply};
use northgate::routing::{Lookup, RequestParts, Route, Table};
use northgate::upstream::{Attempt, Upload};
use pingora::http::RequestHeader;
use rand::RngCore;

const ROUTES: usize = 1_000;
const MEASURED_PATH: &str = "/v1/service-617/orders/1234";
const CLIENT_IDLE: Duration = Duration::from_secs(15);
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A configuration with two upstreams of ten endpoints each and the measured kinds of route among a thousand.
fn configuration(metrics: &Metrics) -> Configuration {
    let endpoints: Vec<String> = (1..=10)
        .map(|n| format!("{{ address = \"192.0.2.{n}:80\", weight = {n} }}"))
        .collect();
    let endpoints = endpoints.join(", ");
    let mut text = format!(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        policies.response_headers = {{ remove = ["server", "x-powered-by", "x-internal-*"], set = {{ x-api-version = "v1" }} }}

        [upstreams.in-turn]
        endpoints = [{endpoints}]

        [upstreams.less-busy]
        endpoints = [{endpoints}]
        balance = "least_request"

        [routes.static]
        match = {{ path = "/static/{{id}}" }}
        upstream = "less-busy"
        policies.request_headers = {{ remove = ["cookie"], set = {{ x-edge = "north" }}, add = {{ via = "1.1 edge" }} }}

        [routes.templated]
        match = {{ path = "/templated/{{id}}" }}
        upstream = "in-turn"
        policies.request_headers = {{ remove = ["cookie"], set = {{ x-order = "{{path.id}}", x-client = "{{client.ip}}" }} }}
        policies.response_headers = {{ remove = ["server", "x-powered-by", "x-internal-*"], set = {{ x-served = "{{request.id}}" }} }}

        [routes.bare]
        match = {{ path = "/bare/{{id}}" }}
        upstream = "in-turn"
        policies.response_headers = "off"
        "#
    );
    for n in 0..ROUTES - 3 {
        text += &format!(
            "\n[routes.order-{n}]\nmatch = {{ path = \"/v1/service-{n}/orders/{{id}}\", methods = [\"GET\"] }}\n\
             upstream = \"in-turn\"\n"
        );
    }
    let mut loaded = load_text("pipeline.toml", &text);
    compile(&mut loaded, metrics)
        .unwrap_or_else(|| panic!("{}", loaded.diagnostics.render(&loaded.sources, false)))
}

fn table(configuration: &Configuration) -> &Table<Arc<Route>> {
    &configuration.snapshot.listeners[0].table
}

/// As a browser behind one proxy sends it.
fn request(path: &str) -> RequestHeader {
    let mut request = RequestHeader::build("GET", path.as_bytes(), None).expect("it is valid");
    for (name, value) in [
        ("host", "shop.example"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)"),
        ("accept", "application/json"),
        ("accept-language", "en-GB,en;q=0.8"),
        ("accept-encoding", "gzip, br"),
        ("cookie", "session=0123456789abcdef; theme=dark"),
        ("traceparent", TRACEPARENT),
    ] {
        request
            .insert_header(name, value)
            .expect("it is a valid header");
    }
    request
}

/// As a framework answers, with three headers that nobody outside needs to see.
fn response() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-length", "1024"),
        ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("cache-control", "no-store"),
        ("server", "orders/4.2"),
        ("x-powered-by", "Express"),
        ("x-internal-shard", "7"),
    ] {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    headers
}

/// A copy with room for what is added, as the proxy room makes it before the hooks run.
fn roomy(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.reserve(8);
    headers
}

fn draw_facts(request: &RequestHeader) -> Facts {
    let mut bits = [0; 40];
    rand::rng().fill_bytes(&mut bits);
    let (mut id, mut trace_id, mut span_id) = ([0; 16], [0; 16], [0; 8]);
    id.copy_from_slice(&bits[..16]);
    trace_id.copy_from_slice(&bits[16..32]);
    span_id.copy_from_slice(&bits[32..]);
    let mut facts = Facts::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), Scheme::Https);
    facts.request_id = RequestId::from_random(id);
    facts.trace =
        TraceContext::continue_or_start(request.headers.get("traceparent"), trace_id, span_id);
    facts
}

fn find<'t>(table: &'t Table<Arc<Route>>, request: &RequestHeader) -> (&'t Arc<Route>, Facts) {
    let parts = RequestParts {
        host: "shop.example",
        path: request.uri.path(),
        query: None,
        method: &request.method,
        headers: &request.headers,
    };
    let Lookup::Found(route, captures) = table.find(&parts) else {
        panic!("no route for {}", request.uri);
    };
    let mut facts = draw_facts(request);
    facts.captures = captures.into_ranges();
    (route, facts)
}

fn facts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("facts");
    let mut continued = request(MEASURED_PATH);
    group.bench_function("trace_continued", |bencher| {
        bencher.iter(|| draw_facts(black_box(&continued)))
    });
    continued.remove_header("traceparent");
    group.bench_function("trace_started", |bencher| {
        bencher.iter(|| draw_facts(black_box(&continued)))
    });
    let drawn = draw_facts(&continued);
    group.bench_function("id_headers", |bencher| {
        bencher.iter(|| {
            let facts = black_box(&drawn);
            (
                facts.request_id.header(),
                facts.trace.trace_id_header(),
                facts.trace.traceparent(),
            )
        })
    });
    group.finish();
}

fn route(criterion: &mut Criterion) {
    let configuration = configuration(&Metrics::new());
    let table = table(&configuration);
    let request = request(MEASURED_PATH);
    let parts = RequestParts {
        host: "shop.example",
        path: request.uri.path(),
        query: None,
        method: &request.method,
        headers: &request.headers,
    };
    assert_eq!(&*find(table, &request).0.name, "order-617");
    criterion.bench_function("route/1000", |bencher| {
        bencher.iter(|| match table.find(black_box(&parts)) {
            // As the proxy room keeps it.
            Lookup::Found(route, captures) => Some((route.clone(), captures.into_ranges())),
            _ => None,
        })
    });
}

fn hooks(criterion: &mut Criterion) {
    let configuration = configuration(&Metrics::new());
    let table = table(&configuration);
    let mut group = criterion.benchmark_group("hooks");
    for kind in ["bare", "static", "templated"] {
        let request = request(&format!("/{kind}/1234"));
        let (route, facts) = find(table, &request);
        let view = View {
            facts: &facts,
            request: &request,
        };
        group.bench_function(format!("request_headers/{kind}"), |bencher| {
            bencher.iter_batched_ref(
                || roomy(&request.headers),
                |headers| route.pipeline.upstream_request(headers, black_box(view)),
                BatchSize::SmallInput,
            )
        });
        let response = response();
        group.bench_function(format!("response_headers/{kind}"), |bencher| {
            bencher.iter_batched_ref(
                || roomy(&response),
                |headers| route.pipeline.response(headers, black_box(view), true),
                BatchSize::SmallInput,
            )
        });
    }
    group.finish();
}

/// The lookup of an address among networks, next to each other with gaps between: nothing merges.
fn addresses(criterion: &mut Criterion) {
    let folder = std::env::temp_dir();
    let mut group = criterion.benchmark_group("ip_access");
    for count in [10u32, 10_000, 100_000] {
        let path = folder.join(format!(
            "northgate-bench-{}-{count}.txt",
            std::process::id()
        ));
        let networks: String = (0..count)
            .map(|n| format!("{}/28\n", Ipv4Addr::from_bits(0x0a00_0000 + n * 32)))
            .collect();
        std::fs::write(&path, networks).expect("there is room");
        let text = format!(
            "[listeners.public]\nbind = \"127.0.0.1:0\"\n[routes.open]\nmatch = {{ path = \"/{{*rest}}\" }}\n\
             respond = {{ status = 204 }}\n\
             policies.ip_access = {{ deny = [{{ file = {path:?} }}] }}\n"
        );
        let mut loaded = load_text("addresses.toml", &text);
        let configuration = compile(&mut loaded, &Metrics::new())
            .unwrap_or_else(|| panic!("{}", loaded.diagnostics.render(&loaded.sources, false)));
        std::fs::remove_file(&path).expect("it was there");
        let request = request("/");
        let (route, mut facts) = find(table(&configuration), &request);
        // A different one each time, so that the processor cannot foresee the way through the list.
        let mut drawn = 0x9e37_79b9_u32;
        group.bench_function(count.to_string(), |bencher| {
            bencher.iter(|| {
                drawn = drawn.wrapping_mul(0x9e37_79b1).wrapping_add(1);
                // Between two networks: always let in.
                let address = 0x0a00_0010 + (drawn % count) * 32;
                facts.client = IpAddr::V4(Ipv4Addr::from_bits(address));
                let view = View {
                    facts: &facts,
                    request: &request,
                };
                assert!(route.pipeline.request(black_box(view)).is_continue());
            })
        });
    }
    group.finish();
}

fn templates(criterion: &mut Criterion) {
    let configuration = configuration(&Metrics::new());
    let request = request("/templated/1234");
    let (_, facts) = find(table(&configuration), &request);
    let view = View {
        facts: &facts,
        request: &request,
    };
    let names = [Box::from("id")];
    let mut group = criterion.benchmark_group("template");
    for (name, text) in [
        ("rewrite", "/orders/{id}"),
        (
            "whole_url",
            "{request.scheme}://{request.host}{request.path}",
        ),
    ] {
        let template = Template::compile(text, Variables::Target(&names)).expect("it is valid");
        group.bench_function(name, |bencher| {
            let mut out = Vec::with_capacity(128);
            bencher.iter(|| {
                out.clear();
                black_box(&template).render(view, &mut out)
            })
        });
    }
    group.finish();
}

/// Choosing among ten weighted endpoints, with the copy of the engine's peer that comes with it.
fn picks(criterion: &mut Criterion) {
    let configuration = configuration(&Metrics::new());
    let mut group = criterion.benchmark_group("pick/10");
    for (name, balance) in [("in-turn", "round_robin"), ("less-busy", "least_request")] {
        let upstreams = &configuration.snapshot.upstreams;
        let upstream = upstreams
            .iter()
            .find(|upstream| upstream.name() == name)
            .expect("it is configured");
        group.bench_function(balance, |bencher| {
            bencher.iter(|| {
                let mut attempt =
                    Attempt::new(upstream.clone(), Instant::now(), None, Some(CLIENT_IDLE));
                attempt.pick(Upload::Nothing).is_ok()
            })
        });
    }
    group.finish();
}

/// A failure that the gateway reports itself, as a body.
fn replies(criterion: &mut Criterion) {
    let id = RequestId::from_random([7; 16]);
    criterion.bench_function("reply/problem", |bencher| {
        bencher.iter(|| {
            let mut reply = Reply::failure(black_box(Code::RouteNotFound));
            reply.render(Dialect::Problem, id.as_str());
            reply
        })
    });
}

fn records(criterion: &mut Criterion) {
    let id = RequestId::from_random([7; 16]);
    let record = AccessRecord {
        time: Duration::from_millis(1_767_225_600_123),
        listener: "public",
        route: "order-617",
        consumer: None,
        subject: None,
        credential: None,
        authenticator: None,
        certificate: None,
        client: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))),
        method: "GET",
        host: Some("shop.example"),
        path: MEASURED_PATH,
        protocol: "HTTP/1.1",
        status: 200,
        bytes_in: 0,
        bytes_out: 1024,
        total: Duration::from_micros(4_321),
        upstream_time: Some(Duration::from_micros(4_200)),
        first_byte: Some(Duration::from_micros(4_100)),
        upstream: Some("in-turn"),
        endpoint: Some("192.0.2.3:80"),
        attempts: 1,
        retried: None,
        retry_stop: None,
        hedge: None,
        cache: None,
        parts: None,
        span_id: b"",
        code: None,
        fault: None,
        flag: None,
        cause: None,
        degraded: None,
        fallback: None,
        limit: None,
        limit_rule: None,
        limit_decision: None,
        request_id: id.as_str().as_bytes(),
        trace_id: id.as_str().as_bytes(),
    };
    let mut group = criterion.benchmark_group("access_record");
    for (name, format) in [("json", Format::Json), ("text", Format::Text)] {
        group.bench_function(name, |bencher| {
            let mut line = Vec::with_capacity(1024);
            bencher.iter(|| {
                line.clear();
                black_box(&record).write(format, &mut line);
            })
        });
    }
    group.finish();
}

fn metrics(criterion: &mut Criterion) {
    let metrics = Metrics::new();
    let (route, upstream) = (metrics.route("order-617"), metrics.upstream("in-turn"));
    let mut group = criterion.benchmark_group("metrics");
    let took = Duration::from_micros(4_321);
    group.bench_function("route", |bencher| {
        bencher.iter(|| {
            route.observe(&http::Method::GET, black_box(200), "", took);
            route.count_bytes(0, 1024);
        })
    });
    group.bench_function("upstream", |bencher| {
        bencher.iter(|| upstream.observe(black_box(200), took))
    });
    group.finish();
}

criterion_group!(
    benches, facts, route, hooks, addresses, templates, picks, replies, records, metrics
);
criterion_main!(benches);
