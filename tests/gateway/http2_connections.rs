//! How connections of HTTP/2 end: with a word, and with what was under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::harness::frames::*;
use crate::harness::{
    Authority, Gateway, Origin, Protocol, assert_fired, channel, eventually, get, request, text,
};

use code::{NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM};

const ROUTES: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    $listener

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

async fn listening(listener: &str, shop: &Origin, protocol: Protocol) -> Gateway {
    Gateway::draft(ROUTES)
        .with("listener", listener)
        .with("shop", shop)
        .with("protocol", protocol)
        .start()
        .await
}

async fn eventually_closed(gateway: &Gateway, reason: &str) {
    eventually(reason, async || {
        (gateway.closed(reason).await == 1).then_some(())
    })
    .await;
}

async fn eventually_all_closed(gateway: &Gateway) {
    eventually("every connection is closed", async || {
        let series = "northgate_connections{northgate_listener=\"public\"} 0\n";
        gateway.metrics().await.contains(series).then_some(())
    })
    .await;
}

/// The last stream that a goodbye promises to serve.
fn last_stream(goodbye: &Frame) -> u32 {
    u32::from_be_bytes(goodbye.payload[..4].try_into().expect("four bytes"))
}

/// Reads the first goodbye, which promises everything, and answers the ping that comes with it.
async fn hear_goodbye(client: &mut FrameClient) {
    let goodbye = client.read_until(|frame| frame.kind == kind::GOAWAY).await;
    let goodbye = goodbye.expect("a goodbye");
    assert_eq!(
        (goodbye.code(), last_stream(&goodbye)),
        (NO_ERROR, u32::MAX >> 1)
    );
    let ping = client.read_until(|frame| frame.kind == kind::PING).await;
    client.send_frame(pong(&ping.expect("a ping"))).await;
}

#[tokio::test]
async fn an_idle_client_is_told_to_go() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = listening(
        "timeouts = { keepalive = \"300ms\" }",
        &shop,
        Protocol::Http1,
    )
    .await;
    let mut client = FrameClient::connect(gateway.address(), &[]).await;
    client.send_frame(ask(1, "/ping")).await;
    assert_eq!(client.outcome(1).await, Outcome::Status(200));
    let begin = Instant::now();
    hear_goodbye(&mut client).await;
    assert_fired(begin);
    let goodbye = client.read_until(|frame| frame.kind == kind::GOAWAY).await;
    assert_eq!(goodbye.as_ref().map(last_stream), Some(1));
    assert_eq!(client.read_to_end().await, []);
    eventually_closed(&gateway, "idle").await;
}

#[tokio::test]
async fn an_idle_client_that_does_not_listen_is_left() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = listening(
        "timeouts = { keepalive = \"300ms\" }",
        &shop,
        Protocol::Http1,
    )
    .await;
    let mut client = FrameClient::connect(gateway.address(), &[]).await;
    client.send_frame(ask(1, "/ping")).await;
    let begin = Instant::now();
    client.read_to_end().await;
    assert!(
        begin.elapsed() < Duration::from_secs(9),
        "{:?}",
        begin.elapsed()
    );
    eventually_all_closed(&gateway).await;
}

/// An origin that answers when it is given a permit.
fn waiting() -> (Origin, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let given = permits.clone();
    let origin = Origin::serving(Protocol::Http1, move |_| {
        let given = given.clone();
        async move {
            given.acquire().await.expect("open").forget();
            text("at last")
        }
    });
    (origin, permits)
}

#[tokio::test]
async fn an_old_connection_ends_with_what_is_in_flight() {
    let (shop, permits) = waiting();
    let listener = "timeouts = { max_connection_age = \"300ms\" }";
    let gateway = listening(listener, &shop, Protocol::Http1).await;
    let mut client = FrameClient::connect(gateway.address(), &[]).await;
    let begin = Instant::now();
    client.send_frame(ask(1, "/")).await;
    hear_goodbye(&mut client).await;
    assert!(begin.elapsed() < Duration::from_secs(3));
    let goodbye = client.read_until(|frame| frame.kind == kind::GOAWAY).await;
    assert_eq!(goodbye.as_ref().map(last_stream), Some(1));
    permits.add_permits(1);
    assert_eq!(client.outcome(1).await, Outcome::Status(200));
    let rest = client.read_to_end().await;
    let body: Vec<u8> = rest.into_iter().flat_map(|frame| frame.payload).collect();
    assert_eq!(String::from_utf8_lossy(&body), "at last");
    eventually_closed(&gateway, "age").await;
}

#[tokio::test]
async fn requests_after_the_goodbye_are_served_for_a_while_and_then_refused() {
    let (shop, permits) = waiting();
    let listener = "timeouts = { max_connection_age = \"300ms\" }";
    let gateway = listening(listener, &shop, Protocol::Http1).await;
    let mut client = FrameClient::connect(gateway.address(), &[]).await;
    client.send_frame(ask(1, "/")).await;
    // It never answers the ping, so the gateway cannot know that the client has heard.
    let goodbye = client.read_until(|frame| frame.kind == kind::GOAWAY).await;
    assert_eq!(goodbye.map(|frame| frame.code()), Some(NO_ERROR));
    client.send_frame(ask(3, "/ping")).await;
    assert_eq!(client.outcome(3).await, Outcome::Status(200));
    let begin = Instant::now();
    let mut stream = 5;
    loop {
        client.send_frame(ask(stream, "/ping")).await;
        match client.outcome(stream).await {
            Outcome::Status(200) => tokio::time::sleep(Duration::from_millis(50)).await,
            outcome => {
                assert_eq!(outcome, Outcome::Reset(REFUSED_STREAM));
                break;
            }
        }
        assert!(begin.elapsed() < Duration::from_secs(9));
        stream += 2;
    }
    permits.add_permits(1);
    assert_eq!(client.outcome(1).await, Outcome::Status(200));
    client.read_to_end().await;
}

#[tokio::test]
async fn a_connection_carries_so_many_requests() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = listening(
        "limits = { requests_per_connection = 3 }",
        &shop,
        Protocol::Http1,
    )
    .await;
    let mut client = FrameClient::connect(gateway.address(), &[]).await;
    for stream in [1, 3] {
        client.send_frame(ask(stream, "/")).await;
        assert_eq!(client.outcome(stream).await, Outcome::Status(200));
    }
    client.send_frame(ask(5, "/")).await;
    hear_goodbye(&mut client).await;
    client.read_to_end().await;
    eventually_closed(&gateway, "requests").await;
    // A client that listens notices nothing but a second connection.
    let http2 = gateway.http2();
    for _ in 0..7 {
        assert_eq!(http2.send(get("/")).await.text(), "ok");
    }
}

/// The settings of a client for the windows of its streams.
const INITIAL_WINDOW_SIZE: u16 = 4;

async fn downloading(
    path: &str,
    origin: Protocol,
    values: &[(u16, u32)],
) -> (Gateway, FrameClient, Origin) {
    let shop = Origin::speaking(origin, |_| text(vec![b'x'; 64 << 20]));
    let listener = "timeouts = { request_body_idle = \"300ms\" }";
    let gateway = listening(listener, &shop, origin).await;
    let mut client = FrameClient::connect(gateway.address(), values).await;
    client.send_frame(ask(1, path)).await;
    (gateway, client, shop)
}

async fn assert_given_up(path: &str, gateway: &Gateway, mut client: FrameClient) {
    let begin = Instant::now();
    let reset = client
        .read_until(|frame| frame.kind == kind::RST_STREAM)
        .await;
    assert_eq!(reset.expect("a reset").stream, 1);
    assert_fired(begin);
    hear_goodbye(&mut client).await;
    client.read_to_end().await;
    eventually_closed(gateway, "slow_read").await;
    let line = gateway.log_where("it", |line| line["path"] == path).await;
    assert_eq!(
        (&line["code"], &line["fault"]),
        (&"request_timeout".into(), &"client".into())
    );
}

#[tokio::test]
async fn a_window_of_nothing_is_given_up() {
    // A reply of the gateway itself, and responses of upstreams.
    for (path, origin) in [
        ("/ping", Protocol::Http1),
        ("/", Protocol::Http1),
        ("/", Protocol::H2),
    ] {
        let values = [(INITIAL_WINDOW_SIZE, 0)];
        let (gateway, client, _shop) = downloading(path, origin, &values).await;
        assert_given_up(path, &gateway, client).await;
    }
}

#[tokio::test]
async fn a_connection_without_a_window_is_given_up() {
    // The stream's window is wide open, and the connection's 64 KiB are never opened again.
    let values = [(INITIAL_WINDOW_SIZE, (1 << 31) - 1)];
    for origin in [Protocol::Http1, Protocol::H2] {
        let (gateway, client, _shop) = downloading("/", origin, &values).await;
        assert_given_up("/", &gateway, client).await;
    }
}

#[tokio::test]
async fn a_window_that_drips_is_given_up() {
    let (gateway, mut client, _shop) =
        downloading("/", Protocol::Http1, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    let begin = Instant::now();
    loop {
        client.send_frame(window_update(1, 1)).await;
        let frame = client.read().await.expect("a frame");
        if frame.kind == kind::RST_STREAM {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    eventually_closed(&gateway, "slow_read").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let values = [(INITIAL_WINDOW_SIZE, (1 << 31) - 1)];
    let (gateway, mut client, _shop) = downloading("/", Protocol::Http1, &values).await;
    client.send_frame(window_update(0, 1 << 30)).await;
    eventually_closed(&gateway, "slow_read").await;
    eventually_all_closed(&gateway).await;
}

#[tokio::test]
async fn a_silent_body_ends_alone() {
    for origin in [Protocol::Http1, Protocol::H2] {
        let shop = Origin::speaking(origin, |_| text("ok"));
        let listener = "timeouts = { request_body_idle = \"300ms\" }";
        let gateway = listening(listener, &shop, origin).await;
        let client = gateway.http2();
        let (chunks, body) = channel();
        chunks.send("four").await;
        let begin = Instant::now();
        let answer = client.send(request("POST", "/").body(body)).await;
        assert_fired(begin);
        answer.assert_problem(408, "request_timeout");
        // The connection serves on.
        assert_eq!(client.send(get("/")).await.text(), "ok");
        assert_eq!(shop.seen().len(), 1);
        // Nobody waits for a body that nobody reads.
        let (chunks, body) = channel();
        chunks.send("four").await;
        let answer = client.send(request("POST", "/ping").body(body)).await;
        assert_eq!(answer.text(), "pong");
        eventually("the client stops sending", async || {
            (!chunks.send("more").await).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn what_is_no_http2_is_closed() {
    let authority = Authority::new();
    let certificate = authority.issue(&["a.example"]);
    let tls = format!(
        "tls = {{ certificates = [{{ cert = \"{}\", key = {{ file = \"{}\" }} }}] }}",
        certificate.cert_path.display(),
        certificate.key_path.display()
    );
    let shop = Origin::http1(|_| text("ok"));
    let gateway = listening(&tls, &shop, Protocol::Http1).await;
    let config = authority.client_config();
    let mut client = FrameClient::connect_tls(gateway.address(), "a.example", config).await;
    // (The client has sent a preface and settings before that.)
    client
        .send("GET / HTTP/1.1\r\nhost: a.example\r\n\r\n")
        .await;
    client.read_to_end().await;
    eventually_closed(&gateway, "h2_protocol").await;
}

#[tokio::test]
async fn settings_come_first() {
    let shop = Origin::http1(|_| text("ok"));
    for first in [
        ask(1, "/"),
        ping(),
        Frame::new(kind::SETTINGS, flag::ACK, 0, []),
    ] {
        let gateway = listening("", &shop, Protocol::Http1).await;
        let mut client = FrameClient::bare(gateway.address()).await;
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        client.send_frame(first).await;
        let goodbye = client.read_until(|frame| frame.kind == kind::GOAWAY).await;
        assert_eq!(goodbye.map(|frame| frame.code()), Some(PROTOCOL_ERROR));
        eventually_closed(&gateway, "h2_protocol").await;
    }
    assert!(shop.seen().is_empty());
}

#[tokio::test]
async fn crumbs_of_a_cookie_are_one_field() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = listening("", &shop, Protocol::Http1).await;
    let mut client = FrameClient::connect(gateway.address(), &[]).await;
    let mut fields = pseudo_headers("GET", "/").to_vec();
    fields.extend([("cookie", "a=1"), ("x-a", "b"), ("cookie", "c=2; d=3")]);
    client
        .send_frame(headers(1, flag::END_STREAM, &fields))
        .await;
    assert_eq!(client.outcome(1).await, Outcome::Status(200));
    let seen = shop.only();
    let cookies: Vec<_> = seen.headers.get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1; c=2; d=3"]);
}
