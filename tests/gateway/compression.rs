//! `compression`: what is compressed, what is left alone, and that a client gets every byte in time either way.

use std::io::Read;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::HeaderMap;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, client_async};

use crate::harness::*;

const ENCODINGS: [&str; 3] = ["zstd", "br", "gzip"];

fn decoder<'e>(encoding: &str, encoded: &'e [u8]) -> Box<dyn Read + 'e> {
    match encoding {
        "zstd" => Box::new(zstd::stream::read::Decoder::new(encoded).unwrap()),
        "br" => Box::new(brotli::Decompressor::new(encoded, 4096)),
        "gzip" => Box::new(flate2::read::GzDecoder::new(encoded)),
        other => panic!("{other}"),
    }
}

fn decode(encoding: &str, encoded: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    decoder(encoding, encoded)
        .read_to_end(&mut decoded)
        .unwrap();
    decoded
}

/// What can be decoded of a beginning.
fn decode_so_far(encoding: &str, encoded: &[u8]) -> String {
    let (mut decoded, mut chunk) = (Vec::new(), [0; 1024]);
    let mut decoder = decoder(encoding, encoded);
    while let Ok(count @ 1..) = decoder.read(&mut chunk) {
        decoded.extend_from_slice(&chunk[..count]);
    }
    String::from_utf8(decoded).unwrap()
}

fn document() -> String {
    let lines = (0..3_000).map(|n| format!("{{\"id\": {n}, \"name\": \"article {}\"}}\n", n * n));
    lines.collect()
}

const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

async fn gateway(origin: impl std::fmt::Display, protocol: Protocol, policy: &str) -> Gateway {
    Gateway::draft(
        r#"
        [upstreams.shop]
        endpoints = ["$origin"]
        protocol = "$protocol"

        [routes.all]
        match = { path = "/{*rest}" }
        upstream = "shop"
        policies.compression = $policy
        "#,
    )
    .with("origin", origin)
    .with("protocol", protocol)
    .with("policy", policy)
    .start()
    .await
}

#[tokio::test]
async fn every_coding_over_each_pair() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |seen| {
            let headers = [
                JSON,
                ("etag", "\"v1\""),
                ("vary", "accept-language"),
                ("accept-ranges", "bytes"),
                ("content-md5", "x"),
                ("digest", "x"),
                ("content-digest", "x"),
                ("repr-digest", "x"),
                ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ];
            match &*seen.target {
                "/known" => reply(200, &headers, full(document())),
                _ => {
                    let (chunks, body) = channel();
                    tokio::spawn(async move {
                        for chunk in document().as_bytes().chunks(10_000) {
                            chunks.send(Bytes::copy_from_slice(chunk)).await;
                        }
                    });
                    reply(200, &headers, body)
                }
            }
        });
        let gateway = gateway(&shop, pair.origin, "{}").await;
        let client = gateway.client(pair.client);
        for encoding in ENCODINGS {
            for target in ["/known", "/unknown"] {
                let ask = get(target).header("accept-encoding", encoding);
                let answer = client.send(ask).await;
                assert_eq!(answer.header("content-encoding"), Some(encoding));
                assert!(answer.body.len() < document().len() / 2);
                assert!(decode(encoding, &answer.body) == document().as_bytes());
                assert_eq!(answer.header("etag"), Some("W/\"v1\""));
                let vary: Vec<_> = answer.headers.get_all("vary").iter().collect();
                assert_eq!(vary, ["accept-language, accept-encoding"]);
                for gone in [
                    "content-length",
                    "accept-ranges",
                    "content-md5",
                    "digest",
                    "content-digest",
                    "repr-digest",
                ] {
                    assert_eq!(answer.header(gone), None, "{gone}");
                }
                assert_eq!(answer.header("content-type"), Some(JSON.1));
                assert!(answer.header("last-modified").is_some());
                assert!(answer.header("x-request-id").is_some());
                // The log has what went over the wire.
                let line = gateway.log_of(&answer).await;
                assert_eq!(line["bytes_out"], answer.body.len());
            }
        }
        // The upstream sees what the client accepts.
        assert_eq!(shop.seen()[0].header("accept-encoding"), Some("zstd"));
        let plain = client.send(get("/known")).await;
        assert_eq!(plain.text(), document());
        assert_eq!(plain.header("etag"), Some("\"v1\""));
        assert_eq!(plain.header("accept-ranges"), Some("bytes"));
        let vary: Vec<_> = plain.headers.get_all("vary").iter().collect();
        assert_eq!(vary, ["accept-language, accept-encoding"]);
    })
    .await;
}

/// What an origin answers, as far as it matters here.
struct Case {
    name: &'static str,
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    asked: &'static [(&'static str, &'static str)],
    body: String,
    is_compressed: bool,
    varies: bool,
}

impl Case {
    fn new(name: &'static str, is_compressed: bool, varies: bool) -> Case {
        Case {
            name,
            status: 200,
            headers: &[("content-type", "text/plain")],
            asked: &[],
            body: "x".repeat(2_000),
            is_compressed,
            varies,
        }
    }

    fn of(self, headers: &'static [(&'static str, &'static str)]) -> Case {
        Case { headers, ..self }
    }

    fn asked(self, asked: &'static [(&'static str, &'static str)]) -> Case {
        Case { asked, ..self }
    }
}

fn cases() -> Vec<Case> {
    let (no, yes) = (
        |name| Case::new(name, false, false),
        |name| Case::new(name, true, true),
    );
    vec![
        yes("text"),
        yes("json").of(&[("content-type", "application/problem+json")]),
        yes("a type in capitals").of(&[("content-type", "TEXT/HTML")]),
        yes("cacheable").of(&[
            ("content-type", "text/css"),
            ("cache-control", "public, max-age=60"),
        ]),
        yes("called identity").of(&[
            ("content-type", "text/css"),
            ("content-encoding", "identity"),
        ]),
        yes("a weak tag stays").of(&[("content-type", "text/css"), ("etag", "W/\"a\"")]),
        Case {
            status: 201,
            ..yes("created")
        },
        no("a picture").of(&[("content-type", "image/png")]),
        no("no type").of(&[]),
        no("events").of(&[("content-type", "text/event-stream; charset=utf-8")]),
        no("grpc").of(&[("content-type", "application/grpc+proto")]),
        no("grpc-web").of(&[("content-type", "application/grpc-web-text")]),
        no("encoded already").of(&[("content-type", "text/css"), ("content-encoding", "gzip")]),
        no("not to be transformed").of(&[
            ("content-type", "text/css"),
            ("cache-control", "max-age=1, No-Transform"),
        ]),
        no("a part of something").of(&[
            ("content-type", "text/css"),
            ("content-range", "bytes 0-1999/5000"),
        ]),
        Case {
            status: 206,
            ..no("a part")
        },
        Case {
            status: 404,
            ..no("not found")
        },
        Case {
            status: 500,
            ..no("a failure")
        },
        Case {
            body: "x".repeat(1_023),
            ..no("short")
        },
        Case {
            body: "x".repeat(1_024),
            ..yes("just long enough")
        },
        Case {
            body: String::new(),
            ..no("nothing").of(&[("content-type", "text/plain"), ("content-length", "0")])
        },
        // An origin of HTTP/2 says it by the end of the stream alone.
        Case {
            body: String::new(),
            ..no("nothing, not even a length")
        },
        Case::new("the client forbids it", false, true).asked(&[("cache-control", "no-transform")]),
        Case::new("refused by weight", false, true)
            .asked(&[("accept-encoding", "gzip;q=0, identity")]),
        Case::new("not understood", false, true).asked(&[("accept-encoding", "compress")]),
        Case::new("nothing accepted", false, true).asked(&[("accept-encoding", "identity;q=0")]),
        Case::new("everything varies", true, false)
            .of(&[("content-type", "text/css"), ("vary", "*")]),
    ]
}

#[tokio::test]
async fn what_is_compressed_and_what_is_left_alone() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |seen| {
            let number: usize = seen.target[1..].parse().unwrap();
            let case = cases().remove(number);
            reply(case.status, case.headers, full(case.body))
        });
        let gateway = gateway(&shop, pair.origin, "{}").await;
        let client = gateway.client(pair.client);
        for (number, case) in cases().into_iter().enumerate() {
            let mut ask = get(&format!("/{number}"));
            if !case
                .asked
                .iter()
                .any(|(name, _)| *name == "accept-encoding")
            {
                ask = ask.header("accept-encoding", "gzip");
            }
            for (name, value) in case.asked {
                ask = ask.header(name, value);
            }
            let answer = client.send(ask).await;
            let name = case.name;
            assert_eq!(answer.status, case.status, "{name}");
            let coding = answer.header("content-encoding");
            assert_eq!(
                coding == Some("gzip") && !case.headers.contains(&("content-encoding", "gzip")),
                case.is_compressed,
                "{name}: {coding:?}"
            );
            let vary = answer.headers.get_all("vary").iter();
            let varies = vary.filter(|value| *value == "accept-encoding").count();
            // Over HTTP/2 it shows too late whether there is a body at all.
            if !case.body.is_empty() {
                assert_eq!(varies, usize::from(case.varies), "{name}");
            }
            if case.is_compressed {
                assert_eq!(decode("gzip", &answer.body), case.body.as_bytes(), "{name}");
            } else {
                assert_eq!(answer.text(), case.body, "{name}");
                let told = answer.header("content-length").unwrap_or("0");
                assert_eq!(told, case.body.len().to_string(), "{name}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn options_decide() {
    let shop = Origin::http1(|seen| {
        let (_, query) = seen.target.split_once('?').unwrap();
        let (media, length) = query.split_once('&').unwrap();
        reply(
            200,
            &[("content-type", media)],
            full("x".repeat(length.parse().unwrap())),
        )
    });
    let gateway = Gateway::draft(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        policies.compression = { encodings = ["gzip", "br"], min_size = 100, types = ["application/pdf", "font/*", "+json"], levels = { gzip = 9, br = 1 } }

        [upstreams.shop]
        endpoints = ["$shop"]

        [routes.on]
        match = { path = "/on" }
        upstream = "shop"

        [routes.off]
        match = { path = "/off" }
        upstream = "shop"
        policies.compression = "off"
        "#,
    )
    .with("shop", &shop)
    .start()
    .await;
    let client = gateway.http1();
    for (target, accepted, expected) in [
        ("/on?application/pdf&100", "br, gzip", Some("gzip")),
        ("/on?application/pdf&100", "br;q=1, gzip;q=0.9", Some("br")),
        ("/on?application/pdf&100", "zstd", None),
        ("/on?application/pdf&99", "gzip", None),
        ("/on?font/woff2&100", "gzip", Some("gzip")),
        ("/on?a/b+json&100", "gzip", Some("gzip")),
        ("/on?text/plain&100", "gzip", None),
        ("/off?application/pdf&100", "gzip", None),
    ] {
        let answer = client
            .send(get(target).header("accept-encoding", accepted))
            .await;
        assert_eq!(
            answer.header("content-encoding"),
            expected,
            "{target} {accepted}"
        );
        let is_on =
            target.starts_with("/on") && !target.contains("plain") && !target.contains("99");
        assert_eq!(answer.header("vary").is_some(), is_on, "{target}");
    }
}

/// There are caches that read only the first line.
#[tokio::test]
async fn all_that_a_response_varies_on_is_in_one_line() {
    let gateway = Gateway::draft(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        policies.compression = {}
        policies.cors = { origins = ["https://app.example.com"] }

        [routes.long]
        match = { path = "/long" }
        respond = { body = "$long" }
        "#,
    )
    .with("long", "long ".repeat(4_000))
    .start()
    .await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let ask = get("/long").header("accept-encoding", "gzip");
        let answer = gateway.client(protocol).send(ask).await;
        assert_eq!(answer.header("content-encoding"), Some("gzip"));
        let vary: Vec<_> = answer.headers.get_all("vary").iter().collect();
        assert_eq!(vary, ["Origin, accept-encoding"]);
    }
}

#[tokio::test]
async fn head_is_as_get() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |seen| {
            let body = if seen.method == "HEAD" {
                String::new()
            } else {
                document()
            };
            let length = document().len().to_string();
            reply(
                200,
                &[JSON, ("etag", "\"v1\""), ("content-length", &length)],
                full(body),
            )
        });
        let gateway = gateway(&shop, pair.origin, "{}").await;
        let client = gateway.client(pair.client);
        let ask = || head("/").header("accept-encoding", "gzip");
        let answer = client.send(ask()).await;
        assert_eq!(answer.header("content-encoding"), Some("gzip"));
        assert_eq!(answer.header("etag"), Some("W/\"v1\""));
        assert_eq!(answer.header("vary"), Some("accept-encoding"));
        assert_eq!(answer.header("content-length"), None);
        assert!(answer.body.is_empty());
        // The connection is as good as before.
        assert_eq!(client.send(ask()).await.status, 200);
        let plain = client.send(head("/")).await;
        assert_eq!(
            plain.header("content-length"),
            Some(&*document().len().to_string())
        );
    })
    .await;
}

#[tokio::test]
async fn conditions_work_with_the_tags_that_clients_have() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |seen| {
            let tag = ("etag", "\"v1\"");
            // RFC 9110 section 13.1: If-None-Match compares weakly, If-Match strongly.
            if seen
                .header("if-none-match")
                .is_some_and(|tags| tags.contains("\"v1\""))
            {
                return reply(304, &[tag], empty());
            }
            match seen.header("if-match") {
                None => reply(200, &[JSON, tag], full(document())),
                Some(tags) if tags.split(", ").any(|it| it == "\"v1\"") => status(204),
                Some(_) => status(412),
            }
        });
        let gateway = gateway(&shop, pair.origin, "{}").await;
        let client = gateway.client(pair.client);
        let ask = || get("/").header("accept-encoding", "br");
        let tag = client.send(ask()).await.header("etag").unwrap().to_owned();
        let fresh = client
            .send(ask().header("if-none-match", &format!("\"v0\", {tag}")))
            .await;
        assert_eq!((fresh.status, fresh.header("etag")), (304, Some(&*tag)));
        assert_eq!(fresh.header("vary"), Some("accept-encoding"));
        // A client that has the uncompressed one.
        let fresh = client
            .send(get("/").header("if-none-match", "\"v1\""))
            .await;
        assert_eq!((fresh.status, fresh.header("etag")), (304, Some("\"v1\"")));
        let put = |tags: &str| request("PUT", "/").header("if-match", tags);
        assert_eq!(client.send(put(&tag)).await.status, 204);
        let tricky = format!("\"v,W/\", {tag}");
        assert_eq!(client.send(put(&tricky)).await.status, 204);
        let seen = shop.seen().pop().unwrap();
        assert_eq!(seen.header("if-match"), Some("\"v,W/\", \"v1\""));
        assert_eq!(client.send(put("W/\"v0\"")).await.status, 412);
    })
    .await;
}

#[tokio::test]
async fn a_stream_arrives_as_it_is_made() {
    over_each_pair(|pair| async move {
        for encoding in ENCODINGS {
            let (chunks, body) = channel();
            let body = std::sync::Mutex::new(Some(body));
            let shop = Origin::speaking(pair.origin, move |_| {
                let body = body.lock().unwrap().take().unwrap();
                reply(200, &[("content-type", "application/x-ndjson")], body)
            });
            let gateway = gateway(&shop, pair.origin, "{}").await;
            let ask = get("/").header("accept-encoding", encoding);
            let mut incoming = gateway.client(pair.client).open(ask).await;
            assert_eq!(incoming.header("content-encoding"), Some(encoding));
            let (mut sent, mut encoded) = (String::new(), Vec::new());
            // The next line is made only when the one before has arrived: what is held back is never seen.
            for n in 0..20 {
                let line = format!("{{\"tick\": {n}}}\n");
                sent.push_str(&line);
                chunks.send(line).await;
                while decode_so_far(encoding, &encoded) != sent {
                    encoded.extend_from_slice(&incoming.chunk().await.expect("more to come"));
                }
            }
            drop(chunks);
            while let Some(chunk) = incoming.chunk().await {
                encoded.extend_from_slice(&chunk);
            }
            assert_eq!(decode(encoding, &encoded), sent.as_bytes());
        }
    })
    .await;
}

/// The most memory that this process has had, in bytes.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib = line.split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_does_not_grow_with_a_compressed_body() {
    const LENGTH: usize = 200_000_000;
    // Lines that repeat often enough to be quick and seldom enough to be work.
    let text: Bytes = document().repeat(5).into();
    let whole = text.clone();
    let shop = Origin::http1(move |_| {
        let (chunks, body) = channel();
        let text = text.clone();
        tokio::spawn(async move {
            let mut left = LENGTH;
            while left > 0 {
                let part = text.slice(..text.len().min(left));
                left -= part.len();
                if !chunks.send(part).await {
                    return;
                }
            }
        });
        reply(200, &[JSON], body)
    });
    let gateway = gateway(&shop, Protocol::Http1, "{}").await;
    let ask = get("/").header("accept-encoding", "zstd");
    let mut incoming = gateway.http1().open(ask).await;
    let before = peak_memory();
    let mut decoder = zstd::stream::write::Decoder::new(Compare { whole, at: 0 }).unwrap();
    let reading = async {
        while let Some(chunk) = incoming.try_chunk().await.unwrap() {
            std::io::Write::write_all(&mut decoder, &chunk).unwrap();
        }
    };
    // Its own patience: a debug build on a busy machine is slow.
    tokio::time::timeout(8 * PATIENCE, reading)
        .await
        .expect("in time");
    std::io::Write::flush(&mut decoder).unwrap();
    assert_eq!(decoder.into_inner().at, LENGTH);
    let grown = peak_memory() - before;
    assert!(grown < 32 << 20, "{grown} bytes more");
}

/// Compares what is written to it with a text that repeats.
struct Compare {
    whole: Bytes,
    at: usize,
}

impl std::io::Write for Compare {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let rest = &self.whole[self.at % self.whole.len()..];
        let count = rest.len().min(bytes.len());
        assert!(
            rest[..count] == bytes[..count],
            "other bytes at {}",
            self.at
        );
        self.at += count;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn trailers_end_a_compressed_body_too() {
    for client in [Protocol::Http1, Protocol::H2] {
        let shop = Origin::speaking(Protocol::H2, |_| {
            let (chunks, body) = channel();
            tokio::spawn(async move {
                chunks.send(document()).await;
                let mut trailers = HeaderMap::new();
                trailers.insert("x-sum", 7.into());
                chunks.trailers(trailers).await;
            });
            reply(200, &[JSON], body)
        });
        let gateway = gateway(&shop, Protocol::H2, "{}").await;
        let client = gateway.client(client);
        for encoding in ENCODINGS {
            let answer = client
                .send(get("/").header("accept-encoding", encoding))
                .await;
            assert!(decode(encoding, &answer.body) == document().as_bytes());
            assert!(answer.trailers.is_empty());
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_made_whole() {
    let shop = RawOrigin::serving(|mut stream, _| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut head = [0; 4096];
        let count = stream.read(&mut head).await.unwrap();
        assert!(head[..count].ends_with(b"\r\n\r\n"));
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/css\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
        stream.write_all(answer).await.unwrap();
    });
    let gateway = gateway(&shop, Protocol::Http1, "{}").await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let ask = get("/").header("accept-encoding", "gzip");
        let mut incoming = gateway.client(protocol).open(ask).await;
        assert_eq!(incoming.header("content-encoding"), Some("gzip"));
        let mut end = Ok(Some(Bytes::new()));
        while let Ok(Some(_)) = end {
            end = within("the end", incoming.try_chunk()).await;
        }
        assert!(end.is_err(), "over {protocol:?}");
    }
}

#[tokio::test]
async fn clients_of_http_1_0_get_a_body_that_ends_with_the_connection() {
    let shop = Origin::http1(|_| reply(200, &[JSON], full(document())));
    let gateway = gateway(&shop, Protocol::Http1, "{}").await;
    let mut client = RawClient::connect(gateway.address()).await;
    client
        .send("GET / HTTP/1.0\r\nhost: shop.test\r\naccept-encoding: gzip\r\n\r\n")
        .await;
    let head = client.read_until("\r\n\r\n").await.to_lowercase();
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert!(
        !head.contains("transfer-encoding") && !head.contains("content-length"),
        "{head}"
    );
    let mut body = Vec::new();
    let reading = tokio::io::AsyncReadExt::read_to_end(&mut client.stream, &mut body);
    within("the end", reading).await.unwrap();
    assert!(decode("gzip", &body) == document().as_bytes());
}

#[tokio::test]
async fn replies_of_the_gateway_itself_are_compressed_too() {
    let gateway = Gateway::draft(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        policies.compression = {}

        [routes.long]
        match = { path = "/long" }
        respond = { body = "$long" }

        [routes.short]
        match = { path = "/short" }
        respond = { body = "short" }

        [routes.none]
        match = { path = "/none" }
        respond = { status = 204 }
        "#,
    )
    .with("long", "long ".repeat(40_000))
    .start()
    .await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        for encoding in ENCODINGS {
            let ask = get("/long").header("accept-encoding", encoding);
            let answer = client.send(ask).await;
            assert_eq!(answer.header("content-encoding"), Some(encoding));
            let length = answer.body.len().to_string();
            assert_eq!(answer.header("content-length"), Some(&*length));
            assert_eq!(
                decode(encoding, &answer.body),
                "long ".repeat(40_000).as_bytes()
            );
            let ask = head("/long").header("accept-encoding", encoding);
            assert_eq!(
                client.send(ask).await.header("content-length"),
                Some(&*length)
            );
        }
        for (target, status, body) in [("/short", 200, "short"), ("/none", 204, "")] {
            let answer = client
                .send(get(target).header("accept-encoding", "gzip"))
                .await;
            assert_eq!((answer.status, &*answer.text()), (status, body));
            assert_eq!(answer.header("content-encoding"), None);
        }
        let missing = client
            .send(get("/missing").header("accept-encoding", "gzip"))
            .await;
        missing.assert_problem(404, "route_not_found");
    }
}

#[tokio::test]
async fn websockets_are_left_alone() {
    let echo = RawOrigin::serving(|stream, _| async move {
        let mut socket = accept_async(stream).await.expect("a WebSocket");
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() && socket.send(message).await.is_err() {
                return;
            }
        }
    });
    let gateway = gateway(&echo, Protocol::Http1, "{}").await;
    let stream = tokio::net::TcpStream::connect(gateway.address())
        .await
        .unwrap();
    let connecting = client_async("ws://shop.test/chat", stream);
    let (mut socket, _) = within("the handshake", connecting).await.unwrap();
    let message = Message::text("hello ".repeat(10_000));
    socket.send(message.clone()).await.unwrap();
    let back = within("the echo", socket.next()).await.unwrap().unwrap();
    assert_eq!(back, message);
}
