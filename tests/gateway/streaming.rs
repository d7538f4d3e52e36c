//! What goes on for long or is large: WebSockets, server-sent events and bodies that nobody could hold in memory.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use crate::harness::*;

/// Says everything back, and closes when the client does.
fn echo() -> RawOrigin {
    RawOrigin::serving(|stream, _| async move {
        let mut socket = accept_async(stream).await.expect("a WebSocket");
        while let Some(Ok(message)) = socket.next().await {
            if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                return;
            }
        }
    })
}

async fn gateway(origin: impl std::fmt::Display, upstream: &str, route: &str) -> Gateway {
    Gateway::draft(
        r#"
        [upstreams.live]
        endpoints = ["$origin"]
        $upstream

        [routes.live]
        match = { path = "/{*rest}" }
        upstream = "live"
        $route
        "#,
    )
    .with("origin", origin)
    .with("upstream", upstream)
    .with("route", route)
    .start()
    .await
}

async fn websocket(gateway: &Gateway) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let connecting = client_async("ws://shop.test/chat?room=1", stream);
    let (socket, response) = within("the handshake", connecting).await.unwrap();
    assert_eq!(response.status(), 101);
    assert!(response.headers().contains_key("x-request-id"));
    socket
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> Message {
    let message = within("a message", socket.next()).await;
    message.expect("the socket is open").expect("a message")
}

#[tokio::test]
async fn websockets_pass() {
    let origin = echo();
    let gateway = gateway(&origin, "", "").await;
    let mut socket = websocket(&gateway).await;
    for message in [
        Message::text("hello"),
        Message::binary(vec![0, 255, 1]),
        Message::text("x".repeat(200_000)),
    ] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(next(&mut socket).await, message);
    }
    let goodbye = CloseFrame {
        code: CloseCode::Normal,
        reason: "bye".into(),
    };
    socket.close(Some(goodbye.clone())).await.unwrap();
    assert_eq!(next(&mut socket).await, Message::Close(Some(goodbye)));
    let line = gateway
        .log_where("the socket", |line| line["path"] == "/chat")
        .await;
    assert_eq!(
        (&line["status"], &line["route"]),
        (&101.into(), &"live".into())
    );
}

#[tokio::test]
async fn a_websocket_outlives_the_timeout_of_its_route() {
    let origin = echo();
    let gateway = gateway(&origin, "", r#"timeout = "300ms""#).await;
    let mut socket = websocket(&gateway).await;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(900) {
        socket.send(Message::text("still here")).await.unwrap();
        assert_eq!(next(&mut socket).await, Message::text("still here"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_silent_websocket_is_closed() {
    let origin = echo();
    let gateway = gateway(&origin, r#"timeouts = { idle = "300ms" }"#, "").await;
    let mut socket = websocket(&gateway).await;
    socket.send(Message::text("hello")).await.unwrap();
    next(&mut socket).await;
    let begin = Instant::now();
    let end = within("the end", socket.next()).await;
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
    let took = begin.elapsed().as_millis();
    assert!((250..900).contains(&took), "{took} ms");
}

#[tokio::test]
async fn an_origin_that_wants_no_websocket_says_so() {
    let shop = Origin::http1(|seen| {
        assert_eq!(seen.header("upgrade"), Some("websocket"));
        reply(403, &[], full("no sockets here"))
    });
    let gateway = gateway(&shop, "", "").await;
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let refused = within("an answer", client_async("ws://shop.test/chat", stream)).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("403"), "{refused}");
}

#[tokio::test]
async fn events_arrive_one_by_one_for_longer_than_any_timeout_but_the_idle_one() {
    over_each_pair(|pair| async move {
        let (chunks, body) = channel();
        let body = std::sync::Mutex::new(Some(body));
        let shop = Origin::speaking(pair.origin, move |_| {
            let body = body.lock().unwrap().take().unwrap();
            reply(200, &[("content-type", "text/event-stream")], body)
        });
        let upstream = format!(
            "protocol = \"{}\"\ntimeouts = {{ first_byte = \"300ms\", idle = \"300ms\" }}",
            pair.origin
        );
        let gateway = gateway(&shop, &upstream, "").await;
        let client = gateway.client(pair.client);
        let mut incoming = client.open(get("/events")).await;
        assert_eq!(incoming.header("content-type"), Some("text/event-stream"));
        for n in 0..5 {
            let event = format!("id: {n}\ndata: {{}}\n\n");
            chunks.send(event.clone()).await;
            assert_eq!(incoming.chunk().await.as_deref(), Some(event.as_bytes()));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // When the client goes, so does the stream behind the gateway.
        drop((incoming, client));
        let gone = async {
            // What an origin of HTTP/1.1 writes is what tells it that nobody is there.
            while chunks.send(": are you there\n\n").await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within("the origin notices", gone).await;
    })
    .await;
}

/// Bytes that repeat only after a length that no buffer has.
fn pattern() -> Bytes {
    let mut state = 7u32;
    let next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(1_000_003).collect()
}

/// Compares a body with the pattern as it comes.
struct Check {
    pattern: Bytes,
    length: usize,
}

impl Check {
    fn eat(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let rest = &self.pattern[self.length % self.pattern.len()..];
            let (now, later) = bytes.split_at(bytes.len().min(rest.len()));
            assert!(*now == rest[..now.len()], "other bytes at {}", self.length);
            self.length += now.len();
            bytes = later;
        }
    }
}

const REPEATS: usize = 68;

/// Writes 68 patterns, which are more than 64 MiB.
fn large() -> Body {
    let (chunks, body) = channel();
    tokio::spawn(async move {
        let pattern = pattern();
        for _ in 0..REPEATS {
            for start in (0..pattern.len()).step_by(50_000) {
                let end = (start + 50_000).min(pattern.len());
                if !chunks.send(pattern.slice(start..end)).await {
                    return;
                }
            }
        }
    });
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_come_down() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| reply(200, &[], large()));
        let upstream = format!("protocol = \"{}\"", pair.origin);
        let gateway = gateway(&shop, &upstream, "").await;
        let client = gateway.client(pair.client);
        let mut incoming = client.open(get("/large")).await;
        let mut check = Check {
            pattern: pattern(),
            length: 0,
        };
        while let Some(chunk) = incoming.chunk().await {
            check.eat(&chunk);
        }
        assert_eq!(check.length, REPEATS * 1_000_003);
        let line = gateway
            .log_where("it", |line| line["path"] == "/large")
            .await;
        assert_eq!(line["bytes_out"], check.length);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_go_up() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("thanks"));
        let upstream = format!("protocol = \"{}\"", pair.origin);
        let gateway = gateway(&shop, &upstream, "").await;
        let ask = request("PUT", "/large").body(large());
        let client = gateway.client(pair.client);
        // Its own patience: a debug build on a busy machine is slow.
        let sending = tokio::time::timeout(4 * PATIENCE, client.try_send(ask));
        let answer = sending.await.expect("in time").expect("an answer");
        assert_eq!(answer.text(), "thanks");
        let mut check = Check {
            pattern: pattern(),
            length: 0,
        };
        check.eat(&shop.only().body);
        assert_eq!(check.length, REPEATS * 1_000_003);
        assert_eq!(gateway.log_of(&answer).await["bytes_in"], check.length);
    })
    .await;
}

#[tokio::test]
async fn an_upload_goes_up_as_it_comes() {
    // The origin answers by what it has read so far, before the client has said everything.
    let origin = RawOrigin::serving(|stream, _| async move {
        use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while !line.contains("first") {
            line.clear();
            if stream.read_line(&mut line).await.is_err() {
                return;
            }
        }
        let header = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\ngot\r\n";
        stream.write_all(header).await.unwrap();
        while !line.contains("second") {
            line.clear();
            if stream.read_line(&mut line).await.is_err() {
                return;
            }
        }
        stream.write_all(b"4\r\nboth\r\n0\r\n\r\n").await.unwrap();
    });
    for protocol in [Protocol::Http1, Protocol::H2] {
        let gateway = gateway(&origin, "", "").await;
        let (chunks, body) = channel();
        chunks.send("first\r\n").await;
        let client = gateway.client(protocol);
        let mut incoming = client.open(request("POST", "/both").body(body)).await;
        assert_eq!(incoming.chunk().await.as_deref(), Some(&b"got"[..]));
        chunks.send("second\r\n").await;
        drop(chunks);
        assert_eq!(incoming.chunk().await.as_deref(), Some(&b"both"[..]));
        assert_eq!(incoming.chunk().await, None, "over {protocol:?}");
    }
}

/// The answer may be there before the engine has passed on that the request is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_switches_at_once_is_not_cut_off() {
    let origin = RawOrigin::serving(|mut stream, _| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        stream.write_all(switch.as_bytes()).await.unwrap();
        stream.write_all(b"\x81\x05first").await.unwrap();
        // Whatever the client sends comes back.
        let mut bytes = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut bytes).await {
            stream.write_all(&bytes[..count]).await.unwrap();
        }
    });
    let gateway = gateway(&origin, "", "").await;
    for _ in 0..50 {
        let mut client = RawClient::connect(gateway.address()).await;
        client
            .send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            .await;
        client.read_until("\x05first").await;
        client.send("\x01back").await;
        client.read_until("\x01back").await;
    }
}
