//! The machinery itself, before a route that caches nothing: it sees what is not as it has to be, and only that.

use crate::case::{Case, Ending, must};
use crate::harness::Protocol;
use crate::run;

const UNCACHED: &str = r#"
    [upstreams.origin]
    endpoints = ["$origin"]

    [routes.uncached]
    match = { path = "/{*rest}" }
    upstream = "origin"
"#;

/// Not one of these is as it has to be.
fn violated() -> Vec<Case> {
    let begin = |id: &str| must(id, "RFC 9111 section 2").get();
    let stored = |id: &str| begin(id).says(&["cache-control: max-age=60"]).get();
    vec![
        stored("reused").reused(),
        stored("validated").validated(),
        stored("refreshing").refreshing(),
        stored("local").local(504),
        stored("body-of-another").shows("another"),
        begin("status").status(404).is(200),
        begin("status-that-must-not-be").status(404).never(404),
        begin("field-is-there").says(&["x-a: 1"]).has("x-a: 2"),
        begin("field-is-missing").has("x-a"),
        begin("field-is-too-much").says(&["x-a: 1"]).lacks("x-a"),
        begin("origin-sees").sees("if-none-match"),
        begin("origin-sees-other").with("x-a: 1").sees("x-a: 2"),
        begin("origin-sees-too-much").with("x-a: 1").sees_no("x-a"),
        begin("age").age(0..=9),
        begin("age-out-of-range").says(&["age: 20"]).age(0..=9),
        begin("told").told("hit"),
        begin("told-otherwise")
            .says(&["cache-status: northgate; fwd=miss"])
            .told("fwd=stale"),
        begin("not-to-be-told")
            .says(&["cache-status: northgate; fwd=miss"])
            .untold("fwd=miss"),
        begin("a-hit-that-was-asked").says(&["cache-status: northgate; hit"]),
        begin("word").content("an evil word").free_of("evil"),
        begin("word-in-the-head")
            .says(&["x-a: evil"])
            .free_of("evil"),
        begin("broken").broken(),
        begin("cut").ending(Ending::CutLength),
        begin("times").copies(3).times(1..=1),
        begin("later").get().get().after(20).reused(),
    ]
}

fn kept() -> Vec<Case> {
    let begin = |id: &str| must(id, "RFC 9111 section 2").get();
    vec![
        begin("plain").get().fetched(),
        begin("chunked").ending(Ending::Chunked).get(),
        begin("closed").ending(Ending::Closed).get(),
        begin("cut").ending(Ending::CutLength).broken(),
        begin("cut-chunked").ending(Ending::CutChunked).broken(),
        begin("reset").ending(Ending::Reset).broken(),
        begin("nothing").ending(Ending::Nothing).broken(),
        begin("interim").interim("HTTP/1.1 103 Early Hints\r\nlink: </a>"),
        begin("seen").with("x-a: {self}").sees("x-a: /seen"),
        begin("echo")
            .with("x-a: 1")
            .echoing("x-a")
            .shows("1")
            .get()
            .echoing("x-a")
            .shows("clean"),
        begin("dates")
            .says(&["last-modified: {start-60}"])
            .has("last-modified: {start-60}"),
        begin("copies").copies(3).times(3..=3),
        must("posted", "RFC 9110 section 9.3.3")
            .ask("POST")
            .sending("a body")
            .sees("content-length: 6"),
        must("head", "RFC 9110 section 9.3.2")
            .head()
            .content("long")
            .has("content-length: 4"),
        begin("not-found").status(404),
        begin("not-modified")
            .with("if-none-match: \"a\"")
            .status(304),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_violated_is_seen() {
    for protocol in [Protocol::Http1, Protocol::H2] {
        let all = violated();
        let mut ids: Vec<_> = all.iter().map(|case| case.id.clone()).collect();
        let report = run::all(UNCACHED, protocol, all).await;
        ids.sort();
        assert_eq!(report.failed(), ids, "over {protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_is_no_violation() {
    for protocol in [Protocol::Http1, Protocol::H2] {
        run::all(UNCACHED, protocol, kept())
            .await
            .settle("the machinery");
    }
}
