//! What was said to one, said in part, or not meant for long, and never may be what all are told.

use crate::case::{Case, Ending, Kind, may, must, should};
use crate::harness::Protocol;

const SECURITY: &str = "RFC 9111 section 7";
const POISONING: &str = "RFC 9111 section 7.1";
const LIFE: &str = "cache-control: max-age=3600";

pub fn cases() -> Vec<Case> {
    let parts = [
        private(),
        partial(),
        errors(),
        broken(),
        encodings(),
        personal(),
    ];
    parts.into_iter().flatten().collect()
}

fn private() -> Vec<Case> {
    let mut cases = Vec::new();
    for (id, field, other) in [
        (
            "basic",
            "authorization: Basic YW5uOmE=",
            "authorization: Basic YmVuOmI=",
        ),
        (
            "bearer",
            "authorization: Bearer ann",
            "authorization: Bearer ben",
        ),
        ("unknown-scheme", "authorization: Own ann", "x-a: b"),
    ] {
        cases.push(
            must(format!("credentials-{id}"), "RFC 9111 section 3.5")
                .get()
                .with(field)
                .says(&[LIFE, "etag: \"a\""])
                .get()
                .with(other)
                .says(&[LIFE])
                .sees_no("if-none-match")
                .fetched()
                .get()
                .with(field)
                .anything()
                .is(200),
        );
    }
    cases.extend([
        must("cookie-set-for-one", "RFC 9111 section 7.3")
            .get()
            .says(&[LIFE, "set-cookie: sid=victim"])
            .get()
            .says(&[LIFE])
            .anything()
            .free_of("victim"),
        must("cookie-set-by-a-404", "RFC 9111 section 7.3")
            .get()
            .status(404)
            .says(&[LIFE, "set-cookie: sid=victim"])
            .get()
            .anything()
            .free_of("victim"),
        must("cookie-vary", "RFC 9111 section 4.1")
            .get()
            .with("cookie: sid=victim")
            .says(&[LIFE, "vary: cookie"])
            .content("victim")
            .get()
            .with("cookie: sid=evil")
            .says(&[LIFE, "vary: cookie"])
            .content("evil")
            .fetched()
            .get()
            .anything()
            .content("nobody")
            .shows("nobody"),
        must("cookie-vary-by-a-part-of-it", "RFC 9111 section 4.1")
            .get()
            .with("cookie: a=1; b=2")
            .says(&[LIFE, "vary: cookie"])
            .get()
            .with("cookie: a=1")
            .with("cookie: b=3")
            .fetched(),
        must(
            "cookie-crumbs-of-h2-are-one-field",
            "RFC 9113 section 8.2.3",
        )
        .get()
        .with("cookie: a=1")
        .with("cookie: b=2")
        .says(&[LIFE, "vary: cookie"])
        .get()
        .with("cookie: a=1")
        .fetched()
        .over(Protocol::H2),
    ]);
    cases
}

fn partial() -> Vec<Case> {
    vec![
        must("part-is-no-whole", "RFC 9111 section 3.3")
            .get()
            .with("range: bytes=0-3")
            .status(206)
            .says(&[LIFE, "content-range: bytes 0-3/10"])
            .content("evil")
            .anything()
            .get()
            .says(&[LIFE])
            .content("0123456789")
            .fetched(),
        must("part-called-200", "RFC 9110 section 15.3.7")
            .get()
            .with("range: bytes=0-3")
            .status(200)
            .says(&[LIFE, "content-range: bytes 0-3/10"])
            .content("evil")
            .anything()
            .get()
            .with("range: bytes=4-5")
            .status(206)
            .says(&[LIFE, "content-range: bytes 4-5/10"])
            .content("45")
            .anything()
            .of_kind(Kind::May),
        must("part-unasked-for", "RFC 9110 section 15.3.7")
            .get()
            .status(206)
            .says(&[LIFE, "content-range: bytes 0-3/10"])
            .content("evil")
            .anything()
            .get()
            .says(&[LIFE])
            .content("0123456789")
            .fetched(),
        must("part-of-another-time", "RFC 9111 section 3.4")
            .get()
            .with("range: bytes=0-4")
            .status(206)
            .says(&[LIFE, "etag: \"old\"", "content-range: bytes 0-4/10"])
            .content("evil!")
            .anything()
            .get()
            .with("range: bytes=5-9")
            .status(206)
            .says(&[LIFE, "etag: \"new\"", "content-range: bytes 5-9/10"])
            .content("56789")
            .anything()
            .get()
            .says(&[LIFE, "etag: \"new\""])
            .content("0123456789")
            .anything()
            .shows("0123456789"),
        must(
            "not-modified-to-nobodys-condition",
            "RFC 9110 section 15.4.5",
        )
        .get()
        .says(&[LIFE])
        .status(304)
        .anything()
        .get()
        .says(&[LIFE])
        .fetched(),
        must(
            "not-modified-for-one-is-no-answer-for-all",
            "RFC 9111 section 4.3.3",
        )
        .get()
        .with("if-none-match: \"evil\"")
        .status(304)
        .says(&[LIFE, "etag: \"evil\""])
        .anything()
        .get()
        .says(&[LIFE])
        .fetched(),
        must(
            "refused-range-is-no-answer-for-all",
            "RFC 9110 section 15.5.17",
        )
        .get()
        .with("range: bytes=999-")
        .status(416)
        .says(&[LIFE, "content-range: bytes */10"])
        .anything()
        .get()
        .says(&[LIFE])
        .fetched(),
        must(
            "refused-condition-is-no-answer-for-all",
            "RFC 9110 section 15.5.13",
        )
        .get()
        .with("if-unmodified-since: {now-90000}")
        .status(412)
        .says(&[LIFE])
        .anything()
        .get()
        .says(&[LIFE])
        .fetched(),
    ]
}

fn errors() -> Vec<Case> {
    let mut cases = Vec::new();
    for status in [400, 403, 408, 413, 415, 417, 431, 500, 502, 503] {
        cases.push(
            must(format!("error-{status}-unsaid"), "RFC 9110 section 15.1")
                .get()
                .with("x-oversized: evil")
                .status(status)
                .says(&["last-modified: {now-864000}"])
                .anything()
                .get()
                .says(&[LIFE])
                .fetched(),
        );
    }
    cases.extend([
        must("error-of-an-upgrade", "RFC 9110 section 15.5.22")
            .get()
            .status(426)
            .says(&["upgrade: h9", "connection: upgrade"])
            .anything()
            .get()
            .says(&[LIFE])
            .fetched(),
        must("redirect-unsaid-to-evil", POISONING)
            .get()
            .with("x-own: evil")
            .status(302)
            .says(&[
                "location: https://evil.test/",
                "last-modified: {now-864000}",
            ])
            .get()
            .says(&[LIFE])
            .fetched(),
        should("error-of-the-gateway-is-not-kept", SECURITY)
            .get()
            .ending(Ending::Nothing)
            .broken()
            .get()
            .says(&[LIFE])
            .fetched(),
    ]);
    cases
}

fn broken() -> Vec<Case> {
    let mut cases = Vec::new();
    for (id, ending) in [
        ("length", Ending::CutLength),
        ("chunks", Ending::CutChunked),
        ("reset", Ending::Reset),
    ] {
        for (size, body) in [
            ("short", "evil".to_owned()),
            ("long", "evil".repeat(50_000)),
        ] {
            cases.push(
                must(format!("truncated-{id}-{size}"), "RFC 9111 section 3.3")
                    .get()
                    .says(&[LIFE])
                    .content(body)
                    .ending(ending)
                    .anything()
                    .get()
                    .says(&[LIFE])
                    .fetched()
                    .get()
                    .reused()
                    .of(1),
            );
        }
    }
    cases.push(
        must("truncated-for-all-who-wait", "RFC 9111 section 3.3")
            .get()
            .copies(5)
            .says(&[LIFE])
            .delay(300)
            .ending(Ending::CutLength)
            .broken()
            .get()
            .says(&[LIFE])
            .fetched(),
    );
    cases.push(
        must("interim-is-no-answer", "RFC 9110 section 15.2")
            .get()
            .interim("HTTP/1.1 103 Early Hints\r\ncache-control: max-age=3600\r\nlink: <https://evil.test>")
            .says(&["cache-control: no-store"])
            .get()
            .free_of("evil")
            .fetched(),
    );
    cases
}

fn encodings() -> Vec<Case> {
    vec![
        must("encoding-not-to-who-cannot", "RFC 9110 section 12.5.3")
            .get()
            .with("accept-encoding: gzip")
            .says(&[LIFE, "vary: accept-encoding", "content-encoding: gzip"])
            .content("squeezed")
            .get()
            .says(&[LIFE, "vary: accept-encoding"])
            .content("plain")
            .fetched()
            .shows("plain"),
        must("encoding-not-to-who-refuses", "RFC 9110 section 12.5.3")
            .get()
            .with("accept-encoding: gzip")
            .says(&[LIFE, "vary: accept-encoding", "content-encoding: gzip"])
            .content("squeezed")
            .get()
            .with("accept-encoding: gzip;q=0")
            .says(&[LIFE, "vary: accept-encoding"])
            .content("plain")
            .fetched(),
        must("encoding-not-another", "RFC 9110 section 12.5.3")
            .get()
            .with("accept-encoding: br")
            .says(&[LIFE, "vary: accept-encoding", "content-encoding: br"])
            .content("squeezed")
            .get()
            .with("accept-encoding: gzip")
            .says(&[LIFE, "vary: accept-encoding"])
            .content("plain")
            .fetched(),
        may("encoding-plain-to-who-can-more", "RFC 9111 section 4.1")
            .get()
            .says(&[LIFE, "vary: accept-encoding"])
            .get()
            .with("accept-encoding: gzip")
            .says(&[LIFE, "vary: accept-encoding"])
            .fetched(),
    ]
}

/// What is asked for at the same time is asked for by everybody on his own, unless it may be shared.
fn personal() -> Vec<Case> {
    let at_once = |id: &str, control: &str| {
        let control = format!("cache-control: {control}");
        must(format!("at-once-{id}"), SECURITY)
            .get()
            .copies(6)
            .with("cookie: sid=victim")
            .says(&[&control])
            .delay(300)
            .times(6..=6)
    };
    vec![
        at_once("private", "private"),
        at_once("no-store", "no-store"),
        at_once("no-store-with-life", "no-store, max-age=3600"),
        at_once("authorized", "max-age=3600").with("authorization: Bearer a"),
        at_once("setting-cookies", "max-age=3600").says(&["set-cookie: sid=1"]),
        at_once("vary-star", "max-age=3600").says(&["vary: *"]),
    ]
}
