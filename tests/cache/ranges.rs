//! Ranges: RFC 9110 section 14, from what is stored whole.

use crate::case::{Case, Ending, Kind, may, must, should};

const RANGE: &str = "RFC 9110 section 14.2";
const IF_RANGE: &str = "RFC 9110 section 13.1.5";
const LIFE: &str = "cache-control: max-age=3600";
const DIGITS: &str = "0123456789";

pub fn cases() -> Vec<Case> {
    let parts = [from_whole(), refused(), if_range()];
    parts.into_iter().flatten().collect()
}

/// Ten digits are stored whole; then this range of them is asked for.
fn of_digits(id: &str, range: &str) -> Case {
    should(format!("range-{id}"), RANGE)
        .get()
        .says(&[LIFE, "etag: \"a\"", "x-a: b"])
        .content(DIGITS)
        .get()
        .with(format!("range: {range}"))
}

fn from_whole() -> Vec<Case> {
    let rows = [
        ("first", "bytes=0-1", "01", "bytes 0-1/10"),
        ("middle", "bytes=3-5", "345", "bytes 3-5/10"),
        ("one", "bytes=4-4", "4", "bytes 4-4/10"),
        ("open", "bytes=7-", "789", "bytes 7-9/10"),
        ("suffix", "bytes=-2", "89", "bytes 8-9/10"),
        ("suffix-too-long", "bytes=-20", DIGITS, "bytes 0-9/10"),
        ("end-too-far", "bytes=8-99", "89", "bytes 8-9/10"),
        ("all", "bytes=0-", DIGITS, "bytes 0-9/10"),
        ("unit-case", "Bytes=1-2", "12", "bytes 1-2/10"),
    ];
    let rows = rows.into_iter();
    let mut cases: Vec<Case> = rows
        .map(|(id, range, body, content_range)| {
            of_digits(id, range)
                .reused()
                .is(206)
                .shows(body)
                .has(format!("content-range: {content_range}"))
                .has(format!("content-length: {}", body.len()))
                .has("etag: \"a\"")
                .has("x-a: b")
        })
        .collect();
    cases.extend([
        of_digits("of-chunked", "bytes=2-3")
            .reused()
            .is(206)
            .shows("23"),
        should("range-of-long-chunked", RANGE)
            .get()
            .says(&[LIFE])
            .content("0123456789".repeat(10_000))
            .ending(Ending::Chunked)
            .get()
            .with("range: bytes=99990-")
            .reused()
            .is(206)
            .shows(DIGITS)
            .has("content-range: bytes 99990-99999/100000"),
        must("range-whole-stays-whole", RANGE)
            .get()
            .says(&[LIFE])
            .content(DIGITS)
            .get()
            .with("range: bytes=0-1")
            .anything()
            .get()
            .reused()
            .of(0),
        must("range-not-from-stale", RANGE)
            .get()
            .says(&["cache-control: max-age=10", "age: 20"])
            .content(DIGITS)
            .get()
            .with("range: bytes=0-1")
            .status(206)
            .says(&["content-range: bytes 0-1/10"])
            .content("ab")
            .anything()
            .shows("ab"),
        should("range-after-validation", "RFC 9111 section 4.3.3")
            .get()
            .says(&["cache-control: max-age=10", "age: 20", "etag: \"a\""])
            .content(DIGITS)
            .get()
            .with("range: bytes=0-1")
            .says(&[LIFE, "etag: \"a\""])
            .validated()
            .is(206)
            .shows("01")
            .of_kind(Kind::May),
        should("range-condition-comes-first", "RFC 9110 section 13.2.2")
            .get()
            .says(&[LIFE, "etag: \"a\""])
            .content(DIGITS)
            .get()
            .with("range: bytes=0-1")
            .with("if-none-match: \"a\"")
            .local(304),
        should("range-not-for-head", RANGE)
            .get()
            .says(&[LIFE])
            .content(DIGITS)
            .head()
            .with("range: bytes=0-1")
            .reused()
            .has("content-length: 10"),
        should("range-not-of-404", RANGE)
            .get()
            .status(404)
            .says(&[LIFE])
            .content(DIGITS)
            .get()
            .with("range: bytes=0-1")
            .anything()
            .is(404)
            .shows(DIGITS)
            .says(&[LIFE])
            .status(404)
            .content(DIGITS),
        may("range-several", RANGE)
            .get()
            .says(&[LIFE])
            .content(DIGITS)
            .get()
            .with("range: bytes=0-1,5-6")
            .local(206)
            .free_of("0123456789"),
        may("range-several-that-touch", "RFC 9110 section 15.3.7.2")
            .get()
            .says(&[LIFE])
            .content(DIGITS)
            .get()
            .with("range: bytes=0-1,2-3,-1")
            .anything(),
        must("range-many-do-no-harm", "RFC 9110 section 17.15")
            .get()
            .says(&[LIFE])
            .content(DIGITS)
            .get()
            .with(format!("range: bytes=0-{}", ",0-".repeat(400)))
            .anything()
            .free_of("01234567890123456789"),
    ]);
    cases
}

fn refused() -> Vec<Case> {
    let ignored = [
        ("other-unit", "lines=0-1"),
        ("no-unit", "0-1"),
        ("reversed", "bytes=5-2"),
        ("text", "bytes=a-b"),
        ("empty", "bytes="),
        ("dash", "bytes=-"),
        ("negative", "bytes=--1"),
    ];
    let mut cases: Vec<Case> = ignored
        .into_iter()
        .map(|(id, range)| {
            of_digits(&format!("ignored-{id}"), range)
                .content(DIGITS)
                .anything()
                .is(200)
                .shows(DIGITS)
                // What is no range at all may be refused as well.
                .of_kind(if id == "other-unit" {
                    Kind::Should
                } else {
                    Kind::May
                })
        })
        .collect();
    cases.extend([
        of_digits("unsatisfiable", "bytes=10-")
            .local(416)
            .has("content-range: bytes */10")
            .free_of(DIGITS),
        of_digits("unsatisfiable-far", "bytes=500-600").local(416),
        of_digits("unsatisfiable-empty-suffix", "bytes=-0").local(416),
        of_digits("unsatisfiable-huge", "bytes=99999999999999999999-")
            .local(416)
            .of_kind(Kind::May),
        must("range-unsatisfiable-harms-nothing", RANGE)
            .get()
            .says(&[LIFE])
            .content(DIGITS)
            .get()
            .with("range: bytes=10-")
            .anything()
            .get()
            .reused()
            .of(0),
    ]);
    cases
}

fn if_range() -> Vec<Case> {
    let row = |id: &str, validator: &str, condition: &str| {
        should(format!("if-range-{id}"), IF_RANGE)
            .get()
            .says(&[LIFE, validator])
            .content(DIGITS)
            .get()
            .with("range: bytes=0-1")
            .with(condition)
    };
    let part = |case: Case| case.reused().is(206).shows("01");
    vec![
        part(row("same", "etag: \"a\"", "if-range: \"a\"")),
        part(row(
            "same-date",
            "last-modified: {start-9000}",
            "if-range: {start-9000}",
        )),
        row("other", "etag: \"a\"", "if-range: \"b\"")
            .reused()
            .is(200),
        row("weak", "etag: W/\"a\"", "if-range: W/\"a\"")
            .reused()
            .is(200)
            .of_kind(Kind::Must),
        row("weak-for-strong", "etag: \"a\"", "if-range: W/\"a\"")
            .reused()
            .is(200)
            .of_kind(Kind::Must),
        row("strong-for-weak", "etag: W/\"a\"", "if-range: \"a\"")
            .reused()
            .is(200)
            .of_kind(Kind::Must),
        row("no-validator", "x-a: b", "if-range: \"a\"")
            .reused()
            .is(200)
            .of_kind(Kind::Must),
        row(
            "other-date",
            "last-modified: {start-9000}",
            "if-range: {start-3000}",
        )
        .reused()
        .is(200),
        row("bad", "etag: \"a\"", "if-range: a").reused().is(200),
        should("if-range-alone-is-nothing", IF_RANGE)
            .get()
            .says(&[LIFE, "etag: \"a\""])
            .content(DIGITS)
            .get()
            .with("if-range: \"a\"")
            .reused()
            .is(200),
    ]
}
