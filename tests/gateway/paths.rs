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
    ] {
        edge.check(target, expected).await;
    }
}
