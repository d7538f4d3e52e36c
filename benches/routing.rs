//! Lookups in tables of 10, 1,000 and 50,000 routes, and the building of such tables.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, Method};
use northgate::routing::{
    Lookup, Matcher, MatcherBuilder, PathTemplate, RequestParts, Table, TableBuilder, ValueMatch,
};

const SIZES: [usize; 3] = [10, 1_000, 50_000];

/// Ten kinds of route in turn: exact paths, parameters, rests, hosts, wildcard hosts, conditions.
fn route(index: usize) -> Matcher {
    let group = index / 10;
    let on = |path: String| -> MatcherBuilder {
        Matcher::builder().path(PathTemplate::parse(&path).expect("made well"))
    };
    let matcher = match index % 10 {
        0 => on(format!("/v1/service-{group}/status")).method(Method::GET),
        1 => on(format!("/v1/service-{group}/orders/{{id}}")).method(Method::GET),
        2 => on(format!("/v1/service-{group}/orders/{{id}}/items/{{item}}")).method(Method::GET),
        3 => on(format!("/assets/team-{group}/{{*rest}}")),
        4 => on("/v1/orders/{id}".to_owned()).host((&*format!("api-{group}.shop.example"), false)),
        5 => on("/{*rest}".to_owned()).host((&*format!("tenant-{group}.shop.example"), true)),
        6 => on(format!("/v1/service-{group}/orders")).method(Method::POST),
        7 => on(format!("/v1/service-{group}/search")).query("q", ValueMatch::Present(true)),
        8 => on(format!("/v1/service-{group}/status"))
            .method(Method::GET)
            .header(
                HeaderName::from_static("x-env"),
                ValueMatch::Exact("dev".into()),
            ),
        _ => on(format!("/{{tenant}}/reports/{group}")),
    };
    matcher.build()
}

fn table(size: usize) -> Table<usize> {
    let mut builder = TableBuilder::new();
    for index in 0..size {
        builder.insert(&format!("route-{index}"), route(index), index);
    }
    builder.build()
}

fn lookups(criterion: &mut Criterion) {
    for size in SIZES {
        let table = table(size);
        let mut group = criterion.benchmark_group(format!("find/{size}"));
        let last = size / 10 - 1;
        let headers = HeaderMap::new();
        let cases = [
            (
                "exact",
                "www.shop.example",
                format!("/v1/service-{last}/status"),
                None,
                Method::GET,
            ),
            (
                "param",
                "www.shop.example",
                format!("/v1/service-{last}/orders/1234"),
                None,
                Method::GET,
            ),
            (
                "params",
                "www.shop.example",
                format!("/v1/service-{last}/orders/1234/items/5"),
                None,
                Method::GET,
            ),
            (
                "rest",
                "www.shop.example",
                format!("/assets/team-{last}/css/site.css"),
                None,
                Method::GET,
            ),
            (
                "host",
                &format!("api-{last}.shop.example"),
                "/v1/orders/1234".to_owned(),
                None,
                Method::GET,
            ),
            (
                "wildcard",
                &format!("x.tenant-{last}.shop.example"),
                "/any/path".to_owned(),
                None,
                Method::GET,
            ),
            (
                "query",
                "www.shop.example",
                format!("/v1/service-{last}/search"),
                Some("page=2&q=a+b"),
                Method::GET,
            ),
            (
                "backtrack",
                "www.shop.example",
                format!("/v1/reports/{last}"),
                None,
                Method::GET,
            ),
            (
                "miss",
                "www.shop.example",
                "/v1/service-x/orders/1234".to_owned(),
                None,
                Method::GET,
            ),
            (
                "405",
                "www.shop.example",
                format!("/v1/service-{last}/orders"),
                None,
                Method::PUT,
            ),
        ];
        for (name, host, path, query, method) in &cases {
            let request = RequestParts {
                host,
                path,
                query: *query,
                method,
                headers: &headers,
            };
            let is_expected = match table.find(&request) {
                Lookup::Found(..) => !matches!(*name, "miss" | "405"),
                Lookup::MethodNotAllowed(_) => *name == "405",
                Lookup::NotFound => *name == "miss",
            };
            assert!(is_expected, "{name} of {size}");
            group.bench_function(*name, |bencher| {
                bencher.iter(|| table.find(black_box(&request)))
            });
        }
    }
}

/// Lookups that find everything out of the processor's caches, as a busy gateway's do.
fn spread(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("find_spread");
    let headers = HeaderMap::new();
    for size in SIZES {
        let table = table(size);
        let groups = size / 10;
        let paths: Vec<String> = (0..10_000)
            .map(|step| format!("/v1/service-{}/orders/{step}", step * 7_919 % groups))
            .collect();
        let mut next = paths.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                let path = next.next().map_or("/", String::as_str);
                let request = RequestParts {
                    host: "www.shop.example",
                    path,
                    query: None,
                    method: &Method::GET,
                    headers: &headers,
                };
                matches!(table.find(black_box(&request)), Lookup::Found(..))
            });
        });
    }
}

fn builds(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build");
    group.sample_size(10);
    for size in SIZES {
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| table(size))
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("shadowed");
    group.sample_size(10);
    for size in SIZES {
        let table = table(size);
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| table.shadowed().len());
        });
    }
    group.finish();
}

criterion_group!(benches, lookups, spread, builds);
criterion_main!(benches);
