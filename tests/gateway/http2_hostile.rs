//! Frames that no client of HTTP/2 sends: each has its verdict, and other clients notice nothing.

use crate::harness::frames::*;
use crate::harness::{Ask, Gateway, RawOrigin, get};

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

/// What is sent after the preface and empty SETTINGS, and what becomes of stream 1, or of the connection.
struct Case(&'static str, Vec<Frame>, Outcome);

use Outcome::{GoAway, Reset, Status};
use code::*;
use flag::{END_HEADERS, END_STREAM, PADDED};

const MALFORMED: Outcome = Reset(PROTOCOL_ERROR);
const BROKEN: Outcome = GoAway(PROTOCOL_ERROR);

/// A request for `/ping` with more fields.
fn with(fields: &[(&str, &str)]) -> Vec<Frame> {
    let mut all = pseudo_headers("GET", "/ping").to_vec();
    all.extend(fields);
    vec![headers(1, END_STREAM, &all)]
}

/// A request for `/ping` of which one pseudo-header is another.
fn instead(name: &str, value: &str) -> Vec<Frame> {
    let pseudo = pseudo_headers("GET", "/ping").map(|(known, usual)| match known == name {
        true => (known, value),
        false => (known, usual),
    });
    vec![headers(1, END_STREAM, &pseudo)]
}

/// A request for `/ping` without one pseudo-header.
fn without(name: &str) -> Vec<Frame> {
    let pseudo = pseudo_headers("GET", "/ping");
    let rest: Vec<_> = pseudo.into_iter().filter(|field| field.0 != name).collect();
    vec![headers(1, END_STREAM, &rest)]
}

/// A body that is sent to `/silent`, with these frames after the header.
fn upload(fields: &[(&str, &str)], frames: impl IntoIterator<Item = Frame>) -> Vec<Frame> {
    let mut all = pseudo_headers("POST", "/silent").to_vec();
    all.extend(fields);
    let mut sent = vec![headers(1, 0, &all)];
    sent.extend(frames);
    sent
}

/// A header in as many frames as it needs.
fn in_pieces(fields: &[(&str, &str)]) -> Vec<Frame> {
    let block = block(fields);
    let pieces = block.chunks(16_000);
    let last = pieces.len() - 1;
    let frame = |(n, piece): (usize, &[u8])| {
        let (kind, flags) = match n {
            0 => (kind::HEADERS, END_STREAM),
            _ if n == last => (kind::CONTINUATION, END_HEADERS),
            _ => (kind::CONTINUATION, 0),
        };
        Frame::new(kind, flags, 1, piece)
    };
    pieces.enumerate().map(frame).collect()
}

fn raw(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Vec<Frame> {
    vec![Frame::new(kind, flags, stream, payload)]
}

fn method(method: &str, path: &str) -> Vec<Frame> {
    vec![headers(1, END_STREAM, &pseudo_headers(method, path))]
}

/// RFC 9113 section 8: what a request is.
fn requests() -> Vec<Case> {
    let big = "v".repeat(9000);
    let huge = "v".repeat(60_000);
    let pseudo = pseudo_headers("GET", "/ping");
    vec![
        Case("a request", with(&[]), Status(200)),
        Case("no :method", without(":method"), MALFORMED),
        Case("no :scheme", without(":scheme"), MALFORMED),
        Case("no :path", without(":path"), MALFORMED),
        Case("no :authority", without(":authority"), Status(400)),
        Case("no fields", vec![headers(1, END_STREAM, &[])], MALFORMED),
        Case("two :method", with(&[(":method", "GET")]), MALFORMED),
        Case("two :path", with(&[(":path", "/")]), MALFORMED),
        Case("two :authority", with(&[(":authority", "b")]), MALFORMED),
        Case("an unknown pseudo-header", with(&[(":x", "y")]), BROKEN),
        Case("a :status", with(&[(":status", "200")]), MALFORMED),
        Case("a :protocol", with(&[(":protocol", "x")]), MALFORMED),
        Case(
            "a pseudo-header behind a field",
            vec![headers(
                1,
                END_STREAM,
                &[
                    (":method", "GET"),
                    ("x-a", "b"),
                    (":scheme", "http"),
                    (":authority", "a.example"),
                    (":path", "/ping"),
                ],
            )],
            MALFORMED,
        ),
        Case("a name in upper case", with(&[("X-A", "b")]), BROKEN),
        Case("an empty name", with(&[("", "b")]), BROKEN),
        Case("a name with a space", with(&[("x a", "b")]), BROKEN),
        Case("a value with a line feed", with(&[("x-a", "b\nc")]), BROKEN),
        Case("a value with a NUL", with(&[("x-a", "b\0c")]), BROKEN),
        Case(
            "a value with a space before it",
            with(&[("x-a", " b")]),
            Status(400),
        ),
        Case(
            "a value with a tab behind it",
            with(&[("x-a", "b\t")]),
            Status(400),
        ),
        Case("connection", with(&[("connection", "x-a")]), MALFORMED),
        Case("keep-alive", with(&[("keep-alive", "5")]), MALFORMED),
        Case(
            "proxy-connection",
            with(&[("proxy-connection", "close")]),
            MALFORMED,
        ),
        Case(
            "transfer-encoding",
            with(&[("transfer-encoding", "chunked")]),
            MALFORMED,
        ),
        Case("upgrade", with(&[("upgrade", "websocket")]), MALFORMED),
        Case("te with a coding", with(&[("te", "gzip")]), MALFORMED),
        Case("te with trailers", with(&[("te", "trailers")]), Status(200)),
        Case(
            "host as :authority",
            with(&[("host", "a.example")]),
            Status(200),
        ),
        Case(
            "host unlike :authority",
            with(&[("host", "b.example")]),
            Status(400),
        ),
        Case(
            "two hosts",
            with(&[("host", "a.example"), ("host", "a.example")]),
            Status(400),
        ),
        Case("an empty :authority", instead(":authority", ""), MALFORMED),
        Case(
            "an :authority with a user",
            instead(":authority", "u@a.example"),
            Status(400),
        ),
        Case(
            "an :authority with a path",
            instead(":authority", "a.example/b"),
            MALFORMED,
        ),
        Case("an empty :path", instead(":path", ""), MALFORMED),
        Case(
            "a :path without a slash",
            instead(":path", "ping"),
            MALFORMED,
        ),
        Case(
            "a :path in absolute form",
            instead(":path", "http://b.example/ping"),
            MALFORMED,
        ),
        Case("an asterisk to GET", instead(":path", "*"), Status(400)),
        Case(
            "an asterisk to OPTIONS",
            method("OPTIONS", "*"),
            Status(404),
        ),
        Case(
            "a :path with a space",
            instead(":path", "/ping /"),
            MALFORMED,
        ),
        Case(
            "a :path with a line feed",
            instead(":path", "/ping\r\nx-a: b"),
            MALFORMED,
        ),
        Case("a :path with a NUL", instead(":path", "/ping\0"), MALFORMED),
        Case(
            "a :path that is too long",
            instead(":path", &format!("/{big}")),
            Status(414),
        ),
        Case("a :scheme of TLS", instead(":scheme", "https"), Status(400)),
        Case(
            "a :scheme of its own",
            instead(":scheme", "ftp"),
            Status(400),
        ),
        Case("an empty :scheme", instead(":scheme", ""), Status(400)),
        Case(
            "a :method with a space",
            instead(":method", "GET /"),
            BROKEN,
        ),
        Case("TRACE", method("TRACE", "/ping"), Status(501)),
        Case(
            "CONNECT with a :path",
            method("CONNECT", "/ping"),
            MALFORMED,
        ),
        Case(
            "CONNECT",
            vec![headers(
                1,
                0,
                &[(":method", "CONNECT"), (":authority", "a.example:443")],
            )],
            Status(501),
        ),
        Case(
            "extended CONNECT",
            vec![headers(
                1,
                0,
                &[
                    (":method", "CONNECT"),
                    (":protocol", "websocket"),
                    (":scheme", "http"),
                    (":authority", "a.example"),
                    (":path", "/ping"),
                ],
            )],
            MALFORMED,
        ),
        Case(
            "more fields than are allowed",
            with(&[("x-a", "b"); 101]),
            Status(431),
        ),
        Case(
            "a header that is too large",
            in_pieces(&[&pseudo[..], &[("x-a", &*big); 4]].concat()),
            Status(431),
        ),
        Case(
            "a length and no body",
            with(&[("content-length", "5")]),
            MALFORMED,
        ),
        Case(
            "a length that is none",
            with(&[("content-length", "+0")]),
            MALFORMED,
        ),
        Case(
            "two lengths",
            with(&[("content-length", "0"), ("content-length", "1")]),
            MALFORMED,
        ),
        Case(
            "a body longer than its length",
            upload(&[("content-length", "3")], [data(1, 0, *b"four")]),
            MALFORMED,
        ),
        Case(
            "a body shorter than its length",
            upload(&[("content-length", "5")], [data(1, END_STREAM, *b"four")]),
            MALFORMED,
        ),
        Case(
            "trailers that end a body too early",
            upload(
                &[("content-length", "5")],
                [
                    data(1, 0, *b"four"),
                    headers(1, END_STREAM, &[("x-a", "b")]),
                ],
            ),
            MALFORMED,
        ),
        Case(
            "trailers that end nothing",
            upload(&[], [headers(1, 0, &[("x-a", "b")])]),
            MALFORMED,
        ),
        Case(
            "trailers with connection",
            upload(&[], [headers(1, END_STREAM, &[("connection", "x")])]),
            MALFORMED,
        ),
        Case(
            "a header that is far too large",
            in_pieces(&[&pseudo[..], &[("x-a", &*huge); 4]].concat()),
            GoAway(ENHANCE_YOUR_CALM),
        ),
    ]
}

/// RFC 9113 sections 4 to 6: what frames are.
fn frames() -> Vec<Case> {
    let pseudo = block(&pseudo_headers("GET", "/ping"));
    let half = pseudo.len() / 2;
    let (first, second) = (pseudo[..half].to_vec(), pseudo[half..].to_vec());
    let ack = Frame::new(kind::SETTINGS, flag::ACK, 0, []);
    vec![
        Case(
            "an unknown frame",
            [raw(0x77, 0xff, 9, [1, 2]), with(&[])].concat(),
            Status(200),
        ),
        Case(
            "a header in two frames",
            [
                raw(kind::HEADERS, END_STREAM, 1, first.clone()),
                raw(kind::CONTINUATION, END_HEADERS, 1, second.clone()),
            ]
            .concat(),
            Status(200),
        ),
        Case(
            "another frame inside a header",
            [
                raw(kind::HEADERS, END_STREAM, 1, first.clone()),
                vec![ping()],
            ]
            .concat(),
            BROKEN,
        ),
        Case(
            "another header inside a header",
            [
                raw(kind::HEADERS, END_STREAM, 1, first.clone()),
                vec![ask(3, "/ping")],
            ]
            .concat(),
            BROKEN,
        ),
        Case(
            "the rest of a header on another stream",
            [
                raw(kind::HEADERS, END_STREAM, 1, first),
                raw(kind::CONTINUATION, END_HEADERS, 3, second),
            ]
            .concat(),
            BROKEN,
        ),
        Case(
            "the rest of no header",
            raw(kind::CONTINUATION, END_HEADERS, 1, pseudo.clone()),
            BROKEN,
        ),
        Case(
            "a header on stream 0",
            raw(kind::HEADERS, END_HEADERS | END_STREAM, 0, pseudo.clone()),
            BROKEN,
        ),
        Case("a header on an even stream", vec![ask(2, "/ping")], BROKEN),
        Case(
            "a header on an older stream",
            vec![ask(5, "/silent"), ask(3, "/ping")],
            BROKEN,
        ),
        Case(
            "an index that is none",
            raw(
                kind::HEADERS,
                END_HEADERS | END_STREAM,
                1,
                [0xff, 0xff, 0x7f],
            ),
            BROKEN,
        ),
        Case(
            "a table that is too large",
            raw(
                kind::HEADERS,
                END_HEADERS | END_STREAM,
                1,
                [0x3f, 0xe1, 0xff, 0x7f],
            ),
            BROKEN,
        ),
        Case(
            "a string that is cut off",
            raw(kind::HEADERS, END_HEADERS | END_STREAM, 1, [0x10, 0x7f]),
            BROKEN,
        ),
        Case(
            "padding longer than its frame",
            raw(
                kind::HEADERS,
                END_HEADERS | END_STREAM | PADDED,
                1,
                [200, 1],
            ),
            BROKEN,
        ),
        Case(
            "a header that depends on itself",
            raw(
                kind::HEADERS,
                END_HEADERS | END_STREAM | 0x20,
                1,
                [&[0, 0, 0, 1, 15][..], &pseudo].concat(),
            ),
            MALFORMED,
        ),
        Case(
            "a frame that is too large",
            raw(kind::DATA, 0, 1, vec![0; 16_385]),
            GoAway(FRAME_SIZE_ERROR),
        ),
        Case("data on stream 0", vec![data(0, 0, *b"x")], BROKEN),
        Case("data on no stream", vec![data(1, 0, *b"x")], BROKEN),
        Case(
            "data behind the end",
            vec![ask(1, "/silent"), data(1, 0, *b"x")],
            BROKEN,
        ),
        Case(
            "data with padding only",
            upload(&[], [Frame::new(kind::DATA, PADDED, 1, [5, 0, 0])]),
            BROKEN,
        ),
        Case("a reset of no stream", vec![reset(1, CANCEL)], BROKEN),
        Case("a reset of stream 0", vec![reset(0, CANCEL)], BROKEN),
        Case(
            "a reset of the wrong size",
            [
                vec![ask(1, "/silent")],
                raw(kind::RST_STREAM, 0, 1, [0, 0, 8]),
            ]
            .concat(),
            BROKEN,
        ),
        Case(
            "settings of the wrong size",
            raw(kind::SETTINGS, 0, 0, [0, 4, 0]),
            BROKEN,
        ),
        Case(
            "settings on a stream",
            raw(kind::SETTINGS, 0, 1, []),
            BROKEN,
        ),
        Case(
            "an acknowledgement with settings",
            raw(kind::SETTINGS, flag::ACK, 0, [0, 4, 0, 0, 0, 1]),
            BROKEN,
        ),
        Case(
            "an acknowledgement too many",
            vec![ack.clone(), ack],
            BROKEN,
        ),
        Case(
            "settings for push that are none",
            vec![settings(&[(2, 2)])],
            BROKEN,
        ),
        Case(
            "settings for a window that is too large",
            vec![settings(&[(4, 1 << 31)])],
            BROKEN,
        ),
        Case(
            "settings for frames that are too small",
            vec![settings(&[(5, 100)])],
            BROKEN,
        ),
        Case(
            "a ping of the wrong size",
            raw(kind::PING, 0, 0, [0; 7]),
            BROKEN,
        ),
        Case("a ping on a stream", raw(kind::PING, 0, 1, [0; 8]), BROKEN),
        Case(
            "a window that is opened by nothing",
            vec![ask(1, "/silent"), window_update(1, 0)],
            BROKEN,
        ),
        Case(
            "the window is opened by nothing",
            vec![window_update(0, 0)],
            BROKEN,
        ),
        Case("a window of no stream", vec![window_update(1, 1)], BROKEN),
        Case(
            "a window that is opened too far",
            vec![ask(1, "/silent"), window_update(1, (1 << 31) - 1)],
            Reset(FLOW_CONTROL_ERROR),
        ),
        Case(
            "the window is opened too far",
            vec![window_update(0, (1 << 31) - 1)],
            GoAway(FLOW_CONTROL_ERROR),
        ),
        Case(
            "a stream that depends on itself",
            vec![ask(1, "/silent"), priority(1, 1)],
            MALFORMED,
        ),
        Case(
            "a priority of the wrong size",
            raw(kind::PRIORITY, 0, 1, [0; 4]),
            BROKEN,
        ),
        Case(
            "a pushed request",
            raw(
                kind::PUSH_PROMISE,
                END_HEADERS,
                1,
                [&[0, 0, 0, 2][..], &pseudo].concat(),
            ),
            BROKEN,
        ),
        Case(
            "a goodbye of the wrong size",
            raw(kind::GOAWAY, 0, 0, [0; 4]),
            BROKEN,
        ),
    ]
}

async fn assert_served(gateway: &Gateway, after: &str) {
    let answer = gateway.http2().send(get_ping()).await;
    assert_eq!(
        (answer.status, &*answer.text()),
        (200, "pong"),
        "after {after}"
    );
}

fn get_ping() -> Ask {
    get("/ping")
}

async fn judge(cases: Vec<Case>) {
    let (gateway, _silent) = listening("").await;
    let mut wrong = Vec::new();
    for Case(name, frames, expected) in cases {
        let mut client = FrameClient::connect(gateway.address(), &[]).await;
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
        client.send(bytes).await;
        let outcome = client.outcome(1).await;
        if outcome != expected {
            wrong.push(format!("{name}: {outcome:?}, expected {expected:?}"));
        }
        assert_served(&gateway, name).await;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn requests_are_judged() {
    judge(requests()).await;
}

#[tokio::test]
async fn frames_are_judged() {
    judge(frames()).await;
}
