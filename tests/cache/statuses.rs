//! Status codes: RFC 9110 section 15, RFC 9111 section 3. With explicit freshness any final status that is understood
//! may be stored; without any, none outside RFC 9110 section 15.1.

use crate::case::{Case, must, should};

const EXPLICIT: &str = "RFC 9111 section 3";

/// Northgate understands, as far as caching goes, all that are registered, except those with rules of their own. Of
/// what it does not know nothing is special either, so that it is stored where the origin says so.
const STATUSES: [u16; 30] = [
    200, 201, 202, 203, 204, 299, 300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 406, 409,
    410, 414, 418, 422, 429, 499, 500, 502, 503, 504, 599,
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for status in STATUSES {
        let case = should(format!("status-{status}-fresh"), EXPLICIT).get();
        let case = case
            .status(status)
            .says(&["cache-control: max-age=3600", "x-a: b"]);
        cases.push(case.get().reused().has("x-a: b"));
        let case = must(format!("status-{status}-stale"), EXPLICIT).get();
        let case = case.status(status).says(&["expires: {now-60}"]);
        cases.push(case.get().fetched());
    }
    for status in [301, 302, 307, 308] {
        let case = should(format!("status-{status}-location"), EXPLICIT).get();
        let case = case
            .status(status)
            .says(&["cache-control: max-age=3600", "location: {self}/b"]);
        cases.push(case.get().reused().has("location: {self}/b"));
    }
    cases.extend([
        should("status-401-challenge-is-kept", EXPLICIT)
            .get()
            .status(401)
            .says(&[
                "cache-control: max-age=3600",
                "www-authenticate: Basic realm=\"a\"",
            ])
            .get()
            .reused()
            .has("www-authenticate: Basic realm=\"a\""),
        must("status-304-unasked-is-not-stored", "RFC 9111 section 3")
            .get()
            .with("if-none-match: \"a\"")
            .status(304)
            .says(&["cache-control: max-age=3600", "etag: \"a\""])
            .get()
            .fetched(),
        must(
            "status-206-unasked-is-not-the-whole",
            "RFC 9111 section 3.3",
        )
        .get()
        .status(206)
        .says(&[
            "cache-control: max-age=3600",
            "content-range: bytes 0-3/100",
        ])
        .content("0123")
        .anything()
        .get()
        .says(&["cache-control: max-age=3600"])
        .fetched(),
        must(
            "status-206-without-content-range-is-not-stored",
            "RFC 9110 section 15.3.7",
        )
        .get()
        .with("range: bytes=0-3")
        .status(206)
        .says(&["cache-control: max-age=3600"])
        .content("0123")
        .anything()
        .get()
        .with("range: bytes=0-3")
        .status(206)
        .says(&[
            "cache-control: max-age=3600",
            "content-range: bytes 0-3/100",
        ])
        .content("abcd"),
        must("status-416-is-of-its-range", "RFC 9110 section 15.5.17")
            .get()
            .with("range: bytes=500-")
            .status(416)
            .says(&["cache-control: max-age=3600", "content-range: bytes */100"])
            .get()
            .fetched(),
        must(
            "status-416-is-of-no-other-range",
            "RFC 9110 section 15.5.17",
        )
        .get()
        .with("range: bytes=500-")
        .status(416)
        .says(&["cache-control: max-age=3600", "content-range: bytes */100"])
        .get()
        .with("range: bytes=0-3")
        .status(206)
        .says(&["content-range: bytes 0-3/100"])
        .content("0123")
        .fetched(),
        must("status-412-is-of-its-condition", "RFC 9110 section 15.5.13")
            .get()
            .with("if-match: \"b\"")
            .status(412)
            .says(&["cache-control: max-age=3600"])
            .get()
            .fetched(),
    ]);
    cases
}
