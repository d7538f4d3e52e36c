//! Request directives: RFC 9111 section 5.2.1. They are advice, and Northgate takes it.

use crate::case::{Case, Kind, Outcome, may, must, should};

const MAX_AGE: &str = "RFC 9111 section 5.2.1.1";
const MAX_STALE: &str = "RFC 9111 section 5.2.1.2";
const MIN_FRESH: &str = "RFC 9111 section 5.2.1.3";
const NO_CACHE: &str = "RFC 9111 section 5.2.1.4";
const NO_STORE: &str = "RFC 9111 section 5.2.1.5";
const ONLY_IF_CACHED: &str = "RFC 9111 section 5.2.1.7";
const PRAGMA: &str = "RFC 9111 section 5.4";

const FRESH: &[&str] = &["cache-control: max-age=3600"];
const AGED: &[&str] = &["cache-control: max-age=3600", "age: 1800"];
const STALE: &[&str] = &["cache-control: max-age=1500", "age: 1800"];

/// Stored with these fields, then asked for with that one.
fn asked(id: &str, section: &'static str, stored: &[&str], field: &str) -> Case {
    should(format!("request-{id}"), section)
        .get()
        .says(stored)
        .get()
        .with(field)
}

pub fn cases() -> Vec<Case> {
    let parts = [not_reused(), reused(), stale(), only_if_cached(), others()];
    parts.into_iter().flatten().collect()
}

fn not_reused() -> Vec<Case> {
    let rows: [(&str, &str, &[&str], &str); 16] = [
        ("max-age-0", MAX_AGE, AGED, "cache-control: max-age=0"),
        ("max-age-below", MAX_AGE, AGED, "cache-control: max-age=600"),
        ("max-age-case", MAX_AGE, AGED, "cache-control: Max-Age=600"),
        (
            "max-age-quoted",
            MAX_AGE,
            AGED,
            "cache-control: max-age=\"600\"",
        ),
        (
            "max-age-with-other",
            MAX_AGE,
            AGED,
            "cache-control: foo, max-age=600",
        ),
        (
            "min-fresh-above",
            MIN_FRESH,
            AGED,
            "cache-control: min-fresh=2000",
        ),
        (
            "min-fresh-of-a-day",
            MIN_FRESH,
            FRESH,
            "cache-control: min-fresh=86400",
        ),
        (
            "min-fresh-huge",
            MIN_FRESH,
            FRESH,
            "cache-control: min-fresh=99999999999999999999",
        ),
        (
            "min-fresh-and-max-age",
            MIN_FRESH,
            AGED,
            "cache-control: max-age=3600, min-fresh=2000",
        ),
        ("no-cache", NO_CACHE, FRESH, "cache-control: no-cache"),
        ("no-cache-case", NO_CACHE, FRESH, "cache-control: NO-cache"),
        (
            "no-cache-with-max-stale",
            NO_CACHE,
            FRESH,
            "cache-control: max-stale=60, no-cache",
        ),
        (
            "max-age-of-what-is-fresh-only",
            MAX_AGE,
            STALE,
            "cache-control: max-age=3600",
        ),
        (
            "max-stale-too-little",
            MAX_STALE,
            STALE,
            "cache-control: max-stale=100",
        ),
        (
            "max-stale-0",
            MAX_STALE,
            STALE,
            "cache-control: max-stale=0",
        ),
        (
            "max-stale-bad",
            MAX_STALE,
            STALE,
            "cache-control: max-stale=ages",
        ),
    ];
    let rows = rows.into_iter();
    rows.map(|(id, section, stored, field)| asked(id, section, stored, field).fetched())
        .collect()
}

fn reused() -> Vec<Case> {
    let rows: [(&str, &str, &[&str], &str); 9] = [
        (
            "max-age-above",
            MAX_AGE,
            AGED,
            "cache-control: max-age=3000",
        ),
        (
            "max-age-huge",
            MAX_AGE,
            AGED,
            "cache-control: max-age=99999999999999999999",
        ),
        (
            "max-age-0-with-max-stale",
            MAX_AGE,
            FRESH,
            "cache-control: max-age=10, max-stale=60",
        ),
        (
            "min-fresh-below",
            MIN_FRESH,
            AGED,
            "cache-control: min-fresh=600",
        ),
        ("min-fresh-0", MIN_FRESH, AGED, "cache-control: min-fresh=0"),
        (
            "max-stale-of-fresh",
            MAX_STALE,
            FRESH,
            "cache-control: max-stale=60",
        ),
        (
            "unknown",
            "RFC 9111 section 5.2.3",
            FRESH,
            "cache-control: private, foo=\"no-cache\"",
        ),
        (
            "no-transform",
            "RFC 9111 section 5.2.1.6",
            FRESH,
            "cache-control: no-transform",
        ),
        ("empty", "RFC 9111 section 5.2.1", FRESH, "cache-control: "),
    ];
    let rows = rows.into_iter();
    rows.map(|(id, section, stored, field)| asked(id, section, stored, field).reused())
        .collect()
}

fn stale() -> Vec<Case> {
    vec![
        asked(
            "max-stale-any",
            MAX_STALE,
            STALE,
            "cache-control: max-stale",
        )
        .reused(),
        asked(
            "max-stale-enough",
            MAX_STALE,
            STALE,
            "cache-control: max-stale=1000",
        )
        .reused(),
        asked(
            "max-stale-has-its-age",
            MAX_STALE,
            STALE,
            "cache-control: max-stale=1000",
        )
        .reused()
        .age(1800..=1803),
        asked(
            "stale-without-max-stale",
            "RFC 9111 section 4.2.4",
            STALE,
            "x-a: b",
        )
        .fetched(),
        must(
            "request-max-stale-not-over-no-cache",
            "RFC 9111 section 4.2.4",
        )
        .get()
        .says(&["cache-control: no-cache, max-age=10", "age: 20"])
        .get()
        .with("cache-control: max-stale")
        .fetched(),
        should("request-stale-if-error", "RFC 5861 section 4")
            .get()
            .says(STALE)
            .get()
            .with("cache-control: stale-if-error=3600")
            .status(503)
            .outcome(Outcome::Stale)
            .of_kind(Kind::May),
    ]
}

fn only_if_cached() -> Vec<Case> {
    vec![
        should("request-only-if-cached-miss", ONLY_IF_CACHED)
            .get()
            .with("cache-control: only-if-cached")
            .local(504),
        asked(
            "only-if-cached-hit",
            ONLY_IF_CACHED,
            FRESH,
            "cache-control: only-if-cached",
        )
        .reused(),
        asked(
            "only-if-cached-stale",
            ONLY_IF_CACHED,
            STALE,
            "cache-control: only-if-cached",
        )
        .local(504),
        asked(
            "only-if-cached-max-age",
            ONLY_IF_CACHED,
            AGED,
            "cache-control: only-if-cached, max-age=60",
        )
        .local(504),
        asked(
            "only-if-cached-max-stale",
            ONLY_IF_CACHED,
            STALE,
            "cache-control: only-if-cached, max-stale",
        )
        .reused(),
        asked(
            "only-if-cached-no-cache",
            ONLY_IF_CACHED,
            FRESH,
            "cache-control: only-if-cached, no-cache",
        )
        .local(504)
        .of_kind(Kind::May),
        should("request-only-if-cached-other-variant", ONLY_IF_CACHED)
            .get()
            .with("x-a: 1")
            .says(&["cache-control: max-age=3600", "vary: x-a"])
            .get()
            .with("x-a: 2")
            .with("cache-control: only-if-cached")
            .local(504),
        should("request-only-if-cached-head", ONLY_IF_CACHED)
            .head()
            .with("cache-control: only-if-cached")
            .local(504),
    ]
}

fn others() -> Vec<Case> {
    vec![
        must("request-no-store-is-not-stored", NO_STORE)
            .get()
            .with("cache-control: no-store")
            .says(FRESH)
            .get()
            .fetched(),
        may("request-no-store-may-be-served", NO_STORE)
            .get()
            .says(FRESH)
            .get()
            .with("cache-control: no-store")
            .reused(),
        should("request-no-cache-stores-anew", NO_CACHE)
            .get()
            .says(FRESH)
            .get()
            .with("cache-control: no-cache")
            .says(FRESH)
            .fetched()
            .get()
            .reused()
            .of(1),
        should("request-no-cache-is-validated", NO_CACHE)
            .get()
            .says(&["cache-control: max-age=3600", "etag: \"a\""])
            .get()
            .with("cache-control: no-cache")
            .sees("if-none-match: \"a\"")
            .validated(),
        should("request-max-age-0-is-validated", MAX_AGE)
            .get()
            .says(&["cache-control: max-age=3600", "etag: \"a\""])
            .get()
            .with("cache-control: max-age=0")
            .sees("if-none-match: \"a\"")
            .validated()
            .get()
            .reused(),
        should("request-pragma-no-cache", PRAGMA)
            .get()
            .says(FRESH)
            .get()
            .with("pragma: no-cache")
            .fetched()
            .of_kind(Kind::May),
        should("request-pragma-under-cache-control", PRAGMA)
            .get()
            .says(FRESH)
            .get()
            .with("pragma: no-cache")
            .with("cache-control: max-age=3600")
            .reused(),
        should("request-pragma-other", PRAGMA)
            .get()
            .says(FRESH)
            .get()
            .with("pragma: foo")
            .reused(),
        must("request-pragma-of-a-response", PRAGMA)
            .get()
            .says(&["cache-control: max-age=3600", "pragma: no-cache"])
            .get()
            .reused()
            .of_kind(Kind::May),
        may("request-pragma-of-a-response-alone", PRAGMA)
            .get()
            .says(&["pragma: no-cache", "last-modified: {now-864000}"])
            .get()
            .reused(),
        must(
            "request-cache-control-reaches-the-origin",
            "RFC 9111 section 5.2",
        )
        .get()
        .with("cache-control: max-age=5, x-new")
        .sees("cache-control: max-age=5, x-new"),
    ]
}
