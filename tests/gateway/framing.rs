//! Requests as no well-behaved client sends them: what is forwarded is what was checked, and nothing is left over.

use crate::harness::*;

const SHOP: &str = r#"
    [upstreams.shop]
    endpoints = ["$shop"]

    [routes.ping]
    match = { path = "/ping" }
    respond = { body = "pong" }

    [routes.all]
    match = { path = "/{*rest}" }
    upstream = "shop"
"#;

async fn gateway(shop: &Origin) -> Gateway {
    Gateway::draft(SHOP).with("shop", shop).start().await
}

/// The statuses of all responses on one connection.
fn statuses(answers: &str) -> Vec<&str> {
    let lines = answers.split("HTTP/1.1 ").skip(1);
    lines.map(|line| &line[..3]).collect()
}

#[tokio::test]
async fn a_length_beside_chunks_smuggles_nothing() {
    let shop = Origin::http1(|seen| text(seen.body));
    let gateway = gateway(&shop).await;
    let request = "POST /one HTTP/1.1\r\nhost: a\r\ncontent-length: 46\r\ntransfer-encoding: chunked\r\n\r\n\
                   0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let answers = RawClient::exchange(gateway.address(), request).await;
    assert_eq!(statuses(&answers), ["400"], "{answers}");
    assert!(shop.seen().is_empty());
}

#[tokio::test]
async fn malformed_requests_never_reach_an_origin() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop).await;
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\na",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx\x01: a\r\n\r\n",
        "GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n",
        "\x16\x03\x01\x02\r\n\r\n",
    ] {
        let answers = RawClient::exchange(gateway.address(), request).await;
        let statuses = statuses(&answers);
        assert_eq!(statuses, ["400"], "{request:?} was answered {answers:?}");
        assert!(shop.seen().is_empty(), "{request:?} came through");
    }
}

#[tokio::test]
async fn a_client_cannot_have_the_gateways_own_headers_taken_away() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop).await;
    let request = "GET / HTTP/1.1\r\nhost: a\r\n\
                   connection: close, x-forwarded-for, x-request-id, forwarded, traceparent\r\n\r\n";
    let answers = RawClient::exchange(gateway.address(), request).await;
    if statuses(&answers) == ["400"] {
        return;
    }
    let seen = shop.only();
    for name in [
        "x-forwarded-for",
        "x-request-id",
        "forwarded",
        "traceparent",
    ] {
        assert!(seen.header(name).is_some(), "{name} in {seen:?}");
    }
}

#[tokio::test]
async fn an_absolute_target_is_the_same_request() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop).await;
    let request =
        "GET http://shop.test/x?y=1 HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n";
    let answers = RawClient::exchange(gateway.address(), request).await;
    assert_eq!(statuses(&answers), ["200"], "{answers}");
    let seen = shop.only();
    assert_eq!(
        (seen.host.as_str(), seen.target.as_str()),
        ("shop.test", "/x?y=1")
    );
}

#[tokio::test]
async fn a_client_of_http_1_0_is_served() {
    let shop = Origin::http1(|_| text("whole"));
    let gateway = gateway(&shop).await;
    let answer = RawClient::exchange(gateway.address(), "GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
    assert!(answer.contains(" 200 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nwhole"), "{answer}");
    assert_eq!(shop.only().version, http::Version::HTTP_11);
}

#[tokio::test]
async fn an_origin_of_http_1_0_is_understood() {
    let old = RawOrigin::serving(|mut stream, _| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream
            .write_all(b"HTTP/1.0 200 OK\r\nx-old: 1\r\n\r\nto the end")
            .await;
    });
    let gateway = Gateway::draft(SHOP).with("shop", &old).start().await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        for _ in 0..2 {
            let answer = client.send(get("/")).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "to the end"));
            assert_eq!(answer.header("x-old"), Some("1"));
        }
    }
}

#[tokio::test]
async fn early_hints_do_not_confuse() {
    let hinting = RawOrigin::serving(|mut stream, _| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while matches!(stream.read(&mut [0; 4096]).await, Ok(1..)) {
            let response = b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n\
                             HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";
            stream.write_all(response).await.unwrap();
        }
    });
    let gateway = Gateway::draft(SHOP).with("shop", &hinting).start().await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        for _ in 0..2 {
            let answer = client.send(get("/")).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
        }
    }
}

#[tokio::test]
async fn old_clients_get_no_early_hints() {
    let hinting = RawOrigin::serving(|mut stream, _| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let _ = stream.read(&mut [0; 4096]).await;
        let response = b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n\
                         HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";
        let _ = stream.write_all(response).await;
    });
    let gateway = Gateway::draft(SHOP).with("shop", &hinting).start().await;
    let answer = RawClient::exchange(gateway.address(), "GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.ends_with("done") && !answer.contains(" 103 "),
        "{answer}"
    );
}

#[tokio::test]
async fn nobody_is_switched_who_did_not_ask() {
    let switching = RawOrigin::serving(|mut stream, _| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let _ = stream.read(&mut [0; 4096]).await;
        let response =
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nHELLO";
        let _ = stream.write_all(response).await;
    });
    let gateway = Gateway::draft(SHOP).with("shop", &switching).start().await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let answer = gateway.client(protocol).send(get("/")).await;
        assert_eq!(answer.status, 502);
        assert!(
            answer.text().contains("upstream_protocol"),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn every_pipelined_request_is_answered() {
    let shop = Origin::http1(|seen| text(seen.target));
    let gateway = gateway(&shop).await;
    for path in ["/ping", "/x"] {
        let one = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        let last = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answers = RawClient::exchange(gateway.address(), format!("{one}{last}")).await;
        assert_eq!(statuses(&answers), ["200", "200"], "{answers}");
    }
}

#[tokio::test]
async fn a_refused_upload_leaves_the_connection_in_step() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop).await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        let long = format!("/{}", "a".repeat(9000));
        for (target, expected) in [("/ping", 200), (long.as_str(), 414)] {
            let refused = client.send(post(target, vec![b'x'; 300_000])).await;
            assert_eq!(refused.status, expected);
            assert_eq!(client.send(get("/ping")).await.text(), "pong");
        }
    }
}

#[tokio::test]
async fn connect_is_not_implemented() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop).await;
    let request = "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n";
    let answer = RawClient::exchange(gateway.address(), request).await;
    assert!(answer.starts_with("HTTP/1.1 501 "), "{answer}");
    assert!(answer.contains("method_not_implemented"), "{answer}");
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_chunks() {
    let shop = Origin::http1(|_| {
        let (chunks, body) = channel();
        tokio::spawn(async move { chunks.send("in chunks").await });
        reply(200, &[], body)
    });
    let gateway = gateway(&shop).await;
    let answer = RawClient::exchange(gateway.address(), "GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
    assert!(answer.contains(" 200 "), "{answer}");
    // Chunks are not known to HTTP/1.0: the end of the connection is the end of the body.
    assert!(answer.ends_with("\r\n\r\nin chunks"), "{answer}");
    assert!(!answer.contains("transfer-encoding"), "{answer}");
}
