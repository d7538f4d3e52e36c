//! What is stored, under which key, and when it is whole: RFC 9111 sections 2, 3, 3.3 and 4, and collapsed requests.

use crate::case::{Case, Ending, Kind, may, must, should};

const KEY: &str = "RFC 9111 section 2";
const STORING: &str = "RFC 9111 section 3";
const INCOMPLETE: &str = "RFC 9111 section 3.3";
const COLLAPSED: &str = "RFC 9111 section 4";
const FRESH: &[&str] = &["cache-control: max-age=3600"];

pub fn cases() -> Vec<Case> {
    let parts = [keyed(), framed(), incomplete(), interim(), collapsed()];
    parts.into_iter().flatten().collect()
}

/// Stored under one suffix, then asked for with another.
fn two(id: &str, first: &str, second: &str) -> Case {
    must(format!("key-{id}"), KEY)
        .get()
        .at(first)
        .says(FRESH)
        .get()
        .at(second)
}

fn keyed() -> Vec<Case> {
    vec![
        two("other-path", "/a", "/b").fetched(),
        two("path-below", "/a", "/a/b").fetched(),
        two("trailing-slash", "/a", "/a/").fetched(),
        two("path-case", "/a", "/A").fetched(),
        two("query-and-none", "", "?a=b").fetched(),
        two("other-query", "?a=b", "?a=c").fetched(),
        two("query-case", "?a=b", "?a=B").fetched(),
        two("query-order", "?a=1&b=2", "?b=2&a=1").fetched(),
        two("query-twice", "?a=1", "?a=1&a=1").fetched(),
        two("query-empty-value", "?a", "?a=").fetched(),
        two("query-plus", "?a=b+c", "?a=b%2Bc").fetched(),
        two("query-of-path", "/a?b", "/a%3Fb")
            .anything()
            .free_of("key-query-of-path#0"),
        should("key-same-query", KEY)
            .get()
            .at("?a=b&c=d")
            .says(FRESH)
            .get()
            .at("?a=b&c=d")
            .reused(),
        may("key-empty-query", KEY)
            .get()
            .says(FRESH)
            .get()
            .at("?")
            .fetched(),
        must("key-other-host", KEY)
            .get()
            .says(FRESH)
            .get()
            .host("other.test")
            .fetched(),
        should("key-host-case", "RFC 9110 section 4.2.3")
            .get()
            .says(FRESH)
            .get()
            .host("SHOP.test")
            .reused(),
        should("key-two-of-two", KEY)
            .get()
            .at("?1")
            .says(FRESH)
            .get()
            .at("?2")
            .says(FRESH)
            .get()
            .at("?1")
            .reused()
            .of(0)
            .get()
            .at("?2")
            .reused()
            .of(1),
        should("key-not-the-other-fields", "RFC 9111 section 4.1")
            .get()
            .with("accept-language: de")
            .with("user-agent: one")
            .says(FRESH)
            .get()
            .with("accept-language: en")
            .with("user-agent: two")
            .reused(),
    ]
}

fn framed() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, ending) in [("length", Ending::Whole), ("chunked", Ending::Chunked)] {
        cases.push(
            should(format!("framing-{name}"), STORING)
                .get()
                .says(FRESH)
                .ending(ending)
                .get()
                .reused(),
        );
        cases.push(
            should(format!("framing-{name}-empty"), STORING)
                .get()
                .says(FRESH)
                .content("")
                .ending(ending)
                .get()
                .reused(),
        );
        cases.push(
            should(format!("framing-{name}-long"), STORING)
                .get()
                .says(FRESH)
                .content("0123456789abcdef".repeat(20_000))
                .ending(ending)
                .get()
                .reused(),
        );
    }
    cases.push(
        should("framing-length-of-what-is-stored", "RFC 9110 section 8.6")
            .get()
            .says(FRESH)
            .content("twelve bytes")
            .get()
            .reused()
            .has("content-length: 12"),
    );
    cases
}

fn incomplete() -> Vec<Case> {
    let cut = [
        ("length", Ending::CutLength),
        ("chunked", Ending::CutChunked),
        ("reset", Ending::Reset),
    ];
    let mut cases = Vec::new();
    for (name, ending) in cut {
        cases.push(
            must(format!("incomplete-{name}-is-seen"), "RFC 9112 section 8")
                .get()
                .says(FRESH)
                .ending(ending)
                .broken(),
        );
        cases.push(
            must(format!("incomplete-{name}-is-not-reused"), INCOMPLETE)
                .get()
                .says(FRESH)
                .ending(ending)
                .broken()
                .get()
                .fetched(),
        );
        cases.push(
            must(
                format!("incomplete-{name}-replaces-nothing-whole"),
                INCOMPLETE,
            )
            .get()
            .says(&["cache-control: max-age=10, stale-if-error=3600", "age: 20"])
            .get()
            .ending(ending)
            .anything()
            .get()
            .fetched(),
        );
    }
    cases.push(
        may("incomplete-closed-1-0-may-not-be-whole", INCOMPLETE)
            .get()
            .says(FRESH)
            .ending(Ending::Closed)
            .get()
            .fetched(),
    );
    cases
}

fn interim() -> Vec<Case> {
    let rows = [
        (
            "103",
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload",
        ),
        (
            "103-cacheable",
            "HTTP/1.1 103 Early Hints\r\ncache-control: max-age=3600",
        ),
        ("102", "HTTP/1.1 102 Processing"),
        ("199", "HTTP/1.1 199 Unknown\r\nx-interim: a"),
    ];
    let mut cases = Vec::new();
    for (name, head) in rows {
        cases.push(
            must(
                format!("interim-{name}-is-not-the-response"),
                "RFC 9110 section 15.2",
            )
            .get()
            .interim(head)
            .says(FRESH)
            .lacks("x-interim")
            .get()
            .reused()
            .lacks("x-interim")
            .lacks("link"),
        );
    }
    cases.push(
        must("interim-fields-do-not-count", "RFC 9110 section 15.2")
            .get()
            .interim("HTTP/1.1 103 Early Hints\r\ncache-control: max-age=3600")
            .says(&["cache-control: no-store"])
            .get()
            .fetched(),
    );
    cases
}

fn collapsed() -> Vec<Case> {
    vec![
        should("collapsed-cold", COLLAPSED)
            .get()
            .copies(10)
            .says(FRESH)
            .delay(400)
            .times(1..=1)
            .get()
            .reused(),
        should("collapsed-chunked", COLLAPSED)
            .get()
            .copies(10)
            .says(FRESH)
            .ending(Ending::Chunked)
            .delay(400)
            .times(1..=1),
        should("collapsed-stale", COLLAPSED)
            .get()
            .says(&["cache-control: max-age=10", "age: 20"])
            .get()
            .copies(10)
            .says(FRESH)
            .delay(400)
            .times(1..=1),
        should("collapsed-validation", COLLAPSED)
            .get()
            .says(&["cache-control: max-age=10", "age: 20", "etag: \"a\""])
            .get()
            .copies(10)
            .says(FRESH)
            .delay(400)
            .validated()
            .times(1..=1),
        must(
            "collapsed-private-is-not-shared",
            "RFC 9111 section 5.2.2.7",
        )
        .get()
        .copies(6)
        .says(&["cache-control: private, max-age=3600"])
        .delay(300)
        .times(6..=6),
        must(
            "collapsed-no-store-is-not-shared",
            "RFC 9111 section 5.2.2.5",
        )
        .get()
        .copies(6)
        .says(&["cache-control: no-store"])
        .delay(300)
        .times(6..=6),
        may("collapsed-nothing-said-is-not-shared", STORING)
            .get()
            .copies(6)
            .delay(300)
            .times(6..=6),
        must(
            "collapsed-no-cache-is-asked-for",
            "RFC 9111 section 5.2.1.4",
        )
        .get()
        .copies(6)
        .with("cache-control: no-store")
        .says(FRESH)
        .delay(300)
        .times(6..=6)
        .of_kind(Kind::May),
        must("collapsed-authorized-is-not-shared", "RFC 9111 section 3.5")
            .get()
            .copies(6)
            .with("authorization: Bearer a")
            .says(FRESH)
            .delay(300)
            .times(6..=6),
        must("collapsed-post-never", "RFC 9110 section 9.3.3")
            .ask("POST")
            .copies(6)
            .sending("a")
            .says(FRESH)
            .delay(200)
            .times(6..=6),
        must("collapsed-failure-is-no-answer-for-ever", COLLAPSED)
            .get()
            .copies(5)
            .delay(200)
            .status(500)
            .get()
            .says(FRESH)
            .fetched(),
    ]
}
