//! Attacks on what others are served. Nothing that only the attacker sent may come back to somebody else, and nothing that
//! was for one alone may reach another.
//!
//! What needs bytes that no client library sends is in `isolation_raw.rs`, and what needs to know who asks in
//! `identities.rs`.

use crate::case::{Case, Ending, Kind, may, must, should};
use crate::harness::Protocol;

const SECURITY: &str = "RFC 9111 section 7";
const POISONING: &str = "RFC 9111 section 7.1";
const LIFE: &str = "cache-control: max-age=3600";

pub fn cases() -> Vec<Case> {
    let parts = [
        unkeyed(),
        hosts(),
        deception(),
        methods(),
        keys(),
        private(),
        partial(),
        errors(),
        broken(),
        encodings(),
        personal(),
    ];
    parts.into_iter().flatten().collect()
}

/// The origin writes into its answer what it is told by a field that is in no key. The attacker's word must not come
/// back to the next one: either the origin has never seen it, or its answer was not kept.
fn unkeyed() -> Vec<Case> {
    const NAMES: [&str; 32] = [
        "x-forwarded-host",
        "x-forwarded-scheme",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-server",
        "x-forwarded-for",
        "x-forwarded",
        "x-forwarded-path",
        "x-forwarded-ssl",
        "x-original-url",
        "x-original-uri",
        "x-original-host",
        "x-rewrite-url",
        "x-host",
        "x-http-host-override",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-real-ip",
        "x-client-ip",
        "x-remote-addr",
        "true-client-ip",
        "cf-connecting-ip",
        "client-ip",
        "forwarded",
        "forwarded-for",
        "x-url-scheme",
        "x-scheme",
        "front-end-https",
        "proxy",
        "x-request-id",
    ];
    let poisoned = NAMES.iter().map(|name| {
        let value = match *name {
            "forwarded" => "for=1.2.3.4;host=evil.test",
            _ => "evil.test",
        };
        must(format!("poison-{name}"), POISONING)
            .get()
            .with(format!("{name}: {value}"))
            .says(&[LIFE])
            .echoing(name)
            .anything()
            .is(200)
            .get()
            .says(&[LIFE])
            .echoing(name)
            .anything()
            .is(200)
            .free_of("evil")
    });
    let mut cases: Vec<Case> = poisoned.collect();
    // Other spellings of a name that an origin may read as the same one.
    for (id, name) in [
        ("underscores", "x_forwarded_host"),
        ("mixed", "x-forwarded_host"),
        ("dots", "x.forwarded.host"),
    ] {
        cases.push(
            must(format!("poison-spelled-with-{id}"), POISONING)
                .get()
                .with(format!("{name}: evil.test"))
                .says(&[LIFE])
                .echoing(name)
                .anything()
                .get()
                .says(&[LIFE])
                .echoing(name)
                .anything()
                .free_of("evil")
                .of_kind(if id == "dots" { Kind::May } else { Kind::Must }),
        );
    }
    cases
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

fn methods() -> Vec<Case> {
    vec![
        must("fat-get-is-kept-for-nobody", "RFC 9110 section 9.3.1")
            .get()
            .sending("q=evil")
            .says(&[LIFE])
            .content("evil")
            .anything()
            .get()
            .says(&[LIFE])
            .anything()
            .free_of("evil"),
        must("fat-head-is-kept-for-nobody", "RFC 9110 section 9.3.2")
            .head()
            .sending("q=evil")
            .says(&[LIFE, "x-a: evil"])
            .anything()
            .head()
            .says(&[LIFE])
            .anything()
            .free_of("evil"),
        must("head-leaves-no-empty-body", "RFC 9110 section 9.3.2")
            .head()
            .says(&[LIFE])
            .get()
            .says(&[LIFE])
            .fetched(),
        must("post-leaves-nothing-for-get", "RFC 9110 section 9.3.3")
            .ask("POST")
            .sending("evil")
            .says(&[LIFE])
            .get()
            .says(&[LIFE])
            .fetched(),
        must("override-leaves-nothing-for-get", POISONING)
            .ask("POST")
            .with("x-http-method-override: GET")
            .says(&[LIFE])
            .content("evil")
            .anything()
            .get()
            .says(&[LIFE])
            .anything()
            .free_of("evil"),
        must("override-of-a-get-is-no-delete", POISONING)
            .get()
            .with("x-http-method-override: DELETE")
            .says(&[LIFE])
            .sees_no("x-http-method-override")
            .anything(),
        must("purge-without-leave", "RFC 9110 section 9.1")
            .get()
            .says(&[LIFE])
            .ask("PURGE")
            .status(405)
            .anything()
            .get()
            .says(&[LIFE])
            .reused()
            .of(0),
        must("ban-without-leave", "RFC 9110 section 9.1")
            .get()
            .says(&[LIFE])
            .ask("BAN")
            .status(405)
            .anything()
            .get()
            .says(&[LIFE])
            .reused()
            .of(0),
        must("failed-post-purges-nothing", "RFC 9111 section 4.4")
            .get()
            .says(&[LIFE])
            .ask("POST")
            .status(403)
            .fetched()
            .get()
            .reused()
            .of(0),
        must("trace-leaves-nothing", "RFC 9110 section 9.3.8")
            .ask("TRACE")
            .says(&[LIFE])
            .content("evil")
            .anything()
            .get()
            .says(&[LIFE])
            .anything()
            .free_of("evil"),
    ]
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
