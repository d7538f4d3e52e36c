//! `client_limit`.

use crate::harness::*;

const LISTENER: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    trusted_proxies = ["127.0.0.1"]
"#;

fn from(address: &str, target: &str) -> Ask {
    get(target).header("x-forwarded-for", address)
}

#[tokio::test]
async fn an_address_that_comes_too_often_is_refused_whatever_it_asks_for() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("ok"));
        let gateway = Gateway::draft(
            &[
                LISTENER,
                r#"
                [listeners.public.policies]
                client_limit = { rate = "1/h", burst = 3, except = ["198.51.100.0/24"] }

                [upstreams.shop]
                endpoints = ["$shop"]
                protocol = "$protocol"

                [identity.api_key.main]

                [routes.shop]
                match = { path = "/shop" }
                upstream = "shop"

                [routes.locked]
                match = { path = "/locked" }
                upstream = "shop"
                policies.api_key = {}
                "#,
            ]
            .concat(),
        )
        .with("shop", &shop)
        .with("protocol", pair.origin)
        .start()
        .await;
        let client = gateway.client(pair.client);
        let status =
            async |address: &str, target: &str| client.send(from(address, target)).await.status;
        assert_eq!(status("192.0.2.1", "/shop").await, 200);
        // What is refused for other reasons counts as well: that is what floods and guesses are.
        assert_eq!(status("192.0.2.1", "/nowhere").await, 404);
        assert_eq!(status("192.0.2.1", "/locked").await, 401);
        for target in ["/shop", "/nowhere", "/locked"] {
            let answer = client.send(from("192.0.2.1", target)).await;
            answer.assert_problem(429, "rate_limited");
            assert_eq!(
                answer.json()["violated-policies"],
                serde_json::json!(["client"])
            );
            assert!(answer.header("retry-after").is_some());
            assert_eq!(answer.headers.get_all("ratelimit").iter().count(), 1);
            let line = gateway.log_of(&answer).await;
            assert_eq!(line["flag"], "RL");
            assert_eq!(
                line["cause"],
                "the limit listeners.public.policies.client_limit is used up"
            );
        }
        // The same address in another spelling, and another address.
        assert_eq!(status("::ffff:192.0.2.1", "/shop").await, 429);
        assert_eq!(status("192.0.2.2", "/shop").await, 200);
        for _ in 0..10 {
            assert_eq!(status("198.51.100.7", "/shop").await, 200);
        }
    })
    .await;
}

#[tokio::test]
async fn networks_are_one_client() {
    let gateway = Gateway::draft(
        &[
            LISTENER,
            r#"
            [listeners.public.policies]
            client_limit = { rate = "1/h", burst = 1 }

            [routes.narrow]
            match = { path = "/narrow" }
            respond = { status = 200 }

            [routes.wide]
            match = { path = "/wide" }
            respond = { status = 200 }
            policies.client_limit = { rate = "1/h", burst = 1, ipv4_prefix = 24, ipv6_prefix = 32 }
            "#,
        ]
        .concat(),
    )
    .start()
    .await;
    let client = gateway.client(Protocol::Http1);
    let status =
        async |address: &str, target: &str| client.send(from(address, target)).await.status;
    for (target, address, expected) in [
        ("/narrow", "192.0.2.1", 200),
        ("/narrow", "192.0.2.2", 200),
        ("/narrow", "2001:db8:0:1::1", 200),
        ("/narrow", "2001:db8:0:1:ffff::2", 429),
        ("/narrow", "2001:db8:0:2::1", 200),
        // Counted apart from the listener's.
        ("/wide", "192.0.2.1", 200),
        ("/wide", "192.0.2.2", 429),
        ("/wide", "192.0.3.1", 200),
        ("/wide", "2001:db8:0:1::1", 200),
        ("/wide", "2001:db8:ffff::1", 429),
        ("/wide", "2001:db9::1", 200),
    ] {
        assert_eq!(
            status(address, target).await,
            expected,
            "{address} {target}"
        );
    }
}
