//! The PROXY protocol: who is believed, what is a header, and that nothing behind it is lost.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::*;

const SHOP: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    trusted_proxies = ["127.0.0.1", "10.0.0.0/8"]
    proxy_protocol = "$mode"
    timeouts = { request_header = "$deadline", tls_handshake = "$deadline" }
    $more

    [upstreams.shop]
    endpoints = ["$shop"]

    [routes.all]
    match = { path = "/{*rest}" }
    upstream = "shop"
    policies.request_headers = { set = { x-client = "{client.ip}" } }
"#;

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

async fn gateway(shop: &Origin, mode: &str) -> Gateway {
    with(shop, mode, "10s", "").await
}

async fn with(shop: &Origin, mode: &str, deadline: &str, more: &str) -> Gateway {
    Gateway::draft(SHOP)
        .with("shop", shop)
        .with("mode", mode)
        .with("deadline", deadline)
        .with("more", more)
        .start()
        .await
}

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, family]);
    header.extend((block.len() as u16).to_be_bytes());
    header.extend(block);
    header
}

const V4: [u8; 12] = [203, 0, 113, 7, 198, 51, 100, 1, 0x12, 0x67, 1, 0xbb];

fn v6() -> Vec<u8> {
    let source: std::net::Ipv6Addr = "2001:db8::7".parse().unwrap();
    [&source.octets()[..], &[0; 16], &[0, 80, 1, 0xbb]].concat()
}

/// With a field of type CRC32C that is right for this header.
fn with_checksum(block: &[u8]) -> Vec<u8> {
    let header = v2(0x21, 0x11, &[block, &[3, 0, 4, 0, 0, 0, 0]].concat());
    let mut crc = !0u32;
    for byte in &header {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    let end = header.len() - 4;
    [&header[..end], &(!crc).to_be_bytes()].concat()
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The origin sees this client.
    Seen(&'static str),
    /// Closed without a word.
    Refused,
}
use Verdict::{Refused, Seen};

/// Headers of trusted proxies, and what becomes of them wherever headers are looked for.
fn table() -> Vec<(Vec<u8>, Verdict)> {
    let v1 = |line: &str| line.as_bytes().to_vec();
    vec![
        (
            v1("PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n"),
            Seen("203.0.113.7"),
        ),
        (
            v1("PROXY TCP4 255.255.255.254 255.255.255.255 65535 65535\r\n"),
            Seen("255.255.255.254"),
        ),
        (
            v1("PROXY TCP4 203.0.113.7 198.51.100.1 0 0\r\n"),
            Seen("203.0.113.7"),
        ),
        (
            v1("PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n"),
            Seen("2001:db8::7"),
        ),
        (
            v1("PROXY TCP6 2001:DB8:0:0:0:0:0:7 ::1 4711 443\r\n"),
            Seen("2001:db8::7"),
        ),
        (
            v1("PROXY TCP6 ::ffff:203.0.113.7 ::1 4711 443\r\n"),
            Seen("203.0.113.7"),
        ),
        // Who does not say who it is stays the proxy.
        (v1("PROXY UNKNOWN\r\n"), Seen("127.0.0.1")),
        (
            v1("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n"),
            Seen("127.0.0.1"),
        ),
        (
            v1("PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\n"),
            Refused,
        ),
        (v1("PROXY TCP4 203.0.113.7 198.51.100.1 4711\r\n"), Refused),
        (
            v1("PROXY TCP4 203.0.113.7 198.51.100.1 4711 443 \r\n"),
            Refused,
        ),
        (
            v1("PROXY TCP4 203.0.113.7 198.51.100.1 4711 443 1\r\n"),
            Refused,
        ),
        (
            v1("PROXY  TCP4 203.0.113.7 198.51.100.1 4711 443\r\n"),
            Refused,
        ),
        (
            v1("PROXY TCP4 203.0.113.07 198.51.100.1 4711 443\r\n"),
            Refused,
        ),
        (
            v1("PROXY TCP4 203.0.113 198.51.100.1 4711 443\r\n"),
            Refused,
        ),
        (
            v1("PROXY TCP4 3405803783 198.51.100.1 4711 443\r\n"),
            Refused,
        ),
        (
            v1("PROXY TCP4 203.0.113.7 198.51.100.1 04711 443\r\n"),
            Refused,
        ),
        (
            v1("PROXY TCP4 203.0.113.7 198.51.100.1 65536 443\r\n"),
            Refused,
        ),
        (
            v1("PROXY TCP4 2001:db8::7 2001:db8::1 4711 443\r\n"),
            Refused,
        ),
        (
            v1("PROXY TCP6 203.0.113.7 198.51.100.1 4711 443\r\n"),
            Refused,
        ),
        (v1("PROXY TCP6 fe80::1%lo ::1 4711 443\r\n"), Refused),
        (
            v1("PROXY UDP4 203.0.113.7 198.51.100.1 4711 443\r\n"),
            Refused,
        ),
        (v1("PROXY \r\n"), Refused),
        (
            v1(&format!("PROXY UNKNOWN {}\r\n", "x".repeat(91))),
            Seen("127.0.0.1"),
        ),
        (
            v1(&format!("PROXY UNKNOWN {}\r\n", "x".repeat(92))),
            Refused,
        ),
        (v2(0x21, 0x11, &V4), Seen("203.0.113.7")),
        (v2(0x21, 0x21, &v6()), Seen("2001:db8::7")),
        (v2(0x20, 0x00, &[]), Seen("127.0.0.1")),
        (v2(0x20, 0x11, &V4), Seen("127.0.0.1")),
        (v2(0x20, 0x77, b"whatever"), Seen("127.0.0.1")),
        (v2(0x21, 0x00, &[]), Seen("127.0.0.1")),
        (v2(0x21, 0x31, &[b'/'; 216]), Seen("127.0.0.1")),
        (
            v2(0x21, 0x11, &[&V4[..], &[1, 0, 2, b'h', b'2']].concat()),
            Seen("203.0.113.7"),
        ),
        (
            v2(
                0x21,
                0x11,
                &[&V4[..], &[4, 0x0f, 0xe1], &[0; 0xfe1]].concat(),
            ),
            Seen("203.0.113.7"),
        ),
        (with_checksum(&V4), Seen("203.0.113.7")),
        (
            v2(0x21, 0x11, &[&V4[..], &[3, 0, 4, 1, 2, 3, 4]].concat()),
            Refused,
        ),
        (
            v2(0x21, 0x11, &[&V4[..], &[1, 0, 9, b'h']].concat()),
            Refused,
        ),
        (v2(0x21, 0x11, &V4[..8]), Refused),
        (v2(0x21, 0x12, &V4), Refused),
        (v2(0x22, 0x11, &V4), Refused),
        (v2(0x11, 0x11, &V4), Refused),
        (v2(0x21, 0x41, &V4), Refused),
        (
            v2(
                0x21,
                0x11,
                &[&V4[..], &[4, 0x0f, 0xe2], &[0; 0xfe2]].concat(),
            ),
            Refused,
        ),
    ]
}

/// Sends, and says whether an answer came.
async fn is_answered(gateway: &Gateway, from: &str, bytes: &[u8]) -> Option<String> {
    let mut client = RawClient::connect_from(from, gateway.address()).await;
    // The gateway may close before it has read all of it.
    let _ = client.stream.write_all(bytes).await;
    let answer = client.read_to_end().await;
    (!answer.is_empty()).then_some(answer)
}

#[tokio::test]
async fn the_table_of_headers() {
    let table = table();
    assert!(table.len() >= 30);
    for mode in ["required", "optional"] {
        let shop = Origin::http1(|_| text("ok"));
        let gateway = gateway(&shop, mode).await;
        for (header, expected) in &table {
            let before = shop.seen().len();
            let bytes = [header, REQUEST.as_bytes()].concat();
            let answer = is_answered(&gateway, "127.0.0.1", &bytes).await;
            let shown = String::from_utf8_lossy(header);
            match expected {
                Refused => {
                    assert_eq!(answer, None, "{shown:?}");
                    assert_eq!(shop.seen().len(), before, "{shown:?}");
                }
                Seen(client) => {
                    assert!(answer.is_some_and(|it| it.contains(" 200 ")), "{shown:?}");
                    let seen = shop.seen().pop().unwrap();
                    assert_eq!(seen.header("x-client"), Some(*client), "{shown:?}");
                    assert_eq!(seen.header("x-forwarded-for"), Some(*client), "{shown:?}");
                }
            }
        }
        let refusals = table
            .iter()
            .filter(|(_, verdict)| *verdict == Refused)
            .count();
        let metrics = gateway.metrics().await;
        let series = "northgate_connections_refused_total{northgate_listener=\"public\",reason=\"proxy_protocol\"}";
        assert!(
            metrics.contains(&format!("{series} {refusals}\n")),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn headers_may_come_byte_by_byte() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop, "required").await;
    let v1 = b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n".to_vec();
    for header in [v1, v2(0x21, 0x11, &V4), with_checksum(&V4)] {
        let mut client = RawClient::connect(gateway.address()).await;
        for byte in header.iter().chain(REQUEST.as_bytes()) {
            client.send([*byte]).await;
            tokio::task::yield_now().await;
        }
        assert!(client.read_to_end().await.contains(" 200 "));
        let seen = shop.seen().pop().unwrap();
        assert_eq!(seen.header("x-client"), Some("203.0.113.7"));
    }
}

#[tokio::test]
async fn strangers_are_not_believed() {
    let header = "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n";
    let with_header = format!("{header}{REQUEST}");
    for (mode, bare, headed) in [
        ("off", Some(" 200 "), Some(" 400 ")),
        ("optional", Some(" 200 "), Some(" 400 ")),
        ("required", None, None),
    ] {
        let shop = Origin::http1(|_| text("ok"));
        let gateway = gateway(&shop, mode).await;
        for (bytes, expected) in [(REQUEST, bare), (&*with_header, headed)] {
            let answer = is_answered(&gateway, "127.0.0.2", bytes.as_bytes()).await;
            let is_as_expected = match (&answer, expected) {
                (Some(answer), Some(status)) => answer.contains(status),
                (answer, expected) => answer.is_none() && expected.is_none(),
            };
            assert!(is_as_expected, "{mode}: {answer:?}");
        }
        for seen in shop.seen() {
            assert_eq!(seen.header("x-client"), Some("127.0.0.2"));
        }
    }
}

#[tokio::test]
async fn without_a_header_a_trusted_proxy_is_served_where_it_is_optional() {
    for (mode, is_served) in [("optional", true), ("required", false)] {
        let shop = Origin::http1(|_| text("ok"));
        let gateway = gateway(&shop, mode).await;
        let request = REQUEST.replace("host: a", "host: a\r\nx-forwarded-for: 203.0.113.9");
        let answer = is_answered(&gateway, "127.0.0.1", request.as_bytes()).await;
        assert_eq!(answer.is_some(), is_served, "{mode}");
        if is_served {
            assert_eq!(shop.only().header("x-client"), Some("203.0.113.9"));
        }
    }
}

#[tokio::test]
async fn whom_the_header_names_is_the_peer_for_everything() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop, "required").await;
    let request = REQUEST.replace("host: a", "host: a\r\nx-forwarded-for: 198.51.100.9");
    for (source, client, forwarded) in [
        // A client behind the load balancer claims what it likes.
        ("203.0.113.7", "203.0.113.7", "203.0.113.7"),
        // A hop behind the load balancer is believed.
        ("10.1.2.3", "198.51.100.9", "198.51.100.9, 10.1.2.3"),
    ] {
        let bytes = format!("PROXY TCP4 {source} 198.51.100.1 4711 443\r\n{request}");
        is_answered(&gateway, "127.0.0.1", bytes.as_bytes())
            .await
            .unwrap();
        let seen = shop.seen().pop().unwrap();
        assert_eq!(seen.header("x-client"), Some(client));
        assert_eq!(seen.header("x-forwarded-for"), Some(forwarded));
        let line = gateway
            .log_where("it", |line| line["client"] == client)
            .await;
        assert_eq!(line["status"], 200);
    }
}

#[tokio::test]
async fn http2_and_tls_follow_a_header() {
    let authority = Authority::new();
    let certificate = authority.issue(&["shop.test"]);
    let tls = format!(
        "tls = {{ certificates = [{{ cert = \"{}\", key = {{ file = \"{}\" }} }}] }}",
        certificate.cert_path.display(),
        certificate.key_path.display()
    );
    for is_tls in [false, true] {
        for is_h2 in [false, true] {
            let shop = Origin::http1(|_| text("ok"));
            let more = if is_tls { &*tls } else { "" };
            let gateway = with(&shop, "required", "10s", more).await;
            let mut tcp = TcpStream::connect(gateway.address()).await.unwrap();
            tcp.write_all(&v2(0x21, 0x11, &V4)).await.unwrap();
            let io: Box<dyn Io> = if is_tls {
                let mut config = authority.client_config();
                let alpn = if is_h2 { "h2" } else { "http/1.1" };
                config.alpn_protocols = vec![alpn.into()];
                let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
                let name = "shop.test".try_into().unwrap();
                Box::new(connector.connect(name, tcp).await.unwrap())
            } else {
                Box::new(tcp)
            };
            let io = hyper_util::rt::TokioIo::new(io);
            let scheme = if is_tls { "https" } else { "http" };
            let request = http::Request::get(format!("{scheme}://shop.test/"));
            let request = request.header("host", "shop.test");
            let request = request.body(empty()).unwrap();
            let response = if is_h2 {
                let executor = hyper_util::rt::TokioExecutor::new();
                let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
                    .await
                    .unwrap();
                tokio::spawn(connection);
                sender.send_request(request).await
            } else {
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(io).await.unwrap();
                tokio::spawn(connection);
                sender.send_request(request).await
            };
            assert_eq!(response.unwrap().status(), 200, "tls {is_tls} h2 {is_h2}");
            assert_eq!(shop.only().header("x-client"), Some("203.0.113.7"));
        }
    }
}

#[tokio::test]
async fn a_header_has_a_deadline() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = with(&shop, "required", "300ms", "").await;
    for beginning in [&b""[..], b"PROXY TCP4 203.0", &v2(0x21, 0x11, &V4)[..20]] {
        let mut client = RawClient::connect(gateway.address()).await;
        let begin = std::time::Instant::now();
        client.send(beginning).await;
        assert_eq!(client.read_to_end().await, "");
        assert_fired(begin);
    }
}

#[tokio::test]
async fn who_only_looks_in_is_not_counted() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop, "required").await;
    for (bytes, count) in [(&b""[..], 0), (b"PROXY TCP4", 1)] {
        let mut client = RawClient::connect(gateway.address()).await;
        client.send(bytes).await;
        client.stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = within("the end", client.stream.read_to_end(&mut rest)).await;
        let metrics = gateway.metrics().await;
        let series = "northgate_connections_refused_total{northgate_listener=\"public\",reason=\"proxy_protocol\"}";
        assert!(
            metrics.contains(&format!("{series} {count}\n")),
            "{metrics}"
        );
    }
}
