//! What origins answer, byte for byte: a response that could be read in two ways becomes a 502, and whatever comes
//! behind a response is never taken for another. In clear text and over TLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::harness::*;
use crate::origins::read_header;

const SHOP: &str = r#"
    [upstreams.shop]
    endpoints = ["$shop"]
    $tls

    [routes.all]
    match = { path = "/{*rest}" }
    upstream = "shop"
"#;

/// What should become of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It passes with this status and body, and its connection is used again.
    Kept(u16, &'static str),
    /// It passes, and its connection is not used again.
    Closed(u16, &'static str),
    /// The client is told 502, and the connection is not used again.
    Refused,
    /// Its header has passed when it shows; the body breaks off.
    Broken,
}

use Verdict::{Broken, Closed, Kept, Refused};

struct Case {
    method: &'static str,
    response: Vec<u8>,
    verdict: Verdict,
}

fn case(response: &str, verdict: Verdict) -> Case {
    asked_by("GET", response, verdict)
}

fn asked_by(method: &'static str, response: &str, verdict: Verdict) -> Case {
    Case {
        method,
        response: response.as_bytes().to_vec(),
        verdict,
    }
}

/// `head` is written with `|` for each line's end, and gets the empty line.
fn head(head: &str, body: &str, verdict: Verdict) -> Case {
    case(
        &format!("{}\r\n\r\n{body}", head.replace('|', "\r\n")),
        verdict,
    )
}

fn good() -> Vec<Case> {
    vec![
        head("HTTP/1.1 200 OK|content-length: 2", "ok", Kept(200, "ok")),
        head("HTTP/1.1 200|content-length: 2", "ok", Kept(200, "ok")),
        head("HTTP/1.1 200 |content-length: 2", "ok", Kept(200, "ok")),
        head(
            "HTTP/1.1 200 Quite\tgood|content-length: 2",
            "ok",
            Kept(200, "ok"),
        ),
        head(
            "HTTP/1.1 200 OK|Content-Length:  2  ",
            "ok",
            Kept(200, "ok"),
        ),
        head("HTTP/1.1 200 OK|content-length: 002", "ok", Kept(200, "ok")),
        head("HTTP/1.1 200 OK|content-length: 0", "", Kept(200, "")),
        head(
            "HTTP/1.1 404 Not Found|content-length: 2|x-empty:",
            "no",
            Kept(404, "no"),
        ),
        head("HTTP/1.1 204 No Content", "", Kept(204, "")),
        head(
            "HTTP/1.1 204 No Content|content-length: 0",
            "",
            Kept(204, ""),
        ),
        head(
            "HTTP/1.1 304 Not Modified|content-length: 9",
            "",
            Kept(304, ""),
        ),
        head(
            "HTTP/1.1 200 OK|transfer-encoding: chunked",
            "2\r\nok\r\n0\r\n\r\n",
            Kept(200, "ok"),
        ),
        head(
            "HTTP/1.1 200 OK|Transfer-Encoding: Chunked",
            "1\r\no\r\n01\r\nk\r\n0\r\n\r\n",
            Kept(200, "ok"),
        ),
        head(
            "HTTP/1.1 200 OK|transfer-encoding: chunked",
            "2;x=\"y\"\r\nok\r\n0\r\nx-sum: 1\r\n\r\n",
            Kept(200, "ok"),
        ),
        head(
            "HTTP/1.1 103 Early Hints|link: </a>||HTTP/1.1 200 OK|content-length: 2",
            "ok",
            Kept(200, "ok"),
        ),
        asked_by(
            "HEAD",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
            Kept(200, ""),
        ),
        asked_by(
            "HEAD",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            Kept(200, ""),
        ),
        asked_by(
            "POST",
            "HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok",
            Kept(201, "ok"),
        ),
        head(
            "HTTP/1.1 200 OK|content-length: 2|connection: close",
            "ok",
            Closed(200, "ok"),
        ),
        head("HTTP/1.0 200 OK|content-length: 2", "ok", Closed(200, "ok")),
    ]
}

/// More than was asked for.
fn trailing() -> Vec<Case> {
    let second = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond";
    vec![
        head(
            "HTTP/1.1 200 OK|content-length: 2",
            &format!("ok{second}"),
            Closed(200, "ok"),
        ),
        head(
            "HTTP/1.1 200 OK|content-length: 2",
            "okok",
            Closed(200, "ok"),
        ),
        head("HTTP/1.1 200 OK|content-length: 0", second, Closed(200, "")),
        head("HTTP/1.1 204 No Content", second, Closed(204, "")),
        head("HTTP/1.1 304 Not Modified", "body", Closed(304, "")),
        head(
            "HTTP/1.1 200 OK|transfer-encoding: chunked",
            &format!("2\r\nok\r\n0\r\n\r\n{second}"),
            Closed(200, "ok"),
        ),
        asked_by(
            "HEAD",
            &format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok{second}"),
            Closed(200, ""),
        ),
    ]
}

fn bad() -> Vec<Case> {
    let chunked = "2\r\nok\r\n0\r\n\r\n";
    let mut cases = vec![
        // Framing that contradicts itself.
        head(
            "HTTP/1.1 200 OK|content-length: 2|transfer-encoding: chunked",
            chunked,
            Refused,
        ),
        head(
            "HTTP/1.1 200 OK|transfer-encoding: chunked|content-length: 400",
            chunked,
            Refused,
        ),
        head(
            "HTTP/1.1 200 OK|content-length: 2|content-length: 40",
            "ok",
            Refused,
        ),
        head(
            "HTTP/1.1 200 OK|content-length: 2|content-length: 2",
            "ok",
            Refused,
        ),
        head("HTTP/1.1 200 OK|content-length: 2, 2", "ok", Refused),
        head("HTTP/1.1 200 OK|content-length: +2", "ok", Refused),
        head("HTTP/1.1 200 OK|content-length: -2", "ok", Refused),
        head("HTTP/1.1 200 OK|content-length: 0x2", "ok", Refused),
        head("HTTP/1.1 200 OK|content-length: 2 2", "ok", Refused),
        head("HTTP/1.1 200 OK|content-length:", "ok", Refused),
        head(
            "HTTP/1.1 200 OK|content-length: 99999999999999999999999",
            "ok",
            Refused,
        ),
        head(
            "HTTP/1.1 200 OK|transfer-encoding: gzip, chunked",
            chunked,
            Refused,
        ),
        head(
            "HTTP/1.1 200 OK|transfer-encoding: chunked, identity",
            chunked,
            Refused,
        ),
        head("HTTP/1.1 200 OK|transfer-encoding: identity", "ok", Refused),
        head(
            "HTTP/1.1 200 OK|transfer-encoding: xchunked",
            chunked,
            Refused,
        ),
        head(
            "HTTP/1.1 200 OK|transfer-encoding: chunked|transfer-encoding: chunked",
            chunked,
            Refused,
        ),
        head(
            "HTTP/1.0 200 OK|transfer-encoding: chunked",
            chunked,
            Refused,
        ),
        head("HTTP/1.1 204 No Content|content-length: 2", "ok", Refused),
        head(
            "HTTP/1.1 204 No Content|transfer-encoding: chunked",
            chunked,
            Refused,
        ),
        head(
            "HTTP/1.1 103 Early Hints|content-length: 2||HTTP/1.1 200 OK|content-length: 2",
            "ok",
            Refused,
        ),
        // Status lines.
        head("HTTP/2 200 OK|content-length: 2", "ok", Refused),
        head("HTTP/1.2 200 OK|content-length: 2", "ok", Refused),
        head("http/1.1 200 OK|content-length: 2", "ok", Refused),
        head("ICY 200 OK|content-length: 2", "ok", Refused),
        head("HTTP/1.1  200 OK|content-length: 2", "ok", Refused),
        head("HTTP/1.1 20 OK|content-length: 2", "ok", Refused),
        head("HTTP/1.1 2000 OK|content-length: 2", "ok", Refused),
        head("HTTP/1.1 abc OK|content-length: 2", "ok", Refused),
        head("HTTP/1.1 200 O\0K|content-length: 2", "ok", Refused),
        head("|HTTP/1.1 200 OK|content-length: 2", "ok", Refused),
        // Lines and fields.
        case("HTTP/1.1 200 OK\ncontent-length: 2\n\nok", Refused),
        case(
            "HTTP/1.1 200 OK\r\nx: y\ncontent-length: 2\r\n\r\nok",
            Refused,
        ),
        case(
            "HTTP/1.1 200 OK\r\nx: y\rz: 1\r\ncontent-length: 2\r\n\r\nok",
            Refused,
        ),
        head("HTTP/1.1 200 OK|x: a| b|content-length: 2", "ok", Refused),
        head("HTTP/1.1 200 OK| x: a|content-length: 2", "ok", Refused),
        head("HTTP/1.1 200 OK|content-length : 2", "ok", Refused),
        head(
            "HTTP/1.1 200 OK|transfer-encoding : chunked",
            chunked,
            Refused,
        ),
        head("HTTP/1.1 200 OK|x y: a|content-length: 2", "ok", Refused),
        head("HTTP/1.1 200 OK|: a|content-length: 2", "ok", Refused),
        head("HTTP/1.1 200 OK|x|content-length: 2", "ok", Refused),
        head("HTTP/1.1 200 OK|x: a\0b|content-length: 2", "ok", Refused),
        head("HTTP/1.1 200 OK|x: a\x01b|content-length: 2", "ok", Refused),
        head("HTTP/1.1 200 OK|x: a\x7fb|content-length: 2", "ok", Refused),
        head(
            &format!(
                "HTTP/1.1 200 OK|x: {}|content-length: 2",
                "x".repeat(70_000)
            ),
            "ok",
            Refused,
        ),
        head(
            &format!("HTTP/1.1 200 OK|{}content-length: 2", "x: y|".repeat(201)),
            "ok",
            Refused,
        ),
    ];
    // Chunks: with the head in the same packet the client has not been told anything yet.
    for body in [
        "2\nok\n0\n\n",
        "2\r\nokk\r\n0\r\n\r\n",
        "2 \r\nok\r\n0\r\n\r\n",
        "0x2\r\nok\r\n0\r\n\r\n",
        "-1\r\nok\r\n0\r\n\r\n",
        "ffffffffffffffff2\r\nok\r\n0\r\n\r\n",
        "\r\nok\r\n0\r\n\r\n",
        "2;a\nb\r\nok\r\n0\r\n\r\n",
        "2\r\nok\r\n0\r\nx : 1\r\n\r\n",
    ] {
        cases.push(head(
            "HTTP/1.1 200 OK|transfer-encoding: chunked",
            body,
            Refused,
        ));
    }
    cases
}

/// Answers each request as the case says and counts the connections.
fn answering(case: &Case, split: Option<usize>, tls: Option<&Authority>) -> RawOrigin {
    let response = case.response.clone();
    RawOrigin::over(tls.map(server_config), move |mut stream, _| {
        let response = response.clone();
        async move {
            while read_header(&mut stream).await {
                let (first, rest) = response.split_at(split.unwrap_or(response.len()));
                let wrote = write(&mut stream, first).await;
                if !rest.is_empty() {
                    // So that they are two packets; what becomes of it is the same where they are not.
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
                if wrote.is_err() || write(&mut stream, rest).await.is_err() {
                    return;
                }
            }
        }
    })
}

fn server_config(authority: &Authority) -> rustls::ServerConfig {
    authority.issue(&["127.0.0.1"]).server_config()
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

async fn gateway(shop: &RawOrigin, tls: Option<&Authority>) -> Gateway {
    let tls = tls.map(|authority| format!("tls = {{ ca = \"{}\" }}", authority.path()));
    Gateway::draft(SHOP)
        .with("shop", shop)
        .with("tls", tls.unwrap_or_default())
        .start()
        .await
}

/// In clear text and over TLS.
async fn check(case: &Case, split: Option<usize>) {
    check_over(case, split, None).await;
    check_over(case, split, Some(&Authority::new())).await;
}

async fn check_over(case: &Case, split: Option<usize>, tls: Option<&Authority>) {
    let shop = answering(case, split, tls);
    let gateway = gateway(&shop, tls).await;
    let name = format!(
        "{}{} {:?}",
        tls.map_or("", |_| "TLS "),
        case.method,
        String::from_utf8_lossy(&case.response)
    );
    let name = &name[..name.len().min(300)];
    let client = gateway.http1();
    for _ in 0..2 {
        let answer = within(name, client.try_send(request(case.method, "/"))).await;
        match case.verdict {
            Kept(status, body) | Closed(status, body) => {
                let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(
                    (answer.status, answer.text().as_str()),
                    (status, body),
                    "{name}"
                );
            }
            Refused => {
                let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(answer.status, 502, "{name}");
                answer.assert_problem(502, "upstream_protocol");
                let line = gateway.log_of(&answer).await;
                assert_eq!(line["fault"], "upstream", "{name}");
            }
            Broken => assert!(answer.is_err(), "{name}: {answer:?}"),
        }
    }
    let is_kept = matches!(case.verdict, Kept(..));
    assert_eq!(shop.connections(), if is_kept { 1 } else { 2 }, "{name}");
}

#[tokio::test]
async fn good_responses_pass_and_their_connections_are_kept() {
    for case in good() {
        check(&case, None).await;
    }
}

#[tokio::test]
async fn good_responses_pass_however_they_are_cut() {
    for case in good() {
        for split in [1, 17, case.response.len() - 1] {
            check(&case, Some(split)).await;
        }
    }
}

#[tokio::test]
async fn what_comes_behind_a_response_is_not_taken_for_another() {
    for case in trailing() {
        check(&case, None).await;
    }
}

#[tokio::test]
async fn responses_that_could_be_read_in_two_ways_are_refused() {
    let cases = bad();
    assert!(cases.len() >= 40);
    for case in cases {
        check(&case, None).await;
    }
}

#[tokio::test]
async fn heads_are_refused_however_they_are_cut() {
    for case in bad().iter().take(20) {
        check(case, Some(20)).await;
    }
}

#[tokio::test]
async fn chunks_that_go_wrong_break_the_body_off() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for body in [
        "2\r\nok\n0\r\n\r\n",
        "2\r\nok\r\nz\r\n\r\n",
        "2\r\nok\r\n0\r\nx\r\n\r\n",
    ] {
        let case = case(&format!("{head}{body}"), Broken);
        check(&case, Some(head.len() + 5)).await;
    }
}

#[tokio::test]
async fn a_response_that_comes_before_it_was_asked_for_is_not_one() {
    comes_before_it_was_asked_for(None).await;
    comes_before_it_was_asked_for(Some(&Authority::new())).await;
}

async fn comes_before_it_was_asked_for(tls: Option<&Authority>) {
    let served = Arc::new(AtomicUsize::new(0));
    let count = served.clone();
    let shop = RawOrigin::over(tls.map(server_config), move |mut stream, number| {
        let count = count.clone();
        async move {
            while read_header(&mut stream).await {
                count.fetch_add(1, Ordering::SeqCst);
                let own = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}");
                write(&mut stream, own.as_bytes()).await.unwrap();
                // When nobody has asked, a while after the response.
                tokio::time::sleep(std::time::Duration::from_millis(30)).await;
                let poison = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
                let _ = write(&mut stream, poison).await;
            }
        }
    });
    let gateway = gateway(&shop, tls).await;
    let client = gateway.http1();
    for number in 0..3 {
        assert_eq!(client.send(get("/")).await.text(), number.to_string());
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    }
    assert_eq!(served.load(Ordering::SeqCst), 3);
}
