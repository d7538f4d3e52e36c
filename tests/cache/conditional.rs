//! Conditional requests of clients: RFC 9110 section 13, RFC 9111 section 4.3.2.

use crate::case::{Case, may, must, should};

const CLIENT: &str = "RFC 9111 section 4.3.2";
const NONE_MATCH: &str = "RFC 9110 section 13.1.2";
const SINCE: &str = "RFC 9110 section 13.1.3";
const LIFE: &str = "cache-control: max-age=3600";

pub fn cases() -> Vec<Case> {
    let parts = [not_modified(), modified(), passed_on()];
    parts.into_iter().flatten().collect()
}

/// Stored with this validator, asked for with that condition.
fn asked(id: &str, section: &'static str, validator: &str, condition: &str) -> Case {
    should(format!("condition-{id}"), section)
        .get()
        .says(&[LIFE, validator])
        .get()
        .with(condition)
}

fn not_modified() -> Vec<Case> {
    let rows: [(&str, &'static str, &str, &str); 18] = [
        ("etag", NONE_MATCH, "etag: \"a\"", "if-none-match: \"a\""),
        (
            "weak-for-strong",
            NONE_MATCH,
            "etag: \"a\"",
            "if-none-match: W/\"a\"",
        ),
        (
            "strong-for-weak",
            NONE_MATCH,
            "etag: W/\"a\"",
            "if-none-match: \"a\"",
        ),
        (
            "weak-for-weak",
            NONE_MATCH,
            "etag: W/\"a\"",
            "if-none-match: W/\"a\"",
        ),
        (
            "list-first",
            NONE_MATCH,
            "etag: \"a\"",
            "if-none-match: \"a\", \"b\"",
        ),
        (
            "list-last",
            NONE_MATCH,
            "etag: \"a\"",
            "if-none-match: \"c\",\"b\" , \"a\"",
        ),
        (
            "list-weak",
            NONE_MATCH,
            "etag: \"a\"",
            "if-none-match: \"b\", W/\"a\"",
        ),
        (
            "list-with-commas-inside",
            NONE_MATCH,
            "etag: \"a\"",
            "if-none-match: \"b,c\", \"a\"",
        ),
        (
            "list-empty-members",
            NONE_MATCH,
            "etag: \"a\"",
            "if-none-match: ,\"a\",,",
        ),
        ("star", NONE_MATCH, "etag: \"a\"", "if-none-match: *"),
        (
            "star-without-etag",
            NONE_MATCH,
            "x-a: b",
            "if-none-match: *",
        ),
        (
            "empty-etag",
            NONE_MATCH,
            "etag: \"\"",
            "if-none-match: \"\"",
        ),
        (
            "etag-with-comma",
            NONE_MATCH,
            "etag: \"a,b\"",
            "if-none-match: \"a,b\"",
        ),
        (
            "etag-with-backslash",
            NONE_MATCH,
            "etag: \"a\\b\"",
            "if-none-match: \"a\\b\"",
        ),
        (
            "since-same",
            SINCE,
            "last-modified: {start-3000}",
            "if-modified-since: {start-3000}",
        ),
        (
            "since-later",
            SINCE,
            "last-modified: {start-3000}",
            "if-modified-since: {start-1000}",
        ),
        (
            "since-rfc850",
            "RFC 9110 section 5.6.7",
            "last-modified: {start-3000}",
            "if-modified-since: {rfc850-1000}",
        ),
        (
            "since-asctime",
            "RFC 9110 section 5.6.7",
            "last-modified: {start-3000}",
            "if-modified-since: {asctime-1000}",
        ),
    ];
    let rows = rows.into_iter();
    let mut cases: Vec<Case> = rows
        .map(|(id, section, validator, condition)| {
            asked(id, section, validator, condition)
                .local(304)
                .shows("")
        })
        .collect();
    cases.extend([
        asked(
            "star-without-etag-is-open",
            NONE_MATCH,
            "last-modified: {start-60}",
            "if-none-match: *",
        )
        .local(304),
        should("condition-both-agree", "RFC 9110 section 13.2.2")
            .get()
            .says(&[LIFE, "etag: \"a\"", "last-modified: {start-3000}"])
            .get()
            .with("if-none-match: \"a\"")
            .with("if-modified-since: {start-3000}")
            .local(304),
        should("condition-etag-over-older-date", "RFC 9110 section 13.2.2")
            .get()
            .says(&[LIFE, "etag: \"a\"", "last-modified: {start-3000}"])
            .get()
            .with("if-none-match: \"a\"")
            .with("if-modified-since: {start-9000}")
            .local(304),
        must("condition-304-has-what-it-must", "RFC 9110 section 15.4.5")
            .get()
            .says(&[
                LIFE,
                "etag: \"a\"",
                "vary: x-a",
                "expires: {start+60}",
                "content-location: {self}",
            ])
            .get()
            .with("if-none-match: \"a\"")
            .local(304)
            .has("etag: \"a\"")
            .has(LIFE)
            .has("vary: x-a")
            .has("expires: {start+60}")
            .has("content-location: {self}")
            .has("date"),
        should("condition-304-has-its-age", "RFC 9111 section 5.1")
            .get()
            .says(&[LIFE, "etag: \"a\"", "age: 100"])
            .get()
            .with("if-none-match: \"a\"")
            .local(304)
            .age(100..=103),
        may("condition-since-by-date", CLIENT)
            .get()
            .says(&[LIFE, "date: {start-100}"])
            .get()
            .with("if-modified-since: {start-50}")
            .local(304),
    ]);
    cases
}

fn modified() -> Vec<Case> {
    let rows: [(&str, &'static str, &str, &str); 13] = [
        (
            "other-etag",
            NONE_MATCH,
            "etag: \"a\"",
            "if-none-match: \"b\"",
        ),
        (
            "etag-case",
            NONE_MATCH,
            "etag: \"a\"",
            "if-none-match: \"A\"",
        ),
        (
            "etag-prefix",
            NONE_MATCH,
            "etag: \"abc\"",
            "if-none-match: \"ab\"",
        ),
        (
            "etag-inside-other",
            NONE_MATCH,
            "etag: \"a\"",
            "if-none-match: \"x,a\"",
        ),
        (
            "other-list",
            NONE_MATCH,
            "etag: \"a\"",
            "if-none-match: \"b\", \"c\"",
        ),
        ("no-etag", NONE_MATCH, "x-a: b", "if-none-match: \"a\""),
        (
            "unquoted-etag",
            NONE_MATCH,
            "etag: \"a\"",
            "if-none-match: b",
        ),
        (
            "star-quoted",
            NONE_MATCH,
            "etag: \"a\"",
            "if-none-match: \"*\"",
        ),
        (
            "since-earlier",
            SINCE,
            "last-modified: {start-3000}",
            "if-modified-since: {start-9000}",
        ),
        (
            "since-bad",
            SINCE,
            "last-modified: {start-3000}",
            "if-modified-since: yesterday",
        ),
        (
            "since-zone",
            SINCE,
            "last-modified: {start-3000}",
            "if-modified-since: Fri, 31 Dec 2100 23:59:59 CET",
        ),
        (
            "since-one-second-before",
            SINCE,
            "last-modified: {start-3000}",
            "if-modified-since: {start-3001}",
        ),
        (
            "since-two-lines",
            SINCE,
            "last-modified: {start-3000}",
            "if-modified-since: 0",
        ),
    ];
    let rows = rows.into_iter();
    let mut cases: Vec<Case> = rows
        .map(|(id, section, validator, condition)| {
            asked(id, section, validator, condition).reused()
        })
        .collect();
    cases.extend([
        should("condition-other-etag-over-date", "RFC 9110 section 13.2.2")
            .get()
            .says(&[LIFE, "etag: \"a\"", "last-modified: {start-3000}"])
            .get()
            .with("if-none-match: \"b\"")
            .with("if-modified-since: {start-1000}")
            .reused(),
        must(
            "condition-not-for-what-is-no-200",
            "RFC 9110 section 13.2.1",
        )
        .get()
        .status(404)
        .says(&[LIFE, "etag: \"a\""])
        .get()
        .with("if-none-match: \"a\"")
        .status(404)
        .anything()
        .is(404),
        must("condition-not-with-no-cache", "RFC 9111 section 5.2.2.4")
            .get()
            .says(&["cache-control: no-cache", "etag: \"a\""])
            .get()
            .with("if-none-match: \"a\"")
            .says(&["etag: \"b\""])
            .fetched(),
    ]);
    cases
}

fn passed_on() -> Vec<Case> {
    vec![
        should(
            "condition-miss-has-a-whole-answer-for-others",
            "RFC 9111 section 4.3.1",
        )
        .get()
        .with("if-none-match: \"a\"")
        .status(304)
        .says(&[LIFE, "etag: \"a\""])
        .anything()
        .get()
        .says(&[LIFE, "etag: \"a\""])
        .anything()
        .is(200)
        .shows("condition-miss-has-a-whole-answer-for-others#1"),
        must(
            "condition-if-match-goes-to-the-origin",
            "RFC 9110 section 13.1.1",
        )
        .get()
        .says(&[LIFE, "etag: \"a\""])
        .get()
        .with("if-match: \"b\"")
        .sees("if-match: \"b\"")
        .status(412)
        .fetched(),
        must(
            "condition-if-unmodified-since-goes-to-the-origin",
            "RFC 9110 section 13.1.4",
        )
        .get()
        .says(&[LIFE, "last-modified: {start-60}"])
        .get()
        .with("if-unmodified-since: {start-9000}")
        .sees("if-unmodified-since: {start-9000}")
        .status(412)
        .fetched(),
        must(
            "condition-if-match-is-not-stored",
            "RFC 9110 section 13.1.1",
        )
        .get()
        .with("if-match: \"a\"")
        .status(412)
        .says(&[LIFE])
        .get()
        .fetched(),
        must(
            "condition-post-is-not-for-the-cache",
            "RFC 9110 section 13.2.1",
        )
        .get()
        .says(&[LIFE, "etag: \"a\""])
        .ask("POST")
        .with("if-none-match: \"a\"")
        .sees("if-none-match: \"a\"")
        .fetched(),
    ]
}
