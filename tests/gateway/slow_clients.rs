//! Clients that are slow on purpose, and those that are not.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::*;

const SHOP: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    timeouts = { request_body_idle = "$window" }
    limits = { $limits }

    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"

    [routes.all]
    match = { path = "/{*rest}" }
    upstream = "shop"
"#;

async fn gateway(shop: &Origin, protocol: Protocol, window: &str, limits: &str) -> Gateway {
    Gateway::draft(SHOP)
        .with("shop", shop)
        .with("protocol", protocol)
        .with("window", window)
        .with("limits", limits)
        .start()
        .await
}

/// Sends a piece of a body again and again; gives what the gateway answers.
async fn trickle(client: Client, piece: &'static [u8], pieces: usize) -> (u16, Duration) {
    let begin = Instant::now();
    let (chunks, body) = channel();
    let sending = tokio::spawn(async move {
        for _ in 0..pieces {
            if !chunks.send(piece).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let answer = client.send(request("POST", "/").body(body)).await;
    sending.abort();
    if answer.status == 408 {
        answer.assert_problem(408, "request_timeout");
    }
    (answer.status, begin.elapsed())
}

#[tokio::test]
async fn a_body_that_trickles_is_cut_off() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("ok"));
        let gateway = gateway(&shop, pair.origin, "500ms", "").await;
        // Never silent for half a second, and of twenty bytes a second.
        let (status, took) = trickle(gateway.client(pair.client), b"x", 400).await;
        assert_eq!(status, 408, "{pair:?}");
        assert!(took >= Duration::from_millis(400), "{took:?} {pair:?}");
        assert!(took < Duration::from_secs(5), "{took:?} {pair:?}");
        let line = gateway.log_where("it", |line| line["status"] == 408).await;
        assert_eq!(
            (&line["code"], &line["fault"]),
            (&"request_timeout".into(), &"client".into())
        );
        let metrics = gateway.metrics().await;
        assert!(
            metrics.contains("error_type=\"request_timeout\""),
            "{metrics}"
        );
        assert!(shop.seen().is_empty(), "{pair:?}");
    })
    .await;
}

#[tokio::test]
async fn a_body_that_keeps_the_pace_is_taken() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |seen| text(seen.body.len().to_string()));
        let gateway = gateway(&shop, pair.origin, "500ms", "").await;
        // Three times as long as the window, of 2,000 bytes a second.
        let (status, _) = trickle(gateway.client(pair.client), &[b'x'; 100], 30).await;
        assert_eq!(status, 200, "{pair:?}");
        assert_eq!(shop.only().body.len(), 3000);
    })
    .await;
}

#[tokio::test]
async fn without_a_minimum_only_silence_counts() {
    let shop = Origin::http1(|_| text("ok"));
    let limits = "request_body_min_rate = 0";
    let gateway = gateway(&shop, Protocol::Http1, "500ms", limits).await;
    let (status, _) = trickle(gateway.http1(), b"x", 30).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_client_that_takes_its_response_slowly_is_cut_off() {
    let shop = Origin::http1(|_| text(vec![b'x'; 64 << 20]));
    let limits = "response_min_rate = \"100MB\"";
    let gateway = gateway(&shop, Protocol::Http1, "300ms", limits).await;
    let mut client = RawClient::connect(gateway.address()).await;
    client.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (mut reading, _writing) = client.stream.into_split();
    let reader = tokio::spawn(async move {
        let mut some = vec![0; 16 * 1024];
        while let Ok(1..) = reading.read(&mut some).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let line = gateway
        .log_where("it", |line| line["path"] == "/slow")
        .await;
    let told = (&line["code"], &line["fault"]);
    assert_eq!(
        told,
        (&"client_too_slow".into(), &"client".into()),
        "{line}"
    );
    within("the connection is closed", reader).await.unwrap();
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_off_over_both_protocols() {
    for protocol in [Protocol::Http1, Protocol::H2] {
        let shop = Origin::http1(|_| text(vec![b'x'; 64 << 20]));
        let gateway = gateway(&shop, Protocol::Http1, "300ms", "").await;
        let mut answer = gateway.client(protocol).open(get("/")).await;
        assert!(answer.chunk().await.is_some());
        let line = gateway.log_where("it", |line| line["path"] == "/").await;
        assert_eq!(line["fault"], "client", "{protocol:?} {line}");
    }
}

/// Reads at about a megabyte a second, in which the socket's buffer takes seconds to have room again.
#[tokio::test]
async fn a_client_that_keeps_the_pace_is_served_to_the_end() {
    const LENGTH: usize = 12 << 20;
    let shop = Origin::http1(|_| text(vec![b'x'; LENGTH]));
    let gateway = gateway(
        &shop,
        Protocol::Http1,
        "300ms",
        "response_min_rate = \"100KB\"",
    )
    .await;
    let mut client = RawClient::connect(gateway.address()).await;
    client
        .send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await;
    let mut read = 0;
    let mut some = vec![0; 256 * 1024];
    loop {
        match within("more of it", client.stream.read(&mut some))
            .await
            .unwrap()
        {
            0 => break,
            count => read += count,
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert!(read > LENGTH, "{read}");
}

#[tokio::test]
async fn streams_in_which_nothing_happens_are_no_slow_clients() {
    let pause = Duration::from_millis(900);
    // Events that are far apart, over each protocol; and a long poll.
    for protocol in [Protocol::Http1, Protocol::H2] {
        let shop = Origin::serving(Protocol::Http1, move |seen| async move {
            if seen.target == "/poll" {
                tokio::time::sleep(pause).await;
                return text("at last");
            }
            let (chunks, body) = channel();
            tokio::spawn(async move {
                for _ in 0..3 {
                    chunks.send(Bytes::from_static(b"data: x\n\n")).await;
                    tokio::time::sleep(pause).await;
                }
            });
            reply(200, &[("content-type", "text/event-stream")], body)
        });
        let limits = "response_min_rate = \"1MB\", request_body_min_rate = \"1MB\"";
        let gateway = gateway(&shop, Protocol::Http1, "300ms", limits).await;
        let client = gateway.client(protocol);
        let mut events = client.open(get("/events")).await;
        for _ in 0..3 {
            assert_eq!(&events.chunk().await.expect("an event")[..], b"data: x\n\n");
        }
        assert_eq!(
            client.send(post("/poll", "question")).await.text(),
            "at last"
        );
    }
}

#[tokio::test]
async fn a_tunnel_may_be_silent_and_slow() {
    let echo = RawOrigin::serving(|mut stream, _| async move {
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else {
                return;
            };
            read.push(byte);
        }
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
        let _ = stream.write_all(switch.as_bytes()).await;
        while let Ok(byte) = stream.read_u8().await {
            let _ = stream.write_u8(byte).await;
        }
    });
    let gateway = Gateway::draft(SHOP)
        .with("shop", &echo)
        .with("protocol", Protocol::Http1)
        .with("window", "400ms")
        .with(
            "limits",
            "request_body_min_rate = \"1MB\", response_min_rate = \"1MB\"",
        )
        .start()
        .await;
    let mut client = RawClient::connect(gateway.address()).await;
    client
        .send("GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        .await;
    client.read_until("\r\n\r\n").await;
    for _ in 0..6 {
        client.send("x").await;
        client.read_until("x").await;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    // Longer than any time of the listener's; only the upstream's `idle` ends a tunnel.
    tokio::time::sleep(Duration::from_millis(900)).await;
    client.send("y").await;
    client.read_until("y").await;
}
