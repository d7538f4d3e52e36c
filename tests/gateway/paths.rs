//! No decision can be changed by spelling: what is routed is what the origin gets.

use crate::harness::*;

/// `/admin` is guarded; everything else goes to the same origin.
const GUARDED: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    paths = { $paths }

    [upstreams.shop]
    endpoints = ["$shop"]

    [routes.admin]
    match = { path = "/admin/{*rest}" }
    respond = { status = 500, body = "guarded" }

    [routes.one]
    match = { path = "/open/users/{id}" }
    upstream = "shop"

    [routes.open]
    match = { path = "/open/{*rest}" }
    upstream = "shop"

    [routes.rest]
    match = { path = "/{*rest}" }
    upstream = "shop"
"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict<'a> {
    /// The origin saw this target.
    Saw(&'a str),
    /// The guard's answer.
    Guarded,
    /// 400, and nobody saw anything.
    Refused,
}

use Verdict::{Guarded, Refused, Saw};

struct Edge {
    shop: Origin,
    gateway: Gateway,
}

impl Edge {
    async fn with(paths: &str) -> Edge {
        let shop = Origin::http1(|_| text("open"));
        let gateway = Gateway::draft(GUARDED)
            .with("shop", &shop)
            .with("paths", paths)
            .start()
            .await;
        Edge { shop, gateway }
    }

    async fn verdict(&self, status: u16, seen_before: usize) -> Option<String> {
        let seen = self.shop.seen();
        match status {
            200 => Some(seen.last().expect("a request").target.clone()),
            _ => {
                assert_eq!(seen.len(), seen_before, "{seen:?}");
                None
            }
        }
    }

    async fn over_http1(&self, target: &str) -> (u16, Option<String>) {
        let before = self.shop.seen().len();
        let request =
            format!("GET {target} HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n");
        let answer = RawClient::exchange(self.gateway.address(), request).await;
        // A refusal that does not wait for the end of the request may be a reset.
        let status = answer
            .get(9..12)
            .map_or(400, |status| status.parse().unwrap());
        (status, self.verdict(status, before).await)
    }

    async fn over_h2(&self, target: &str) -> (u16, Option<String>) {
        let before = self.shop.seen().len();
        let fields: [(&str, &[u8]); 4] = [
            (":method", b"GET"),
            (":scheme", b"http"),
            (":authority", b"shop.test"),
            (":path", target.as_bytes()),
        ];
        let status = match exchange_h2(self.gateway.address(), &fields).await {
            H2Outcome::Status(status) => status,
            H2Outcome::Broken => 400,
        };
        (status, self.verdict(status, before).await)
    }

    async fn check(&self, target: &str, expected: Verdict<'_>) {
        let over_http1 = self.over_http1(target).await;
        assert_eq!(over_http1, outcome(expected), "{target:?} over HTTP/1.1");
        let over_h2 = self.over_h2(target).await;
        assert_eq!(over_h2, outcome(expected), "{target:?} over HTTP/2");
    }
}

fn outcome(verdict: Verdict<'_>) -> (u16, Option<String>) {
    match verdict {
        Saw(target) => (200, Some(target.to_owned())),
        Guarded => (500, None),
        Refused => (400, None),
    }
}

#[tokio::test]
async fn no_spelling_gets_around_a_guard() {
    let edge = Edge::with("").await;
    for (target, expected) in [
        // As it is.
        ("/open/a", Saw("/open/a")),
        ("/open/a?b=../admin", Saw("/open/a?b=../admin")),
        ("/admin", Guarded),
        ("/admin/", Guarded),
        ("/admin/x?y", Guarded),
        ("/", Saw("/")),
        // Dots.
        ("/./admin", Guarded),
        ("/open/../admin", Guarded),
        ("/open/a/../../admin/x", Guarded),
        ("/open/./../admin", Guarded),
        ("/%2e/admin", Guarded),
        ("/open/%2e%2e/admin", Guarded),
        ("/open/.%2E/admin", Guarded),
        ("/open/%2e./admin", Guarded),
        ("/admin/../open/a", Saw("/open/a")),
        ("/open/a/.", Saw("/open/a/")),
        ("/open/a/..", Saw("/open/")),
        ("/open/...", Saw("/open/...")),
        ("/..", Refused),
        ("/../admin", Refused),
        ("/open/../../admin", Refused),
        ("/%2e%2e/admin", Refused),
        // Dots in disguise.
        ("/open/..;/admin", Refused),
        ("/open/..;x=1/admin", Refused),
        ("/open/.;/../admin", Refused),
        ("/open/%2e%2e;/admin", Refused),
        ("/open/..%3b/admin", Refused),
        ("/open/;/../admin", Refused),
        ("/;/admin", Refused),
        ("/;a=b/admin", Refused),
        // Slashes.
        ("//admin", Guarded),
        ("///admin//x", Guarded),
        ("/open//../admin", Guarded),
        ("/open/a//b/", Saw("/open/a/b/")),
        ("/open/..%2fadmin", Refused),
        ("/open/..%2Fadmin", Refused),
        ("/open%2f../admin", Refused),
        ("/%2fadmin", Refused),
        ("/open\\..\\admin", Refused),
        ("/open/..\\admin", Refused),
        ("/\\admin", Refused),
        ("/open/..%5cadmin", Refused),
        ("/open%5C..%5Cadmin", Refused),
        // Characters that need no encoding.
        ("/%61dmin", Guarded),
        ("/%61%64%6d%69%6E/x", Guarded),
        ("/admin%2Fx", Refused),
        ("/open/%7Ea%2D%5f", Saw("/open/~a-_")),
        // Encoded twice.
        ("/open/%252e%252e/admin", Refused),
        ("/open/%252e%252e%252fadmin", Refused),
        ("/open/..%252fadmin", Refused),
        ("/open/..%255cadmin", Refused),
        ("/open/%25252e%25252e/admin", Refused),
        ("/open/%25%32%65%25%32%65/admin", Refused),
        ("/%2561dmin", Saw("/%2561dmin")),
        ("/admin%2500", Refused),
        // Not UTF-8.
        ("/open/%c0%ae%c0%ae/admin", Refused),
        ("/open/..%c0%afadmin", Refused),
        ("/open/%e0%80%ae%e0%80%ae/admin", Refused),
        ("/open/..%c1%9cadmin", Refused),
        ("/open/%f0%80%80%ae/admin", Refused),
        ("/open/%ff", Refused),
        ("/open/caf%c3%a9", Saw("/open/caf%C3%A9")),
        // Malformed escapes.
        ("/open/%", Refused),
        ("/open/%2", Refused),
        ("/open/%zz/../admin", Refused),
        ("/open/%u002e%u002e/admin", Refused),
        // Controls.
        ("/admin%00.css", Refused),
        ("/admin%09", Refused),
        ("/admin%0d%0ax:y", Refused),
        ("/admin%7f", Refused),
        ("/admin\u{1}", Refused),
        ("/admin\u{7f}", Refused),
        // What is encoded for a reason stays so.
        ("/open/a%20b%3fc%23d%26e", Saw("/open/a%20b%3Fc%23d%26e")),
        ("/open/a|b{c}[d]^", Saw("/open/a%7Cb%7Bc%7D%5Bd%5D%5E")),
        ("/admin%20", Saw("/admin%20")),
        ("/admin%3Fx", Saw("/admin%3Fx")),
        // Parameters of segments.
        ("/admin;.css", Guarded),
        ("/admin;a=b/x", Guarded),
        ("/admin;/x", Guarded),
        ("/admin;a;b=/x;y", Guarded),
        ("/open/users/7;v=2", Saw("/open/users/7;v=2")),
        ("/open;a/b", Saw("/open;a/b")),
        // Other forms of a target.
        ("*", Refused),
        ("admin", Refused),
        ("?/admin", Refused),
        ("open/../admin", Refused),
        ("ftp://shop.test/admin", Refused),
        ("shop.test:80", Refused),
        // Queries.
        (
            "/open/a?b={c}|[d]\\..%2f%00",
            Saw("/open/a?b={c}|[d]\\..%2f%00"),
        ),
        ("/open/a?b\u{7f}", Refused),
        ("/open/a?b\u{1}", Refused),
    ] {
        edge.check(target, expected).await;
    }
}

#[tokio::test]
async fn slashes_and_backslashes_are_kept_where_a_site_needs_them() {
    let edge = Edge::with(r#"encoded_slashes = "keep", backslashes = "keep""#).await;
    for (target, expected) in [
        ("/open/users/a%2fb", Saw("/open/users/a%2Fb")),
        ("/open/a%5cb", Saw("/open/a%5Cb")),
        ("/open/a%252Fb", Saw("/open/a%252Fb")),
        ("/admin%2fx", Saw("/admin%2Fx")),
        ("/open/a%2f../../admin", Refused),
        ("/open/..%2fadmin", Refused),
        ("/open%2f..%2fadmin", Refused),
        ("/open/..%5cadmin", Refused),
        ("/open/..%252fadmin", Refused),
        ("/open/../admin", Guarded),
        ("/open/%252e%252e/admin", Refused),
    ] {
        edge.check(target, expected).await;
    }
}

#[tokio::test]
async fn encoded_slashes_are_slashes_where_a_site_says_so() {
    let edge = Edge::with(r#"encoded_slashes = "decode""#).await;
    for (target, expected) in [
        ("/open/a%2fb", Saw("/open/a/b")),
        ("/%2fadmin", Guarded),
        ("/admin%2Fx", Guarded),
        ("/open%2f..%2fadmin", Guarded),
        ("/open/..%2f..%2fadmin", Refused),
        ("/open/..;%2fadmin", Refused),
        ("/open/..%252fadmin", Refused),
        ("/open/a%5cb", Refused),
    ] {
        edge.check(target, expected).await;
    }
}

#[tokio::test]
async fn repeated_slashes_and_old_encodings_are_kept_where_a_site_says_so() {
    let edge = Edge::with(r#"merge_slashes = false, invalid_utf8 = "keep""#).await;
    for (target, expected) in [
        ("/open//a//", Saw("/open//a//")),
        ("//admin", Saw("//admin")),
        ("/open//../../admin", Guarded),
        ("/open/%e9t%e9", Saw("/open/%E9t%E9")),
        ("/open/%2e%2e/admin", Guarded),
        ("/open/..%2fadmin", Refused),
        ("/open/a%00", Refused),
    ] {
        edge.check(target, expected).await;
    }
}

#[tokio::test]
async fn a_refusal_says_why() {
    let edge = Edge::with("").await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = edge.gateway.client(protocol);
        let answer = client.send(get("/open/..%2fadmin")).await;
        answer.assert_problem(400, "path_refused");
        assert_eq!(answer.json()["detail"], "the path has an encoded slash");
        let line = edge.gateway.log_of(&answer).await;
        assert_eq!(line["code"], "path_refused");
        assert_eq!(line["path"], "/open/..%2fadmin");
    }
}

#[tokio::test]
async fn the_log_has_the_path_that_was_routed() {
    let edge = Edge::with("").await;
    let answer = edge.gateway.http1().send(get("/open/./%61//b;c?d")).await;
    let line = edge.gateway.log_of(&answer).await;
    assert_eq!(line["path"], "/open/a/b;c");
    assert_eq!(edge.shop.only().target, "/open/a/b;c?d");
}

#[tokio::test]
async fn the_spelling_of_a_host_changes_no_route() {
    let shop = Origin::http1(|_| text("open"));
    let gateway = Gateway::draft(
        r#"
        [upstreams.shop]
        endpoints = ["$shop"]

        [routes.inner]
        match = { hosts = ["inner.test"], path = "/{*rest}" }
        respond = { body = "guarded" }

        [routes.rest]
        match = { path = "/{*rest}" }
        upstream = "shop"
        "#,
    )
    .with("shop", &shop)
    .start()
    .await;
    for host in [
        "inner.test",
        "INNER.test",
        "inner.test.",
        "Inner.Test.:80",
        "inner.test:8080",
        "inner.test:",
        "inner.test..",
        "a@inner.test",
        "inner%2etest",
        "inner.test:80:80",
        "inner.test:x",
        "inner.test/x",
        "inner.test\\x",
        "inner.test,a",
        " inner.test",
    ] {
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = RawClient::exchange(gateway.address(), request).await;
        let is_guarded = answer.ends_with("guarded") || answer.starts_with("HTTP/1.1 400 ");
        assert!(is_guarded, "{host:?} over HTTP/1.1: {answer}");
        let fields: [(&str, &[u8]); 4] = [
            (":method", b"GET"),
            (":scheme", b"http"),
            (":authority", host.as_bytes()),
            (":path", b"/"),
        ];
        exchange_h2(gateway.address(), &fields).await;
        assert_eq!(shop.seen().len(), 0, "{host:?}: {:?}", shop.seen());
    }
}

#[tokio::test]
async fn what_is_captured_is_a_name_without_parameters() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = Gateway::draft(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        paths = { encoded_slashes = "keep" }

        [upstreams.shop]
        endpoints = ["$shop"]

        [routes.user]
        match = { path = "/users/{id}" }
        upstream = "shop"
        rewrite = { path = "/u/{id}" }

        [routes.dots]
        match = { path = "/dots/{*rest}" }
        upstream = "shop"
        rewrite = { path = "/d/.{rest}" }

        [routes.query]
        match = { path = "/query" }
        upstream = "shop"
        rewrite = { path = "/q/{request.query}" }

        [routes.files]
        match = { path = "/files/{*rest}" }
        upstream = "shop"
        rewrite = { path = "/f/{rest}" }

        [routes.moved]
        match = { path = "/moved/{*rest}" }
        redirect = { to = "/{rest}" }
        "#,
    )
    .with("shop", &shop)
    .start()
    .await;
    let client = gateway.http1();
    for (target, expected) in [
        ("/users/7;v=2", Some("/u/7")),
        ("/users/%37;..", Some("/u/7")),
        ("/users/a%2fb", Some("/u/a%2Fb")),
        ("/users/a%3Bb", Some("/u/a%3Bb")),
        ("/files/a;b/c;d?e", Some("/f/a;b/c;d?e")),
        // Neither of these may become a dot segment at the upstream.
        ("/dots/", None),
        ("/dots/./.a", Some("/d/..a")),
        ("/dots/%2fa", None),
        ("/query?../../admin", None),
        ("/query?a%2f..", None),
        ("/query?a", Some("/q/a")),
    ] {
        let before = shop.seen().len();
        let answer = client.send(get(target)).await;
        match expected {
            Some(expected) => {
                assert_eq!(answer.status, 200, "{target}");
                assert!(shop.seen()[before].target.starts_with(expected), "{target}");
            }
            None => {
                assert_eq!(answer.status, 400, "{target}");
                assert_eq!(shop.seen().len(), before, "{target}");
            }
        }
    }
    for (target, location) in [
        ("/moved//evil.test", "/evil.test"),
        ("/moved/%5cevil.test", ""),
        ("/moved/a%2f%2fb", "/a%2F%2Fb"),
    ] {
        let answer = client.send(get(target)).await;
        assert_eq!(answer.header("location").unwrap_or_default(), location);
    }
}

#[tokio::test]
async fn nobody_says_another_path_or_method_than_was_routed() {
    const NAMES: [&str; 7] = [
        "x-original-url",
        "x-rewrite-url",
        "x_original_url",
        "x-http-method-override",
        "x_http-method_override",
        "x-http-method",
        "x-method-override",
    ];
    for (listener, is_kept) in [("", false), (r#"override_headers = "keep""#, true)] {
        for trusted in ["", r#"trusted_proxies = ["127.0.0.1"]"#] {
            let shop = Origin::http1(|_| text("ok"));
            let listener = format!("{listener}\n{trusted}");
            let gateway = Gateway::draft(
                r#"
                [listeners.public]
                bind = "127.0.0.1:0"
                $listener

                [upstreams.shop]
                endpoints = ["$shop"]

                [routes.all]
                match = { path = "/{*rest}" }
                upstream = "shop"
                "#,
            )
            .with("shop", &shop)
            .with("listener", &listener)
            .start()
            .await;
            for protocol in [Protocol::Http1, Protocol::H2] {
                let ask = get("/").header("x-http", "1");
                let ask = NAMES
                    .iter()
                    .fold(ask, |ask, name| ask.header(name, "/admin"));
                assert_eq!(gateway.client(protocol).send(ask).await.status, 200);
                let seen = shop.seen().pop().unwrap();
                for name in NAMES {
                    // Twins of the others, and claims of strangers, go in any case.
                    let may_go_on =
                        !name.contains('_') && (!name.ends_with("url") || !trusted.is_empty());
                    let goes_on = seen.header(name).is_some();
                    assert_eq!(goes_on, is_kept && may_go_on, "{name} with {listener}");
                }
                assert_eq!(seen.header("x-http"), Some("1"));
            }
        }
    }
}
