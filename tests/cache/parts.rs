//! Parts of a representation as they are stored: RFC 9111 sections 3.3 and 3.4.

use crate::case::{Case, may, must, should};

const RANGE: &str = "RFC 9110 section 14.2";
const INCOMPLETE: &str = "RFC 9111 section 3.3";
const COMBINING: &str = "RFC 9111 section 3.4";
const LIFE: &str = "cache-control: max-age=3600";
const DIGITS: &str = "0123456789";

pub fn cases() -> Vec<Case> {
    let parts = [partial(), combined()];
    parts.into_iter().flatten().collect()
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
        // Northgate keeps parts apart, and combines none.
        two(
            may("combine-two-halves-is-not-done", COMBINING),
            "etag: \"a\"",
            "etag: \"a\"",
        )
        .get()
        .says(&[LIFE])
        .content(DIGITS)
        .fetched(),
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
