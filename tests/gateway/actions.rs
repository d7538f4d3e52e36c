//! What answers a request: a redirect, fixed content, or an upstream that is asked for something else.

use crate::harness::*;

#[tokio::test]
async fn redirects_send_elsewhere() {
    let gateway = Gateway::start(
        r#"
        [routes.plain]
        match = { path = "/plain" }
        redirect = { to = "/there" }

        [routes.found]
        match = { path = "/found" }
        redirect = { to = "https://other.test/there", status = 302 }

        [routes.https]
        match = { path = "/https/{*rest}" }
        redirect = { to = "https://{request.host}{request.path}", status = 301 }

        [routes.queried]
        match = { path = "/queried" }
        redirect = { to = "/there?fixed=1" }

        [routes.both]
        match = { path = "/both" }
        redirect = { to = "/there?fixed=1", keep_query = true }

        [routes.dropped]
        match = { path = "/dropped" }
        redirect = { to = "/there", keep_query = false, status = 307 }

        [routes.rest]
        match = { path = "/rest/{*rest}" }
        redirect = { to = "/{rest}", status = 303 }
        "#,
    )
    .await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        for (target, status, location) in [
            ("/plain", 308, "/there"),
            ("/plain?a=1&b=%20", 308, "/there?a=1&b=%20"),
            ("/found?a=1", 302, "https://other.test/there?a=1"),
            ("/https/x/y?z", 301, "https://shop.test/https/x/y?z"),
            ("/queried?a=1", 308, "/there?fixed=1"),
            ("/both?a=1", 308, "/there?fixed=1&a=1"),
            ("/dropped?a=1", 307, "/there"),
            ("/rest/a/b", 303, "/a/b"),
            // Another host to a browser, were it passed on as it is.
            ("/rest//evil.test/x", 303, "/evil.test/x"),
        ] {
            let answer = client.send(get(target)).await;
            assert_eq!(answer.status, status, "{target}");
            assert_eq!(answer.header("location"), Some(location), "{target}");
            assert!(answer.body.is_empty());
            assert!(answer.header("x-request-id").is_some());
        }
    }
}

#[tokio::test]
async fn responds_with_fixed_content() {
    let gateway = Gateway::start(
        r#"
        [routes.json]
        match = { path = "/json" }
        respond = { json = { ok = true, items = [1, "two"] } }

        [routes.text]
        match = { path = "/text" }
        respond = { status = 503, body = "Back at noon.", headers = { retry-after = "3600" } }

        [routes.html]
        match = { path = "/html" }
        respond = { body = "<p>hi", headers = { content-type = "text/html" } }

        [routes.none]
        match = { path = "/none" }
        respond = { status = 204 }
        "#,
    )
    .await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        let json = client.send(get("/json")).await;
        assert_eq!(json.status, 200);
        assert_eq!(json.header("content-type"), Some("application/json"));
        let expected = serde_json::json!({ "ok": true, "items": [1, "two"] });
        assert_eq!(json.json(), expected);
        let text = client.send(get("/text")).await;
        assert_eq!((text.status, text.text().as_str()), (503, "Back at noon."));
        assert_eq!(text.header("retry-after"), Some("3600"));
        assert_eq!(
            text.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        let html = client.send(get("/html")).await;
        assert_eq!(html.header("content-type"), Some("text/html"));
        let none = client.send(get("/none")).await;
        assert_eq!((none.status, none.body.len()), (204, 0));
        assert_eq!(none.header("content-length"), None);
        let head = client.send(head("/text")).await;
        assert_eq!((head.status, head.body.len()), (503, 0));
        assert_eq!(head.header("content-length"), Some("13"));
        // A body that nobody wants does not get into the way of what follows.
        let posted = client.send(post("/json", "x".repeat(100_000))).await;
        assert_eq!(posted.status, 200);
        assert_eq!(client.send(get("/json")).await.status, 200);
    }
}

#[tokio::test]
async fn a_fixed_answer_is_in_the_access_log_without_an_upstream() {
    let gateway = Gateway::start(
        r#"
        [routes.ping]
        match = { path = "/ping" }
        respond = { json = { ok = true } }
        "#,
    )
    .await;
    let answer = gateway.http1().send(get("/ping")).await;
    let line = gateway.log_of(&answer).await;
    assert_eq!(line["route"], "ping");
    assert_eq!(line["attempts"], 0);
    assert_eq!(line["bytes_out"], 11);
    assert!(line.get("upstream").is_none() && line.get("code").is_none());
}

#[tokio::test]
async fn rewrites_change_the_target_and_the_host() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("ok"));
        let gateway = Gateway::draft(
            r#"
            [upstreams.shop]
            endpoints = ["$shop"]
            protocol = "$protocol"

            [routes.path]
            match = { path = "/api/{*rest}" }
            upstream = "shop"
            rewrite = { path = "/internal/{rest}" }

            [routes.host]
            match = { path = "/host" }
            upstream = "shop"
            rewrite = { host = "inner.test" }

            [routes.both]
            match = { path = "/both/{tenant}" }
            upstream = "shop"
            rewrite = { path = "/?tenant={tenant}", host = "{tenant}.inner.test" }
            "#,
        )
        .with("shop", &shop)
        .with("protocol", pair.origin)
        .start()
        .await;
        let client = gateway.client(pair.client);
        for (target, host, rewritten) in [
            ("/api/v1/x?a=1", "shop.test", "/internal/v1/x?a=1"),
            ("/api", "shop.test", "/internal/"),
            ("/host?a=1", "inner.test", "/host?a=1"),
            ("/both/acme?a=1", "acme.inner.test", "/?tenant=acme"),
        ] {
            assert_eq!(client.send(get(target)).await.status, 200);
            let seen = shop.seen().pop().unwrap();
            assert_eq!(
                (seen.host.as_str(), seen.target.as_str()),
                (host, rewritten)
            );
        }
    })
    .await;
}
