//! `ip_access`.

use crate::harness::*;

/// The peer of every test is 127.0.0.1, which is trusted to name somebody else.
const LISTENER: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    trusted_proxies = ["127.0.0.1"]
"#;

fn from(address: &str, target: &str) -> Ask {
    get(target).header("x-forwarded-for", address)
}

#[tokio::test]
async fn deny_wins_over_allow_and_the_rest_is_refused() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("ok"));
        let gateway = Gateway::draft(
            &[
                LISTENER,
                r#"
                [listeners.public.policies]
                ip_access = { allow = ["10.0.0.0/8", "2001:db8::/32", "10.66.6.6"], deny = ["10.66.0.0/16"] }

                [upstreams.shop]
                endpoints = ["$shop"]
                protocol = "$protocol"

                [routes.shop]
                match = { path = "/{*rest}" }
                upstream = "shop"
                "#,
            ]
            .concat(),
        )
        .with("shop", &shop)
        .with("protocol", pair.origin)
        .start()
        .await;
        let client = gateway.client(pair.client);
        for (address, is_allowed) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("2001:db8::1", true),
            ("10.66.1.1", false),
            // The smaller network of `allow` does not matter.
            ("10.66.6.6", false),
            ("192.0.2.1", false),
            ("2001:db9::1", false),
            ("::1", false),
        ] {
            let answer = client.send(from(address, "/")).await;
            if is_allowed {
                assert_eq!(answer.status, 200, "{address}");
            } else {
                answer.assert_problem(403, "address_denied");
                let line = gateway.log_of(&answer).await;
                assert_eq!(line["flag"], "AD");
                assert_eq!(line["fault"], "client");
                assert_eq!(line["route"], "shop");
            }
        }
        assert_eq!(shop.seen().len(), 3, "refused requests reach no upstream");
    })
    .await;
}

#[tokio::test]
async fn deny_alone_lets_the_others_in() {
    let lists = tempfile::tempdir().expect("a folder");
    let file = lists.path().join("scanners.txt");
    let mut text = String::from("# many\n198.51.100.0/24 ; one\n");
    for index in 0..5000u32 {
        text.push_str(&format!("203.{}.{}.0/28\n", index / 250, index % 250));
    }
    std::fs::write(&file, text).expect("writable");
    let gateway = Gateway::draft(
        &[
            LISTENER,
            r#"
            [routes.open]
            match = { path = "/open" }
            respond = { body = "open" }
            policies.ip_access = { deny = [{ file = "$file" }, "127.0.0.1"] }

            [routes.other]
            match = { path = "/other" }
            respond = { body = "other" }
            "#,
        ]
        .concat(),
    )
    .with("file", file.display())
    .start()
    .await;
    let client = gateway.http1();
    for (address, target, status) in [
        ("192.0.2.1", "/open", 200),
        ("198.51.100.200", "/open", 403),
        ("203.19.249.15", "/open", 403),
        ("203.19.249.16", "/open", 200),
        ("198.51.100.200", "/other", 200),
    ] {
        let answer = client.send(from(address, target)).await;
        assert_eq!(answer.status, status, "{address} {target}");
    }
    // Nobody says who is behind it: then it is the peer.
    assert_eq!(client.send(get("/open")).await.status, 403);
}

#[tokio::test]
async fn strangers_cannot_say_who_they_are() {
    let gateway = Gateway::start(
        r#"
        [gateway]
        [gateway.policies]
        ip_access = { allow = ["10.0.0.0/8"] }

        [routes.inside]
        match = { path = "/" }
        respond = { body = "inside" }
        "#,
    )
    .await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        for name in ["x-forwarded-for", "x-real-ip", "true-client-ip"] {
            let answer = client.send(get("/").header(name, "10.0.0.1")).await;
            answer.assert_problem(403, "address_denied");
        }
        let forwarded = get("/").header("forwarded", "for=10.0.0.1");
        assert_eq!(client.send(forwarded).await.status, 403);
    }
}

#[tokio::test]
async fn it_decides_before_routes_are_told_apart() {
    let gateway = Gateway::draft(
        &[
            LISTENER,
            r#"
            [listeners.public.policies]
            ip_access = { deny = ["192.0.2.0/24"] }
            response_headers = { set = { x-edge = "1" } }

            [routes.order]
            match = { path = "/orders", methods = ["GET"] }
            respond = { body = "orders" }

            [routes.open]
            match = { path = "/open" }
            respond = { body = "open" }
            policies.ip_access = "off"
            "#,
        ]
        .concat(),
    )
    .start()
    .await;
    let client = gateway.http2();
    for (method, target, mine, others) in [
        ("GET", "/orders", 403, 200),
        ("DELETE", "/orders", 403, 405),
        ("GET", "/nowhere", 403, 404),
        ("GET", "/open", 200, 200),
    ] {
        for (address, status) in [("192.0.2.7", mine), ("192.0.3.7", others)] {
            let ask = request(method, target).header("x-forwarded-for", address);
            let answer = client.send(ask).await;
            assert_eq!(answer.status, status, "{address} {method} {target}");
            assert_eq!(answer.header("x-edge"), Some("1"));
        }
    }
}

#[tokio::test]
async fn a_refused_upload_keeps_its_connection_in_order() {
    let gateway = Gateway::start(
        r#"
        [routes.closed]
        match = { path = "/closed" }
        respond = { body = "never" }
        policies.ip_access = { deny = ["127.0.0.1"] }

        [routes.open]
        match = { path = "/open" }
        respond = { body = "open" }
        "#,
    )
    .await;
    let client = gateway.http1();
    let refused = client.send(post("/closed", vec![b'x'; 100_000])).await;
    refused.assert_problem(403, "address_denied");
    assert_eq!(client.send(get("/open")).await.text(), "open");
}
