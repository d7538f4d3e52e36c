//! Freshness by what is said: RFC 9111 sections 4.2, 5.2.2 and 5.3, and how the directives are read.

use crate::case::{Case, Kind, may, no_reuse, reuse, should};

const MAX_AGE: &str = "RFC 9111 section 5.2.2.1";
const S_MAXAGE: &str = "RFC 9111 section 5.2.2.10";
const EXPIRES: &str = "RFC 9111 section 5.3";
const AGE: &str = "RFC 9111 section 5.1";
const AGING: &str = "RFC 9111 section 4.2.3";
const LIFETIME: &str = "RFC 9111 section 4.2.1";
const SYNTAX: &str = "RFC 9111 section 5.2";

pub fn cases() -> Vec<Case> {
    let parts = [fresh(), not_fresh(), parsed()];
    parts.into_iter().flatten().collect()
}

fn fresh() -> Vec<Case> {
    let rows: [(&str, &str, &[&str]); 24] = [
        ("max-age", MAX_AGE, &["cache-control: max-age=3600"]),
        ("max-age-case", SYNTAX, &["cache-control: MaX-aGe=3600"]),
        (
            "max-age-field-case",
            SYNTAX,
            &["Cache-Control: max-age=3600"],
        ),
        (
            "max-age-after-other",
            SYNTAX,
            &["cache-control: foobar, max-age=3600"],
        ),
        (
            "max-age-before-other",
            SYNTAX,
            &["cache-control: max-age=3600, foobar=baz"],
        ),
        (
            "max-age-no-space",
            SYNTAX,
            &["cache-control: foobar,max-age=3600,x=\"y\""],
        ),
        (
            "max-age-empty-members",
            SYNTAX,
            &["cache-control: ,, max-age=3600 ,"],
        ),
        (
            "max-age-second-line",
            SYNTAX,
            &["cache-control: foobar", "cache-control: max-age=3600"],
        ),
        (
            "max-age-tab",
            SYNTAX,
            &["cache-control: foobar,\tmax-age=3600"],
        ),
        (
            "max-age-quoted",
            SYNTAX,
            &["cache-control: max-age=\"3600\""],
        ),
        (
            "max-age-leading-zero",
            MAX_AGE,
            &["cache-control: max-age=003600"],
        ),
        (
            "max-age-2-31",
            "RFC 9111 section 1.2.2",
            &["cache-control: max-age=2147483648"],
        ),
        (
            "max-age-2-32",
            "RFC 9111 section 1.2.2",
            &["cache-control: max-age=4294967296"],
        ),
        (
            "max-age-huge",
            "RFC 9111 section 1.2.2",
            &["cache-control: max-age=99999999999999999999999"],
        ),
        (
            "max-age-over-old-expires",
            LIFETIME,
            &["cache-control: max-age=3600", "expires: {now-60}"],
        ),
        (
            "max-age-over-bad-expires",
            LIFETIME,
            &["cache-control: max-age=3600", "expires: 0"],
        ),
        ("s-maxage", S_MAXAGE, &["cache-control: s-maxage=3600"]),
        ("s-maxage-case", SYNTAX, &["cache-control: S-MaxAge=3600"]),
        (
            "s-maxage-over-short-max-age",
            LIFETIME,
            &["cache-control: max-age=0, s-maxage=3600"],
        ),
        (
            "s-maxage-over-old-expires",
            LIFETIME,
            &["cache-control: s-maxage=3600", "expires: {now-60}"],
        ),
        ("expires", EXPIRES, &["expires: {now+3600}"]),
        (
            "expires-far",
            EXPIRES,
            &["expires: Fri, 31 Dec 9999 23:59:59 GMT"],
        ),
        (
            "expires-asctime",
            "RFC 9110 section 5.6.7",
            &["expires: {asctime+3600}"],
        ),
        (
            "expires-rfc850",
            "RFC 9110 section 5.6.7",
            &["expires: {rfc850+3600}"],
        ),
    ];
    let mut cases: Vec<Case> = rows
        .into_iter()
        .map(|(id, section, fields)| reuse(format!("fresh-{id}"), section, fields))
        .collect();
    cases.extend([
        reuse(
            "fresh-expires-both-old",
            EXPIRES,
            &["date: {now-7200}", "expires: {now+3600}"],
        ),
        reuse(
            "fresh-date-ahead",
            AGING,
            &["date: {now+60}", "cache-control: max-age=3600"],
        ),
        reuse(
            "fresh-no-date",
            "RFC 9110 section 6.6.1",
            &["date:", "cache-control: max-age=3600"],
        ),
        reuse(
            "fresh-age-below",
            AGE,
            &["cache-control: max-age=3600", "age: 1800"],
        ),
        reuse(
            "fresh-immutable",
            "RFC 9111 section 5.2.3",
            &["cache-control: max-age=3600, immutable"],
        ),
    ]);
    cases
}

fn not_fresh() -> Vec<Case> {
    let rows: [(&str, &str, &[&str]); 25] = [
        ("max-age-0", MAX_AGE, &["cache-control: max-age=0"]),
        ("s-maxage-0", S_MAXAGE, &["cache-control: s-maxage=0"]),
        (
            "s-maxage-0-over-max-age",
            LIFETIME,
            &["cache-control: max-age=3600, s-maxage=0"],
        ),
        (
            "max-age-0-over-expires",
            LIFETIME,
            &["cache-control: max-age=0", "expires: {now+3600}"],
        ),
        (
            "s-maxage-0-over-expires",
            LIFETIME,
            &["cache-control: s-maxage=0", "expires: {now+3600}"],
        ),
        ("expires-past", EXPIRES, &["expires: {now-60}"]),
        ("expires-now", EXPIRES, &["expires: {start}"]),
        ("expires-0", EXPIRES, &["expires: 0"]),
        ("expires-minus-1", EXPIRES, &["expires: -1"]),
        ("expires-text", EXPIRES, &["expires: never"]),
        ("expires-empty", EXPIRES, &["expires: "]),
        (
            "expires-bad-with-modified",
            EXPIRES,
            &["expires: 0", "last-modified: {now-864000}"],
        ),
        (
            "expires-other-zone",
            "RFC 9110 section 5.6.7",
            &["expires: Fri, 31 Dec 2100 23:59:59 AEST"],
        ),
        (
            "expires-no-zone",
            "RFC 9110 section 5.6.7",
            &["expires: Fri, 31 Dec 2100 23:59:59"],
        ),
        (
            "expires-two-digit-year",
            "RFC 9110 section 5.6.7",
            &["expires: Fri, 31 Dec 99 23:59:59 GMT"],
        ),
        (
            "expires-dashes",
            "RFC 9110 section 5.6.7",
            &["expires: Fri, 31-Dec-2100 23:59:59 GMT"],
        ),
        (
            "expires-no-weekday",
            "RFC 9110 section 5.6.7",
            &["expires: 31 Dec 2100 23:59:59 GMT"],
        ),
        (
            "expires-short-time",
            "RFC 9110 section 5.6.7",
            &["expires: Fri, 31 Dec 2100 2:5:5 GMT"],
        ),
        (
            "expires-dots",
            "RFC 9110 section 5.6.7",
            &["expires: Fri, 31 Dec 2100 23.59.59 GMT"],
        ),
        (
            "date-old-with-expires",
            EXPIRES,
            &["date: {now-7200}", "expires: {now-3600}"],
        ),
        (
            "date-old-with-max-age",
            AGING,
            &["date: {now-7200}", "cache-control: max-age=3600"],
        ),
        (
            "age-above",
            AGE,
            &["cache-control: max-age=3600", "age: 7200"],
        ),
        (
            "age-equal",
            AGE,
            &["cache-control: max-age=3600", "age: 3600"],
        ),
        (
            "age-above-s-maxage",
            AGE,
            &["cache-control: s-maxage=3600", "age: 7200"],
        ),
        (
            "age-above-expires",
            AGE,
            &["expires: {now+3600}", "age: 7200"],
        ),
    ];
    let mut cases: Vec<Case> = rows
        .into_iter()
        .map(|(id, section, fields)| no_reuse(format!("unfresh-{id}"), section, fields))
        .collect();
    cases.extend([
        no_reuse(
            "unfresh-age-over-date",
            AGING,
            &["date: {now-60}", "age: 7200", "cache-control: max-age=3600"],
        ),
        no_reuse(
            "unfresh-date-over-age",
            AGING,
            &["date: {now-7200}", "age: 60", "cache-control: max-age=3600"],
        ),
        no_reuse(
            "unfresh-expires-by-date-ahead",
            EXPIRES,
            &["date: {now+7200}", "expires: {now+3600}"],
        ),
        no_reuse("unfresh-nothing-said", "RFC 9111 section 3", &[]),
    ]);
    cases
}

/// What is written badly must at least not make fresh what is not; where it is open, the shorter life is Northgate's
/// choice.
fn parsed() -> Vec<Case> {
    let open: [(&str, &str, &[&str]); 18] = [
        ("negative", MAX_AGE, &["cache-control: max-age=-3600"]),
        ("decimal", MAX_AGE, &["cache-control: max-age=3600.5"]),
        ("text", MAX_AGE, &["cache-control: max-age=forever"]),
        ("empty", MAX_AGE, &["cache-control: max-age="]),
        ("no-value", MAX_AGE, &["cache-control: max-age"]),
        ("trailing-text", MAX_AGE, &["cache-control: max-age=3600s"]),
        ("leading-text", MAX_AGE, &["cache-control: max-age=a3600"]),
        (
            "space-before-equals",
            SYNTAX,
            &["cache-control: max-age =3600"],
        ),
        (
            "space-after-equals",
            SYNTAX,
            &["cache-control: max-age= 3600"],
        ),
        ("single-quotes", SYNTAX, &["cache-control: max-age='3600'"]),
        ("hex", MAX_AGE, &["cache-control: max-age=0x3600"]),
        ("plus", MAX_AGE, &["cache-control: max-age=+3600"]),
        ("quoted-empty", MAX_AGE, &["cache-control: max-age=\"\""]),
        (
            "two-different",
            LIFETIME,
            &["cache-control: max-age=3600, max-age=0"],
        ),
        (
            "two-lines-different",
            LIFETIME,
            &["cache-control: max-age=3600", "cache-control: max-age=0"],
        ),
        (
            "two-s-maxage",
            LIFETIME,
            &["cache-control: s-maxage=3600, s-maxage=0"],
        ),
        (
            "two-expires",
            LIFETIME,
            &["expires: {now+3600}", "expires: {now-60}"],
        ),
        (
            "semicolon",
            SYNTAX,
            &["cache-control: public; max-age=3600"],
        ),
    ];
    let mut cases: Vec<Case> = open
        .into_iter()
        .map(|(id, section, fields)| {
            let case = no_reuse(format!("parse-{id}"), section, fields).of_kind(Kind::May);
            match id {
                // No other reading of it is possible.
                "space-before-equals" | "space-after-equals" => case.reused(),
                _ => case,
            }
        })
        .collect();
    let hidden: [(&str, &[&str]); 6] = [
        ("in-quotes", &["cache-control: foo=\"max-age=3600\""]),
        (
            "in-quotes-comma",
            &["cache-control: foo=\", max-age=3600, \""],
        ),
        (
            "in-quotes-escaped",
            &["cache-control: foo=\"\\\", max-age=3600\""],
        ),
        ("prefixed", &["cache-control: x-max-age=3600"]),
        ("suffixed", &["cache-control: max-age-x=3600"]),
        ("in-value", &["cache-control: foo=max-age=3600"]),
    ];
    let hidden = hidden.into_iter();
    cases.extend(hidden.map(|(id, fields)| no_reuse(format!("parse-hidden-{id}"), SYNTAX, fields)));
    cases.extend([
        no_reuse(
            "parse-hidden-after-zero",
            SYNTAX,
            &["cache-control: max-age=0, foo=\"max-age=3600\""],
        ),
        may("parse-same-twice", LIFETIME)
            .get()
            .says(&["cache-control: max-age=3600, max-age=3600"])
            .get()
            .reused(),
        should("parse-unknown-is-ignored", "RFC 9111 section 5.2.3")
            .get()
            .says(&["cache-control: community=\"UCI\", max-age=3600, no-storey"])
            .get()
            .reused(),
        should("parse-status-text-in-quotes", SYNTAX)
            .get()
            .says(&["cache-control: foo=\"no-store, private\", max-age=3600"])
            .get()
            .reused(),
    ]);
    cases
}
