//! Which route a request takes, and what of its path goes along.

use crate::harness::*;

/// Tells by its body which route it was.
fn respond(name: &str, matched: &str) -> String {
    format!("[routes.{name}]\nmatch = {{ {matched} }}\nrespond = {{ body = \"{name}\" }}\n")
}

async fn gateway(routes: &[(&str, &str)]) -> Gateway {
    let toml: String = routes
        .iter()
        .map(|(name, matched)| respond(name, matched))
        .collect();
    Gateway::start(&toml).await
}

/// The route that answers, over both protocols.
async fn check(gateway: &Gateway, ask: impl Fn() -> Ask, expected: &str) {
    for protocol in [Protocol::Http1, Protocol::H2] {
        let answer = gateway.client(protocol).send(ask()).await;
        let route = match answer.status {
            200 => answer.text(),
            other => other.to_string(),
        };
        assert_eq!(route, expected, "over {protocol:?}");
    }
}

#[tokio::test]
async fn by_host() {
    let gateway = gateway(&[
        ("exact", r#"hosts = ["api.shop.test"], path = "/x""#),
        ("wildcard", r#"hosts = ["*.shop.test"], path = "/x""#),
        ("any", r#"path = "/x""#),
    ])
    .await;
    for (host, route) in [
        ("api.shop.test", "exact"),
        ("API.Shop.Test", "exact"),
        ("api.shop.test:8443", "exact"),
        ("www.shop.test", "wildcard"),
        ("a.b.shop.test", "wildcard"),
        ("shop.test", "any"),
        ("evilshop.test", "any"),
    ] {
        check(&gateway, || get("/x").host(host), route).await;
    }
}

#[tokio::test]
async fn by_path() {
    let gateway = gateway(&[
        ("list", r#"path = "/orders""#),
        ("one", r#"path = "/orders/{id}""#),
        ("latest", r#"path = "/orders/latest""#),
        ("below", r#"path = "/orders/{*rest}""#),
    ])
    .await;
    for (path, route) in [
        ("/orders", "list"),
        ("/orders?id=7", "list"),
        ("/orders/7", "one"),
        ("/orders/latest", "latest"),
        ("/orders/7/items", "below"),
        ("/orders/", "below"),
        ("/Orders", "404"),
        ("/", "404"),
    ] {
        check(&gateway, || get(path), route).await;
    }
}

#[tokio::test]
async fn by_method() {
    let gateway = gateway(&[
        ("read", r#"path = "/x", methods = ["GET"]"#),
        ("write", r#"path = "/x", methods = ["POST", "PUT"]"#),
        ("rest", r#"path = "/y""#),
    ])
    .await;
    check(&gateway, || get("/x"), "read").await;
    check(&gateway, || request("PUT", "/x"), "write").await;
    check(&gateway, || request("BREW", "/y"), "rest").await;
    let answer = gateway.http1().send(head("/x")).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
}

#[tokio::test]
async fn by_header_and_query() {
    let gateway = gateway(&[
        ("plain", r#"path = "/x""#),
        ("second", r#"path = "/x", headers = { x-version = "2" }"#),
        (
            "third",
            r#"path = "/x", headers = { x-version = { regex = "3(\\.\\d+)?" } }"#,
        ),
        (
            "beta",
            r#"path = "/x", query = { beta = { present = true } }"#,
        ),
        (
            "both",
            r#"path = "/x", headers = { x-version = "2" }, query = { beta = "a b" }"#,
        ),
    ])
    .await;
    check(&gateway, || get("/x"), "plain").await;
    check(&gateway, || get("/x").header("x-version", "2"), "second").await;
    let two = || get("/x").header("x-version", "1").header("x-version", "2");
    check(&gateway, two, "second").await;
    check(&gateway, || get("/x").header("x-version", "3.14"), "third").await;
    check(&gateway, || get("/x").header("x-version", "3.x"), "plain").await;
    check(&gateway, || get("/x?beta"), "beta").await;
    let both = || get("/x?beta=a+b").header("x-version", "2");
    check(&gateway, both, "both").await;
    let both = || get("/x?c=d&b%65ta=a%20b").header("x-version", "2");
    check(&gateway, both, "both").await;
}

#[tokio::test]
async fn the_order_in_the_file_does_not_matter() {
    let routes = [
        ("host", r#"hosts = ["a.test"], path = "/{*rest}""#),
        ("path", r#"path = "/exact/path""#),
        (
            "headers",
            r#"path = "/{x}/path", headers = { a = "1", b = "2" }"#,
        ),
        ("method", r#"path = "/{x}/path", methods = ["GET"]"#),
    ];
    let mut reversed = routes;
    reversed.reverse();
    for routes in [routes, reversed] {
        let gateway = gateway(&routes).await;
        let full = |host: &'static str| {
            move || {
                get("/exact/path")
                    .host(host)
                    .header("a", "1")
                    .header("b", "2")
            }
        };
        check(&gateway, full("a.test"), "host").await;
        check(&gateway, full("b.test"), "path").await;
        let other = || get("/other/path").header("a", "1").header("b", "2");
        check(&gateway, other, "method").await;
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_from_a_wrong_path() {
    let gateway = gateway(&[
        ("read", r#"path = "/x/{id}", methods = ["GET"]"#),
        ("remove", r#"path = "/x/{id}", methods = ["DELETE"]"#),
        (
            "elsewhere",
            r#"hosts = ["other.test"], path = "/x/{id}", methods = ["PATCH"]"#,
        ),
    ])
    .await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        let answer = client.send(post("/x/1", "body")).await;
        answer.assert_problem(405, "method_not_allowed");
        let mut allowed: Vec<_> = answer.header("allow").unwrap().split(", ").collect();
        allowed.sort_unstable();
        assert_eq!(allowed, ["DELETE", "GET", "HEAD"]);
        let answer = client.send(post("/y/1", "body")).await;
        answer.assert_problem(404, "route_not_found");
        assert_eq!(answer.header("allow"), None);
        // The connection lives on.
        assert_eq!(client.send(get("/x/1")).await.text(), "read");
    }
}

#[tokio::test]
async fn by_grpc_service_and_method() {
    let gateway = Gateway::start(
        r#"
        [routes.orders]
        match = { grpc = { service = "shop.v1.Orders" } }
        respond = { body = "orders" }

        [routes.get-order]
        match = { grpc = { service = "shop.v1.Orders", method = "Get" } }
        respond = { body = "get-order" }
        "#,
    )
    .await;
    let client = gateway.http2();
    let call = |path: &str| post(path, "").header("content-type", "application/grpc");
    assert_eq!(
        client.send(call("/shop.v1.Orders/Get")).await.text(),
        "get-order"
    );
    assert_eq!(
        client.send(call("/shop.v1.Orders/List")).await.text(),
        "orders"
    );
    let answer = client.send(call("/shop.v1.Users/Get")).await;
    assert_eq!(answer.header("grpc-status"), Some("12"));
    // Not a gRPC call at all.
    let answer = client.send(get("/shop.v1.Orders/Get")).await;
    assert_ne!(answer.status, 200);
}

#[tokio::test]
async fn captures_go_into_rewrites_headers_and_redirects() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("ok"));
        let gateway = Gateway::draft(
            r#"
            [upstreams.shop]
            endpoints = ["$shop"]
            protocol = "$protocol"

            [routes.item]
            match = { path = "/shops/{shop}/items/{*rest}" }
            upstream = "shop"
            rewrite = { path = "/{rest}/of/{shop}" }
            policies.request_headers = { set = { x-shop = "{path.shop}", x-item = "{path.rest}" } }
            policies.response_headers = { set = { x-shop = "<{path.shop}>" } }

            [routes.old]
            match = { path = "/old/{shop}/{id}" }
            redirect = { to = "/shops/{shop}/items/{id}" }
            "#,
        )
        .with("shop", &shop)
        .with("protocol", pair.origin)
        .start()
        .await;
        let client = gateway.client(pair.client);
        let answer = client.send(get("/shops/a%20b/items/7/parts?x=1")).await;
        assert_eq!(answer.header("x-shop"), Some("<a%20b>"));
        let seen = shop.only();
        assert_eq!(seen.target, "/7/parts/of/a%20b?x=1");
        assert_eq!(seen.header("x-shop"), Some("a%20b"));
        assert_eq!(seen.header("x-item"), Some("7/parts"));
        let answer = client.send(get("/old/a/7")).await;
        assert_eq!(answer.header("location"), Some("/shops/a/items/7"));
    })
    .await;
}

#[tokio::test]
async fn a_route_can_be_on_some_listeners_only() {
    let gateway = Gateway::start(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"

        [listeners.internal]
        bind = "127.0.0.1:0"

        [routes.everywhere]
        match = { path = "/ping" }
        respond = { body = "everywhere" }

        [routes.inside]
        match = { path = "/admin" }
        listeners = ["internal"]
        respond = { body = "inside" }

        [routes.ping-inside]
        match = { path = "/ping", headers = { x-inside = "1" } }
        listeners = ["internal"]
        respond = { body = "ping-inside" }
        "#,
    )
    .await;
    let public = Client::of(gateway.address_of("public"), Protocol::Http1);
    let internal = Client::of(gateway.address_of("internal"), Protocol::Http1);
    assert_eq!(public.send(get("/ping")).await.text(), "everywhere");
    assert_eq!(internal.send(get("/ping")).await.text(), "everywhere");
    assert_eq!(internal.send(get("/admin")).await.text(), "inside");
    assert_eq!(public.send(get("/admin")).await.status, 404);
    let ping = || get("/ping").header("x-inside", "1");
    assert_eq!(internal.send(ping()).await.text(), "ping-inside");
    assert_eq!(public.send(ping()).await.text(), "everywhere");
}
