//! A drain loses nothing: what is asked for while the news travels is served, and long streams end with a word.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use crate::harness::frames::{FrameClient, ask, code, flag, kind, pong};
use crate::harness::*;

const SHOP: &str = r#"
    [gateway]
    shutdown_grace = "$grace"
    $gateway

    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"

    [routes.ping]
    match = { path = "/ping" }
    respond = { body = "pong" }

    [routes.all]
    match = { path = "/{*rest}" }
    upstream = "shop"
"#;

async fn gateway(shop: impl std::fmt::Display, grace: &str) -> Gateway {
    draft(shop, grace, Protocol::Http1, "").start().await
}

fn draft(shop: impl std::fmt::Display, grace: &str, protocol: Protocol, more: &str) -> Draft {
    Gateway::draft(SHOP)
        .with("shop", shop)
        .with("grace", grace)
        .with("protocol", protocol)
        .with("gateway", more)
}

async fn eventually_refused(address: SocketAddr) {
    eventually("new connections are refused", async || {
        TcpStream::connect(address).await.err()
    })
    .await;
}

const ASK: &str = "GET /ping HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_may_ask_once_more() {
    let gateway = gateway("127.0.0.1:1", "10s").await;
    let address = gateway.address();
    let mut kept = RawClient::connect(address).await;
    kept.send(ASK).await;
    assert!(!kept.read_until("pong").await.contains("connection: close"));
    let mut silent = RawClient::connect(address).await;
    let stopping = tokio::spawn(gateway.stop());
    eventually_refused(address).await;
    for client in [&mut kept, &mut silent] {
        client.send(ASK).await;
        let answer = client.read_to_end().await.to_lowercase();
        assert!(answer.starts_with("http/1.1 200 "), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert!(answer.ends_with("pong"), "{answer}");
    }
    // With the last answer it is over.
    assert!(within("the end", stopping).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_nothing_is_closed_after_half_of_a_short_grace() {
    let gateway = gateway("127.0.0.1:1", "1s").await;
    let mut kept = RawClient::connect(gateway.address()).await;
    kept.send(ASK).await;
    kept.read_until("pong").await;
    let mut silent = RawClient::connect(gateway.address()).await;
    let begin = Instant::now();
    assert!(gateway.stop().await, "nothing was in flight");
    let took = begin.elapsed().as_millis();
    assert!((490..950).contains(&took), "{took} ms");
    assert_eq!(kept.read_to_end().await, "");
    assert_eq!(silent.read_to_end().await, "");
}

/// A header that has begun to come is heard out, however long after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_request_is_heard_out() {
    let gateway = gateway("127.0.0.1:1", "2s").await;
    let address = gateway.address();
    let mut client = RawClient::connect(address).await;
    client.send("GET /ping HTTP/1.1\r\n").await;
    let mut idle = RawClient::connect(address).await;
    let stopping = tokio::spawn(gateway.stop());
    assert_eq!(idle.read_to_end().await, "");
    client.send("host: a\r\n\r\n").await;
    let answer = client.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(stopping.await.unwrap());
}

/// The kernel accepts before the gateway does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_to_connect_are_served() {
    let gateway = gateway("127.0.0.1:1", "10s").await;
    let address = gateway.address();
    let connect = || std::net::TcpStream::connect(address).unwrap();
    let last: Vec<_> = (0..100).map(|_| connect()).collect();
    let stopping = tokio::spawn(gateway.stop());
    eventually_refused(address).await;
    for stream in last {
        stream.set_nonblocking(true).unwrap();
        let stream = TcpStream::from_std(stream).unwrap();
        let mut client = RawClient { stream };
        client.send(ASK).await;
        let answer = client.read_to_end().await;
        assert!(answer.ends_with("pong"), "{answer:?}");
    }
    assert!(stopping.await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_balancers_are_given_time() {
    let toml = draft(
        "127.0.0.1:1",
        "10s",
        Protocol::Http1,
        "drain_delay = \"1s\"",
    );
    let gateway = toml.start().await;
    let (address, admin) = (gateway.address(), gateway.admin_client());
    let begin = Instant::now();
    let stopping = tokio::spawn(gateway.stop());
    eventually("not ready", async || {
        (admin.send(get("/readyz")).await.status == 503).then_some(())
    })
    .await;
    drop(admin);
    let answer = RawClient::exchange(
        address,
        "GET /ping HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.ends_with("pong"), "{answer}");
    assert!(begin.elapsed() < Duration::from_secs(1), "too late to tell");
    eventually_refused(address).await;
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert!(stopping.await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_http2_is_told_in_two_steps() {
    let (shop, gate) = held();
    let gateway = gateway(&shop, "10s").await;
    let mut client = FrameClient::connect(gateway.address(), &[]).await;
    client.send_frame(ask(1, "/")).await;
    eventually("the request is in flight", async || shop.seen().pop()).await;
    let stopping = tokio::spawn(gateway.stop());
    let goodbye = client.read_until(|frame| frame.kind == kind::GOAWAY).await;
    let goodbye = goodbye.expect("a goodbye");
    assert_eq!(goodbye.payload[..4], [0x7f, 255, 255, 255]);
    // The news has not arrived yet when this leaves.
    client.send_frame(ask(3, "/ping")).await;
    let ping = client.read_until(|frame| frame.kind == kind::PING).await;
    client.send_frame(pong(&ping.expect("a ping"))).await;
    let goodbye = client.read_until(|frame| frame.kind == kind::GOAWAY).await;
    assert_eq!(goodbye.expect("the second").payload[..4], [0, 0, 0, 3]);
    gate.add_permits(1);
    let rest = client.read_to_end().await;
    let ended = |stream| {
        let mut frames = rest.iter().filter(|frame| frame.stream == stream);
        frames.any(|frame| frame.kind == kind::DATA && frame.flags & flag::END_STREAM != 0)
    };
    assert!(ended(1), "{rest:?}");
    assert!(stopping.await.unwrap());
}

/// An origin that answers once the test says so.
fn held() -> (Origin, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let origin = Origin::serving(Protocol::Http1, move |_| {
        let held = held.clone();
        async move {
            held.acquire().await.unwrap().forget();
            text("done")
        }
    });
    (origin, gate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_at_the_end_of_the_grace_is_answered() {
    let (shop, _gate) = held();
    let gateway = gateway(&shop, "300ms").await;
    let client = gateway.http1();
    let waiting = tokio::spawn(async move { client.send(get("/")).await });
    eventually("the request is in flight", async || shop.seen().pop()).await;
    let begin = Instant::now();
    assert!(!gateway.stop().await, "it did not end by itself");
    assert_fired(begin);
    let answer = waiting.await.unwrap();
    answer.assert_problem(503, "shutting_down");
    assert_eq!(answer.header("connection"), Some("close"));
}

/// Nobody may take half a response for a whole one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_broken_off_and_not_ended() {
    let (chunks, body) = channel();
    let body = std::sync::Mutex::new(Some(body));
    let shop = Origin::http1(move |_| {
        let body = body.lock().unwrap().take();
        reply(200, &[("content-type", "text/event-stream")], body.unwrap())
    });
    let gateway = gateway(&shop, "300ms").await;
    let mut client = RawClient::connect(gateway.address()).await;
    client.send("GET /events HTTP/1.1\r\nhost: a\r\n\r\n").await;
    chunks.send("data: one\n\n").await;
    client.read_until("data: one\n\n").await;
    let stopping = tokio::spawn(gateway.stop());
    eventually("it drains", async || stopping.is_finished().then_some(())).await;
    assert_eq!(client.read_to_end().await, "\r\n", "no last chunk");
}

/// A WebSocket server that tells how each of its sockets was closed.
fn chat() -> (RawOrigin, mpsc::Receiver<Option<CloseCode>>) {
    let (closed, closes) = mpsc::channel(8);
    let origin = RawOrigin::serving(move |stream, _| {
        let closed = closed.clone();
        async move {
            let mut socket = accept_async(stream).await.expect("a WebSocket");
            let mut how = None;
            while let Some(Ok(message)) = socket.next().await {
                if let Message::Close(frame) = &message {
                    how = frame.as_ref().map(|frame| frame.code);
                }
                if message.is_text() && socket.send(message).await.is_err() {
                    break;
                }
            }
            let _ = closed.send(how).await;
        }
    });
    (origin, closes)
}

async fn websocket(address: SocketAddr) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    let connecting = client_async("ws://shop.test/chat", stream);
    let (mut socket, _) = within("the handshake", connecting).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    let echo = within("an echo", socket.next()).await.unwrap().unwrap();
    assert_eq!(echo, Message::text("hello"));
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websockets_are_closed_on_both_sides() {
    let (origin, mut closes) = chat();
    let gateway = gateway(&origin, "300ms").await;
    let mut socket = websocket(gateway.address()).await;
    let begin = Instant::now();
    let stopping = tokio::spawn(gateway.stop());
    let goodbye = within("a goodbye", socket.next()).await.unwrap().unwrap();
    assert_fired(begin);
    let Message::Close(Some(goodbye)) = goodbye else {
        panic!("{goodbye:?}");
    };
    assert_eq!(goodbye.code, CloseCode::Restart);
    // Answers, and waits for the gateway to close.
    assert!(within("the end", socket.next()).await.is_none());
    let how = within("the origin hears of it", closes.recv()).await;
    assert_eq!(how, Some(Some(CloseCode::Restart)));
    assert!(!stopping.await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_origin_of_a_deaf_websocket_is_told() {
    let (origin, mut closes) = chat();
    let gateway = gateway(&origin, "300ms").await;
    let socket = websocket(gateway.address()).await;
    let stopping = tokio::spawn(gateway.stop());
    // It is open, and nobody looks at it.
    let how = within("the origin hears of it", closes.recv()).await;
    assert_eq!(how, Some(Some(CloseCode::Restart)));
    assert!(!stopping.await.unwrap());
    drop(socket);
}

/// A close frame in the middle of another frame would be a part of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_has_begun_is_completed_first() {
    let (more, mut wanted) = mpsc::channel::<()>(1);
    let wanted = std::sync::Mutex::new(Some({
        let (hand_over, taken) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            wanted.recv().await;
            let _ = hand_over.send(());
        });
        taken
    }));
    let origin = RawOrigin::serving(move |mut stream, _| {
        let wanted = wanted.lock().unwrap().take().expect("one connection");
        async move {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            // Twenty bytes of text, of which ten come now.
            stream.write_all(b"\x81\x140123456789").await.unwrap();
            wanted.await.unwrap();
            stream.write_all(b"abcdefghij\x81\x04late").await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        }
    });
    let gateway = gateway(&origin, "300ms").await;
    let mut client = RawClient::connect(gateway.address()).await;
    client
        .send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        .await;
    client.read_until("0123456789").await;
    let begin = Instant::now();
    let stopping = tokio::spawn(gateway.stop());
    // Past the grace, and before the gateway gives up.
    let nothing = tokio::time::timeout(Duration::from_millis(600), client.stream.read_u8()).await;
    assert!(nothing.is_err(), "{nothing:?} after {:?}", begin.elapsed());
    more.send(()).await.unwrap();
    let mut rest = Vec::new();
    let _ = within("the end", client.stream.read_to_end(&mut rest)).await;
    assert_eq!(rest, b"abcdefghij\x88\x02\x03\xf4");
    stopping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_grpc_ends_with_a_status() {
    // One whose response has begun, and one whose has not.
    for has_begun in [true, false] {
        let (chunks, body) = channel();
        let body = std::sync::Mutex::new(Some(body));
        let shop = Origin::serving(Protocol::H2, move |_| {
            let body = body.lock().unwrap().take().unwrap();
            async move {
                if !has_begun {
                    std::future::pending::<()>().await;
                }
                reply(200, &[("content-type", "application/grpc")], body)
            }
        });
        let gateway = draft(&shop, "300ms", Protocol::H2, "").start().await;
        let client = gateway.http2();
        let call = post("/a.B/C", vec![0; 5]).header("content-type", "application/grpc");
        let (arrived, mut arrivals) = mpsc::channel(1);
        let calling = tokio::spawn(async move {
            let mut answer = client.open(call).await;
            let mut length = 0;
            while let Some(part) = answer.chunk().await {
                length += part.len();
                arrived.send(()).await.unwrap();
            }
            let trailers = answer.trailers.get("grpc-status");
            let status = trailers.or_else(|| answer.headers.get("grpc-status"));
            (answer.status, length, status.cloned())
        });
        eventually("the call is in flight", async || shop.seen().pop()).await;
        if has_begun {
            assert!(chunks.send(vec![0; 5]).await);
            within("a message", arrivals.recv()).await;
        }
        let begin = Instant::now();
        let stopping = tokio::spawn(gateway.stop());
        let (status, length, grpc_status) = within("the end", calling).await.unwrap();
        assert_fired(begin);
        assert_eq!((status, length), (200, if has_begun { 5 } else { 0 }));
        assert_eq!(grpc_status.unwrap(), "14");
        assert!(!stopping.await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_streams_of_http2_are_reset() {
    let (shop, _gate) = held();
    let gateway = gateway(&shop, "300ms").await;
    let mut client = FrameClient::connect(gateway.address(), &[]).await;
    client.send_frame(ask(1, "/")).await;
    eventually("the request is in flight", async || shop.seen().pop()).await;
    let stopping = tokio::spawn(gateway.stop());
    let reset = client
        .read_until(|frame| frame.kind == kind::RST_STREAM)
        .await;
    let reset = reset.expect("a reset");
    assert_eq!((reset.stream, reset.code()), (1, code::CANCEL));
    assert!(!stopping.await.unwrap());
}
