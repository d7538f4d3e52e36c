//! No wait for a client is endless, and each ends when it is said to.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;

use crate::harness::*;

const LISTENER: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    timeouts = { request_header = "300ms", request_body_idle = "300ms", keepalive = "300ms" }
    protocols = [$protocols]

    [routes.ping]
    match = { path = "/ping" }
    respond = { body = "pong" }
"#;

async fn listening(protocols: &str) -> Gateway {
    Gateway::draft(LISTENER)
        .with("protocols", protocols)
        .start()
        .await
}

/// The protocols that listeners differ by in how they begin.
const BOTH: [&str; 2] = [r#""http/1.1""#, r#""http/1.1", "h2""#];

#[tokio::test]
async fn a_client_says_nothing() {
    for protocols in BOTH {
        let gateway = listening(protocols).await;
        let mut client = RawClient::connect(gateway.address()).await;
        let begin = Instant::now();
        assert_eq!(client.read_to_end().await, "");
        assert_fired(begin);
    }
}

#[tokio::test]
async fn a_client_trickles_its_header() {
    for protocols in BOTH {
        let gateway = listening(protocols).await;
        let client = RawClient::connect(gateway.address()).await;
        let (mut reading, mut writing) = client.stream.into_split();
        let begin = Instant::now();
        let trickle = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            let header = b"GET /ping HTTP/1.1\r\nhost: a\r\nx: ".iter();
            for byte in header.chain(std::iter::repeat(&b'a')) {
                if writing.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let mut read = Vec::new();
        let _ = within("the end", reading.read_to_end(&mut read)).await;
        assert_fired(begin);
        let read = String::from_utf8_lossy(&read);
        assert!(!read.contains(" 200 "), "{read}");
        trickle.abort();
    }
}

#[tokio::test]
async fn a_request_shorter_than_the_preface_of_http2_is_answered() {
    let gateway = listening(BOTH[1]).await;
    let request = "GET / HTTP/1.0\r\n\r\n";
    assert_eq!(request.len(), 18);
    let begin = Instant::now();
    let answer = RawClient::exchange(gateway.address(), request).await;
    assert!(answer.starts_with("HTTP/1."), "{answer:?}");
    assert!(answer.contains(" 404 "), "{answer:?}");
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let gateway = listening("").await;
    let mut client = RawClient::connect(gateway.address()).await;
    client.send("GET /ping HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(client.read_until("pong").await.contains(" 200 "));
    let begin = Instant::now();
    assert_eq!(client.read_to_end().await, "");
    assert_fired(begin);
    assert_eq!(gateway.closed("idle").await, 1);
}

#[tokio::test]
async fn a_connection_in_use_is_not_closed() {
    let gateway = listening("").await;
    let mut client = RawClient::connect(gateway.address()).await;
    for _ in 0..5 {
        // Together longer than any of the limits.
        tokio::time::sleep(Duration::from_millis(150)).await;
        client.send("GET /ping HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(client.read_until("pong").await.contains(" 200 "));
    }
}

#[tokio::test]
async fn the_body_of_a_request_falls_silent() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = Gateway::draft(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        timeouts = { request_body_idle = "300ms" }

        [upstreams.shop]
        endpoints = ["$shop"]

        [routes.all]
        match = { path = "/{*rest}" }
        upstream = "shop"
        "#,
    )
    .with("shop", &shop)
    .start()
    .await;
    let begin = Instant::now();
    let answer = RawClient::exchange(
        gateway.address(),
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nfour",
    )
    .await;
    assert_fired(begin);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
    let line = gateway
        .log_where("it", |line| line["method"] == "POST")
        .await;
    assert_eq!(
        (&line["code"], &line["fault"]),
        (&"request_timeout".into(), &"client".into())
    );
    assert!(shop.seen().is_empty());
}

#[tokio::test]
async fn a_client_takes_nothing_of_its_response() {
    let shop = Origin::speaking(Protocol::Http1, |_| text(vec![b'x'; 32 << 20]));
    let gateway = Gateway::draft(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        timeouts = { request_body_idle = "300ms" }

        [upstreams.shop]
        endpoints = ["$shop"]

        [routes.all]
        match = { path = "/{*rest}" }
        upstream = "shop"
        "#,
    )
    .with("shop", &shop)
    .start()
    .await;
    let mut client = RawClient::connect(gateway.address()).await;
    let begin = Instant::now();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    client.read_until("\r\n\r\n").await;
    let line = gateway.log_where("it", |line| line["path"] == "/").await;
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(line["fault"], "client", "{line}");
    eventually("it is counted", async || {
        (gateway.closed("slow_read").await == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_of_http2_is_closed() {
    let gateway = listening("").await;
    let client = gateway.http2();
    assert_eq!(client.send(get("/ping")).await.text(), "pong");
    let begin = Instant::now();
    eventually("the connection is closed", async || {
        let metrics = gateway.metrics().await;
        let series = "northgate_connections{northgate_listener=\"public\"} 0\n";
        metrics.contains(series).then_some(())
    })
    .await;
    assert_fired(begin);
}

#[tokio::test]
async fn a_client_of_http2_asks_for_nothing() {
    let gateway = listening("").await;
    let mut client = RawClient::connect(gateway.address()).await;
    let begin = Instant::now();
    // The preface and empty SETTINGS, and then no request.
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    client.read_to_end().await;
    assert_fired(begin);
}

#[tokio::test]
async fn the_body_of_a_request_falls_silent_over_http2() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = Gateway::draft(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        timeouts = { request_body_idle = "300ms" }

        [upstreams.shop]
        endpoints = ["$shop"]

        [routes.all]
        match = { path = "/{*rest}" }
        upstream = "shop"
        "#,
    )
    .with("shop", &shop)
    .start()
    .await;
    let (chunks, body) = channel();
    chunks.send("four").await;
    let begin = Instant::now();
    let answer = gateway.http2().send(request("POST", "/").body(body)).await;
    assert_fired(begin);
    answer.assert_problem(408, "request_timeout");
}
