//! Attacks that no client library sends: smuggled requests, pseudo-header fields that lie, and origins that answer more
//! than they were asked. What is asked for afterwards is what its own address says, whoever has been here before.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::CACHED;
use crate::harness::{
    Body, Gateway, Origin, Protocol, RawClient, RawOrigin, Seen, assert_named, exchange_h2, full,
    get, reply,
};

/// An origin all of whose answers may be stored, and say what was asked for.
fn telling() -> Origin {
    Origin::http1(|seen: Seen| -> http::Response<Body> {
        let asked = format!("{} {}{}", seen.method, seen.host, seen.target);
        reply(200, &[("cache-control", "max-age=3600")], full(asked))
    })
}

/// Asks, over both protocols, for the path that the attack was after.
async fn assert_untouched(gateway: &Gateway, name: &str) {
    for protocol in [Protocol::Http1, Protocol::H2] {
        // Twice: what is fetched now is stored now.
        for _ in 0..2 {
            let path = format!("/{name}/victim");
            let answer = gateway.client(protocol).send(get(&path)).await;
            assert_eq!(answer.status, 200, "{name} over {protocol:?}: {answer:?}");
            assert_eq!(answer.text(), format!("GET shop.test{path}"), "{name}");
        }
    }
}

/// `{evil}` is a request hidden in another; `{n}` the case's own path.
const SMUGGLED: [(&str, &str); 26] = [
    (
        "length-and-chunks",
        "POST /{n} HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{evil}",
    ),
    (
        "chunks-and-length",
        "POST /{n} HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: chunked\r\ncontent-length: 200\r\n\r\n0\r\n\r\n{evil}",
    ),
    (
        "space-before-the-colon",
        "POST /{n} HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding : chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n{evil}",
    ),
    (
        "unknown-coding",
        "POST /{n} HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: xchunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n{evil}",
    ),
    (
        "coding-twice",
        "POST /{n} HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: chunked\r\ntransfer-encoding: identity\r\ncontent-length: 5\r\n\r\n0\r\n\r\n{evil}",
    ),
    (
        "coding-list",
        "POST /{n} HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{evil}",
    ),
    (
        "coding-with-a-tab",
        "POST /{n} HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding:\tchunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n{evil}",
    ),
    (
        "coding-with-a-vertical-tab",
        "POST /{n} HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: \u{b}chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n{evil}",
    ),
    (
        "coding-folded",
        "POST /{n} HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding:\r\n chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n{evil}",
    ),
    (
        "coding-quoted",
        "POST /{n} HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: \"chunked\"\r\ncontent-length: 5\r\n\r\n0\r\n\r\n{evil}",
    ),
    (
        "coding-of-http-1-0",
        "POST /{n} HTTP/1.0\r\nhost: shop.test\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n{evil}",
    ),
    (
        "two-lengths",
        "POST /{n} HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 0\r\ncontent-length: 200\r\n\r\n{evil}",
    ),
    (
        "length-list",
        "POST /{n} HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 0, 200\r\n\r\n{evil}",
    ),
    (
        "length-with-a-sign",
        "POST /{n} HTTP/1.1\r\nhost: shop.test\r\ncontent-length: +0\r\n\r\n{evil}",
    ),
    (
        "length-with-a-space",
        "POST /{n} HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 1 0\r\n\r\n{evil}",
    ),
    (
        "length-below-0",
        "POST /{n} HTTP/1.1\r\nhost: shop.test\r\ncontent-length: -1\r\n\r\n{evil}",
    ),
    (
        "length-in-hex",
        "POST /{n} HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 0x0\r\n\r\n{evil}",
    ),
    (
        "length-of-a-get",
        "GET /{n} HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 0\r\n\r\n{evil}",
    ),
    (
        "chunk-size-too-large",
        "POST /{n} HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: chunked\r\n\r\n10000000000000000\r\n\r\n0\r\n\r\n{evil}",
    ),
    (
        "chunk-size-with-a-sign",
        "POST /{n} HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: chunked\r\n\r\n+0\r\n\r\n{evil}",
    ),
    (
        "chunk-with-a-bare-line-feed",
        "POST /{n} HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: chunked\r\n\r\n2;\nxx\r\n0\r\n\r\n{evil}",
    ),
    (
        "field-with-a-bare-return",
        "GET /{n} HTTP/1.1\r\nhost: shop.test\r\nx-a: b\rtransfer-encoding: chunked\r\n\r\n{evil}",
    ),
    (
        "field-with-a-bare-line-feed",
        "GET /{n} HTTP/1.1\r\nhost: shop.test\r\nx-a: b\n\n{evil}",
    ),
    (
        "field-with-a-zero",
        "GET /{n} HTTP/1.1\r\nhost: shop.test\r\nx-a: b\0c\r\n\r\n{evil}",
    ),
    (
        "request-line-with-two-versions",
        "GET /{n}/evil HTTP/1.1 HTTP/1.1\r\nhost: shop.test\r\n\r\n{evil}",
    ),
    (
        "expected-and-smuggled",
        "POST /{n} HTTP/1.1\r\nhost: shop.test\r\nexpect: 100-continue\r\ncontent-length: 0\r\n\r\n{evil}",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_smuggled_is_stored_elsewhere() {
    assert_named(SMUGGLED.iter().map(|(name, _)| *name), 26);
    let origin = telling();
    let gateway = Gateway::draft(CACHED).with("origin", &origin).start().await;
    for (name, bytes) in SMUGGLED {
        let evil = format!("GET /{name}/evil HTTP/1.1\r\nhost: evil.test\r\nx-a: ");
        let next =
            format!("GET /{name}/victim HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n");
        let attack = bytes.replace("{n}", name).replace("{evil}", &evil) + &next;
        let mut client = RawClient::connect(gateway.address()).await;
        // It may be closed before everything was sent.
        let _ = client.stream.write_all(attack.as_bytes()).await;
        let _ = client.stream.shutdown().await;
        client.read_to_end().await;
        assert_untouched(&gateway, name).await;
    }
}

/// Request heads by which one address is asked for and another is meant.
const CONFUSED: [(&str, &str); 12] = [
    (
        "absolute-form-of-another-host",
        "GET http://evil.test/{n}/victim HTTP/1.1\r\nhost: shop.test\r\n\r\n",
    ),
    (
        "host-of-another-absolute-form",
        "GET http://shop.test/{n}/victim HTTP/1.1\r\nhost: evil.test\r\n\r\n",
    ),
    (
        "two-hosts",
        "GET /{n}/victim HTTP/1.1\r\nhost: shop.test\r\nhost: evil.test\r\n\r\n",
    ),
    (
        "two-hosts-turned",
        "GET /{n}/victim HTTP/1.1\r\nhost: evil.test\r\nhost: shop.test\r\n\r\n",
    ),
    (
        "host-list",
        "GET /{n}/victim HTTP/1.1\r\nhost: shop.test, evil.test\r\n\r\n",
    ),
    (
        "host-folded",
        "GET /{n}/victim HTTP/1.1\r\nx-a: b\r\n host: evil.test\r\nhost: shop.test\r\n\r\n",
    ),
    (
        "host-with-a-path",
        "GET /victim HTTP/1.1\r\nhost: shop.test/{n}\r\n\r\n",
    ),
    (
        "host-with-a-fragment",
        "GET /{n}/victim HTTP/1.1\r\nhost: shop.test#evil.test\r\n\r\n",
    ),
    ("no-host", "GET /{n}/victim HTTP/1.1\r\n\r\n"),
    ("no-host-of-http-1-0", "GET /{n}/victim HTTP/1.0\r\n\r\n"),
    (
        "target-without-a-slash",
        "GET {n}/victim HTTP/1.1\r\nhost: shop.test\r\n\r\n",
    ),
    (
        "target-with-a-fragment",
        "GET /{n}/victim#evil HTTP/1.1\r\nhost: shop.test\r\n\r\n",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_address_stands_for_another() {
    assert_named(CONFUSED.iter().map(|(name, _)| *name), 12);
    let origin = telling();
    let gateway = Gateway::draft(CACHED).with("origin", &origin).start().await;
    for (name, bytes) in CONFUSED {
        let bytes = bytes.replace("{n}", name);
        let bytes = bytes.replacen("\r\n\r\n", "\r\nconnection: close\r\n\r\n", 1);
        RawClient::exchange(gateway.address(), bytes).await;
        assert_untouched(&gateway, name).await;
    }
}

/// A request over HTTP/2, after `:scheme` and with `{n}` for the path of the case.
type Fields = &'static [(&'static str, &'static str)];
const PSEUDO: [(&str, Fields); 14] = [
    (
        "host-beside-authority",
        &[
            (":method", "GET"),
            (":authority", "shop.test"),
            (":path", "/{n}/victim"),
            ("host", "evil.test"),
        ],
    ),
    (
        "authority-beside-host",
        &[
            (":method", "GET"),
            (":authority", "evil.test"),
            (":path", "/{n}/victim"),
            ("host", "shop.test"),
        ],
    ),
    (
        "authority-twice",
        &[
            (":method", "GET"),
            (":authority", "shop.test"),
            (":authority", "evil.test"),
            (":path", "/{n}/victim"),
        ],
    ),
    (
        "path-twice",
        &[
            (":method", "GET"),
            (":authority", "shop.test"),
            (":path", "/{n}/evil"),
            (":path", "/{n}/victim"),
        ],
    ),
    (
        "method-twice",
        &[
            (":method", "POST"),
            (":method", "GET"),
            (":authority", "shop.test"),
            (":path", "/{n}/victim"),
        ],
    ),
    (
        "path-with-a-line",
        &[
            (":method", "GET"),
            (":authority", "shop.test"),
            (":path", "/{n}/victim HTTP/1.1\r\nhost: evil.test\r\n\r\n"),
        ],
    ),
    (
        "path-with-a-space",
        &[
            (":method", "GET"),
            (":authority", "shop.test"),
            (":path", "/{n}/victim /evil"),
        ],
    ),
    (
        "path-absolute",
        &[
            (":method", "GET"),
            (":authority", "shop.test"),
            (":path", "http://evil.test/{n}/victim"),
        ],
    ),
    (
        "path-without-a-slash",
        &[
            (":method", "GET"),
            (":authority", "shop.test"),
            (":path", "{n}/victim"),
        ],
    ),
    (
        "method-with-a-line",
        &[
            (
                ":method",
                "GET /{n}/evil HTTP/1.1\r\nhost: evil.test\r\n\r\nGET",
            ),
            (":authority", "shop.test"),
            (":path", "/{n}/victim"),
        ],
    ),
    (
        "authority-with-a-line",
        &[
            (":method", "GET"),
            (":authority", "shop.test\r\nx-a: b"),
            (":path", "/{n}/victim"),
        ],
    ),
    (
        "pseudo-after-field",
        &[
            (":method", "GET"),
            ("x-a", "b"),
            (":authority", "evil.test"),
            (":path", "/{n}/victim"),
        ],
    ),
    (
        "transfer-encoding",
        &[
            (":method", "GET"),
            (":authority", "shop.test"),
            (":path", "/{n}/victim"),
            ("transfer-encoding", "chunked"),
        ],
    ),
    (
        "field-with-a-line",
        &[
            (":method", "GET"),
            (":authority", "shop.test"),
            (":path", "/{n}/victim"),
            ("x-a", "b\r\nhost: evil.test"),
        ],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_pseudo_field_stands_for_another() {
    assert_named(PSEUDO.iter().map(|(name, _)| *name), 14);
    let origin = telling();
    let gateway = Gateway::draft(CACHED).with("origin", &origin).start().await;
    for (name, fields) in PSEUDO {
        let values: Vec<(&str, String)> = fields
            .iter()
            .map(|(field, value)| (*field, value.replace("{n}", name)))
            .collect();
        let mut fields: Vec<(&str, &[u8])> = vec![(":scheme", b"http")];
        fields.extend(
            values
                .iter()
                .map(|(field, value)| (*field, value.as_bytes())),
        );
        exchange_h2(gateway.address(), &fields).await;
        assert_untouched(&gateway, name).await;
    }
}

/// Answers of an origin that say more, or less, than one answer.
const ANSWERS: [(&str, &str); 12] = [
    (
        "two-answers",
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 4\r\n\r\ngood{evil}",
    ),
    (
        "answer-after-304",
        "HTTP/1.1 304 Not Modified\r\ncache-control: max-age=60\r\n\r\n{evil}",
    ),
    (
        "answer-after-204",
        "HTTP/1.1 204 No Content\r\ncache-control: max-age=60\r\n\r\n{evil}",
    ),
    (
        "answer-after-the-last-chunk",
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n{evil}",
    ),
    (
        "length-and-chunks",
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n{evil}",
    ),
    (
        "two-lengths",
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 4\r\ncontent-length: 9\r\n\r\ngood{evil}",
    ),
    (
        "length-too-short",
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 2\r\n\r\ngood{evil}",
    ),
    (
        "unknown-coding",
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: own\r\ncontent-length: 4\r\n\r\ngood{evil}",
    ),
    (
        "field-with-a-bare-return",
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\nx-a: b\rset-cookie: evil\r\ncontent-length: 4\r\n\r\ngood{evil}",
    ),
    (
        "field-with-a-zero",
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\nx-a: b\0c\r\ncontent-length: 4\r\n\r\ngood{evil}",
    ),
    (
        "bad-chunk",
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n4\r\ngood\r\nzz\r\n{evil}",
    ),
    (
        "interim-then-two",
        "HTTP/1.1 103 Early Hints\r\nlink: </evil>\r\n\r\nHTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 4\r\n\r\ngood{evil}",
    ),
];

const EVIL: &str =
    "HTTP/1.1 200 OK\r\ncache-control: max-age=3600\r\ncontent-length: 4\r\n\r\nevil";

/// Says to `/NAME/first` what the table says, and to all else what was asked for.
async fn answer(mut stream: TcpStream, first: String) {
    let mut read = Vec::new();
    loop {
        let Some(end) = read.windows(4).position(|it| it == b"\r\n\r\n") else {
            match stream.read_buf(&mut read).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            }
        };
        let head: Vec<u8> = read.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head);
        let target = head.split(' ').nth(1).unwrap_or_default();
        let answer = if target.ends_with("/first") {
            first.clone()
        } else {
            let body = format!("GET shop.test{target}");
            let length = body.len();
            format!(
                "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: {length}\r\n\r\n{body}"
            )
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_stored_for_a_request_it_is_not_of() {
    assert_named(ANSWERS.iter().map(|(name, _)| *name), 12);
    for (name, bytes) in ANSWERS {
        let first = bytes.replace("{evil}", EVIL);
        let origin = RawOrigin::serving(move |stream, _| answer(stream, first.clone()));
        let gateway = Gateway::draft(CACHED).with("origin", &origin).start().await;
        for protocol in [Protocol::Http1, Protocol::H2] {
            let client = gateway.client(protocol);
            // It may well be refused.
            let first = client.try_send(get(&format!("/{name}/first"))).await;
            if let Ok(first) = first {
                let body = String::from_utf8_lossy(&first.body).into_owned();
                assert!(!body.contains("HTTP/1.1 200"), "{name}: {body}");
                assert!(first.header("set-cookie").is_none(), "{name}: {first:?}");
            }
        }
        assert_untouched(&gateway, name).await;
    }
}
