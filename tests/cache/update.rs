//! What a 304 does to what is stored: RFC 9111 sections 3.2 and 4.3.4.

use crate::case::{Case, Kind, must, should};

const FRESHENING: &str = "RFC 9111 section 4.3.4";
const UPDATING: &str = "RFC 9111 section 3.2";
const LIFE: &str = "cache-control: max-age=3600";

/// Stored with this field, and validated by a 304 with that one.
fn updated(id: &str, kind: Kind, old: &str, new: &str) -> Case {
    must(format!("update-{id}"), UPDATING)
        .of_kind(kind)
        .get()
        .says(&["cache-control: max-age=10", "age: 20", "etag: \"a\"", old])
        .get()
        .says(&[LIFE, "etag: \"a\"", new])
        .validated()
}

pub fn cases() -> Vec<Case> {
    let mut cases = each_field();
    cases.extend(kept());
    cases.extend(selected());
    cases
}

fn each_field() -> Vec<Case> {
    let rows = [
        ("unknown", "x-a: old", "x-a: new"),
        ("content-foo", "content-foo: old", "content-foo: new"),
        ("x-content-foo", "x-content-foo: old", "x-content-foo: new"),
        (
            "content-language",
            "content-language: de",
            "content-language: en",
        ),
        (
            "content-location",
            "content-location: /old",
            "content-location: /new",
        ),
        (
            "content-disposition",
            "content-disposition: old",
            "content-disposition: new",
        ),
        (
            "content-security-policy",
            "content-security-policy: default-src 'self'",
            "content-security-policy: default-src 'none'",
        ),
        (
            "x-frame-options",
            "x-frame-options: deny",
            "x-frame-options: sameorigin",
        ),
        ("link", "link: </old>", "link: </new>"),
        ("server-timing", "server-timing: old", "server-timing: new"),
        (
            "last-modified",
            "last-modified: {start-9000}",
            "last-modified: {start-3000}",
        ),
        (
            "access-control",
            "access-control-allow-origin: https://old.test",
            "access-control-allow-origin: https://new.test",
        ),
        ("expires", "expires: {start+10}", "expires: {start+7200}"),
        (
            "content-type",
            "content-type: text/plain",
            "content-type: text/html",
        ),
        (
            "strict-transport-security",
            "strict-transport-security: max-age=1",
            "strict-transport-security: max-age=2",
        ),
        (
            "clear-site-data",
            "clear-site-data: \"cache\"",
            "clear-site-data: \"cookies\"",
        ),
        ("p3p", "p3p: old", "p3p: new"),
        (
            "x-xss-protection",
            "x-xss-protection: 0",
            "x-xss-protection: 1",
        ),
    ];
    let mut cases = Vec::new();
    for (name, old, new) in rows {
        cases.push(updated(&format!("{name}-at-once"), Kind::Must, old, new).has(new));
        let later = updated(&format!("{name}-later"), Kind::Must, old, new).get();
        cases.push(later.reused().of(0).has(new));
    }
    cases
}

fn kept() -> Vec<Case> {
    let mut cases = vec![
        updated("keeps-content-length", Kind::Must, "x-b: 1", "x-b: 2")
            .get()
            .reused()
            .of(0)
            .has("content-length: 29"),
    ];
    cases.extend([
        updated(
            "keeps-content-encoding",
            Kind::May,
            "content-encoding: x-own",
            "content-encoding: gzip",
        )
        .has("content-encoding: x-own"),
        updated(
            "keeps-content-range",
            Kind::May,
            "x-a: b",
            "content-range: bytes 0-3/100",
        )
        .lacks("content-range"),
        updated(
            "keeps-what-is-not-in-it",
            Kind::Must,
            "x-a: old",
            "x-b: new",
        )
        .has("x-a: old")
        .has("x-b: new")
        .get()
        .reused()
        .of(0)
        .has("x-a: old")
        .has("x-b: new"),
        updated("replaces-all-lines", Kind::Must, "x-a: 1", "x-a: 3").has("x-a: 3"),
        must("update-replaces-two-lines-by-one", UPDATING)
            .get()
            .says(&[
                "cache-control: max-age=10",
                "age: 20",
                "etag: \"a\"",
                "x-a: 1",
                "x-a: 2",
            ])
            .get()
            .says(&[LIFE, "etag: \"a\"", "x-a: 3"])
            .validated()
            .has("x-a: 3"),
        must("update-takes-two-lines", UPDATING)
            .get()
            .says(&[
                "cache-control: max-age=10",
                "age: 20",
                "etag: \"a\"",
                "x-a: 1",
            ])
            .get()
            .says(&[LIFE, "etag: \"a\"", "x-a: 2", "x-a: 3"])
            .validated()
            .has("x-a: 2, 3"),
        updated(
            "not-by-connection-fields",
            Kind::Must,
            "x-a: old",
            "connection: x-a",
        )
        .says(&["x-a: hop"])
        .has("x-a: old"),
        // The engine writes a `Date` of its own into every response.
        updated("date", Kind::May, "x-a: b", "date: {start+1000}").has("date"),
        updated("age-starts-anew", Kind::Must, "x-a: b", "x-a: c").age(0..=3),
        updated("age-by-the-304", Kind::Should, "x-a: b", "age: 100")
            .get()
            .reused()
            .of(0)
            .age(100..=104),
        updated("life-ends-by-the-304", Kind::Must, "x-a: b", "age: 7200")
            .get()
            .fetched(),
        must("update-life-is-taken-back", UPDATING)
            .get()
            .says(&["cache-control: no-cache, max-age=3600", "etag: \"a\""])
            .get()
            .says(&["cache-control: max-age=3600", "etag: \"a\""])
            .validated()
            .get()
            .reused()
            .of(0),
        must("update-no-cache-from-now-on", UPDATING)
            .get()
            .says(&["cache-control: max-age=10", "age: 20", "etag: \"a\""])
            .get()
            .says(&["cache-control: no-cache", "etag: \"a\""])
            .validated()
            .get()
            .fetched(),
        must("update-no-store-from-now-on", UPDATING)
            .get()
            .says(&["cache-control: max-age=10", "age: 20", "etag: \"a\""])
            .get()
            .says(&["cache-control: no-store", "etag: \"a\""])
            .validated()
            .get()
            .fetched(),
        must("update-private-from-now-on", UPDATING)
            .get()
            .says(&["cache-control: max-age=10", "age: 20", "etag: \"a\""])
            .get()
            .says(&["cache-control: private, max-age=3600", "etag: \"a\""])
            .validated()
            .get()
            .fetched(),
        must("update-set-cookie-is-not-kept", "RFC 9111 section 7.3")
            .get()
            .says(&["cache-control: max-age=10", "age: 20", "etag: \"a\""])
            .get()
            .says(&[LIFE, "etag: \"a\"", "set-cookie: a=b"])
            .validated()
            .get()
            .anything()
            .is(200)
            .lacks("set-cookie"),
        should(
            "update-304-without-cache-control-keeps-the-old-life",
            UPDATING,
        )
        .get()
        .says(&["cache-control: max-age=3600, no-cache", "etag: \"a\""])
        .get()
        .validated()
        .get()
        .validated(),
        should("update-304-without-anything-is-fresh-again", FRESHENING)
            .get()
            .says(&["cache-control: max-age=10", "age: 20", "etag: \"a\""])
            .get()
            .validated()
            .get()
            .reused()
            .of(0),
    ]);
    cases
}

/// Which stored response a 304 is about.
fn selected() -> Vec<Case> {
    let stored = |id: &str, validator: &str| {
        let case = must(format!("freshen-{id}"), FRESHENING).get();
        case.says(&["cache-control: max-age=10", "age: 20", validator])
    };
    vec![
        stored("by-strong-etag", "etag: \"a\"")
            .get()
            .says(&[LIFE, "etag: \"a\""])
            .validated(),
        stored("by-weak-etag", "etag: W/\"a\"")
            .get()
            .says(&[LIFE, "etag: W/\"a\""])
            .validated(),
        stored("by-date", "last-modified: {start-9000}")
            .get()
            .says(&[LIFE, "last-modified: {start-9000}"])
            .validated(),
        stored("without-validator", "etag: \"a\"")
            .get()
            .says(&[LIFE])
            .validated()
            .get()
            .reused()
            .of(0),
        stored("not-by-another-etag", "etag: \"a\"")
            .get()
            .status_304_to_conditions()
            .says(&[LIFE, "etag: \"b\"", "x-a: new"])
            .anything()
            .is(200)
            .shows("freshen-not-by-another-etag#1"),
        // It answers what was asked, by a date; what is stored has had no tag until now.
        stored("by-a-date-and-a-new-etag", "last-modified: {start-9000}")
            .of_kind(Kind::May)
            .get()
            .says(&[LIFE, "etag: \"a\""])
            .validated(),
    ]
}
