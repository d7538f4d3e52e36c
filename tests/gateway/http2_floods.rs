//! Frames that are each allowed and together are an attack: whoever sends them is cut off, and counted.

use std::iter::repeat_n;

use crate::harness::frames::*;
use crate::harness::{Authority, Gateway, Origin, Protocol, RawOrigin, get, text};

use code::{CANCEL, ENHANCE_YOUR_CALM};
use flag::{ACK, END_STREAM};

const ROUTES: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    $listener

    [upstreams.silent]
    endpoints = ["$silent"]

    [routes.ping]
    match = { path = "/ping" }
    respond = { body = "pong" }

    [routes.silent]
    match = { path = "/silent" }
    upstream = "silent"
"#;

/// A gateway with an origin that takes whatever comes and says nothing.
async fn listening(listener: &str) -> (Gateway, RawOrigin) {
    let silent = RawOrigin::serving(|mut stream, _| async move {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    });
    let gateway = Gateway::draft(ROUTES)
        .with("listener", listener)
        .with("silent", &silent)
        .start()
        .await;
    (gateway, silent)
}

/// The streams that a client can open, one after another.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|n| 2 * n + 1)
}

fn many(count: usize, frame: Frame) -> Vec<Frame> {
    repeat_n(frame, count).collect()
}

/// A body for `/silent` that never ends, with these frames after its header.
fn upload(frames: Vec<Frame>) -> Vec<Frame> {
    let mut sent = vec![headers(1, 0, &pseudo_headers("POST", "/silent"))];
    sent.extend(frames);
    sent
}

fn floods() -> Vec<(&'static str, Vec<Frame>)> {
    let too_far = (1 << 31) - 1;
    let rapid = |stream| [ask(stream, "/silent"), reset(stream, CANCEL)];
    let made = |stream| [ask(stream, "/silent"), window_update(stream, too_far)];
    let malformed = |stream| headers(stream, END_STREAM, &[(":method", "GET")]);
    let misdirected = |stream| {
        let mut fields = pseudo_headers("GET", "/ping").to_vec();
        fields.push(("host", "b.example"));
        headers(stream, END_STREAM, &fields)
    };
    vec![
        ("rapid reset", streams(300).flat_map(rapid).collect()),
        (
            "one reset again and again",
            [vec![ask(1, "/silent")], many(300, reset(1, CANCEL))].concat(),
        ),
        (
            "streams that the gateway must reset",
            streams(300).flat_map(made).collect(),
        ),
        ("malformed requests", streams(300).map(malformed).collect()),
        (
            "misdirected requests",
            streams(100).map(misdirected).collect(),
        ),
        (
            "more requests than are allowed at a time",
            streams(400).map(|stream| ask(stream, "/silent")).collect(),
        ),
        ("pings", many(1500, ping())),
        ("answers to no ping", many(1500, pong(&ping()))),
        ("settings", many(1500, settings(&[(4, 1)]))),
        ("windows", many(1500, window_update(0, 1))),
        ("priorities", many(1500, priority(1, 3))),
        (
            "goodbyes",
            upload(many(1500, Frame::new(kind::GOAWAY, 0, 0, [0; 8]))),
        ),
        (
            "unknown frames",
            many(1500, Frame::new(0x77, 0, 0, [0; 100])),
        ),
        ("empty data", upload(many(200, data(1, 0, [])))),
        (
            "data of padding",
            upload(many(
                200,
                Frame::new(kind::DATA, flag::PADDED, 1, [3, 0, 0, 0]),
            )),
        ),
        (
            "the rest of a header that never ends",
            [
                vec![Frame::new(
                    kind::HEADERS,
                    END_STREAM,
                    1,
                    block(&pseudo_headers("GET", "/ping")),
                )],
                many(
                    50,
                    Frame::new(kind::CONTINUATION, 0, 1, block(&[("x-a", "b")])),
                ),
            ]
            .concat(),
        ),
        (
            "nothing as the rest of a header",
            [
                vec![Frame::new(
                    kind::HEADERS,
                    END_STREAM,
                    1,
                    block(&pseudo_headers("GET", "/ping")),
                )],
                many(50, Frame::new(kind::CONTINUATION, 0, 1, [])),
            ]
            .concat(),
        ),
    ]
}

#[tokio::test]
async fn floods_are_cut_off() {
    let (gateway, _silent) = listening("").await;
    let mut wrong = Vec::new();
    for (name, frames) in floods() {
        let before = gateway.closed("h2_flood").await;
        let mut client = FrameClient::connect(gateway.address(), &[]).await;
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
        client.send(bytes).await;
        let goodbye = client.read_until(|frame| frame.kind == kind::GOAWAY).await;
        let code = goodbye.map(|frame| frame.code());
        client.read_to_end().await;
        let counted = gateway.closed("h2_flood").await - before;
        if (code, counted) != (Some(ENHANCE_YOUR_CALM), 1) {
            wrong.push(format!("{name}: {code:?}, counted {counted}"));
        }
        let answer = gateway.http2().send(get("/ping")).await;
        assert_eq!(&*answer.text(), "pong", "after {name}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn floods_are_cut_off_over_tls() {
    let authority = Authority::new();
    let certificate = authority.issue(&["a.example"]);
    let tls = format!(
        "tls = {{ certificates = [{{ cert = \"{}\", key = {{ file = \"{}\" }} }}] }}",
        certificate.cert_path.display(),
        certificate.key_path.display()
    );
    let (gateway, _silent) = listening(&tls).await;
    for (n, flood) in [ping(), settings(&[]), window_update(0, 1)]
        .into_iter()
        .enumerate()
    {
        let config = authority.client_config();
        let mut client = FrameClient::connect_tls(gateway.address(), "a.example", config).await;
        let bytes = flood.bytes().repeat(1500);
        client.send(bytes).await;
        let goodbye = client.read_until(|frame| frame.kind == kind::GOAWAY).await;
        assert_eq!(goodbye.map(|frame| frame.code()), Some(ENHANCE_YOUR_CALM));
        assert_eq!(gateway.closed("h2_flood").await, n as u64 + 1);
    }
}

/// Each request is under way before it is taken back, so that nothing but the count of resets gives it away.
#[tokio::test]
async fn a_patient_rapid_reset_is_cut_off() {
    let (gateway, _silent) = listening("limits = { stream_resets_per_second = 5 }").await;
    let mut client = FrameClient::connect(gateway.address(), &[]).await;
    let mut resets = 0;
    let goodbye = 'cut: loop {
        assert!(resets < 200, "it is still allowed to");
        let stream = 2 * resets + 1;
        client.send_frame(ask(stream, "/silent")).await;
        client.send_frame(ping()).await;
        loop {
            match client.read().await {
                Some(frame) if frame.kind == kind::GOAWAY => break 'cut frame,
                Some(frame) if frame.kind == kind::PING => break,
                Some(_) => {}
                None => panic!("closed without a word after {resets} resets"),
            }
        }
        client.send_frame(reset(stream, CANCEL)).await;
        resets += 1;
    };
    assert_eq!(goodbye.code(), ENHANCE_YOUR_CALM);
    assert!(
        resets >= 50,
        "ten seconds' worth is allowed, and not {resets}"
    );
    assert_eq!(gateway.closed("h2_flood").await, 1);
}

/// What a client has to send because of what it was sent is no flood.
#[tokio::test]
async fn windows_are_opened_for_every_frame_of_a_large_response() {
    const SIZE: usize = 24 << 20;
    let shop = Origin::speaking(Protocol::Http1, |_| text(vec![b'x'; SIZE]));
    let gateway = Gateway::draft(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"

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
    let mut client = FrameClient::connect(gateway.address(), &[]).await;
    client.send_frame(ask(1, "/")).await;
    let (mut size, mut windows) = (0, 0);
    while size < SIZE {
        let frame = client.read().await.expect("more of the response");
        assert_ne!(
            frame.kind,
            kind::GOAWAY,
            "after {size} bytes and {windows} frames"
        );
        if frame.kind == kind::DATA && !frame.payload.is_empty() {
            size += frame.payload.len();
            for stream in [0, 1] {
                let open = window_update(stream, frame.payload.len() as u32);
                client.send_frame(open).await;
                windows += 1;
            }
        }
    }
    assert!(
        windows > 1500,
        "more than is allowed for nothing: {windows}"
    );
}

#[tokio::test]
async fn a_client_may_change_its_mind() {
    let (gateway, _silent) = listening("").await;
    let mut client = FrameClient::connect(gateway.address(), &[]).await;
    // As a browser does that leaves a page: every request at once.
    for stream in streams(100) {
        client.send_frame(ask(stream, "/silent")).await;
    }
    client.send_frame(ping()).await;
    let is_pong = |frame: &Frame| frame.kind == kind::PING && frame.flags == ACK;
    client.read_until(is_pong).await.expect("an answer");
    for stream in streams(100) {
        client.send_frame(reset(stream, CANCEL)).await;
    }
    client.send_frame(ask(201, "/ping")).await;
    assert_eq!(client.outcome(201).await, Outcome::Status(200));
}
