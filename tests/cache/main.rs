//! The cache as clients and origins see it: cases derived from the RFCs, each naming its section, and attacks on what
//! must never be shared. Every case runs over HTTP/1.1 and HTTP/2, all of them at once before one gateway.

#[path = "../gateway/harness/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the tests of the gateway, which use more of it"
)]
mod harness;

mod case;
mod judge;
mod report;
mod run;
mod scripted;
mod selftest;

mod age;
mod authorization;
mod cache_status;
mod conditional;
mod crowds;
mod directives;
mod freshness;
mod headers;
mod heuristics;
mod invalidation;
mod isolation;
mod methods;
mod parts;
mod ranges;
mod request_directives;
mod stale;
mod statuses;
mod storing;
mod targeted;
mod update;
mod validation;
mod vary;

use case::Case;
use harness::{Protocol, assert_named};

/// One route that caches by the origin's word only.
const CACHED: &str = r#"
    [upstreams.origin]
    endpoints = ["$origin"]

    [routes.cached]
    match = { path = "/{*rest}" }
    upstream = "origin"

    [routes.cached.policies]
    cache = {}
"#;

fn conformance() -> Vec<Case> {
    let parts = [
        freshness::cases(),
        age::cases(),
        heuristics::cases(),
        directives::cases(),
        request_directives::cases(),
        storing::cases(),
        statuses::cases(),
        methods::cases(),
        vary::cases(),
        conditional::cases(),
        validation::cases(),
        ranges::cases(),
        parts::cases(),
        update::cases(),
        stale::cases(),
        invalidation::cases(),
        authorization::cases(),
        headers::cases(),
        targeted::cases(),
        cache_status::cases(),
    ];
    parts.into_iter().flatten().collect()
}

#[test]
fn no_case_was_lost() {
    let cases = conformance();
    assert_named(cases.iter().map(|case| case.id.as_str()), 320);
    let sectioned = |case: &Case| case.section.starts_with("RFC ");
    assert!(cases.iter().all(sectioned), "each case names its section");
    assert_named(isolation::cases().iter().map(|case| case.id.as_str()), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance_over_http1() {
    run::all(CACHED, Protocol::Http1, conformance())
        .await
        .settle("conformance over HTTP/1.1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance_over_http2() {
    run::all(CACHED, Protocol::H2, conformance())
        .await
        .settle("conformance over HTTP/2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn isolation_over_http1() {
    run::all(CACHED, Protocol::Http1, isolation::cases())
        .await
        .settle("isolation over HTTP/1.1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn isolation_over_http2() {
    run::all(CACHED, Protocol::H2, isolation::cases())
        .await
        .settle("isolation over HTTP/2");
}
