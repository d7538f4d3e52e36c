//! `rate_limit`.

use crate::harness::*;

const GATEWAY: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    trusted_proxies = ["127.0.0.1"]

    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"

    [routes.shop]
    match = { path = "/{tenant}/{*rest}" }
    upstream = "shop"
    policies.rate_limit = { by = ["path:tenant", "client"], rate = "2/h", burst = 3 }
"#;

#[tokio::test]
async fn who_has_used_up_its_burst_is_told_when_to_come_again() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("ok"));
        let gateway = Gateway::draft(GATEWAY)
            .with("shop", &shop)
            .with("protocol", pair.origin)
            .start()
            .await;
        let client = gateway.client(pair.client);
        let from = |address: &str, target: &str| get(target).header("x-forwarded-for", address);
        for _ in 0..3 {
            assert_eq!(client.send(from("192.0.2.1", "/acme/1")).await.status, 200);
        }
        let answer = client.send(from("192.0.2.1", "/acme/2")).await;
        answer.assert_problem(429, "rate_limited");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1795..=1800).contains(&wait), "{wait}");
        assert_eq!(gateway.log_of(&answer).await["flag"], "RL");
        // Others are counted apart.
        assert_eq!(client.send(from("192.0.2.2", "/acme/1")).await.status, 200);
        assert_eq!(client.send(from("192.0.2.1", "/other/1")).await.status, 200);
        assert_eq!(client.send(from("192.0.2.1", "/acme/3")).await.status, 429);
    })
    .await;
}
