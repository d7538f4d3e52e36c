//! `request_headers` and `response_headers`.

use crate::harness::*;

#[tokio::test]
async fn requests_are_edited() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("ok"));
        let gateway = Gateway::draft(
            r#"
            [upstreams.shop]
            endpoints = ["$shop"]
            protocol = "$protocol"

            [routes.order]
            match = { path = "/orders/{id}" }
            upstream = "shop"

            [routes.order.policies.request_headers]
            remove = ["cookie", "x-internal-*"]
            set = { x-order = "{path.id}", x-client = "{client.ip}", x-id = "{request.id}" }
            add = { x-hop = "edge via {request.scheme}" }
            "#,
        )
        .with("shop", &shop)
        .with("protocol", pair.origin)
        .start()
        .await;
        let ask = get("/orders/7")
            .header("cookie", "session=1")
            .header("x-internal-role", "admin")
            .header("x-internal-", "1")
            .header("x-intern", "stays")
            .header("x-order", "forged")
            .header("x-order", "twice")
            .header("x-hop", "client");
        let answer = gateway.client(pair.client).send(ask).await;
        let seen = shop.only();
        for name in ["cookie", "x-internal-role", "x-internal-"] {
            assert_eq!(seen.header(name), None, "{name}");
        }
        assert_eq!(seen.header("x-intern"), Some("stays"));
        let orders: Vec<_> = seen.headers.get_all("x-order").iter().collect();
        assert_eq!(orders, ["7"]);
        assert_eq!(seen.header("x-client"), Some("127.0.0.1"));
        assert_eq!(seen.header("x-id"), answer.header("x-request-id"));
        let hops: Vec<_> = seen.headers.get_all("x-hop").iter().collect();
        assert_eq!(hops, ["client", "edge via http"]);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_known_is_not_said_even_if_the_client_says_it() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = Gateway::draft(
        r#"
        [upstreams.shop]
        endpoints = ["$shop"]

        [routes.all]
        match = { path = "/{*rest}" }
        upstream = "shop"
        policies.request_headers = { set = { x-user = "{identity.subject}" }, add = { x-tenant = "{identity.tenant}" } }
        "#,
    )
    .with("shop", &shop)
    .start()
    .await;
    gateway
        .http1()
        .send(get("/").header("x-user", "root"))
        .await;
    assert_eq!(shop.only().header("x-user"), None);
    assert_eq!(shop.only().header("x-tenant"), None);
}

#[tokio::test]
async fn responses_are_edited() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| {
            let headers = [
                ("server", "shop/1.2.3"),
                ("x-internal-node", "n7"),
                ("x-internal-db", "d1"),
                ("x-frame-options", "ALLOWALL"),
                ("vary", "accept"),
            ];
            reply(200, &headers, full("ok"))
        });
        let gateway = Gateway::draft(
            r#"
            [upstreams.shop]
            endpoints = ["$shop"]
            protocol = "$protocol"

            [routes.order]
            match = { path = "/orders/{id}" }
            upstream = "shop"

            [routes.order.policies.response_headers]
            remove = ["server", "x-internal-*"]
            set = { x-frame-options = "DENY", x-order = "{path.id}", x-seen = "{client.ip} {request.method}" }
            add = { vary = "origin" }
            "#,
        )
        .with("shop", &shop)
        .with("protocol", pair.origin)
        .start()
        .await;
        let answer = gateway.client(pair.client).send(get("/orders/7")).await;
        for name in ["server", "x-internal-node", "x-internal-db"] {
            assert_eq!(answer.header(name), None, "{name}");
        }
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(answer.header("x-order"), Some("7"));
        assert_eq!(answer.header("x-seen"), Some("127.0.0.1 GET"));
        let vary: Vec<_> = answer.headers.get_all("vary").iter().collect();
        assert_eq!(vary, ["accept", "origin"]);
        assert_eq!(answer.text(), "ok");
    })
    .await;
}

#[tokio::test]
async fn the_nearest_scope_replaces_and_off_removes() {
    let gateway = Gateway::start(
        r#"
        [gateway]
        [gateway.policies]
        response_headers = { set = { x-scope = "gateway", x-gateway = "1" } }

        [listeners.public]
        bind = "127.0.0.1:0"

        [listeners.partner]
        bind = "127.0.0.1:0"
        policies.response_headers = { set = { x-scope = "listener" } }

        [routes.inherits]
        match = { path = "/inherits" }
        respond = { body = "ok" }

        [routes.replaces]
        match = { path = "/replaces" }
        respond = { body = "ok" }
        policies.response_headers = { set = { x-scope = "route" } }

        [routes.removes]
        match = { path = "/removes" }
        respond = { body = "ok" }
        policies.response_headers = "off"
        "#,
    )
    .await;
    for (listener, path, scope, gateway_wide) in [
        ("public", "/inherits", Some("gateway"), Some("1")),
        ("public", "/replaces", Some("route"), None),
        ("public", "/removes", None, None),
        ("public", "/nowhere", Some("gateway"), Some("1")),
        ("partner", "/inherits", Some("listener"), None),
        ("partner", "/replaces", Some("route"), None),
        ("partner", "/removes", None, None),
        ("partner", "/nowhere", Some("listener"), None),
    ] {
        let client = Client::of(gateway.address_of(listener), Protocol::Http1);
        let answer = client.send(get(path)).await;
        assert_eq!(answer.header("x-scope"), scope, "{listener} {path}");
        assert_eq!(
            answer.header("x-gateway"),
            gateway_wide,
            "{listener} {path}"
        );
    }
}

#[tokio::test]
async fn replies_of_the_gateway_itself_are_edited_too() {
    let gone = RawOrigin::serving(|_, _| async {});
    let gateway = Gateway::draft(
        r#"
        [gateway]
        [gateway.policies]
        response_headers = { set = { x-edge = "{request.id}" }, remove = ["cache-control"] }

        [upstreams.gone]
        endpoints = ["$gone"]

        [routes.gone]
        match = { path = "/gone", methods = ["GET"] }
        upstream = "gone"
        "#,
    )
    .with("gone", &gone)
    .start()
    .await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        for (ask, status) in [
            (get("/nowhere"), 404),
            (delete("/gone"), 405),
            (get("/gone"), 502),
            (get(&format!("/{}", "a".repeat(9000))), 414),
        ] {
            let answer = client.send(ask).await;
            assert_eq!(answer.status, status);
            let id = answer.header("x-request-id");
            assert!(id.is_some());
            assert_eq!(answer.header("x-edge"), id, "{status} over {protocol:?}");
            assert_eq!(answer.header("cache-control"), None);
        }
    }
}
