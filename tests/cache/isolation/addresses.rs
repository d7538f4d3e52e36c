//! Addresses that two readers take for different ones: hosts, paths and queries.

use crate::case::{Case, must};

const SECURITY: &str = "RFC 9111 section 7";
const POISONING: &str = "RFC 9111 section 7.1";
const LIFE: &str = "cache-control: max-age=3600";

pub fn cases() -> Vec<Case> {
    let parts = [hosts(), deception(), keys()];
    parts.into_iter().flatten().collect()
}

fn hosts() -> Vec<Case> {
    vec![
        must("host-another", "RFC 9110 section 7.2")
            .get()
            .host("evil.test")
            .says(&[LIFE])
            .get()
            .fetched(),
        must("host-another-port", "RFC 9110 section 4.2.3")
            .get()
            .host("shop.test:8080")
            .says(&[LIFE])
            .echoing("host")
            .anything()
            .get()
            .says(&[LIFE])
            .echoing("host")
            .anything()
            .free_of("8080"),
        must("host-with-a-dot", "RFC 9110 section 7.2")
            .get()
            .host("shop.test.")
            .says(&[LIFE])
            .echoing("host")
            .anything()
            .get()
            .says(&[LIFE])
            .echoing("host")
            .anything()
            .free_of("test."),
        must("host-with-a-user", "RFC 9110 section 4.2.4")
            .get()
            .host("evil@shop.test")
            .says(&[LIFE])
            .echoing("host")
            .anything()
            .get()
            .says(&[LIFE])
            .echoing("host")
            .anything()
            .free_of("evil"),
        must(
            "host-in-capitals-shows-nobody-its-spelling",
            "RFC 9110 section 4.2.3",
        )
        .get()
        .host("SHOP.TEST")
        .says(&[LIFE])
        .echoing("host")
        .anything()
        .get()
        .says(&[LIFE])
        .echoing("host")
        .anything()
        .free_of("SHOP"),
        must("host-and-path-cannot-be-shifted", POISONING)
            .get()
            .at("/b")
            .host("shop.testa")
            .says(&[LIFE])
            .get()
            .at("/b")
            .host("shop.test")
            .fetched(),
        must("host-twice", "RFC 9112 section 3.2")
            .get()
            .with("host: evil.test")
            .says(&[LIFE])
            .anything()
            .get()
            .fetched(),
    ]
}

/// A path that the origin reads as the account and a cache as a style sheet; and the other way about.
fn deception() -> Vec<Case> {
    let mut cases = Vec::new();
    let private = "cache-control: private, max-age=3600";
    for (id, suffix) in [
        ("below", "/account/x.css"),
        ("semicolon", "/account;x.css"),
        ("encoded-semicolon", "/account%3Bx.css"),
        ("encoded-question-mark", "/account%3Fx.css"),
        ("encoded-hash", "/account%23x.css"),
        ("encoded-slash", "/account%2Fx.css"),
        ("newline", "/account%0Ax.css"),
        ("zero", "/account%00.css"),
        ("dots", "/static/../account"),
        ("encoded-dots", "/static/%2e%2e/account"),
        ("encoded-dots-and-slash", "/account/..%2fstatic.css"),
        ("double-encoded", "/static/%252e%252e/account"),
        ("double-slash", "//account//x.css"),
        ("backslash", "/static/..%5caccount"),
        ("query", "/account?x.css"),
    ] {
        // What the origin says is private is kept for nobody, however the path is called.
        cases.push(
            must(format!("deception-{id}"), SECURITY)
                .get()
                .at(suffix)
                .with("cookie: sid=victim")
                .says(&[private])
                .content("victim")
                .anything()
                .get()
                .at(suffix)
                .says(&[private])
                .content("nobody")
                .anything()
                .free_of("victim"),
        );
        // And where it says nothing, the name of a file is no reason to keep it.
        cases.push(
            must(format!("deception-{id}-unsaid"), SECURITY)
                .get()
                .at(suffix)
                .with("cookie: sid=victim")
                .says(&["content-type: text/css"])
                .content("victim")
                .anything()
                .get()
                .at(suffix)
                .content("nobody")
                .anything()
                .free_of("victim"),
        );
    }
    for (id, first, second) in [
        ("encoded-slash", "/a%2Fb", "/a/b"),
        ("semicolon", "/a;evil=1", "/a"),
        ("newline", "/a%0A", "/a"),
        ("zero", "/a%00", "/a"),
        ("space", "/a%20", "/a"),
        ("dot", "/a.", "/a"),
        ("question-mark", "/a%3Fb", "/a?b"),
        ("hash", "/a%23b", "/a"),
        ("backslash", "/a%5Cb", "/a/b"),
        ("double-encoded", "/%2561", "/a"),
    ] {
        cases.push(
            must(format!("paths-apart-{id}"), POISONING)
                .get()
                .at(first)
                .says(&[LIFE])
                .content("evil")
                .anything()
                .get()
                .at(second)
                .says(&[LIFE])
                .content("good")
                .anything()
                .free_of("evil"),
        );
    }
    cases
}

fn keys() -> Vec<Case> {
    let two = |id: &str, first: &str, second: &str| {
        must(format!("keys-{id}"), POISONING)
            .get()
            .at(first)
            .says(&[LIFE])
            .content("evil")
            .anything()
            .get()
            .at(second)
            .says(&[LIFE])
            .content("good")
            .anything()
            .free_of("evil")
    };
    vec![
        two(
            "parameter-cloaked-by-semicolon",
            "?q=good;q=evil",
            "?q=good",
        ),
        two("parameter-twice", "?q=good&q=evil", "?q=good"),
        two("parameter-encoded-name", "?%71=evil", "?q=evil2"),
        two("parameter-in-a-fragment", "?q=good%23evil", "?q=good"),
        two("utm-counts", "?utm_content=evil", "?"),
        two("callback-counts", "?callback=evil", ""),
        two("query-is-no-path", "/b?c", "/b/c"),
        two("separators-in-the-query", "?a=1%26b=2", "?a=1&b=2"),
        two("variant-in-the-query", "?x-a=1", ""),
        must("keys-long-ones-are-apart", POISONING)
            .get()
            .at(format!("?{}evil", "a".repeat(3000)))
            .says(&[LIFE])
            .content("evil")
            .anything()
            .get()
            .at(format!("?{}good", "a".repeat(3000)))
            .says(&[LIFE])
            .content("good")
            .anything()
            .free_of("evil"),
        must("keys-too-long-ones-do-no-harm", POISONING)
            .get()
            .at(format!("?{}", "a".repeat(60_000)))
            .says(&[LIFE])
            .anything()
            .get()
            .fetched(),
        must("keys-of-variants-are-framed", POISONING)
            .get()
            .with("x-a: 1\u{20}x-b: 2")
            .says(&[LIFE, "vary: x-a, x-b"])
            .get()
            .with("x-a: 1")
            .with("x-b: 2")
            .says(&[LIFE, "vary: x-a, x-b"])
            .fetched(),
        must("keys-of-variants-with-long-values", POISONING)
            .get()
            .with(format!("x-a: {}1", "a".repeat(4000)))
            .says(&[LIFE, "vary: x-a"])
            .get()
            .with(format!("x-a: {}2", "a".repeat(4000)))
            .says(&[LIFE, "vary: x-a"])
            .fetched(),
    ]
}
