//! `size_limits`: what is too long is refused as soon as that can be known, and no origin takes a part for the whole.

use std::io::Write;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, client_async};

use crate::harness::*;
use crate::origins;

async fn gateway(origin: impl std::fmt::Display, protocol: Protocol, policies: &str) -> Gateway {
    Gateway::draft(
        r#"
        [upstreams.shop]
        endpoints = ["$origin"]
        protocol = "$protocol"

        [routes.all]
        match = { path = "/{*rest}" }
        upstream = "shop"
        policies = { $policies }
        "#,
    )
    .with("origin", origin)
    .with("protocol", protocol)
    .with("policies", policies)
    .start()
    .await
}

/// A body without a length: over HTTP/1.1 it is chunked.
fn streamed(body: impl Into<Bytes>, piece: usize) -> Body {
    let (chunks, streamed) = channel();
    let body = body.into();
    tokio::spawn(async move {
        for at in (0..body.len()).step_by(piece) {
            let end = (at + piece).min(body.len());
            if !chunks.send(body.slice(at..end)).await {
                return;
            }
        }
    });
    streamed
}

#[tokio::test]
async fn a_length_above_the_limit_is_refused_before_anybody_hears_of_it() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |seen| text(seen.body));
        let gateway = gateway(
            &shop,
            pair.origin,
            r#"size_limits = { request_body = 1000 }"#,
        )
        .await;
        let client = gateway.client(pair.client);
        let refused = client.send(post("/", vec![b'x'; 1001])).await;
        refused.assert_problem(413, "payload_too_large");
        assert_eq!(shop.connections(), 0);
        let line = gateway.log_of(&refused).await;
        assert_eq!(
            (&line["attempts"], &line["bytes_in"]),
            (&0.into(), &0.into())
        );
        let passed = client.send(post("/", vec![b'x'; 1000])).await;
        assert_eq!((passed.status, passed.body.len()), (200, 1000));
        assert_eq!(client.send(get("/")).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_body_without_a_length_is_counted() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |seen| text(seen.body.len().to_string()));
        let gateway = gateway(
            &shop,
            pair.origin,
            r#"size_limits = { request_body = 100_000 }"#,
        )
        .await;
        for length in [100_001, 150_000, 3_000_000] {
            let ask = request("POST", "/").body(streamed(vec![b'x'; length], 9_000));
            let refused = gateway.client(pair.client).send(ask).await;
            refused.assert_problem(413, "payload_too_large");
            let line = gateway.log_of(&refused).await;
            assert_eq!(
                (&line["fault"], &line["upstream"]),
                (&"client".into(), &"shop".into())
            );
        }
        let client = gateway.client(pair.client);
        for piece in [1_000, 100_000] {
            let ask = request("POST", "/").body(streamed(vec![b'x'; 100_000], piece));
            assert_eq!(client.send(ask).await.text(), "100000");
        }
        // Only what was whole was ever seen.
        assert_eq!(shop.seen().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn what_was_refused_is_broken_off_and_not_ended() {
    // It shows what it has read when the connection ends.
    let read = Arc::new(Mutex::new(None));
    let shown = read.clone();
    let origin = RawOrigin::serving(move |mut stream, _| {
        let read = read.clone();
        async move {
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes).await;
            *read.lock().unwrap() = Some(bytes);
        }
    });
    let gateway = gateway(
        &origin,
        Protocol::Http1,
        r#"size_limits = { request_body = 10 }"#,
    )
    .await;
    let mut client = RawClient::connect(gateway.address()).await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        .await;
    eventually("the origin is reached", async || {
        (origin.connections() == 1).then_some(())
    })
    .await;
    client.send("6\r\n world\r\n0\r\n\r\n").await;
    let answer = client.read_to_end().await.to_lowercase();
    assert!(answer.starts_with("http/1.1 413 "), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    let bytes = eventually("the end", async || shown.lock().unwrap().take()).await;
    let text = String::from_utf8(bytes).unwrap();
    assert!(
        !text.contains("world") && !text.ends_with("0\r\n\r\n"),
        "{text}"
    );
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_413_and_not_100() {
    let shop = Origin::http1(|seen| text(seen.body));
    let gateway = gateway(
        &shop,
        Protocol::Http1,
        r#"size_limits = { request_body = 10 }"#,
    )
    .await;
    let head = |length: usize, expect: &str| {
        format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\nexpect: {expect}\r\n\r\n"
        )
    };
    let mut client = RawClient::connect(gateway.address()).await;
    client.send(head(11, "100-continue")).await;
    let answer = client.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    let answer = RawClient::exchange(gateway.address(), head(10, "a-miracle")).await;
    assert!(answer.starts_with("HTTP/1.1 417 "), "{answer}");
    assert!(answer.contains("expectation_failed"), "{answer}");
    assert_eq!(shop.connections(), 0);
    // Who may send is told so, by the origin.
    let mut client = RawClient::connect(gateway.address()).await;
    client.send(head(5, "100-continue")).await;
    let interim = client.read_until("\r\n\r\n").await;
    assert!(interim.starts_with("HTTP/1.1 100 "), "{interim}");
    client.send("hello").await;
    let answer = client.read_until("hello").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_goes_on_sending_can_read_why_it_is_refused() {
    let shop = Origin::http1(|seen| text(seen.body));
    let gateway = gateway(
        &shop,
        Protocol::Http1,
        r#"size_limits = { request_body = 1000 }"#,
    )
    .await;
    for head in ["content-length: 8000000", "transfer-encoding: chunked"] {
        let mut client = RawClient::connect(gateway.address()).await;
        client
            .send(format!("POST / HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n"))
            .await;
        // All of it is written before anything is read, and it is more than the buffers of sockets hold.
        if head.ends_with("chunked") {
            client.send("7a1200\r\n").await;
        }
        client.send(vec![b'x'; 8_000_000]).await;
        let answer = client.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{head}: {answer}");
        assert!(answer.contains("payload_too_large"), "{head}: {answer}");
    }
}

fn encode(coding: &str, text: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::best();
    match coding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        "br" => {
            let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 2, 22);
            encoder.write_all(text).unwrap();
            encoder.into_inner()
        }
        "zstd" => zstd::stream::encode_all(text, 3).unwrap(),
        other => panic!("{other}"),
    }
}

const CODINGS: [&str; 4] = ["gzip", "deflate", "br", "zstd"];
const DECOMPRESSED: &str =
    r#"size_limits = { request_body = "2MiB", request_body_decompressed = "1MiB" }"#;

#[tokio::test]
async fn bombs_do_not_go_off() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("ok"));
        let gateway = gateway(&shop, pair.origin, DECOMPRESSED).await;
        for coding in CODINGS {
            let bomb = encode(coding, &vec![0; 20 << 20]);
            assert!(bomb.len() < 40_000, "{coding}: {}", bomb.len());
            for piece in [1_000, bomb.len()] {
                let ask = request("POST", "/").header("content-encoding", coding);
                let ask = ask.body(streamed(bomb.clone(), piece));
                let refused = gateway.client(pair.client).send(ask).await;
                refused.assert_problem(413, "payload_too_large");
            }
            let ask = post("/", bomb).header("content-encoding", coding);
            let refused = gateway.client(pair.client).send(ask).await;
            refused.assert_problem(413, "payload_too_large");
        }
        assert!(shop.seen().is_empty());
    })
    .await;
}

#[tokio::test]
async fn compressed_bodies_within_the_limit_go_on_as_they_are() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("ok"));
        let gateway = gateway(&shop, pair.origin, DECOMPRESSED).await;
        let client = gateway.client(pair.client);
        for coding in CODINGS {
            let encoded = encode(coding, &vec![b'x'; 1 << 20]);
            for body in [full(encoded.clone()), streamed(encoded.clone(), 100)] {
                let ask = request("POST", "/")
                    .header("content-encoding", coding)
                    .body(body);
                assert_eq!(client.send(ask).await.status, 200, "{coding}");
                let seen = shop.seen().pop().unwrap();
                assert_eq!(seen.header("content-encoding"), Some(coding));
                assert!(seen.body == encoded, "{coding}");
            }
        }
        // A body as it is must not be longer either.
        let plain = |length: usize| vec![b'x'; length];
        assert_eq!(client.send(post("/", plain(1 << 20))).await.status, 200);
        let refused = client.send(post("/", plain((1 << 20) + 1))).await;
        refused.assert_problem(413, "payload_too_large");
        let ask = request("POST", "/").body(streamed(plain((1 << 20) + 1), 10_000));
        let refused = gateway.client(pair.client).send(ask).await;
        refused.assert_problem(413, "payload_too_large");
    })
    .await;
}

/// A server that reads such a name as `Content-Encoding` would decode what nobody has looked into.
#[tokio::test]
async fn no_spelling_of_a_coding_gets_past_the_limit() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("ok"));
        let gateway = gateway(&shop, pair.origin, DECOMPRESSED).await;
        for name in ["content_encoding", "content.encoding"] {
            let bomb = encode("gzip", &vec![0; 20 << 20]);
            let ask = post("/", bomb).header(name, "gzip");
            assert_eq!(gateway.client(pair.client).send(ask).await.status, 200);
            let seen = shop.seen().pop().unwrap();
            assert_eq!(seen.header(name), None);
            assert_eq!(seen.header("content-encoding"), None);
        }
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_looked_into_is_refused() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("ok"));
        let gateway = gateway(&shop, pair.origin, DECOMPRESSED).await;
        for coding in ["compress", "gzip, gzip", "br, x"] {
            let ask = post("/", "x").header("content-encoding", coding);
            let refused = gateway.client(pair.client).send(ask).await;
            refused.assert_problem(415, "unsupported_content_coding");
            assert_eq!(
                refused.header("accept-encoding"),
                Some("gzip, deflate, br, zstd")
            );
        }
        assert_eq!(shop.connections(), 0);
        for coding in CODINGS {
            let encoded = encode(coding, b"some text");
            for bad in [
                &b"some text"[..],
                &encoded[..encoded.len() - 1],
                &[&encoded[..], b"!!"].concat(),
            ] {
                let ask = post("/", bad.to_vec()).header("content-encoding", coding);
                let refused = gateway.client(pair.client).send(ask).await;
                refused.assert_problem(400, "bad_request");
            }
        }
        assert!(shop.seen().is_empty());
        // A request without a body may say what it likes.
        let ask = get("/").header("content-encoding", "gzip");
        assert_eq!(gateway.client(pair.client).send(ask).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn grpc_callers_get_their_status() {
    let shop = Origin::speaking(Protocol::H2, |_| text("ok"));
    let gateway = gateway(
        &shop,
        Protocol::H2,
        r#"size_limits = { request_body = 1000 }"#,
    )
    .await;
    for body in [full(vec![0; 1001]), streamed(vec![0; 5000], 300)] {
        let ask = request("POST", "/shop.v1.Orders/Pay").header("content-type", "application/grpc");
        let answer = gateway.http2().send(ask.body(body)).await;
        assert_eq!(
            (answer.status, answer.header("grpc-status")),
            (200, Some("8"))
        );
        assert!(answer.body.is_empty());
    }
    assert!(shop.seen().is_empty());
}

#[tokio::test]
async fn each_attempt_is_counted_from_its_beginning() {
    let stale = origins::stale::start();
    let gateway = gateway(
        &stale,
        Protocol::Http1,
        r#"size_limits = { request_body = 30_000 }"#,
    )
    .await;
    let client = gateway.http1();
    assert_eq!(client.send(get("/")).await.status, 200);
    // The connection that was kept is closed under it, and another gets the body from its beginning.
    let ask = request("PUT", "/").body(streamed(vec![b'x'; 30_000], 30_000));
    let answer = client.send(ask).await;
    assert_eq!(answer.status, 200);
    assert_eq!(gateway.log_of(&answer).await["attempts"], 2);
}

#[tokio::test]
async fn a_response_that_has_begun_is_broken_off() {
    // It answers before it has read the request.
    let early = RawOrigin::serving(|mut stream, _| async move {
        use tokio::io::AsyncWriteExt;
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nearly\r\n";
        stream.write_all(head).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    let gateway = gateway(
        &early,
        Protocol::Http1,
        r#"size_limits = { request_body = 10 }"#,
    )
    .await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let (chunks, body) = channel();
        chunks.send("first").await;
        let ask = request("POST", "/").body(body);
        let mut incoming = gateway.client(protocol).open(ask).await;
        assert_eq!(incoming.chunk().await.as_deref(), Some(&b"early"[..]));
        chunks.send("second").await;
        let end = within("the end", incoming.try_chunk()).await;
        assert!(end.is_err(), "over {protocol:?}: {end:?}");
    }
}

#[tokio::test]
async fn long_responses_are_refused_or_broken_off() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |seen| {
            let (kind, length) = seen.target[1..].split_once('/').unwrap();
            let body = vec![b'x'; length.parse().unwrap()];
            match kind {
                _ if seen.method == "HEAD" => reply(200, &[("content-length", length)], empty()),
                "known" => text(body),
                "unmodified" => reply(304, &[("content-length", length)], empty()),
                _ => reply(200, &[], streamed(body, 10_000)),
            }
        });
        let gateway = gateway(
            &shop,
            pair.origin,
            r#"size_limits = { response_body = 50_000 }"#,
        )
        .await;
        let client = gateway.client(pair.client);
        let refused = client.send(get("/known/50001")).await;
        refused.assert_problem(502, "upstream_response_too_large");
        assert_eq!(gateway.log_of(&refused).await["fault"], "upstream");
        let mut incoming = client.open(get("/unknown/200000")).await;
        assert_eq!(incoming.status, 200);
        let id = incoming.header("x-request-id").unwrap().to_owned();
        let mut length = 0;
        let end = loop {
            match within("the end", incoming.try_chunk()).await {
                Ok(Some(chunk)) => length += chunk.len(),
                end => break end,
            }
        };
        assert!(end.is_err() && length <= 50_000, "{end:?} after {length}");
        let line = gateway
            .log_where("it", |line| line["request_id"] == *id)
            .await;
        assert_eq!(line["code"], "upstream_response_too_large");
        let client = gateway.client(pair.client);
        for target in ["/known/50000", "/unknown/50000"] {
            assert_eq!(client.send(get(target)).await.body.len(), 50_000);
        }
        assert_eq!(client.send(head("/known/900000")).await.status, 200);
        assert_eq!(client.send(get("/unmodified/900000")).await.status, 304);
    })
    .await;
}

#[tokio::test]
async fn responses_are_counted_before_they_are_compressed() {
    let shop = Origin::http1(|_| {
        let body = streamed(vec![b'x'; 100_000], 10_000);
        reply(200, &[("content-type", "text/plain")], body)
    });
    let policies = r#"compression = {}, size_limits = { response_body = 50_000 }"#;
    let gateway = gateway(&shop, Protocol::Http1, policies).await;
    let ask = get("/").header("accept-encoding", "gzip");
    assert!(gateway.http1().try_send(ask).await.is_err());
}

#[tokio::test]
async fn websockets_are_not_counted() {
    let echo = RawOrigin::serving(|stream, _| async move {
        let mut socket = accept_async(stream).await.expect("a WebSocket");
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() && socket.send(message).await.is_err() {
                return;
            }
        }
    });
    let policies = r#"size_limits = { request_body = 100, request_body_decompressed = 100, response_body = 100 }"#;
    let gateway = gateway(&echo, Protocol::Http1, policies).await;
    let stream = tokio::net::TcpStream::connect(gateway.address())
        .await
        .unwrap();
    let connecting = client_async("ws://shop.test/chat", stream);
    let (mut socket, _) = within("the handshake", connecting).await.unwrap();
    for _ in 0..3 {
        let message = Message::text("hello ".repeat(1_000));
        socket.send(message.clone()).await.unwrap();
        let back = within("the echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(back, message);
    }
}

#[tokio::test]
async fn a_listener_sets_the_limit_for_its_routes() {
    let shop = Origin::http1(|seen| text(seen.body.len().to_string()));
    let gateway = Gateway::draft(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        policies.size_limits = { request_body = 100, response_body = 5 }

        [upstreams.shop]
        endpoints = ["$shop"]

        [routes.small]
        match = { path = "/small" }
        upstream = "shop"

        [routes.large]
        match = { path = "/large" }
        upstream = "shop"
        policies.size_limits = { request_body = 1000 }

        [routes.any]
        match = { path = "/any" }
        upstream = "shop"
        policies.size_limits = "off"

        [routes.fixed]
        match = { path = "/fixed" }
        respond = { body = "longer than any upstream may answer" }
        "#,
    )
    .with("shop", &shop)
    .start()
    .await;
    for (target, length, status) in [
        ("/small", 100, 200),
        ("/small", 101, 413),
        ("/large", 1000, 200),
        ("/large", 1001, 413),
        ("/any", 100_000, 200),
        // Also where nothing is forwarded, and where nothing is found.
        ("/fixed", 100, 200),
        ("/fixed", 101, 413),
        ("/nowhere", 100, 404),
        ("/nowhere", 101, 413),
    ] {
        let answer = gateway.http1().send(post(target, vec![b'x'; length])).await;
        assert_eq!(answer.status, status, "{target} {length}");
    }
}
