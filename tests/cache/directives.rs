//! Response directives other than ages: RFC 9111 section 5.2.2.

use crate::case::{Case, Ending, Kind, may, must, no_reuse, reuse, should};

const NO_STORE: &str = "RFC 9111 section 5.2.2.5";
const NO_CACHE: &str = "RFC 9111 section 5.2.2.4";
const PRIVATE: &str = "RFC 9111 section 5.2.2.7";
const PUBLIC: &str = "RFC 9111 section 5.2.2.9";
const REVALIDATE: &str = "RFC 9111 section 5.2.2.2";
const UNDERSTAND: &str = "RFC 9111 section 5.2.2.3";
const PROXY: &str = "RFC 9111 section 5.2.2.8";
const SYNTAX: &str = "RFC 9111 section 5.2";

pub fn cases() -> Vec<Case> {
    let parts = [
        never_stored(),
        stored(),
        by_field(),
        no_cache(),
        revalidated(),
        understood(),
    ];
    parts.into_iter().flatten().collect()
}

/// A response with a validator, so that one that was stored would be seen by the next request's condition.
fn never_stored() -> Vec<Case> {
    let rows: [(&str, &str, &[&str]); 19] = [
        ("no-store", NO_STORE, &["cache-control: no-store"]),
        ("no-store-case", SYNTAX, &["cache-control: No-StOrE"]),
        (
            "no-store-with-max-age",
            NO_STORE,
            &["cache-control: no-store, max-age=3600"],
        ),
        (
            "no-store-after-max-age",
            NO_STORE,
            &["cache-control: max-age=3600, no-store"],
        ),
        (
            "no-store-other-line",
            NO_STORE,
            &["cache-control: max-age=3600", "cache-control: no-store"],
        ),
        (
            "no-store-with-expires",
            NO_STORE,
            &["cache-control: no-store", "expires: {now+3600}"],
        ),
        (
            "no-store-with-public",
            NO_STORE,
            &["cache-control: public, no-store, max-age=3600"],
        ),
        (
            "no-store-with-s-maxage",
            NO_STORE,
            &["cache-control: s-maxage=3600, no-store"],
        ),
        (
            "no-store-no-space",
            NO_STORE,
            &["cache-control: max-age=3600,no-store"],
        ),
        (
            "no-store-unknown-between",
            NO_STORE,
            &["cache-control: x=\"a, b\", no-store, max-age=3600"],
        ),
        ("private", PRIVATE, &["cache-control: private"]),
        (
            "private-case",
            SYNTAX,
            &["cache-control: PRIVATE, max-age=3600"],
        ),
        (
            "private-with-max-age",
            PRIVATE,
            &["cache-control: private, max-age=3600"],
        ),
        (
            "private-after-max-age",
            PRIVATE,
            &["cache-control: max-age=3600, private"],
        ),
        (
            "private-with-expires",
            PRIVATE,
            &["cache-control: private", "expires: {now+3600}"],
        ),
        (
            "private-with-s-maxage",
            PRIVATE,
            &["cache-control: private, s-maxage=3600"],
        ),
        (
            "private-with-public",
            PRIVATE,
            &["cache-control: public, private, max-age=3600"],
        ),
        (
            "private-other-line",
            PRIVATE,
            &["cache-control: private", "cache-control: max-age=3600"],
        ),
        (
            "private-old-modified",
            PRIVATE,
            &["cache-control: private", "last-modified: {now-864000}"],
        ),
    ];
    let rows = rows.into_iter();
    let mut cases: Vec<Case> = rows
        .map(|(id, section, fields)| {
            must(format!("directive-{id}"), section)
                .get()
                .says(fields)
                .says(&["etag: \"a\""])
                .get()
                .fetched()
                .sees_no("if-none-match")
                .sees_no("if-modified-since")
        })
        .collect();
    cases.extend([
        // What is to be stored nowhere leaves alone what is there; that is not asked for again is open.
        must("directive-no-store-replaces-nothing", NO_STORE)
            .get()
            .says(&["cache-control: max-age=1"])
            .get()
            .after(2200)
            .says(&["cache-control: no-store, max-age=3600"])
            .get()
            .fetched(),
        may("directive-no-store-with-value", NO_STORE)
            .get()
            .says(&["cache-control: no-store=\"x\", max-age=3600"])
            .get()
            .fetched(),
    ]);
    cases
}

fn stored() -> Vec<Case> {
    vec![
        reuse(
            "directive-public",
            PUBLIC,
            &["cache-control: public, max-age=3600"],
        ),
        reuse(
            "directive-public-case",
            PUBLIC,
            &["cache-control: PuBlIc, max-age=3600"],
        ),
        no_reuse(
            "directive-public-is-no-life",
            PUBLIC,
            &["cache-control: public"],
        ),
        reuse(
            "directive-immutable-alone",
            SYNTAX,
            &["cache-control: immutable, max-age=3600"],
        ),
        no_reuse(
            "directive-immutable-is-no-life",
            "RFC 9111 section 5.2.3",
            &["cache-control: immutable"],
        ),
        reuse(
            "directive-no-transform",
            "RFC 9111 section 5.2.2.6",
            &["cache-control: no-transform, max-age=3600"],
        )
        .has("cache-control: no-transform, max-age=3600"),
        reuse(
            "directive-unknown",
            "RFC 9111 section 5.2.3",
            &["cache-control: max-age=3600, x-new=\"no-store\""],
        ),
    ]
}

/// The qualified forms. Northgate stores what is not private of it, without the fields.
fn by_field() -> Vec<Case> {
    vec![
        must("directive-private-field-is-not-shared", PRIVATE)
            .get()
            .says(&[
                "cache-control: private=\"x-secret\", max-age=3600",
                "x-secret: a",
                "x-open: b",
            ])
            .get()
            .anything()
            .is(200)
            .says(&["cache-control: no-store"])
            .lacks("x-secret"),
        may("directive-private-field-rest-is-shared", PRIVATE)
            .get()
            .says(&[
                "cache-control: private=\"x-secret\", max-age=3600",
                "x-secret: a",
                "x-open: b",
            ])
            .get()
            .reused()
            .has("x-open: b")
            .lacks("x-secret"),
        must("directive-private-fields-are-not-shared", PRIVATE)
            .get()
            .says(&[
                "cache-control: max-age=3600, private=\"X-One, x-two\"",
                "x-one: a",
                "x-two: b",
            ])
            .get()
            .anything()
            .is(200)
            .lacks("x-one")
            .lacks("x-two"),
        may("directive-private-field-token", PRIVATE)
            .get()
            .says(&[
                "cache-control: max-age=3600, private=x-secret",
                "x-secret: a",
            ])
            .get()
            .anything()
            .is(200)
            .lacks("x-secret"),
        should("directive-private-field-first-client-has-it", PRIVATE)
            .get()
            .says(&[
                "cache-control: private=\"x-secret\", max-age=3600",
                "x-secret: a",
            ])
            .has("x-secret: a"),
        should("directive-private-set-cookie-first-client-has-it", PRIVATE)
            .get()
            .says(&[
                "cache-control: private=\"set-cookie\", max-age=3600",
                "set-cookie: sid=1",
            ])
            .has("set-cookie: sid=1"),
        should("directive-no-cache-field-first-client-has-it", NO_CACHE)
            .get()
            .says(&[
                "cache-control: no-cache=\"x-secret\", max-age=3600",
                "x-secret: a",
            ])
            .has("x-secret: a"),
        must("directive-no-cache-field-is-not-reused", NO_CACHE)
            .get()
            .says(&[
                "cache-control: no-cache=\"x-secret\", max-age=3600",
                "x-secret: a",
            ])
            .get()
            .anything()
            .is(200)
            .lacks("x-secret"),
        must("directive-no-cache-fields-are-not-reused", NO_CACHE)
            .get()
            .says(&[
                "cache-control: no-cache=\"x-one,X-TWO\", max-age=3600",
                "x-one: a",
                "x-two: b",
            ])
            .get()
            .anything()
            .is(200)
            .lacks("x-one")
            .lacks("x-two"),
        may("directive-no-cache-field-rest-is-reused", NO_CACHE)
            .get()
            .says(&[
                "cache-control: no-cache=\"x-secret\", max-age=3600",
                "x-secret: a",
                "x-open: b",
            ])
            .get()
            .reused()
            .has("x-open: b")
            .lacks("x-secret"),
        may("directive-no-cache-field-that-is-not-there", NO_CACHE)
            .get()
            .says(&["cache-control: no-cache=\"x-absent\", max-age=3600"])
            .get()
            .reused(),
        must("directive-no-cache-set-cookie", NO_CACHE)
            .get()
            .says(&[
                "cache-control: no-cache=\"set-cookie\", public, max-age=3600",
                "set-cookie: a=b",
            ])
            .get()
            .anything()
            .is(200)
            .lacks("set-cookie"),
        must("directive-private-empty-argument", PRIVATE)
            .get()
            .says(&["cache-control: private=\"\", max-age=3600"])
            .get()
            .fetched()
            .of_kind(Kind::May),
    ]
}

fn no_cache() -> Vec<Case> {
    vec![
        no_reuse("directive-no-cache", NO_CACHE, &["cache-control: no-cache"]),
        no_reuse(
            "directive-no-cache-case",
            NO_CACHE,
            &["cache-control: No-Cache, max-age=3600"],
        ),
        no_reuse(
            "directive-no-cache-with-max-age",
            NO_CACHE,
            &["cache-control: max-age=3600, no-cache"],
        ),
        no_reuse(
            "directive-no-cache-with-s-maxage",
            NO_CACHE,
            &["cache-control: no-cache, s-maxage=3600"],
        ),
        no_reuse(
            "directive-no-cache-with-expires",
            NO_CACHE,
            &["cache-control: no-cache", "expires: {now+3600}"],
        ),
        no_reuse(
            "directive-no-cache-other-line",
            NO_CACHE,
            &["cache-control: max-age=3600", "cache-control: no-cache"],
        ),
        no_reuse(
            "directive-no-cache-with-immutable",
            NO_CACHE,
            &["cache-control: no-cache, max-age=3600, immutable"],
        ),
        should("directive-no-cache-is-validated", NO_CACHE)
            .get()
            .says(&["cache-control: no-cache", "etag: \"a\""])
            .get()
            .sees("if-none-match: \"a\"")
            .validated(),
        should("directive-no-cache-with-max-age-is-validated", NO_CACHE)
            .get()
            .says(&[
                "cache-control: max-age=3600, no-cache",
                "last-modified: {start-60}",
            ])
            .get()
            .sees("if-modified-since: {start-60}")
            .validated(),
        must("directive-no-cache-not-stale-either", NO_CACHE)
            .get()
            .says(&["cache-control: no-cache, max-age=3600, stale-if-error=3600"])
            .get()
            .status(503)
            .fetched(),
        must("directive-no-cache-every-time", NO_CACHE)
            .get()
            .says(&["cache-control: no-cache", "etag: \"a\""])
            .get()
            .validated()
            .get()
            .validated(),
    ]
}

fn revalidated() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, section) in [
        ("must-revalidate", REVALIDATE),
        ("proxy-revalidate", PROXY),
        ("s-maxage", "RFC 9111 section 5.2.2.10"),
    ] {
        let life = match name {
            "s-maxage" => "cache-control: s-maxage=3600".to_owned(),
            _ => format!("cache-control: max-age=3600, {name}"),
        };
        let ended = match name {
            "s-maxage" => "cache-control: s-maxage=10".to_owned(),
            _ => format!("cache-control: max-age=10, {name}"),
        };
        cases.extend([
            reuse(format!("directive-{name}-while-fresh"), section, &[&life]),
            no_reuse(
                format!("directive-{name}-once-stale"),
                section,
                &[&ended, "age: 20"],
            ),
            must(format!("directive-{name}-not-for-max-stale"), section)
                .get()
                .says(&[&ended, "age: 20"])
                .get()
                .with("cache-control: max-stale=3600")
                .fetched(),
            must(format!("directive-{name}-not-while-failing"), section)
                .get()
                .says(&[&ended, "age: 20"])
                .get()
                .ending(Ending::Nothing)
                .broken(),
        ]);
    }
    cases.push(
        may(
            "directive-must-revalidate-error-is-the-upstreams",
            REVALIDATE,
        )
        .get()
        .says(&["cache-control: max-age=10, must-revalidate", "age: 20"])
        .get()
        .ending(Ending::Nothing)
        .anything()
        .is(502),
    );
    cases
}

fn understood() -> Vec<Case> {
    let control = "cache-control: max-age=3600, no-store, must-understand";
    let mut cases = Vec::new();
    for status in [
        203, 204, 301, 308, 400, 404, 405, 410, 414, 500, 502, 503, 504,
    ] {
        let case = should(format!("directive-must-understand-{status}"), UNDERSTAND);
        let case = case.get().status(status).says(&[control]);
        cases.push(case.get().status(status).reused());
    }
    for status in [209, 299, 310, 399, 430, 499, 509, 599] {
        let case = must(
            format!("directive-must-understand-not-{status}"),
            UNDERSTAND,
        );
        let case = case.get().status(status).says(&[control]);
        cases.push(case.get().status(status).fetched());
    }
    cases.extend([
        should("directive-must-understand-over-no-store", UNDERSTAND)
            .get()
            .says(&["cache-control: max-age=3600, must-understand, no-store"])
            .get()
            .reused(),
        must("directive-must-understand-unknown-status", UNDERSTAND)
            .get()
            .status(299)
            .says(&["cache-control: max-age=3600, must-understand, no-store"])
            .get()
            .status(299)
            .fetched(),
        must("directive-must-understand-unknown-status-alone", UNDERSTAND)
            .get()
            .status(498)
            .says(&["cache-control: max-age=3600, must-understand"])
            .get()
            .status(498)
            .fetched(),
        should("directive-must-understand-known-status", UNDERSTAND)
            .get()
            .status(404)
            .says(&["cache-control: max-age=3600, must-understand"])
            .get()
            .reused(),
        must("directive-must-understand-is-not-private", UNDERSTAND)
            .get()
            .says(&["cache-control: max-age=3600, must-understand, no-store, private"])
            .get()
            .fetched(),
    ]);
    cases
}
