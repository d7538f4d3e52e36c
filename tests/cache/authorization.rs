//! Requests with credentials, and responses with cookies: RFC 9111 sections 3.5 and 7.3.

use crate::case::{Case, may, must, should};

const AUTHORIZATION: &str = "RFC 9111 section 3.5";
const COOKIES: &str = "RFC 9111 section 7.3";
const ANN: &str = "authorization: Basic YW5uOmE=";
const BEN: &str = "authorization: Basic YmVuOmI=";

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, control) in [
        ("max-age", "max-age=3600"),
        ("expires", "x-none"),
        ("proxy-revalidate", "max-age=3600, proxy-revalidate"),
        ("immutable", "max-age=3600, immutable"),
        ("no-transform", "max-age=3600, no-transform"),
        ("stale", "max-age=3600, stale-while-revalidate=60"),
        ("no-cache", "no-cache"),
        ("must-understand", "max-age=3600, must-understand"),
    ] {
        let control = format!("cache-control: {control}");
        let says: [&str; 3] = [&control, "expires: {now+3600}", "etag: \"a\""];
        // Neither to another nor to nobody, nor even asked for by what was learned from it.
        let store = |id: &str| {
            must(format!("authorized-{name}-{id}"), AUTHORIZATION)
                .get()
                .with(ANN)
                .says(&says)
        };
        cases.push(
            store("not-to-another")
                .get()
                .with(BEN)
                .sees_no("if-none-match")
                .fetched(),
        );
        cases.push(
            store("not-to-nobody")
                .get()
                .sees_no("if-none-match")
                .fetched(),
        );
        cases.push(
            store("not-to-the-same")
                .get()
                .with(ANN)
                .sees_no("if-none-match")
                .fetched(),
        );
    }
    for (name, control) in [
        ("public", "max-age=3600, public"),
        ("s-maxage", "s-maxage=3600"),
        ("must-revalidate", "max-age=3600, must-revalidate"),
    ] {
        let control = format!("cache-control: {control}");
        let case = should(format!("authorized-{name}-is-shared"), AUTHORIZATION);
        let case = case
            .get()
            .with(ANN)
            .says(&[&control])
            .get()
            .with(BEN)
            .reused();
        cases.push(case.get().reused());
    }
    cases.extend([
        may("authorized-is-answered-from-what-is-public", AUTHORIZATION)
            .get()
            .says(&["cache-control: max-age=3600"])
            .get()
            .with(ANN)
            .reused(),
        must("authorized-private-public", "RFC 9111 section 5.2.2.7")
            .get()
            .with(ANN)
            .says(&["cache-control: private, max-age=3600, must-revalidate"])
            .get()
            .with(BEN)
            .fetched(),
        must("authorized-no-store-public", "RFC 9111 section 5.2.2.5")
            .get()
            .with(ANN)
            .says(&["cache-control: no-store, public, max-age=3600"])
            .get()
            .with(BEN)
            .fetched(),
        must("authorized-401-is-not-shared", AUTHORIZATION)
            .get()
            .with(ANN)
            .status(401)
            .says(&["cache-control: max-age=3600"])
            .get()
            .with(BEN)
            .fetched(),
        must("authorized-heuristic", AUTHORIZATION)
            .get()
            .with(ANN)
            .says(&["last-modified: {now-864000}"])
            .get()
            .with(BEN)
            .fetched(),
        must("authorized-public-heuristic-vary", AUTHORIZATION)
            .get()
            .with(ANN)
            .says(&["cache-control: public, max-age=3600", "vary: authorization"])
            .get()
            .with(BEN)
            .fetched(),
        must("authorized-empty-value-counts", AUTHORIZATION)
            .get()
            .with("authorization: ")
            .says(&["cache-control: max-age=3600"])
            .get()
            .fetched()
            .of_kind(crate::case::Kind::May),
        must("authorized-reaches-the-origin", "RFC 9110 section 11.6.2")
            .get()
            .with(ANN)
            .sees(ANN),
        must("authorized-of-a-validation-is-its-own", AUTHORIZATION)
            .get()
            .says(&[
                "cache-control: max-age=10, public",
                "age: 20",
                "etag: \"a\"",
            ])
            .get()
            .with(BEN)
            .sees(BEN)
            .says(&["cache-control: public, max-age=3600", "etag: \"a\""])
            .validated(),
    ]);
    cases.extend(cookies());
    cases
}

/// Northgate's choice: what sets a cookie is stored only where the origin says that all may have it.
fn cookies() -> Vec<Case> {
    let set = |id: &str, control: &str| {
        let control = format!("cache-control: {control}");
        may(format!("cookie-{id}"), COOKIES)
            .get()
            .says(&[&control, "set-cookie: sid=1; httponly"])
            .has("set-cookie: sid=1; httponly")
            .get()
    };
    vec![
        set("set-is-not-stored", "max-age=3600").fetched(),
        set("set-with-public", "max-age=3600, public")
            .reused()
            .has("set-cookie: sid=1; httponly"),
        set("set-with-s-maxage", "s-maxage=3600").reused(),
        set("set-with-immutable", "max-age=3600, immutable").fetched(),
        set("set-with-must-revalidate", "max-age=3600, must-revalidate").fetched(),
        may("cookie-set-heuristic", COOKIES)
            .get()
            .says(&["last-modified: {now-864000}", "set-cookie: sid=1"])
            .get()
            .fetched(),
        may("cookie-set-expires", COOKIES)
            .get()
            .says(&["expires: {now+3600}", "set-cookie: sid=1"])
            .get()
            .fetched(),
        must("cookie-of-a-request-reaches-the-origin", COOKIES)
            .get()
            .with("cookie: a=1")
            .sees("cookie: a=1"),
        may("cookie-of-a-request-is-no-key", COOKIES)
            .get()
            .with("cookie: a=1")
            .says(&["cache-control: max-age=3600"])
            .get()
            .with("cookie: a=2")
            .reused(),
        must("cookie-with-private", "RFC 9111 section 5.2.2.7")
            .get()
            .says(&["cache-control: private, max-age=3600", "set-cookie: sid=1"])
            .get()
            .fetched(),
    ]
}
