//! TLS towards an upstream: who is believed, and who the gateway says it is.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::harness::*;
use crate::origins::read_header;

/// One upstream over TLS with these settings, behind every path.
async fn gateway(origin: &Origin, protocol: &str, tls: &str) -> Gateway {
    Gateway::draft(
        r#"
        [upstreams.shop]
        endpoints = ["localhost:$port"]
        protocol = "$protocol"
        tls = { $tls }

        [routes.all]
        match = { path = "/{*rest}" }
        upstream = "shop"
        "#,
    )
    .with("port", origin.port())
    .with("protocol", protocol)
    .with("tls", tls)
    .start()
    .await
}

fn ca(authority: &Authority) -> String {
    format!("ca = \"{}\"", authority.path())
}

/// How an upstream is told to speak this over TLS.
fn over_tls(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http1 => "http/1.1",
        Protocol::H2 => "h2",
    }
}

#[tokio::test]
async fn an_origin_of_the_right_authority_is_believed() {
    over_each_pair(|pair| async move {
        let authority = Authority::new();
        let config = authority.issue(&["localhost"]).server_config();
        let shop = Origin::over_tls(pair.origin, config, |seen| text(seen.body));
        let gateway = gateway(&shop, over_tls(pair.origin), &ca(&authority)).await;
        let client = gateway.client(pair.client);
        for _ in 0..3 {
            assert_eq!(client.send(post("/", "hello")).await.text(), "hello");
        }
        assert_eq!(shop.connections(), 1);
        let seen = shop.seen().remove(0);
        assert_eq!(seen.host, "shop.test");
        let is_h2 = seen.version == http::Version::HTTP_2;
        assert_eq!(is_h2, pair.origin == Protocol::H2);
    })
    .await;
}

#[tokio::test]
async fn an_origin_of_another_authority_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    for protocol in [Protocol::Http1, Protocol::H2] {
        let config = other.issue(&["localhost"]).server_config();
        let shop = Origin::over_tls(protocol, config, |_| text("secret"));
        // Neither an authority of its own nor the system's knows this one.
        for tls in [ca(&authority), String::new()] {
            let gateway = gateway(&shop, over_tls(protocol), &tls).await;
            let answer = gateway.http1().send(get("/")).await;
            answer.assert_problem(502, "upstream_connect_failed");
            assert!(shop.seen().is_empty());
            assert_eq!(gateway.log_of(&answer).await["flag"], "UF");
        }
    }
}

#[tokio::test]
async fn an_origin_of_another_name_is_refused() {
    let authority = Authority::new();
    let config = authority.issue(&["elsewhere.test"]).server_config();
    let shop = Origin::over_tls(Protocol::Http1, config, |_| text("ok"));
    let refusing = gateway(&shop, "http/1.1", &ca(&authority)).await;
    let answer = refusing.http1().send(get("/")).await;
    answer.assert_problem(502, "upstream_connect_failed");
    assert!(shop.seen().is_empty());
    // Unless that is the name that is asked for.
    let tls = format!("{}, sni = \"elsewhere.test\"", ca(&authority));
    let asking = gateway(&shop, "http/1.1", &tls).await;
    assert_eq!(asking.http1().send(get("/")).await.status, 200);
}

#[tokio::test]
async fn upstreams_that_trust_differently_share_no_connection() {
    let (authority, other) = (Authority::new(), Authority::new());
    let config = authority.issue(&["localhost"]).server_config();
    let shop = Origin::over_tls(Protocol::Http1, config, |_| text("ok"));
    let gateway = Gateway::draft(
        r#"
        [upstreams.right]
        endpoints = ["localhost:$port"]
        tls = { ca = "$right" }

        [upstreams.wrong]
        endpoints = ["localhost:$port"]
        tls = { ca = "$wrong" }

        [routes.right]
        match = { path = "/right" }
        upstream = "right"

        [routes.wrong]
        match = { path = "/wrong" }
        upstream = "wrong"
        "#,
    )
    .with("port", shop.port())
    .with("right", authority.path())
    .with("wrong", other.path())
    .start()
    .await;
    let client = gateway.http1();
    for _ in 0..3 {
        assert_eq!(client.send(get("/right")).await.status, 200);
        assert_eq!(client.send(get("/wrong")).await.status, 502);
    }
}

#[tokio::test]
async fn whoever_answers_is_believed_where_the_file_says_so() {
    let stranger = Authority::new();
    let config = stranger.issue(&["elsewhere.test"]).server_config();
    let shop = Origin::over_tls(Protocol::Http1, config, |_| text("ok"));
    let gateway = gateway(&shop, "http/1.1", "insecure_skip_verify = true").await;
    assert_eq!(gateway.http1().send(get("/")).await.text(), "ok");
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    for protocol in [Protocol::Http1, Protocol::H2] {
        let (authority, clients) = (Authority::new(), Authority::new());
        let config = authority.issue(&["localhost"]).server_config_for(&clients);
        let shop = Origin::over_tls(protocol, config, |_| text("ok"));
        let own = clients.issue(&["gateway.test"]);
        let tls = format!(
            "{}, client_certificate = {{ cert = \"{}\", key = {{ file = \"{}\" }} }}",
            ca(&authority),
            own.cert_path.display(),
            own.key_path.display(),
        );
        let showing = gateway(&shop, over_tls(protocol), &tls).await;
        assert_eq!(showing.http1().send(get("/")).await.status, 200);
        assert!(shop.only().has_certificate);
        // Without it the origin does not let anybody in.
        let hiding = gateway(&shop, over_tls(protocol), &ca(&authority)).await;
        let answer = hiding.http1().send(get("/")).await;
        assert_eq!(answer.status, 502, "{answer:?}");
        assert_eq!(shop.seen().len(), 1);
    }
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let authority = Authority::new();
    let config = authority.issue(&["localhost"]).server_config();
    let shop = Origin::over_tls(Protocol::Http1, config, |seen| text(seen.body));
    let gateway = gateway(&shop, "http/1.1", &ca(&authority)).await;
    let body: String = (0..300_000).map(|number| format!("{number} ")).collect();
    let client = gateway.http1();
    for _ in 0..2 {
        let answer = client.send(post("/", body.clone())).await;
        assert!(answer.text() == body);
    }
    assert_eq!(shop.connections(), 1);
}

const RAW: &str = r#"
    [upstreams.shop]
    endpoints = ["$shop"]
    timeouts = { first_byte = "300ms" }
    tls = { ca = "$ca" }

    [routes.all]
    match = { path = "/{*rest}" }
    upstream = "shop"
"#;

async fn before(shop: &RawOrigin, authority: &Authority) -> Gateway {
    Gateway::draft(RAW)
        .with("shop", shop)
        .with("ca", authority.path())
        .start()
        .await
}

#[tokio::test]
async fn sessions_are_resumed() {
    let authority = Authority::new();
    let config = Arc::new(authority.issue(&["127.0.0.1"]).server_config());
    let kinds = Arc::new(Mutex::new(Vec::new()));
    let seen = kinds.clone();
    let shop = RawOrigin::serving(move |stream, _| {
        let (acceptor, seen) = (TlsAcceptor::from(config.clone()), seen.clone());
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            seen.lock()
                .unwrap()
                .push(stream.get_ref().1.handshake_kind());
            assert!(read_header(&mut stream).await);
            let last = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
            stream.write_all(last).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    let gateway = before(&shop, &authority).await;
    let client = gateway.http1();
    for _ in 0..3 {
        assert_eq!(client.send(get("/")).await.text(), "ok");
    }
    let resumed = Some(HandshakeKind::Resumed);
    let kinds = kinds.lock().unwrap().clone();
    assert_eq!(kinds, [Some(HandshakeKind::Full), resumed, resumed]);
}

#[tokio::test]
async fn a_silent_origin_is_given_up() {
    let authority = Authority::new();
    let config = authority.issue(&["127.0.0.1"]).server_config();
    let shop = RawOrigin::over(Some(config), |mut stream, _| async move {
        while read_header(&mut stream).await {}
    });
    let gateway = before(&shop, &authority).await;
    let begin = Instant::now();
    let answer = gateway.http1().send(get("/")).await;
    assert_fired(begin);
    answer.assert_problem(504, "upstream_timeout");
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_was_kept_is_not_used() {
    let authority = Authority::new();
    let config = authority.issue(&["127.0.0.1"]).server_config();
    let (closed, mut was_closed) = tokio::sync::mpsc::channel(3);
    let shop = RawOrigin::over(Some(config), move |mut stream, _| {
        let closed = closed.clone();
        async move {
            assert!(read_header(&mut stream).await);
            let response = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(response).await.unwrap();
            stream.flush().await.unwrap();
            // Only TLS is closed here; the socket stays open for as long as the gateway keeps its own.
            stream.shutdown().await.unwrap();
            closed.send(()).await.unwrap();
            while stream.read_u8().await.is_ok() {}
        }
    });
    let gateway = before(&shop, &authority).await;
    let client = gateway.http1();
    for number in 1..=3 {
        // Nothing is sent twice that is not known to be safe to repeat, so this shows a connection that was dead.
        let answer = client.send(post("/", "")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        assert_eq!(shop.connections(), number);
        was_closed.recv().await.unwrap();
    }
}

#[tokio::test]
async fn a_body_without_length_ends_with_tls_and_not_with_the_socket() {
    let authority = Authority::new();
    for is_ended in [true, false] {
        let config = authority.issue(&["127.0.0.1"]).server_config();
        let shop = RawOrigin::over(Some(config), move |mut stream, _| async move {
            assert!(read_header(&mut stream).await);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\n\r\nok")
                .await
                .unwrap();
            stream.flush().await.unwrap();
            if is_ended {
                stream.shutdown().await.unwrap();
            }
        });
        let gateway = before(&shop, &authority).await;
        let answer = gateway.http1().try_send(get("/")).await;
        // Whoever is on the way can close the socket, so that its end alone may be a truncation.
        assert_eq!(answer.is_ok_and(|answer| answer.text() == "ok"), is_ended);
    }
}
