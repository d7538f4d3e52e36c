//! `bandwidth`.

use std::time::{Duration, Instant};

use crate::harness::*;

fn draft(shop: &Origin, pair: Protocol, policy: &str) -> Draft {
    Gateway::draft(
        r#"
        [upstreams.shop]
        endpoints = ["$shop"]
        protocol = "$protocol"
        timeouts = { first_byte = "400ms", idle = "400ms" }

        [routes.shop]
        match = { path = "/{tenant}" }
        upstream = "shop"
        policies.bandwidth = { by = ["path:tenant"], $policy }
        "#,
    )
    .with("shop", shop)
    .with("protocol", pair)
    .with("policy", policy)
}

const KIB: usize = 1024;

#[tokio::test]
async fn responses_are_slowed_down_and_arrive_whole() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |seen| match seen.target.as_str() {
            "/small" => text(vec![b'.'; 64 * KIB]),
            _ => text(vec![b'.'; 192 * KIB]),
        });
        let policy = "response = \"64KiB\"";
        let gateway = draft(&shop, pair.origin, policy).start().await;
        let client = gateway.client(pair.client);
        // The burst.
        let begin = Instant::now();
        assert_eq!(client.send(get("/small")).await.body.len(), 64 * KIB);
        assert!(begin.elapsed() < Duration::from_millis(900));
        // Two seconds beyond it, and longer than the upstream may be silent.
        let begin = Instant::now();
        assert_eq!(client.send(get("/large")).await.body.len(), 192 * KIB);
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(1900), "{took:?}");
        assert!(took < Duration::from_secs(8), "{took:?}");
        // Other callers and other bodies have bursts of their own.
        let begin = Instant::now();
        let answer = client.send(post("/other", vec![b'.'; 64 * KIB])).await;
        assert_eq!(answer.body.len(), 192 * KIB);
        assert!(begin.elapsed() >= Duration::from_millis(1900));
    })
    .await;
}

#[tokio::test]
async fn requests_are_slowed_down_and_arrive_whole() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |seen| text(seen.body.len().to_string()));
        let policy = "request = \"64KiB\"";
        let gateway = draft(&shop, pair.origin, policy).start().await;
        let client = gateway.client(pair.client);
        let begin = Instant::now();
        let answer = client.send(post("/large", vec![b'.'; 192 * KIB])).await;
        assert_eq!(answer.text(), (192 * KIB).to_string());
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(1900), "{took:?}");
        assert!(took < Duration::from_secs(8), "{took:?}");
        let begin = Instant::now();
        let answer = client.send(post("/other", vec![b'.'; 32 * KIB])).await;
        assert_eq!(answer.text(), (32 * KIB).to_string());
        assert!(begin.elapsed() < Duration::from_millis(900));
    })
    .await;
}
