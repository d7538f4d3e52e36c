//! Ranges: RFC 9110 section 14, RFC 9111 sections 3.3, 3.4 and 4.

use crate::case::{Case, Ending, Kind, Outcome, may, must, should};

const RANGE: &str = "RFC 9110 section 14.2";
const IF_RANGE: &str = "RFC 9110 section 13.1.5";
const INCOMPLETE: &str = "RFC 9111 section 3.3";
const COMBINING: &str = "RFC 9111 section 3.4";
const LIFE: &str = "cache-control: max-age=3600";
const DIGITS: &str = "0123456789";

pub fn cases() -> Vec<Case> {
    let parts = [from_whole(), refused(), if_range(), partial(), combined()];
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

/// A part that the origin sent is stored as the part that it is.
fn partial() -> Vec<Case> {
    let stored = |case: Case| {
        case.get()
            .with("range: bytes=2-5")
            .sees("range: bytes=2-5")
            .status(206)
            .says(&[LIFE, "etag: \"a\"", "content-range: bytes 2-5/10"])
            .content("2345")
            .fetched()
    };
    vec![
        stored(must("part-is-passed-on", RANGE)).has("content-range: bytes 2-5/10"),
        stored(must("part-is-not-the-whole", INCOMPLETE))
            .get()
            .says(&[LIFE])
            .content(DIGITS)
            .anything()
            .is(200)
            .shows(DIGITS),
        stored(may("part-same-range", INCOMPLETE))
            .get()
            .with("range: bytes=2-5")
            .reused(),
        may("part-same-open-range", INCOMPLETE)
            .get()
            .with("range: bytes=7-")
            .status(206)
            .says(&[LIFE, "etag: \"a\"", "content-range: bytes 7-9/10"])
            .content("789")
            .get()
            .with("range: bytes=7-")
            .reused(),
        may("part-same-suffix", INCOMPLETE)
            .get()
            .with("range: bytes=-3")
            .status(206)
            .says(&[LIFE, "etag: \"a\"", "content-range: bytes 7-9/10"])
            .content("789")
            .get()
            .with("range: bytes=-3")
            .reused(),
        may("part-inside-a-suffix", INCOMPLETE)
            .get()
            .with("range: bytes=-3")
            .status(206)
            .says(&[LIFE, "etag: \"a\"", "content-range: bytes 7-9/10"])
            .content("789")
            .get()
            .with("range: bytes=8-8")
            .reused()
            .shows("8"),
        stored(may("part-inside", INCOMPLETE))
            .get()
            .with("range: bytes=3-4")
            .reused()
            .shows("34")
            .has("content-range: bytes 3-4/10"),
        stored(must("part-outside", INCOMPLETE))
            .get()
            .with("range: bytes=6-7")
            .status(206)
            .says(&[LIFE, "etag: \"a\"", "content-range: bytes 6-7/10"])
            .content("67")
            .anything()
            .is(206)
            .shows("67"),
        stored(must("part-over-its-end", INCOMPLETE))
            .get()
            .with("range: bytes=4-7")
            .status(206)
            .says(&[LIFE, "etag: \"a\"", "content-range: bytes 4-7/10"])
            .content("4567")
            .anything()
            .is(206)
            .shows("4567"),
        stored(must("part-is-no-open-range", INCOMPLETE))
            .get()
            .with("range: bytes=2-")
            .status(206)
            .says(&[LIFE, "etag: \"a\"", "content-range: bytes 2-9/10"])
            .content("23456789")
            .anything()
            .is(206)
            .shows("23456789"),
        stored(must("part-head-is-of-the-whole", INCOMPLETE))
            .head()
            .content(DIGITS)
            .says(&[LIFE])
            .anything()
            .is(200)
            .has("content-length: 10"),
        stored(must("part-is-not-for-a-condition-on-the-whole", INCOMPLETE))
            .get()
            .with("if-none-match: \"b\"")
            .says(&[LIFE])
            .content(DIGITS)
            .anything()
            .is(200)
            .shows(DIGITS),
        must("part-stale-is-not-reused", INCOMPLETE)
            .get()
            .with("range: bytes=2-5")
            .status(206)
            .says(&[
                "cache-control: max-age=10",
                "age: 20",
                "content-range: bytes 2-5/10",
            ])
            .content("2345")
            .get()
            .with("range: bytes=2-5")
            .status(206)
            .says(&["content-range: bytes 2-5/10"])
            .content("cdef")
            .fetched(),
        must("part-other-than-asked-for", RANGE)
            .get()
            .with("range: bytes=2-5")
            .status(206)
            .says(&[LIFE, "content-range: bytes 0-1/10"])
            .content("01")
            .anything()
            .get()
            .with("range: bytes=2-5")
            .status(206)
            .says(&[LIFE, "content-range: bytes 2-5/10"])
            .content("2345")
            .anything()
            .shows("2345"),
        must("part-that-lies-about-its-length", INCOMPLETE)
            .get()
            .with("range: bytes=2-5")
            .status(206)
            .says(&[LIFE, "content-range: bytes 2-5/10"])
            .content("23")
            .anything()
            .get()
            .with("range: bytes=2-5")
            .status(206)
            .says(&[LIFE, "content-range: bytes 2-5/10"])
            .content("2345")
            .fetched(),
        must("part-several-is-not-stored-as-one", RANGE)
            .get()
            .with("range: bytes=0-1,5-6")
            .status(206)
            .says(&[LIFE, "content-type: multipart/byteranges; boundary=X"])
            .content("--X--")
            .get()
            .with("range: bytes=0-1")
            .status(206)
            .says(&[LIFE, "content-range: bytes 0-1/10"])
            .content("01")
            .fetched(),
        should("part-asked-for-whole-sent", RANGE)
            .get()
            .with("range: bytes=2-5")
            .says(&[LIFE])
            .content(DIGITS)
            .anything()
            .get()
            .reused()
            .of(0),
        may("part-asked-for-whole-sent-range-is-taken", RANGE)
            .get()
            .with("range: bytes=2-5")
            .says(&[LIFE])
            .content(DIGITS)
            .anything()
            .get()
            .with("range: bytes=4-5")
            .reused()
            .of(0)
            .is(206)
            .shows("45"),
    ]
}

fn combined() -> Vec<Case> {
    let part = |case: Case, etag: &str, from: usize, to: usize| {
        let content_range = format!("content-range: bytes {from}-{to}/10");
        case.get()
            .with(format!("range: bytes={from}-{to}"))
            .status(206)
            .says(&[LIFE, etag, &content_range])
            .content(&DIGITS[from..=to])
            .anything()
    };
    let two = |case: Case, first: &str, second: &str| {
        let case = part(case, first, 0, 4);
        part(case, second, 5, 9)
    };
    vec![
        two(
            may("combine-two-halves", COMBINING),
            "etag: \"a\"",
            "etag: \"a\"",
        )
        .get()
        .of(0)
        .outcome(Outcome::Local)
        .is(200)
        .shows(DIGITS),
        two(
            must("combine-not-other-etags", COMBINING),
            "etag: \"a\"",
            "etag: \"b\"",
        )
        .get()
        .says(&[LIFE])
        .content("abcdefghij")
        .anything()
        .shows("abcdefghij"),
        two(
            must("combine-not-weak-etags", COMBINING),
            "etag: W/\"a\"",
            "etag: W/\"a\"",
        )
        .get()
        .says(&[LIFE])
        .content("abcdefghij")
        .anything()
        .shows("abcdefghij"),
        two(
            must("combine-not-without-validators", COMBINING),
            "x-a: 1",
            "x-a: 2",
        )
        .get()
        .says(&[LIFE])
        .content("abcdefghij")
        .anything()
        .shows("abcdefghij"),
        part(
            part(must("combine-no-hole", COMBINING), "etag: \"a\"", 0, 2),
            "etag: \"a\"",
            6,
            9,
        )
        .get()
        .says(&[LIFE])
        .content(DIGITS)
        .anything()
        .is(200)
        .shows(DIGITS),
    ]
}
