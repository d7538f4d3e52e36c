//! What an unsafe method does to what is stored: RFC 9111 section 4.4.

use crate::case::{Case, may, must, should};

const INVALIDATION: &str = "RFC 9111 section 4.4";
const LIFE: &[&str] = &["cache-control: max-age=3600"];

/// Stored at this suffix; then the method is done at the case's path itself.
fn stored(case: Case, suffix: &str, method: &'static str) -> Case {
    case.get().at(suffix).says(LIFE).ask(method).fetched()
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "X-UNKNOWN"] {
        let id = method.to_lowercase();
        let case = must(format!("invalidate-{id}"), INVALIDATION);
        cases.push(stored(case, "", method).get().fetched());
        let case = should(format!("invalidate-{id}-failed"), INVALIDATION);
        cases.push(stored(case, "", method).status(500).get().reused().of(0));
        for field in ["location", "content-location"] {
            let case = should(format!("invalidate-{id}-{field}"), INVALIDATION);
            let named = format!("{field}: {{self}}/other");
            let case = stored(case, "/other", method).says(&[&named]);
            cases.push(case.get().at("/other").fetched());
        }
    }
    for status in [201, 204, 301, 303] {
        let case = must(format!("invalidate-by-{status}"), INVALIDATION);
        cases.push(stored(case, "", "POST").status(status).get().fetched());
    }
    for status in [400, 403, 404, 409, 502] {
        let case = should(format!("invalidate-not-by-{status}"), INVALIDATION);
        cases.push(stored(case, "", "POST").status(status).get().reused().of(0));
    }
    for method in ["GET", "HEAD", "OPTIONS"] {
        let id = method.to_lowercase();
        let case = should(format!("invalidate-not-by-{id}"), INVALIDATION);
        let case = stored(case, "/other", method).says(&["content-location: {self}/other"]);
        cases.push(case.get().at("/other").reused().of(0));
    }
    cases.extend(reach());
    cases
}

fn reach() -> Vec<Case> {
    let post = |id: &str, suffix: &str| {
        stored(
            must(format!("invalidate-{id}"), INVALIDATION),
            suffix,
            "POST",
        )
    };
    vec![
        post("location-absolute", "/other")
            .says(&["location: http://shop.test{self}/other"])
            .get()
            .at("/other")
            .fetched(),
        should("invalidate-location-relative", INVALIDATION)
            .get()
            .at("/b/other")
            .says(LIFE)
            .ask("POST")
            .at("/b/one")
            .says(&["location: other"])
            .fetched()
            .get()
            .at("/b/other")
            .fetched(),
        // RFC 9111 section 4.4: no denial of service of what another host has.
        must("invalidate-not-another-hosts-location", INVALIDATION)
            .get()
            .at("/other")
            .says(LIFE)
            .host("other.test")
            .ask("POST")
            .says(&["location: http://other.test{self}/other"])
            .fetched()
            .get()
            .at("/other")
            .host("other.test")
            .reused()
            .of(0),
        must(
            "invalidate-not-another-hosts-content-location",
            INVALIDATION,
        )
        .get()
        .at("/other")
        .says(LIFE)
        .host("other.test")
        .ask("PUT")
        .says(&["content-location: //other.test{self}/other"])
        .fetched()
        .get()
        .at("/other")
        .host("other.test")
        .reused()
        .of(0),
        must("invalidate-not-the-same-path-of-another-host", INVALIDATION)
            .get()
            .host("other.test")
            .says(LIFE)
            .ask("POST")
            .fetched()
            .get()
            .host("other.test")
            .reused()
            .of(0),
        post("not-another-query", "?a=1")
            .get()
            .at("?a=1")
            .reused()
            .of(0),
        must("invalidate-its-query", INVALIDATION)
            .get()
            .at("?a=1")
            .says(LIFE)
            .ask("POST")
            .at("?a=1")
            .fetched()
            .get()
            .at("?a=1")
            .fetched(),
        must("invalidate-all-variants", INVALIDATION)
            .get()
            .with("x-a: 1")
            .says(LIFE)
            .says(&["vary: x-a"])
            .get()
            .with("x-a: 2")
            .says(LIFE)
            .says(&["vary: x-a"])
            .ask("POST")
            .fetched()
            .get()
            .with("x-a: 1")
            .fetched()
            .get()
            .with("x-a: 2")
            .fetched(),
        post("then-stored-anew", "")
            .get()
            .says(LIFE)
            .fetched()
            .get()
            .reused()
            .of(2),
        must("invalidate-even-without-swr", "RFC 5861 section 3")
            .get()
            .says(&[
                "cache-control: max-age=3600, stale-while-revalidate=3600, stale-if-error=3600",
            ])
            .ask("POST")
            .fetched()
            .get()
            .fetched(),
        may("invalidate-validates-afterwards", INVALIDATION)
            .get()
            .says(&["cache-control: max-age=3600", "etag: \"a\""])
            .ask("POST")
            .fetched()
            .get()
            .says(&["cache-control: max-age=3600", "etag: \"b\""])
            .fetched(),
        must(
            "invalidate-what-is-being-fetched-not-fresh-by-post",
            "RFC 9110 section 9.3.3",
        )
        .get()
        .says(LIFE)
        .ask("POST")
        .sending("a=b")
        .says(&["cache-control: max-age=3600", "content-location: {self}"])
        .fetched()
        .get()
        .fetched(),
        post("head-too", "").head().fetched(),
    ]
}
