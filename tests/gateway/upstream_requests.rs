//! Whatever came in: what leaves towards an origin of HTTP/1.1 is a request that keeps every rule.

use crate::harness::*;
use crate::origins::exact::{Exact, Request};

const SHOP: &str = r#"
    [upstreams.shop]
    endpoints = ["$shop"]

    [routes.all]
    match = { path = "/{*rest}" }
    upstream = "shop"
"#;

async fn before(shop: &Exact) -> Gateway {
    Gateway::draft(SHOP)
        .with("shop", &shop.origin)
        .start()
        .await
}

/// Sends raw bytes and gives what the origin got, checked for what holds for every request.
async fn sent(raw: &[u8]) -> Request {
    let shop = Exact::start();
    let gateway = before(&shop).await;
    let mut client = RawClient::connect(gateway.address()).await;
    client.send(raw).await;
    let answer = client.read_until("\r\n\r\nok").await;
    let shown = String::from_utf8_lossy(raw);
    assert!(answer.contains("HTTP/1.1 200"), "{shown:?}: {answer}");
    let request = shop.only();
    check(&request);
    request
}

async fn sent_over_http2(ask: Ask) -> Request {
    let shop = Exact::start();
    let gateway = before(&shop).await;
    assert_eq!(gateway.http2().send(ask).await.text(), "ok");
    let request = shop.only();
    check(&request);
    request
}

fn check(request: &Request) {
    for name in [
        "connection",
        "te",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "http2-settings",
        "trailer",
    ] {
        assert!(
            request.values(name).is_empty(),
            "{name} in {}",
            request.head
        );
    }
    for name in [
        "host",
        "content-length",
        "transfer-encoding",
        "cookie",
        "expect",
    ] {
        assert!(
            request.values(name).len() <= 1,
            "{name} twice in {}",
            request.head
        );
    }
    assert!(request.line().ends_with(" HTTP/1.1"), "{}", request.head);
    for line in request.head.lines().skip(1).filter(|line| !line.is_empty()) {
        assert!(
            !line.starts_with(':'),
            "a pseudo-header in {}",
            request.head
        );
    }
}

fn framing(request: &Request) -> (Option<&str>, Option<&str>) {
    let of = |name| request.values(name).first().copied();
    (of("content-length"), of("transfer-encoding"))
}

#[tokio::test]
async fn what_belongs_to_the_hop_before_stays_there() {
    for fields in [
        "connection: keep-alive\r\nkeep-alive: timeout=5\r\n",
        "connection: close, x-mine\r\nx-mine: 1\r\n",
        "connection: te\r\nte: trailers, deflate;q=0.5\r\n",
        "te: trailers\r\n",
        "proxy-connection: keep-alive\r\n",
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
        "upgrade: TLS/1.0\r\n",
        "trailer: x-sum\r\n",
    ] {
        let request = sent(format!("GET /a HTTP/1.1\r\nhost: a\r\n{fields}\r\n").as_bytes()).await;
        assert!(request.values("x-mine").is_empty(), "{}", request.head);
        assert_eq!(framing(&request), (None, None), "{}", request.head);
    }
}

#[tokio::test]
async fn values_pass_as_they_are() {
    for (value, expected) in [
        (&b"caf\xe9"[..], "caf\u{fffd}"),
        (b"\xff\xfe", "\u{fffd}\u{fffd}"),
        (b"a\tb", "a\tb"),
        (b"  padded \t", "padded"),
        (b"", ""),
        (b"\"quoted, list\", b", "\"quoted, list\", b"),
    ] {
        let mut raw = b"GET /a HTTP/1.1\r\nHOST: a\r\nX-Odd:".to_vec();
        raw.extend_from_slice(value);
        raw.extend_from_slice(b"\r\n\r\n");
        let request = sent(&raw).await;
        assert_eq!(request.values("x-odd"), [expected], "{}", request.head);
    }
}

#[tokio::test]
async fn bodies_are_framed_once() {
    for (fields, body, expected) in [
        ("content-length: 3\r\n", "abc", (Some("3"), None)),
        ("content-length: 0\r\n", "", (Some("0"), None)),
        (
            "transfer-encoding: chunked\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            (None, Some("chunked")),
        ),
        (
            "Transfer-Encoding: Chunked\r\n",
            "1;x=y\r\na\r\n0\r\nx-sum: 1\r\nhost: b\r\n\r\n",
            (None, Some("chunked")),
        ),
        (
            "expect: 100-continue\r\ncontent-length: 3\r\n",
            "abc",
            (Some("3"), None),
        ),
    ] {
        let raw = format!("POST /a HTTP/1.1\r\nhost: a\r\n{fields}\r\n{body}");
        let request = sent(raw.as_bytes()).await;
        let (length, coding) = framing(&request);
        let coding = coding.map(str::to_ascii_lowercase);
        assert_eq!((length, coding.as_deref()), expected, "{}", request.head);
        let body = String::from_utf8_lossy(&request.body).into_owned();
        assert!(
            !body.contains("x-sum") && !body.contains("host"),
            "{body:?}"
        );
    }
}

#[tokio::test]
async fn targets_are_paths() {
    for (target, expected) in [
        ("/a?x=1|2", "/a?x=1|2"),
        ("http://a/b?c", "/b?c"),
        ("/a%20b", "/a%20b"),
    ] {
        let request = sent(format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await;
        assert_eq!(request.line(), format!("GET {expected} HTTP/1.1"));
        assert_eq!(request.values("host"), ["a"]);
    }
}

#[tokio::test]
async fn requests_of_http2_become_requests_of_http1() {
    let plain = sent_over_http2(get("/a?b=c").host("shop.test:8080")).await;
    assert_eq!(plain.line(), "GET /a?b=c HTTP/1.1");
    assert_eq!(plain.values("host"), ["shop.test:8080"]);
    assert_eq!(framing(&plain), (None, None));

    let crumbs = get("/a")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("cookie", "c=3");
    assert_eq!(
        sent_over_http2(crumbs).await.values("cookie"),
        ["a=1; b=2; c=3"]
    );

    let trailing = sent_over_http2(get("/a").header("te", "trailers")).await;
    assert_eq!(framing(&trailing), (None, None));

    let known = sent_over_http2(post("/a", "abc").header("content-length", "3")).await;
    assert_eq!(
        (framing(&known), &*known.body),
        ((Some("3"), None), &b"abc"[..])
    );

    let (chunks, body) = channel();
    tokio::spawn(async move {
        chunks.send("abc").await;
        chunks.send("de").await;
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", 1.into());
        chunks.trailers(trailers).await;
    });
    let unknown = sent_over_http2(request("POST", "/a").body(body)).await;
    assert_eq!(framing(&unknown), (None, Some("chunked")));
    let body = String::from_utf8_lossy(&unknown.body).into_owned();
    assert!(
        body.contains("abc") && body.ends_with("0\r\n\r\n") && !body.contains("x-sum"),
        "{body:?}"
    );

    let empty = sent_over_http2(request("POST", "/a")).await;
    assert!(empty.body.is_empty());
    assert_eq!(framing(&empty).1, None, "{}", empty.head);
}
