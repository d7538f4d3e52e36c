//! `https_redirect`.

use crate::harness::*;

fn location(answer: &Answer) -> Option<&str> {
    answer.header("location")
}

#[tokio::test]
async fn who_comes_by_http_is_sent_to_the_same_place() {
    let gateway = Gateway::start(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"

        [listeners.public.policies]
        https_redirect = { except = ["/.well-known/acme-challenge/"] }
        security_headers = {}

        [routes.shop]
        match = { path = "/{*rest}", methods = ["GET"] }
        respond = { body = "never" }
        "#,
    )
    .await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        for (host, target, expected) in [
            ("shop.test", "/", "https://shop.test/"),
            (
                "shop.test:8080",
                "/a/b?x=1&y=%20",
                "https://shop.test/a/b?x=1&y=%20",
            ),
            ("[::1]:8080", "/a", "https://[::1]/a"),
            (
                "shop.test",
                "//evil.test/x",
                "https://shop.test/evil.test/x",
            ),
            (
                "shop.test",
                "/.well-known/acme-challengeX",
                "https://shop.test/.well-known/acme-challengeX",
            ),
        ] {
            for method in ["GET", "POST"] {
                let answer = client.send(request(method, target).host(host)).await;
                assert_eq!(answer.status, 308, "{method} {target}");
                assert_eq!(location(&answer), Some(expected));
                assert_eq!(answer.header("strict-transport-security"), None);
                assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            }
        }
        let challenge = get("/.well-known/acme-challenge/token");
        assert_eq!(client.send(challenge).await.text(), "never");
        let challenge = get("/.well-known;a=b/x/%2e./acme-challenge;c/token");
        assert_eq!(client.send(challenge).await.text(), "never");
    }
}

#[tokio::test]
async fn the_options_count() {
    let gateway = Gateway::start(
        r#"
        [routes.port]
        match = { path = "/port" }
        respond = { body = "never" }
        policies.https_redirect = { port = 8443, status = 302 }

        [routes.open]
        match = { path = "/open" }
        respond = { body = "open" }
        "#,
    )
    .await;
    let client = gateway.http1();
    let answer = client.send(get("/port?q").host("shop.test:8080")).await;
    assert_eq!(answer.status, 302);
    assert_eq!(location(&answer), Some("https://shop.test:8443/port?q"));
    assert_eq!(client.send(get("/open")).await.text(), "open");
}

#[tokio::test]
async fn a_trusted_hop_says_how_the_client_came() {
    let routes = r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        $trust
        policies.https_redirect = {}
        policies.security_headers = {}

        [routes.shop]
        match = { path = "/" }
        respond = { body = "shop" }
    "#;
    let https = || get("/").header("x-forwarded-proto", "https");
    let trusting = Gateway::draft(routes)
        .with("trust", "trusted_proxies = [\"127.0.0.1\"]")
        .start()
        .await;
    let answer = trusting.http1().send(https()).await;
    assert_eq!(answer.status, 200);
    let hsts = answer.header("strict-transport-security");
    assert_eq!(hsts, Some("max-age=31536000"));
    let http = get("/").header("x-forwarded-proto", "http");
    assert_eq!(trusting.http1().send(http).await.status, 308);
    // Of several proxies each has added what it was spoken to by.
    let list = get("/").header("x-forwarded-proto", "https,https");
    assert_eq!(trusting.http1().send(list).await.status, 200);
    assert_eq!(trusting.http1().send(get("/")).await.status, 308);
    let wary = Gateway::draft(routes).with("trust", "").start().await;
    assert_eq!(wary.http1().send(https()).await.status, 308);
}

#[tokio::test]
async fn over_tls_nobody_is_redirected() {
    let authority = Authority::new();
    let certificate = authority.issue(&["shop.test"]);
    let gateway = Gateway::draft(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        tls = { certificates = [{ cert = "$cert", key = { file = "$key" } }] }
        policies.https_redirect = {}

        [routes.shop]
        match = { path = "/" }
        respond = { body = "shop" }
        "#,
    )
    .with("cert", certificate.cert_path.display())
    .with("key", certificate.key_path.display())
    .start()
    .await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = Client::over_tls(
            gateway.address(),
            protocol,
            "shop.test",
            authority.client_config(),
        );
        assert_eq!(client.send(get("/")).await.text(), "shop");
    }
}

/// What no well-behaved client sends.
#[tokio::test]
async fn there_is_no_redirect_without_a_host() {
    let gateway = Gateway::start(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        policies.https_redirect = {}
        "#,
    )
    .await;
    for (request, status) in [
        ("GET /a HTTP/1.0\r\n\r\n", "400"),
        ("GET /a HTTP/1.0\r\nHost: shop.test\r\n\r\n", "308"),
        (
            "GET /a HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n",
            "400",
        ),
        (
            "GET /a HTTP/1.1\r\nHost: user@shop.test\r\nConnection: close\r\n\r\n",
            "400",
        ),
        (
            "GET /a HTTP/1.1\r\nHost: evil.test/..\\\r\nConnection: close\r\n\r\n",
            "400",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n",
            "308",
        ),
        (
            "GET http://shop.test:81/a?b HTTP/1.1\r\nHost: shop.test:81\r\nConnection: close\r\n\r\n",
            "308",
        ),
    ] {
        let response = RawClient::exchange(gateway.address(), request).await;
        let head = response.split("\r\n\r\n").next().unwrap_or_default();
        let got = head.split(' ').nth(1);
        assert_eq!(got, Some(status), "{request:?}: {response}");
        let location = head.lines().find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("location: ")
                .map(str::to_owned)
        });
        let expected = (status == "308").then(|| match request.starts_with("OPTIONS") {
            true => "https://shop.test/".to_owned(),
            false if request.contains("?b") => "https://shop.test/a?b".to_owned(),
            false => "https://shop.test/a".to_owned(),
        });
        assert_eq!(location, expected, "{request:?}");
    }
}
