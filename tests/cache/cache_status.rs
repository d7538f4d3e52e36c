//! What `Cache-Status` says: RFC 9211.

use crate::case::{Case, Kind, may, must, should};

const MEMBER: &str = "RFC 9211 section 2";
const HIT: &str = "RFC 9211 section 2.1";
const FWD: &str = "RFC 9211 section 2.2";
const FWD_STATUS: &str = "RFC 9211 section 2.3";
const TTL: &str = "RFC 9211 section 2.4";
const STORED: &str = "RFC 9211 section 2.5";
const LIFE: &str = "cache-control: max-age=3600";
const OLD: &[&str] = &["cache-control: max-age=10", "age: 20"];

pub fn cases() -> Vec<Case> {
    vec![
        should("told-miss", FWD)
            .get()
            .told("fwd=uri-miss")
            .untold("hit"),
        should("told-stored", STORED)
            .get()
            .says(&[LIFE])
            .told("fwd=uri-miss")
            .told("stored"),
        should("told-not-stored", STORED)
            .get()
            .says(&["cache-control: no-store"])
            .told("fwd=uri-miss")
            .untold("stored"),
        should("told-status-of-the-origin", FWD_STATUS)
            .get()
            .status(404)
            .told("fwd-status=404")
            .of_kind(Kind::May),
        should("told-hit", HIT)
            .get()
            .says(&[LIFE])
            .get()
            .reused()
            .told("hit")
            .untold("stored"),
        should("told-ttl", TTL)
            .get()
            .says(&["cache-control: max-age=3600", "age: 600"])
            .get()
            .reused()
            .told("ttl=*"),
        should("told-vary-miss", FWD)
            .get()
            .with("x-a: 1")
            .says(&[LIFE, "vary: x-a"])
            .get()
            .with("x-a: 2")
            .fetched()
            .told("fwd=vary-miss"),
        should("told-stale", FWD)
            .get()
            .says(OLD)
            .get()
            .fetched()
            .told("fwd=stale"),
        should("told-validated", FWD_STATUS)
            .get()
            .says(OLD)
            .says(&["etag: \"a\""])
            .get()
            .says(&["etag: \"a\""])
            .validated()
            .told("fwd=stale")
            .told("fwd-status=304"),
        should("told-request", FWD)
            .get()
            .says(&[LIFE])
            .get()
            .with("cache-control: no-cache")
            .fetched()
            .told("fwd=request"),
        should("told-request-max-age", FWD)
            .get()
            .says(&[LIFE, "age: 100"])
            .get()
            .with("cache-control: max-age=10")
            .fetched()
            .told("fwd=request")
            .of_kind(Kind::May),
        should("told-method", FWD)
            .ask("POST")
            .fetched()
            .told("fwd=method"),
        may("told-bypass-of-a-get-with-body", FWD)
            .get()
            .sending("a")
            .told("fwd=bypass"),
        may("told-partial", FWD)
            .get()
            .with("range: bytes=0-1")
            .status(206)
            .says(&[LIFE, "content-range: bytes 0-1/10", "etag: \"a\""])
            .content("01")
            .get()
            .with("range: bytes=0-5")
            .status(206)
            .says(&[LIFE, "content-range: bytes 0-5/10", "etag: \"a\""])
            .content("012345")
            .anything()
            .told("fwd=partial"),
        should("told-stale-hit", HIT)
            .get()
            .says(&[
                "cache-control: max-age=10, stale-while-revalidate=60",
                "age: 20",
            ])
            .get()
            .refreshing()
            .told("hit"),
        should("told-304-is-a-hit", HIT)
            .get()
            .says(&[LIFE, "etag: \"a\""])
            .get()
            .with("if-none-match: \"a\"")
            .local(304)
            .told("hit"),
        should("told-head-hit", HIT)
            .get()
            .says(&[LIFE])
            .head()
            .reused()
            .told("hit"),
        should("told-range-hit", HIT)
            .get()
            .says(&[LIFE])
            .content("0123")
            .get()
            .with("range: bytes=0-1")
            .reused()
            .is(206)
            .shows("01")
            .told("hit"),
        should("told-of-others-is-kept", MEMBER)
            .get()
            .says(&[LIFE, "cache-status: other; hit; ttl=5"])
            .get()
            .reused()
            .told("hit"),
        must("told-nothing-of-the-stored-fetch", MEMBER)
            .get()
            .says(&[LIFE])
            .get()
            .reused()
            .untold("fwd=uri-miss")
            .untold("stored"),
        may("told-only-if-cached", "RFC 9211 section 2.1")
            .get()
            .with("cache-control: only-if-cached")
            .local(504)
            .untold("hit"),
        may("told-collapsed", "RFC 9211 section 2.6")
            .get()
            .copies(2)
            .says(&[LIFE])
            .delay(300)
            .told("fwd=uri-miss")
            .times(1..=1),
        should("told-ttl-below-0-when-stale", TTL)
            .get()
            .says(&["cache-control: max-age=10, stale-if-error=60", "age: 20"])
            .get()
            .status(503)
            .stale()
            .told("fwd=stale")
            .of_kind(Kind::May),
    ]
}
