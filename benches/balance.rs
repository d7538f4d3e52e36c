//! What it costs to choose among a thousand endpoints, for each way to choose; the bar is 300 ns. And what it costs when one
//! of them becomes unhealthy, which is not on the way of a request.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use northgate::config::{compile, load_text};
use northgate::observability::Metrics;
use northgate::upstream::{Asked, Choice, Order, Upstream};

const ENDPOINTS: usize = 1_000;

/// A thousand endpoints of three different weights, each said `more` of by its number.
fn endpoints(more: impl Fn(usize) -> String) -> String {
    let endpoint = |n: usize| {
        let (third, fourth, weight) = (n / 250, n % 250, 1 + n % 3);
        format!(
            "{{ address = \"192.0.{third}.{fourth}:80\", weight = {weight}{} }}",
            more(n)
        )
    };
    (0..ENDPOINTS).map(endpoint).collect::<Vec<_>>().join(", ")
}

/// An upstream of these, in service, of which each has answered already.
fn upstream(endpoints: &str, settings: &str) -> Arc<Upstream> {
    let text = format!(
        "[listeners.public]\nbind = \"127.0.0.1:0\"\n[upstreams.shop]\nendpoints = [{endpoints}]\n{settings}\n\
         [routes.all]\nmatch = {{ path = \"/\" }}\nupstream = \"shop\"\n",
    );
    let mut loaded = load_text("balance.toml", &text);
    let configuration = compile(&mut loaded, &Metrics::new())
        .unwrap_or_else(|| panic!("{}", loaded.diagnostics.render(&loaded.sources, false)));
    let upstream = configuration
        .snapshot
        .upstream("shop")
        .expect("it is there");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(upstream.prepare(None));
    for (n, choice) in choices(upstream).iter().enumerate() {
        let took = Duration::from_micros(1_000 + n as u64 % 500);
        choice.took(Instant::now(), took);
    }
    upstream.clone()
}

/// Keys as they are: hashes, spread over all numbers.
fn next(key: &mut u64) -> u64 {
    *key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    *key
}

/// As many as there are endpoints, twenty times over.
fn choices(upstream: &Upstream) -> Vec<Choice> {
    let (now, mut key) = (Instant::now(), 0);
    let choices = (0..20 * ENDPOINTS).filter_map(|_| {
        let key = Some(next(&mut key));
        let asked = Asked {
            key,
            ..Asked::default()
        };
        upstream.choose(now, asked)
    });
    choices.collect()
}

fn choose(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("choose");
    group.measurement_time(Duration::from_secs(3));
    group.warm_up_time(Duration::from_secs(1));
    let plain = endpoints(|_| String::new());
    let zoned = endpoints(|n| format!(", zone = \"{}\"", n % 4));
    // So that there is one group, and all can be chosen.
    let labelled = endpoints(|_| ", labels = { version = \"v2\" }".to_owned());
    for (name, endpoints, settings) in [
        ("round_robin", &plain, "balance = \"round_robin\""),
        ("least_request", &plain, "balance = \"least_request\""),
        ("ewma", &plain, "balance = \"ewma\""),
        ("random", &plain, "balance = \"random\""),
        ("hash", &plain, "balance = { hash = \"client\" }"),
        (
            "hash_bounded",
            &plain,
            "balance = { hash = \"client\", max_load = 1.25 }",
        ),
        ("sticky", &plain, "sticky = {}"),
        (
            "zones",
            &zoned,
            "balance = \"least_request\"\nzones = { local = \"1\", at_least = 300 }",
        ),
        (
            "local_zone",
            &zoned,
            "balance = \"least_request\"\nzones = { local = \"1\" }",
        ),
        (
            "subset",
            &labelled,
            "balance = \"least_request\"\nsubset = { labels = { version = \"v2\" } }",
        ),
    ] {
        let upstream = upstream(endpoints, settings);
        let tried = choices(&upstream);
        let cookies: Vec<Option<Vec<u8>>> = tried.iter().map(cookie).collect();
        for (try_, name) in [(1, name.to_owned()), (2, format!("{name}_again"))] {
            let now = Instant::now();
            let (mut key, mut turn) = (0, 0);
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    turn = (turn + 1) % tried.len();
                    let asked = Asked {
                        key: Some(next(&mut key)),
                        cookie: cookies[turn].as_deref(),
                        tried: (try_ == 2).then(|| &tried[turn]),
                    };
                    upstream.choose(black_box(now), asked).is_some()
                })
            });
        }
    }
    group.finish();
}

/// The value of the cookie of a sticky session.
fn cookie(choice: &Choice) -> Option<Vec<u8>> {
    let line = choice.session()?.to_str().expect("it is text");
    let (_, value) = line.split_once('=').expect("it is a cookie");
    let (value, _) = value.split_once(';').expect("it has attributes");
    Some(value.into())
}

/// One of a thousand endpoints can be chosen no more, and then again.
fn change(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("change");
    group.measurement_time(Duration::from_secs(3));
    group.warm_up_time(Duration::from_secs(1));
    let plain = endpoints(|_| String::new());
    for (name, settings) in [
        ("round_robin", "balance = \"round_robin\""),
        ("least_request", "balance = \"least_request\""),
        ("hash", "balance = { hash = \"client\" }"),
        ("sticky", "sticky = {}"),
    ] {
        let upstream = upstream(&plain, &format!("{settings}\nendpoint_breaker = {{}}"));
        let mut is_open = false;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                is_open = !is_open;
                let order = Order::Hold {
                    is_open,
                    expires: None,
                };
                upstream.order(Some("192.0.2.7:80"), order)
            })
        });
    }
    group.finish();
}

criterion_group!(benches, choose, change);
criterion_main!(benches);
