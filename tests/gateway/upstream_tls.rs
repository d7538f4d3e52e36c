//! TLS towards an upstream: who is believed, and who the gateway says it is.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::*;

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

const FRAMED: &str = r#"
    [upstreams.shop]
    endpoints = ["localhost:$port"]
    tls = { ca = "$ca" }

    [routes.all]
    match = { path = "/{*rest}" }
    upstream = "shop"
"#;

#[tokio::test]
async fn what_the_engine_shows_of_a_response_over_tls_is_checked() {
    let authority = Authority::new();
    for (head, status) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 200),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
            502,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
            502,
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            502,
        ),
        (
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            502,
        ),
    ] {
        let config = Arc::new(authority.issue(&["localhost"]).server_config());
        let shop = RawOrigin::serving(move |stream, _| {
            let acceptor = tokio_rustls::TlsAcceptor::from(config.clone());
            async move {
                let mut stream = acceptor.accept(stream).await.unwrap();
                let mut read = Vec::new();
                while !read.ends_with(b"\r\n\r\n") {
                    read.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(head.as_bytes()).await.unwrap();
                while stream.read_u8().await.is_ok() {}
            }
        });
        let address = shop.to_string();
        let (_, port) = address.rsplit_once(':').unwrap();
        let gateway = Gateway::draft(FRAMED)
            .with("port", port)
            .with("ca", authority.path())
            .start()
            .await;
        let answer = gateway.http1().send(get("/")).await;
        assert_eq!(answer.status, status, "{head:?}");
    }
}
