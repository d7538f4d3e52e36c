//! A request goes to the origin and its response comes back, unchanged but for what belongs to a single hop.

use bytes::Bytes;
use http::Version;

use crate::harness::*;

const SHOP: &str = r#"
    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"

    [routes.all]
    match = { path = "/{*rest}" }
    upstream = "shop"
"#;

async fn gateway(shop: &Origin, protocol: Protocol) -> Gateway {
    Gateway::draft(SHOP)
        .with("shop", shop)
        .with("protocol", protocol)
        .start()
        .await
}

#[tokio::test]
async fn methods_and_targets_reach_the_origin() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("ok"));
        let gateway = gateway(&shop, pair.origin).await;
        let client = gateway.client(pair.client);
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"] {
            let answer = client
                .send(request(method, "/v1/items/7?a=1&b=%20x&b=&c"))
                .await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
            let seen = shop.seen().pop().unwrap();
            assert_eq!(seen.method, method);
            assert_eq!(seen.target, "/v1/items/7?a=1&b=%20x&b=&c");
            assert_eq!(seen.host, "shop.test");
        }
    })
    .await;
}

#[tokio::test]
async fn both_sides_speak_what_they_are_meant_to() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("ok"));
        let gateway = gateway(&shop, pair.origin).await;
        let answer = gateway.client(pair.client).send(get("/")).await;
        let version = |protocol| match protocol {
            Protocol::Http1 => Version::HTTP_11,
            Protocol::H2 => Version::HTTP_2,
        };
        assert_eq!(answer.version, version(pair.client));
        assert_eq!(shop.only().version, version(pair.origin));
    })
    .await;
}

#[tokio::test]
async fn bodies_of_known_length_go_both_ways() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |seen| text(seen.body));
        let gateway = gateway(&shop, pair.origin).await;
        let client = gateway.client(pair.client);
        for length in [0, 1, 70_000, 1 << 20] {
            let body: Bytes = (0..length).map(|n| (n % 251) as u8).collect();
            let answer = client.send(post("/echo", body.clone())).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.body, body, "{length} bytes back");
            assert_eq!(shop.seen().pop().unwrap().body, body, "{length} bytes up");
            // An origin may leave the length out where there is nothing to count.
            let told = answer.header("content-length").unwrap_or("0");
            assert_eq!(told, length.to_string());
        }
    })
    .await;
}

#[tokio::test]
async fn bodies_of_unknown_length_go_both_ways() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |seen| {
            let (chunks, body) = channel();
            tokio::spawn(async move {
                for chunk in seen.body.chunks(10_000) {
                    chunks.send(Bytes::copy_from_slice(chunk)).await;
                }
            });
            reply(200, &[], body)
        });
        let gateway = gateway(&shop, pair.origin).await;
        let (chunks, body) = channel();
        tokio::spawn(async move {
            for n in 0..50u8 {
                chunks.send(vec![n; 3000]).await;
            }
        });
        let expected: Vec<u8> = (0..50u8).flat_map(|n| [n; 3000]).collect();
        let ask = request("PUT", "/upload").body(body);
        let answer = gateway.client(pair.client).send(ask).await;
        assert_eq!(answer.header("content-length"), None);
        assert_eq!(shop.only().header("content-length"), None);
        assert!(shop.only().body == expected, "what went up");
        assert!(answer.body == expected, "what came back");
    })
    .await;
}

#[tokio::test]
async fn statuses_and_headers_come_back() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |seen| {
            let code = seen.target.trim_start_matches('/').parse().unwrap();
            let headers = [
                ("set-cookie", "a=1"),
                ("set-cookie", "b=2"),
                ("x-made-by", "shop"),
            ];
            reply(code, &headers, full("body"))
        });
        let gateway = gateway(&shop, pair.origin).await;
        let client = gateway.client(pair.client);
        for code in [200, 201, 206, 301, 400, 404, 418, 429, 500, 503, 599] {
            let answer = client.send(get(&format!("/{code}"))).await;
            assert_eq!((answer.status, answer.text().as_str()), (code, "body"));
            assert_eq!(answer.header("x-made-by"), Some("shop"));
            let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
            assert_eq!(cookies, ["a=1", "b=2"]);
        }
    })
    .await;
}

#[tokio::test]
async fn responses_without_a_body_have_none() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |seen| match seen.target.as_str() {
            "/none" => status(204),
            "/unchanged" => reply(304, &[("etag", "\"1\"")], empty()),
            // What hyper speaks HTTP/2 with does not hold a body back by itself.
            _ if seen.method == "HEAD" => reply(200, &[("content-length", "5")], empty()),
            _ => text("hello"),
        });
        let gateway = gateway(&shop, pair.origin).await;
        let client = gateway.client(pair.client);
        let none = client.send(get("/none")).await;
        assert_eq!((none.status, none.body.len()), (204, 0));
        assert_eq!(none.header("content-length"), None);
        let unchanged = client.send(get("/unchanged")).await;
        assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
        assert_eq!(unchanged.header("etag"), Some("\"1\""));
        let head = client.send(head("/page")).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), Some("5"));
        assert_eq!(shop.seen()[2].method, "HEAD");
        // The connection is still in step.
        assert_eq!(client.send(get("/page")).await.text(), "hello");
    })
    .await;
}

#[tokio::test]
async fn connections_to_the_origin_are_used_again() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("ok"));
        let gateway = gateway(&shop, pair.origin).await;
        for _ in 0..5 {
            let client = gateway.client(pair.client);
            assert_eq!(client.send(get("/")).await.status, 200);
            assert_eq!(client.send(post("/", "body")).await.status, 200);
        }
        assert_eq!(shop.seen().len(), 10);
        assert_eq!(shop.connections(), 1);
    })
    .await;
}

#[tokio::test]
async fn hop_by_hop_headers_of_a_request_stay_here() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop, Protocol::Http1).await;
    let request = "GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close, x-private\r\nx-private: 1\r\n\
                   x-public: 2\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\n\
                   proxy-authorization: Basic YTpi\r\nte: trailers\r\nupgrade: h2c\r\n\r\n";
    let answer = RawClient::exchange(gateway.address(), request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let seen = shop.only();
    for name in [
        "x-private",
        "keep-alive",
        "proxy-connection",
        "te",
        "upgrade",
    ] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("x-public"), Some("2"));
    assert_ne!(seen.header("connection"), Some("close, x-private"));
}

#[tokio::test]
async fn pieces_are_passed_on_as_they_come() {
    over_each_pair(|pair| async move {
        let (chunks, body) = channel();
        let body = std::sync::Mutex::new(Some(body));
        let shop = Origin::speaking(pair.origin, move |_| {
            reply(200, &[], body.lock().unwrap().take().unwrap())
        });
        let gateway = gateway(&shop, pair.origin).await;
        let client = gateway.client(pair.client);
        let mut incoming = client.open(get("/stream")).await;
        // Each piece is written only after the one before has arrived.
        for piece in ["one", "two", "three"] {
            chunks.send(piece).await;
            assert_eq!(incoming.chunk().await.as_deref(), Some(piece.as_bytes()));
        }
        drop(chunks);
        assert_eq!(incoming.chunk().await, None);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_expects_to_be_told_to_go_on_is_told() {
    let shop = Origin::http1(|seen| text(seen.body));
    let gateway = gateway(&shop, Protocol::Http1).await;
    let mut client = RawClient::connect(gateway.address()).await;
    client
        .send("POST / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n")
        .await;
    let interim = client.read_until("\r\n\r\n").await;
    assert!(interim.starts_with("HTTP/1.1 100 "), "{interim}");
    client.send("body").await;
    let answer = client.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nbody"), "{answer}");
    assert_eq!(shop.only().body, "body");
}

#[tokio::test]
async fn hop_by_hop_headers_of_a_response_stay_here() {
    let shop = Origin::http1(|_| {
        let headers = [
            ("connection", "x-private"),
            ("x-private", "1"),
            ("x-public", "2"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("upgrade", "h2c"),
        ];
        reply(200, &headers, full("ok"))
    });
    let gateway = gateway(&shop, Protocol::Http1).await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let answer = gateway.client(protocol).send(get("/")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        assert_eq!(answer.header("x-public"), Some("2"));
        // RFC 9110 section 7.6.1.
        let hop_by_hop = ["x-private", "keep-alive", "proxy-connection", "upgrade"];
        let leaked = hop_by_hop.map(|name| (name, answer.header(name)));
        assert_eq!(
            leaked,
            hop_by_hop.map(|name| (name, None)),
            "over {protocol:?}"
        );
    }
}

#[tokio::test]
async fn pieces_of_a_known_length_are_passed_on_as_they_come() {
    over_each_pair(|pair| async move {
        let (chunks, body) = channel();
        let body = std::sync::Mutex::new(Some(body));
        let shop = Origin::speaking(pair.origin, move |_| {
            let body = body.lock().unwrap().take().unwrap();
            reply(200, &[("content-length", "6")], body)
        });
        let gateway = gateway(&shop, pair.origin).await;
        let client = gateway.client(pair.client);
        let mut incoming = client.open(get("/slow-download")).await;
        for piece in ["one", "two"] {
            chunks.send(piece).await;
            assert_eq!(incoming.chunk().await.as_deref(), Some(piece.as_bytes()));
        }
        // An origin of HTTP/2 ends its stream only now.
        drop(chunks);
        assert_eq!(incoming.chunk().await, None);
    })
    .await;
}
