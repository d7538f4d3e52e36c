//! Methods: RFC 9110 section 9, RFC 9111 sections 3, 4 and 4.3.5.

use crate::case::{Case, Kind, may, must, should};
use crate::harness::Protocol;

const HEAD: &str = "RFC 9110 section 9.3.2";
const HEAD_UPDATE: &str = "RFC 9111 section 4.3.5";
const SAFE: &str = "RFC 9111 section 4";
const FRESH: &[&str] = &["cache-control: max-age=3600", "etag: \"a\"", "x-a: b"];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for method in [
        "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "QUERY", "M-SEARCH", "X-OWN",
    ] {
        let id = method.to_lowercase();
        cases.push(
            must(format!("method-{id}-is-written-through"), SAFE)
                .get()
                .says(FRESH)
                .ask(method)
                .says(&["cache-control: max-age=3600"])
                .fetched(),
        );
        cases.push(
            must(format!("method-{id}-is-not-reused"), "RFC 9111 section 3")
                .ask(method)
                .says(FRESH)
                .ask(method)
                .says(FRESH)
                .fetched(),
        );
    }
    cases.extend(heads());
    cases.extend([
        may(
            "method-post-is-not-stored-for-get",
            "RFC 9110 section 9.3.3",
        )
        .ask("POST")
        .sending("a")
        .says(&["cache-control: max-age=3600", "content-location: {self}"])
        .get()
        .fetched(),
        must("method-options-is-not-cacheable", "RFC 9110 section 9.3.7")
            .ask("OPTIONS")
            .says(FRESH)
            .get()
            .fetched(),
        must(
            "method-get-with-body-is-not-stored",
            "RFC 9110 section 9.3.1",
        )
        .get()
        .sending("a")
        .says(FRESH)
        .get()
        .fetched(),
        must(
            "method-get-with-body-is-not-answered",
            "RFC 9110 section 9.3.1",
        )
        .get()
        .says(FRESH)
        .get()
        .sending("a")
        .fetched()
        .of_kind(Kind::May),
        must("method-lower-case-is-another", "RFC 9110 section 9.1")
            .get()
            .says(FRESH)
            .ask("get")
            .anything()
            .free_of("method-lower-case-is-another#0")
            .over(Protocol::Http1),
    ]);
    cases
}

fn heads() -> Vec<Case> {
    vec![
        should("head-from-get", HEAD)
            .get()
            .says(FRESH)
            .content("twelve bytes")
            .head()
            .reused()
            .has("content-length: 12")
            .has("x-a: b")
            .has("etag: \"a\""),
        must("head-not-from-stale-get", HEAD)
            .get()
            .says(&["cache-control: max-age=10", "age: 20"])
            .head()
            .fetched(),
        must("head-is-no-get", HEAD)
            .head()
            .says(FRESH)
            .get()
            .fetched(),
        must("head-then-get-then-get", HEAD)
            .head()
            .says(FRESH)
            .get()
            .says(FRESH)
            .fetched()
            .get()
            .reused(),
        may("head-from-head", HEAD)
            .head()
            .says(FRESH)
            .head()
            .says(FRESH)
            .fetched(),
        should("head-not-modified", "RFC 9110 section 13.2.1")
            .get()
            .says(FRESH)
            .head()
            .with("if-none-match: \"a\"")
            .local(304),
        may("head-updates-get", HEAD_UPDATE)
            .get()
            .says(&[
                "cache-control: max-age=10",
                "age: 20",
                "etag: \"a\"",
                "x-a: old",
            ])
            .content("same")
            .head()
            .says(&["cache-control: max-age=3600", "etag: \"a\"", "x-a: new"])
            .content("same")
            .anything()
            .is(200)
            .get()
            .reused()
            .of(0)
            .has("x-a: new"),
        // Northgate asks for what it has by GET, for whatever method, and so has the new one whole.
        may("head-with-other-length-replaces-get", HEAD_UPDATE)
            .get()
            .says(FRESH)
            .content("some")
            .head()
            .with("cache-control: no-cache")
            .says(&["cache-control: max-age=3600", "etag: \"a\""])
            .content("something else")
            .fetched()
            .get()
            .reused()
            .of(1),
        may("head-with-other-validator-replaces-get", HEAD_UPDATE)
            .get()
            .says(FRESH)
            .content("some")
            .head()
            .with("cache-control: no-cache")
            .says(&["cache-control: max-age=3600", "etag: \"b\""])
            .content("other")
            .fetched()
            .get()
            .reused()
            .of(1)
            .has("etag: \"b\""),
        must("head-has-no-body-from-the-store", HEAD)
            .get()
            .says(FRESH)
            .content("0123456789".repeat(1000))
            .head()
            .reused()
            .get()
            .reused(),
        should("head-only-if-cached", HEAD)
            .get()
            .says(FRESH)
            .head()
            .with("cache-control: only-if-cached")
            .reused(),
    ]
}
