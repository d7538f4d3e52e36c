//! `CDN-Cache-Control`, which is for caches like this one: RFC 9213. It is a dictionary of RFC 8941.

use crate::case::{Case, Kind, may, must, should};

const TARGETED: &str = "RFC 9213 section 2.1";
const CDN: &str = "RFC 9213 section 3.1";
const PARSING: &str = "RFC 9213 section 2.1, RFC 8941 section 3.2";
const PROCESSING: &str = "RFC 9213 section 2.2";

pub fn cases() -> Vec<Case> {
    let parts = [obeyed(), not_reused(), invalid(), around()];
    parts.into_iter().flatten().collect()
}

fn obeyed() -> Vec<Case> {
    let rows: [(&str, &'static str, &[&str]); 16] = [
        ("max-age", CDN, &["cdn-cache-control: max-age=3600"]),
        (
            "over-no-store",
            PROCESSING,
            &["cdn-cache-control: max-age=3600", "cache-control: no-store"],
        ),
        (
            "over-private",
            PROCESSING,
            &["cdn-cache-control: max-age=3600", "cache-control: private"],
        ),
        (
            "over-no-cache",
            PROCESSING,
            &["cdn-cache-control: max-age=3600", "cache-control: no-cache"],
        ),
        (
            "over-max-age-0",
            PROCESSING,
            &[
                "cdn-cache-control: max-age=3600",
                "cache-control: max-age=0",
            ],
        ),
        (
            "over-s-maxage-0",
            PROCESSING,
            &[
                "cdn-cache-control: max-age=3600",
                "cache-control: s-maxage=0",
            ],
        ),
        (
            "over-expires",
            PROCESSING,
            &["cdn-cache-control: max-age=3600", "expires: {now-60}"],
        ),
        (
            "s-maxage",
            CDN,
            &["cdn-cache-control: s-maxage=3600, max-age=0"],
        ),
        (
            "two-lines",
            PARSING,
            &["cdn-cache-control: foo", "cdn-cache-control: max-age=3600"],
        ),
        (
            "space",
            PARSING,
            &["cdn-cache-control: foo ,  max-age=3600"],
        ),
        (
            "unknown-members",
            PARSING,
            &["cdn-cache-control: foo=\"bar, no-store\", baz=?0, max-age=3600"],
        ),
        (
            "inner-list",
            PARSING,
            &["cdn-cache-control: foo=(a b), max-age=3600"],
        ),
        (
            "parameters",
            PARSING,
            &["cdn-cache-control: max-age=3600;foo=bar"],
        ),
        (
            "last-counts",
            PARSING,
            &["cdn-cache-control: max-age=0, max-age=3600"],
        ),
        (
            "bytes-and-dates",
            PARSING,
            &["cdn-cache-control: a=:aGk=:, b=1.5, max-age=3600"],
        ),
        (
            "leading-zero",
            PARSING,
            &["cdn-cache-control: max-age=003600"],
        ),
    ];
    let rows = rows.into_iter();
    let mut cases: Vec<Case> = rows
        .map(|(id, section, fields)| {
            should(format!("cdn-{id}"), section)
                .get()
                .says(fields)
                .get()
                .reused()
        })
        .collect();
    cases.extend([
        should("cdn-is-passed-on", CDN)
            .get()
            .says(&["cdn-cache-control: max-age=3600", "cache-control: no-store"])
            .get()
            .reused()
            .has("cdn-cache-control: max-age=3600")
            .has("cache-control: no-store")
            .of_kind(Kind::May),
        must("cdn-has-an-age", "RFC 9111 section 5.1")
            .get()
            .says(&["cdn-cache-control: max-age=3600", "age: 100"])
            .get()
            .reused()
            .age(100..=103),
        should("cdn-must-revalidate-is-no-no-cache", CDN)
            .get()
            .says(&["cdn-cache-control: max-age=3600, must-revalidate"])
            .get()
            .reused(),
        should("cdn-stale-while-revalidate", CDN)
            .get()
            .says(&[
                "cdn-cache-control: max-age=10, stale-while-revalidate=3600",
                "age: 20",
            ])
            .get()
            .refreshing(),
        should("cdn-stale-if-error", CDN)
            .get()
            .says(&[
                "cdn-cache-control: max-age=10, stale-if-error=3600",
                "age: 20",
            ])
            .get()
            .status(503)
            .stale(),
        should("cdn-authorized-public", "RFC 9111 section 3.5")
            .get()
            .with("authorization: a")
            .says(&["cdn-cache-control: max-age=3600, public"])
            .get()
            .reused(),
        should("cdn-200-no-date", CDN)
            .get()
            .says(&["date:", "cdn-cache-control: max-age=3600"])
            .get()
            .reused(),
    ]);
    cases
}

fn not_reused() -> Vec<Case> {
    let rows: [(&str, &'static str, &[&str]); 12] = [
        ("max-age-0", CDN, &["cdn-cache-control: max-age=0"]),
        (
            "max-age-0-over-cache-control",
            PROCESSING,
            &[
                "cdn-cache-control: max-age=0",
                "cache-control: max-age=3600",
            ],
        ),
        (
            "no-store-over-cache-control",
            PROCESSING,
            &["cdn-cache-control: no-store", "cache-control: max-age=3600"],
        ),
        (
            "private-over-cache-control",
            PROCESSING,
            &["cdn-cache-control: private", "cache-control: max-age=3600"],
        ),
        (
            "no-cache-over-cache-control",
            PROCESSING,
            &["cdn-cache-control: no-cache", "cache-control: max-age=3600"],
        ),
        (
            "no-cache-with-max-age",
            PROCESSING,
            &["cdn-cache-control: no-cache, max-age=3600"],
        ),
        (
            "no-store-with-expires",
            PROCESSING,
            &["cdn-cache-control: no-store", "expires: {now+3600}"],
        ),
        (
            "no-store-with-life",
            PROCESSING,
            &["cdn-cache-control: max-age=3600, no-store"],
        ),
        (
            "age-above",
            "RFC 9111 section 5.1",
            &["cdn-cache-control: max-age=3600", "age: 7200"],
        ),
        (
            "age-above-not-by-cache-control",
            PROCESSING,
            &[
                "cdn-cache-control: max-age=3600",
                "cache-control: max-age=10000",
                "age: 7200",
            ],
        ),
        (
            "s-maxage-0",
            CDN,
            &["cdn-cache-control: s-maxage=0, max-age=3600"],
        ),
        (
            "last-is-0",
            PARSING,
            &["cdn-cache-control: max-age=3600, max-age=0"],
        ),
    ];
    let rows = rows.into_iter();
    let mut cases: Vec<Case> = rows
        .map(|(id, section, fields)| {
            must(format!("cdn-not-{id}"), section)
                .get()
                .says(fields)
                .get()
                .fetched()
        })
        .collect();
    cases.extend([
        must("cdn-not-key-case", PARSING)
            .get()
            .says(&["cdn-cache-control: Max-Age=3600", "cache-control: no-store"])
            .get()
            .fetched(),
        must("cdn-not-authorized", "RFC 9111 section 3.5")
            .get()
            .with("authorization: a")
            .says(&["cdn-cache-control: max-age=3600"])
            .get()
            .fetched(),
        must("cdn-not-authorized-by-the-other-field", PROCESSING)
            .get()
            .with("authorization: a")
            .says(&["cdn-cache-control: max-age=3600", "cache-control: public"])
            .get()
            .fetched(),
    ]);
    cases
}

/// What is no dictionary is not there: `Cache-Control` counts.
fn invalid() -> Vec<Case> {
    let values = [
        ("empty-member", "max-age=3600,, foo"),
        ("trailing-comma", "max-age=3600,"),
        ("open-quote", "max-age=3600, foo=\"bar"),
        ("bad-character", "max-age=3600, &"),
        ("space-at-equals", "max-age = 3600"),
        ("open-list", "max-age=3600, foo=(a"),
        ("semicolon", "max-age=3600; ;"),
    ];
    let mut cases = Vec::new();
    for (name, value) in values {
        let field = format!("cdn-cache-control: {value}");
        let case = must(format!("cdn-invalid-{name}-is-no-life"), TARGETED).get();
        cases.push(
            case.says(&[&field, "cache-control: no-store"])
                .get()
                .fetched(),
        );
        let case = should(format!("cdn-invalid-{name}-falls-back"), TARGETED).get();
        cases.push(
            case.says(&[&field, "cache-control: max-age=3600"])
                .get()
                .reused(),
        );
    }
    let mistyped = [
        ("string", "max-age=\"3600\""),
        ("decimal", "max-age=3600.5"),
        ("token", "max-age=long"),
        ("true", "max-age"),
        ("negative", "max-age=-3600"),
        ("inner-list", "max-age=(3600)"),
    ];
    for (name, value) in mistyped {
        let field = format!("cdn-cache-control: {value}");
        let case = may(format!("cdn-mistyped-{name}"), TARGETED).get();
        cases.push(
            case.says(&[&field, "cache-control: no-store"])
                .get()
                .fetched(),
        );
    }
    cases
}

fn around() -> Vec<Case> {
    vec![
        should("cdn-empty-is-not-there", PARSING)
            .get()
            .says(&["cdn-cache-control: ", "cache-control: max-age=3600"])
            .get()
            .reused(),
        should("cdn-of-others-is-not-ours", TARGETED)
            .get()
            .says(&[
                "example-cache-control: no-store",
                "cache-control: max-age=3600",
            ])
            .get()
            .reused(),
        must("cdn-of-a-request-is-nothing", CDN)
            .get()
            .with("cdn-cache-control: no-store")
            .says(&["cache-control: max-age=3600"])
            .get()
            .reused()
            .of_kind(Kind::Should),
        must("cdn-life-by-time", CDN)
            .get()
            .says(&[
                "cdn-cache-control: max-age=1",
                "cache-control: max-age=3600",
            ])
            .get()
            .after(2200)
            .fetched(),
        must("cdn-updated-by-304", "RFC 9111 section 3.2")
            .get()
            .says(&["cdn-cache-control: max-age=10", "age: 20", "etag: \"a\""])
            .get()
            .says(&["cdn-cache-control: max-age=3600", "etag: \"a\""])
            .validated()
            .get()
            .reused()
            .of(0),
        may("cdn-unknown-members-only", PROCESSING)
            .get()
            .says(&["cdn-cache-control: foo", "cache-control: max-age=3600"])
            .get()
            .fetched(),
    ]
}
