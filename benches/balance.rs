//! What it costs to choose among a thousand endpoints, for each way to choose. The bar is 300 ns.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use northgate::config::{compile, load_text};
use northgate::observability::Metrics;
use northgate::upstream::Upstream;

const ENDPOINTS: usize = 1_000;

/// An upstream of a thousand endpoints of three different weights, in service.
fn upstream(settings: &str) -> Arc<Upstream> {
    let endpoints: Vec<String> = (0..ENDPOINTS)
        .map(|n| {
            format!(
                "{{ address = \"192.0.{}.{}:80\", weight = {}, priority = {}, zone = \"{}\" }}",
                n / 250,
                n % 250,
                1 + n % 3,
                n % 2,
                n % 4
            )
        })
        .collect();
    let text = format!(
        "[listeners.public]\nbind = \"127.0.0.1:0\"\n[upstreams.shop]\nendpoints = [{}]\n{settings}\n\
         [routes.all]\nmatch = {{ path = \"/\" }}\nupstream = \"shop\"\n",
        endpoints.join(", ")
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
    upstream.clone()
}

fn choices(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("choose");
    group.measurement_time(Duration::from_secs(3));
    group.warm_up_time(Duration::from_secs(1));
    for (name, settings) in [
        ("round_robin", "balance = \"round_robin\""),
        ("least_request", "balance = \"least_request\""),
        ("ewma", "balance = \"ewma\""),
        ("random", "balance = \"random\""),
        ("hash", "balance = { hash = \"address\" }"),
        (
            "hash_bounded",
            "balance = { hash = \"address\", max_load = 1.25 }",
        ),
        (
            "zones",
            "balance = \"least_request\"\nzones = { local = \"1\" }",
        ),
    ] {
        let upstream = upstream(settings);
        let now = Instant::now();
        let mut key = 0_u64;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                // Keys as they are: hashes, spread over all numbers.
                key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
                upstream.choose(black_box(now), Some(key)).is_some()
            })
        });
    }
    group.finish();
}

criterion_group!(benches, choices);
criterion_main!(benches);
