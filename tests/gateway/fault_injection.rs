//! The policy `fault`: requests that fail on purpose.

use std::time::{Duration, Instant};

use crate::harness::*;

async fn gateway(origin: &Origin, fault: &str) -> Gateway {
    Gateway::draft(
        r#"
        [gateway]
        allow_fault_injection = true
        [upstreams.shop]
        endpoints = ["$shop"]
        [routes.shop]
        match = { path = "/{*rest}" }
        upstream = "shop"
        policies.fault = { $fault }
        "#,
    )
    .with("shop", origin)
    .with("fault", fault)
    .start()
    .await
}

fn echo() -> Origin {
    Origin::http1(|seen| text(seen.body))
}

#[tokio::test]
async fn requests_are_aborted_before_the_upstream() {
    let shop = echo();
    let gateway = gateway(&shop, "abort = { status = 418 }, header = \"x-fault\"").await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        let answer = client.send(post("/a", "x").header("x-fault", "1")).await;
        answer.assert_problem(418, "fault_injected");
        assert_eq!(gateway.log_of(&answer).await["code"], "fault_injected");
        let call = post("/a", "").header("content-type", "application/grpc");
        let answer = client.send(call.header("x-fault", "1")).await;
        assert_eq!(answer.header("grpc-status"), Some("14"), "{answer:?}");
        assert_eq!(shop.seen().len(), 0);
    }
    assert_eq!(gateway.http1().send(post("/a", "x")).await.text(), "x");
}

#[tokio::test]
async fn requests_are_delayed() {
    let shop = echo();
    let gateway = gateway(&shop, "delay = { time = \"300ms\" }").await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let begin = Instant::now();
        let answer = gateway.client(protocol).send(post("/a", "whole")).await;
        assert_eq!(answer.text(), "whole");
        assert!(begin.elapsed() >= Duration::from_millis(300));
    }
}

#[tokio::test]
async fn a_share_is_hit() {
    let shop = echo();
    let gateway = gateway(&shop, "abort = { share = \"25%\" }").await;
    let client = gateway.http1();
    let mut aborted = 0;
    for _ in 0..400 {
        aborted += usize::from(client.send(get("/a")).await.status == 503);
    }
    // Give or take five standard deviations of 8.7.
    assert!((57..=143).contains(&aborted), "{aborted}");
    assert_eq!(shop.seen().len(), 400 - aborted);
}
