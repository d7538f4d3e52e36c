//! How many connections there may be, of whom, and for how long each is used.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::harness::*;

const PING: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    $listener

    [routes.ping]
    match = { path = "/ping" }
    respond = { body = "pong" }
"#;

const ASK: &str = "GET /ping HTTP/1.1\r\nhost: a\r\n\r\n";

async fn listening(listener: &str) -> Gateway {
    Gateway::draft(PING)
        .with("listener", listener)
        .start()
        .await
}

/// A connection on which a request was answered, from this address.
async fn served(gateway: &Gateway, from: &str) -> RawClient {
    let mut client = RawClient::connect_from(from, gateway.address()).await;
    client.send(ASK).await;
    assert!(client.read_until("pong").await.contains(" 200 "));
    client
}

/// Whether a connection from there is closed without a word.
async fn is_refused(gateway: &Gateway, from: &str) -> bool {
    let mut client = RawClient::connect_from(from, gateway.address()).await;
    // Where the connection is closed already this fails, which is no answer either.
    let _ = tokio::io::AsyncWriteExt::write_all(&mut client.stream, ASK.as_bytes()).await;
    let mut first = [0];
    let read = tokio::io::AsyncReadExt::read(&mut client.stream, &mut first);
    !matches!(within("an answer or the end", read).await, Ok(1))
}

async fn refused(gateway: &Gateway, reason: &str) -> u64 {
    let metrics = gateway.metrics().await;
    let series = format!(
        "northgate_connections_refused_total{{northgate_listener=\"public\",reason=\"{reason}\"}} "
    );
    let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
    line.expect("the series").parse().unwrap()
}

async fn until_closed(gateway: &Gateway) {
    eventually("all connections are closed", async || {
        let metrics = gateway.metrics().await;
        let series = "northgate_connections{northgate_listener=\"public\"} 0\n";
        metrics.contains(series).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_address_has_its_share_and_no_more() {
    let gateway = listening("limits = { connections_per_ip = 3 }").await;
    let mut mine = Vec::new();
    for _ in 0..3 {
        mine.push(served(&gateway, "127.0.0.2").await);
    }
    assert!(is_refused(&gateway, "127.0.0.2").await);
    assert_eq!(refused(&gateway, "address").await, 1);
    // Others are served as ever.
    served(&gateway, "127.0.0.3").await;
    served(&gateway, "127.0.0.4").await;
    // What is closed makes room.
    mine.pop();
    eventually("there is room again", async || {
        (!is_refused(&gateway, "127.0.0.2").await).then_some(())
    })
    .await;
    assert_eq!(refused(&gateway, "full").await, 0);
}

#[tokio::test]
async fn trusted_proxies_bring_as_many_as_they_like() {
    let listener = "limits = { connections_per_ip = 1 }\ntrusted_proxies = [\"127.0.0.2\"]";
    let gateway = listening(listener).await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(served(&gateway, "127.0.0.2").await);
    }
    let _other = served(&gateway, "127.0.0.3").await;
    assert!(is_refused(&gateway, "127.0.0.3").await);
    assert_eq!(refused(&gateway, "address").await, 1);
}

#[tokio::test]
async fn with_a_proxy_header_its_address_counts() {
    let listener = "limits = { connections_per_ip = 2 }\n\
        trusted_proxies = [\"127.0.0.1\"]\nproxy_protocol = \"required\"";
    let gateway = listening(listener).await;
    let open = async |source: &str| {
        let mut client = RawClient::connect(gateway.address()).await;
        let header = format!("PROXY TCP6 {source} ::1 1 2\r\n");
        client.send(header + ASK).await;
        let mut first = [0];
        let read = tokio::io::AsyncReadExt::read(&mut client.stream, &mut first);
        let is_open = matches!(within("an answer or the end", read).await, Ok(1));
        is_open.then_some(client)
    };
    // An IPv6 /64 is one address, whatever its lower half.
    let first = open("2001:db8:0:1::1").await;
    let second = open("2001:db8:0:1:ffff::2").await;
    assert!(first.is_some() && second.is_some());
    assert!(open("2001:db8:0:1:abcd::3").await.is_none());
    assert!(open("2001:db8:0:2::1").await.is_some());
    // An IPv4 address is the same in the clothes of IPv6.
    let mapped = (
        open("::ffff:192.0.2.1").await,
        open("::ffff:192.0.2.1").await,
    );
    assert!(mapped.0.is_some() && mapped.1.is_some());
    assert!(open("::ffff:192.0.2.1").await.is_none());
    assert!(open("::ffff:192.0.2.2").await.is_some());
    assert_eq!(refused(&gateway, "address").await, 2);
}

#[tokio::test]
async fn handshakes_in_flight_are_bounded_and_come_to_an_end() {
    let authority = Authority::new();
    let certificate = authority.issue(&["shop.test"]);
    let gateway = Gateway::draft(PING)
        .with("listener", "limits = { handshakes = 2 }\ntimeouts = { tls_handshake = \"300ms\" }\ntls = { certificates = [{ cert = \"$cert\", key = { file = \"$key\" } }] }")
        .with("cert", certificate.cert_path.display())
        .with("key", certificate.key_path.display())
        .start()
        .await;
    let config = Arc::new(authority.client_config());
    let shake = async || {
        let stream = TcpStream::connect(gateway.address()).await.unwrap();
        let name = "shop.test".try_into().unwrap();
        let connector = tokio_rustls::TlsConnector::from(config.clone());
        within("the handshake", connector.connect(name, stream)).await
    };
    let begin = Instant::now();
    let mut idle = RawClient::connect(gateway.address()).await;
    let mut also_idle = RawClient::connect(gateway.address()).await;
    also_idle.send([0x16, 3, 1]).await;
    eventually("both are in flight", async || {
        let is_refused = shake().await.is_err();
        is_refused.then_some(())
    })
    .await;
    assert!(refused(&gateway, "handshakes").await >= 1);
    assert_eq!(idle.read_to_end().await, "");
    assert_eq!(also_idle.read_to_end().await, "");
    assert_fired(begin);
    // Their places are given back, and those of handshakes that were completed.
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(shake().await.expect("a handshake"));
    }
    assert_eq!(refused(&gateway, "timeout").await, 2);
}

#[tokio::test]
async fn nothing_that_is_refused_leaves_a_trace() {
    let listener = "limits = { connections = 4, connections_per_ip = 2 }\n\
        timeouts = { request_header = \"300ms\" }";
    let gateway = listening(listener).await;
    for round in 0..3 {
        let mut open = Vec::new();
        for address in ["127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.3"] {
            open.push(served(&gateway, address).await);
        }
        for address in ["127.0.0.2", "127.0.0.3", "127.0.0.4"] {
            assert!(is_refused(&gateway, address).await, "{address} {round}");
        }
        drop(open);
        until_closed(&gateway).await;
    }
    assert_eq!(refused(&gateway, "full").await, 9);
    assert_eq!(refused(&gateway, "address").await, 0);
}

#[tokio::test]
async fn a_connection_serves_so_many_requests() {
    let gateway = listening("limits = { requests_per_connection = 3 }").await;
    for _ in 0..2 {
        let mut client = RawClient::connect(gateway.address()).await;
        for last in [false, false, true] {
            client.send(ASK).await;
            let answer = client.read_until("pong").await;
            assert_eq!(answer.contains("onnection: close"), last, "{answer}");
        }
        assert_eq!(client.read_to_end().await, "");
    }
    assert_eq!(gateway.closed("requests").await, 2);
}

#[tokio::test]
async fn what_an_upstream_answers_counts_as_well() {
    let shop = Origin::http1(|_| text("pong"));
    let gateway = Gateway::draft(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        limits = { requests_per_connection = 2 }

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
    for last in [false, true] {
        client.send(ASK).await;
        let answer = client.read_until("pong").await;
        assert_eq!(answer.contains("onnection: close"), last, "{answer}");
    }
    assert_eq!(client.read_to_end().await, "");
    assert_eq!(
        shop.connections(),
        1,
        "that is no reason to leave the upstream"
    );
}

#[tokio::test]
async fn a_connection_is_used_for_so_long() {
    let gateway = listening("timeouts = { max_connection_age = \"300ms\" }").await;
    let begin = Instant::now();
    let mut client = RawClient::connect(gateway.address()).await;
    loop {
        client.send(ASK).await;
        let answer = client.read_until("pong").await;
        if answer.contains("onnection: close") {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "it is never closed");
    }
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(270), "{took:?}");
    assert_eq!(client.read_to_end().await, "");
    assert_eq!(gateway.closed("age").await, 1);
}

#[tokio::test]
async fn the_admin_listener_has_few_connections_and_none_for_ever() {
    let gateway = listening("").await;
    let address = gateway.admin_address();
    let ask = "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut open = Vec::new();
    for _ in 0..64 {
        let mut client = RawClient::connect(address).await;
        client.send(ask).await;
        client.read_until("ok\n").await;
        open.push(client);
    }
    let mut one_more = RawClient::connect(address).await;
    let _ = tokio::io::AsyncWriteExt::write_all(&mut one_more.stream, ask.as_bytes()).await;
    assert_eq!(one_more.read_to_end().await, "");
    // Half a header and idleness come to an end, and then there is room again.
    let mut half = open.pop().expect("64 connections");
    half.send("GET /livez HTTP/1.1\r\nhost:").await;
    half.read_to_end().await;
    for mut idle in open {
        assert_eq!(idle.read_to_end().await, "");
    }
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("northgate_connections"), "{metrics}");
}
