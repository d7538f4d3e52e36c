//! Asking the origin whether what is stored is still good, and what the client has of it: RFC 9111 sections 4.3.1 and
//! 4.3.3.

use crate::case::{Case, Kind, may, must, should};

const ORIGIN: &str = "RFC 9111 section 4.3.1";
const LIFE: &str = "cache-control: max-age=3600";
const OLD: &[&str] = &["cache-control: max-age=10", "age: 20"];

pub fn cases() -> Vec<Case> {
    let parts = [validating(), answers()];
    parts.into_iter().flatten().collect()
}

fn validating() -> Vec<Case> {
    vec![
        should("validate-by-etag", ORIGIN)
            .get()
            .says(OLD)
            .says(&["etag: \"a\""])
            .get()
            .sees("if-none-match: \"a\"")
            .validated(),
        should("validate-by-weak-etag", ORIGIN)
            .get()
            .says(OLD)
            .says(&["etag: W/\"a\""])
            .get()
            .sees("if-none-match: W/\"a\"")
            .validated(),
        should("validate-by-date", ORIGIN)
            .get()
            .says(OLD)
            .says(&["last-modified: {start-3000}"])
            .get()
            .sees("if-modified-since: {start-3000}")
            .validated(),
        should("validate-by-etag-beyond-ascii", ORIGIN)
            .get()
            .says(OLD)
            .says(&["etag: \"grün\""])
            .get()
            .sees("if-none-match: \"grün\"")
            .validated(),
        should("validate-by-an-empty-etag", ORIGIN)
            .get()
            .says(OLD)
            .says(&["etag: \"\""])
            .get()
            .sees("if-none-match: \"\"")
            .validated(),
        should("validate-by-what-the-client-did-not-say", ORIGIN)
            .get()
            .says(OLD)
            .says(&["etag: \"a\""])
            .get()
            .with("if-modified-since: {start-90000}")
            .sees("if-none-match: \"a\"")
            .says(&["etag: \"a\""])
            .validated()
            .of_kind(Kind::May),
        should("validate-by-both", ORIGIN)
            .get()
            .says(OLD)
            .says(&["etag: \"a\"", "last-modified: {start-3000}"])
            .get()
            .sees("if-none-match: \"a\"")
            .sees("if-modified-since: {start-3000}")
            .validated(),
        may("validate-by-unquoted-etag", ORIGIN)
            .get()
            .says(OLD)
            .says(&["etag: abc"])
            .get()
            .sees("if-none-match: abc")
            .validated(),
        should("validate-modified", "RFC 9111 section 4.3.3")
            .get()
            .says(OLD)
            .says(&["etag: \"a\""])
            .get()
            .says(&[LIFE, "etag: \"b\""])
            .sees("if-none-match: \"a\"")
            .fetched()
            .get()
            .reused()
            .of(1)
            .has("etag: \"b\""),
        should("validate-then-fresh", "RFC 9111 section 4.3.4")
            .get()
            .says(OLD)
            .says(&["etag: \"a\""])
            .get()
            .says(&[LIFE, "etag: \"a\""])
            .validated()
            .get()
            .reused()
            .age(0..=3),
        should("validate-by-the-newest-etag", ORIGIN)
            .get()
            .says(OLD)
            .says(&["etag: \"a\""])
            .get()
            .says(OLD)
            .says(&["etag: \"b\""])
            .get()
            .sees("if-none-match: \"b\"")
            .validated(),
        must("validate-nothing-without-validator", ORIGIN)
            .get()
            .says(OLD)
            .get()
            .sees_no("if-none-match")
            .sees_no("if-modified-since")
            .fetched(),
        should("validate-after-time", "RFC 9111 section 4.3")
            .get()
            .says(&["cache-control: max-age=1", "etag: \"a\""])
            .get()
            .after(2200)
            .sees("if-none-match: \"a\"")
            .says(&["cache-control: max-age=3600", "etag: \"a\""])
            .validated(),
        should("validate-404-too", "RFC 9111 section 4.3")
            .get()
            .status(404)
            .says(OLD)
            .says(&["etag: \"a\""])
            .get()
            .sees("if-none-match: \"a\"")
            .validated()
            .of_kind(Kind::May),
    ]
}

/// What the client has of a validation, when it asked under a condition of its own.
fn answers() -> Vec<Case> {
    let stale = |id: &str| {
        let case = should(format!("validate-{id}"), "RFC 9111 section 4.3.3").get();
        case.says(OLD).says(&["etag: \"a\""]).get()
    };
    vec![
        must(
            "validate-unconditional-client-has-no-304",
            "RFC 9111 section 4.3.3",
        )
        .get()
        .says(OLD)
        .says(&["etag: \"a\""])
        .get()
        .says(&["etag: \"a\""])
        .validated(),
        stale("same-condition")
            .with("if-none-match: \"a\"")
            .says(&["etag: \"a\""])
            .validated()
            .is(304),
        stale("other-condition")
            .with("if-none-match: \"b\"")
            .says(&["etag: \"a\""])
            .validated()
            .is(200),
        stale("other-condition-modified")
            .with("if-none-match: \"b\"")
            .says(&[LIFE, "etag: \"c\""])
            .fetched(),
        stale("client-has-the-new-one")
            .with("if-none-match: \"b\"")
            .says(&[LIFE, "etag: \"b\""])
            .anything()
            .is(304)
            .get()
            .anything()
            .is(200)
            .of_kind(Kind::May),
        must("validate-error-is-passed-on", "RFC 9111 section 4.3.3")
            .get()
            .says(OLD)
            .says(&["etag: \"a\""])
            .get()
            .status(500)
            .fetched()
            .of_kind(Kind::Should),
        must(
            "validate-error-keeps-what-is-stored",
            "RFC 9111 section 4.3.3",
        )
        .get()
        .says(OLD)
        .says(&["etag: \"a\""])
        .get()
        .status(500)
        .fetched()
        .get()
        .sees("if-none-match: \"a\"")
        .validated()
        .of(0)
        .of_kind(Kind::May),
        must("validate-404-is-passed-on", "RFC 9111 section 4.3.3")
            .get()
            .says(OLD)
            .says(&["etag: \"a\""])
            .get()
            .status(404)
            .fetched(),
    ]
}
