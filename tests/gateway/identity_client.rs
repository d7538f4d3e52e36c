//! The one client for other servers: whom it believes, and what it refuses of them.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use northgate::identity::{Client, ClientConfig, ClientError, Url};
use northgate::text::{Diagnostics, Sources, Span, Spanned, Subject};
use tokio::io::AsyncWriteExt;

use crate::harness::*;
use crate::origins::read_header;

fn span() -> Span {
    Span::start_of(Sources::new().add("test", String::new()))
}

/// A client of this configuration, or what is said of it.
fn build(config: &ClientConfig) -> Result<Client, String> {
    install_cryptography();
    let mut diagnostics = Diagnostics::new();
    let mut subject = Subject::new(&mut diagnostics, "client");
    let built = Client::build(config, Path::new("/"), &mut subject);
    let said: Vec<_> = diagnostics.iter().map(|it| it.message.clone()).collect();
    assert_eq!(built.is_none(), !said.is_empty(), "{said:?}");
    built.ok_or_else(|| said.join("\n"))
}

fn client() -> Client {
    build(&ClientConfig::default()).unwrap()
}

/// One that gives up after 300 ms.
fn impatient() -> Client {
    let config = ClientConfig {
        timeout: "300ms".parse().unwrap(),
        ..ClientConfig::default()
    };
    build(&config).unwrap()
}

fn trusting(authority: &Authority) -> Client {
    let config = ClientConfig {
        ca: Some(Spanned::new(authority.path().into(), span())),
        ..ClientConfig::default()
    };
    build(&config).unwrap()
}

async fn ask(client: &Client, url: &str) -> Result<Response<Bytes>, ClientError> {
    let request = Request::get(url).body(Bytes::new()).unwrap();
    within("an answer or none", client.send(request)).await
}

/// Writes this to whoever asks, and then neither goes on nor closes.
fn writing(bytes: impl AsRef<[u8]> + Clone + Send + 'static) -> RawOrigin {
    RawOrigin::serving(move |mut stream, _| {
        let bytes = bytes.clone();
        async move {
            read_header(&mut stream).await;
            let _ = stream.write_all(bytes.as_ref()).await;
            std::future::pending().await
        }
    })
}

#[tokio::test]
async fn requests_go_as_they_are_and_connections_are_kept() {
    for protocol in [Protocol::Http1, Protocol::H2] {
        let authority = Authority::new();
        let config = authority.issue(&["localhost"]).server_config();
        let origin = Origin::over_tls(protocol, config, |seen| text(seen.body));
        let client = trusting(&authority);
        for _ in 0..3 {
            let request = Request::post(format!("https://localhost:{}/a?b=c", origin.port()))
                .header("x-a", "b")
                .body(Bytes::from("hello"))
                .unwrap();
            let answer = within("an answer", client.send(request)).await.unwrap();
            assert_eq!(
                (answer.status().as_u16(), &answer.body()[..]),
                (200, &b"hello"[..])
            );
        }
        let seen = origin.seen().remove(0);
        assert_eq!((&*seen.target, seen.header("x-a")), ("/a?b=c", Some("b")));
        assert_eq!(seen.host, format!("localhost:{}", origin.port()));
        assert!(seen.header("user-agent").unwrap().starts_with("northgate/"));
        assert_eq!(origin.connections(), 1);
    }
}

#[tokio::test]
async fn whoever_cannot_be_verified_is_sent_nothing() {
    let authority = Authority::new();
    let config = authority.issue(&["localhost"]).server_config();
    let origin = Origin::over_tls(Protocol::Http1, config, |_| text("never"));
    let (localhost, address) = (
        format!("https://localhost:{}/", origin.port()),
        format!("https://{origin}/"),
    );
    for (what, client, url) in [
        (
            "an authority that is not the system's",
            client(),
            &localhost,
        ),
        ("another authority", trusting(&Authority::new()), &localhost),
        ("another name", trusting(&authority), &address),
    ] {
        let refused = ask(&client, url).await;
        assert!(
            matches!(refused, Err(ClientError::Connect(_))),
            "{what}: {refused:?}"
        );
    }
    assert!(origin.seen().is_empty());
    assert!(ask(&trusting(&authority), &localhost).await.is_ok());
}

#[tokio::test]
async fn clear_text_stays_on_this_machine() {
    let origin = Origin::http1(|_| text("here"));
    let client = client();
    for url in [
        format!("http://{origin}/"),
        format!("http://localhost:{}/", origin.port()),
    ] {
        assert_eq!(ask(&client, &url).await.unwrap().body(), "here");
    }
    let mut diagnostics = Diagnostics::new();
    for (url, may_ask) in [
        ("http://192.0.2.1/", false),
        ("http://id.example/", false),
        ("http://localhost.id.example/", false),
        ("http://127.0.0.1/", true),
        ("https://id.example/", true),
    ] {
        let parsed: Url = url.parse().unwrap();
        let mut subject = Subject::new(&mut diagnostics, "url");
        assert_eq!(
            client.check(&Spanned::new(parsed, span()), &mut subject),
            may_ask,
            "{url}"
        );
        if !may_ask {
            assert!(
                matches!(ask(&client, url).await, Err(ClientError::Clear)),
                "{url}"
            );
        }
    }
    assert_eq!(diagnostics.error_count(), 3);
    let config = ClientConfig {
        allow_http: true,
        ..ClientConfig::default()
    };
    assert!(
        build(&config)
            .unwrap()
            .may_ask(&"http://id.example/".parse().unwrap())
    );
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let target = Origin::http1(|_| text("secret"));
    let place = format!("http://{target}/");
    let origin = Origin::http1(move |_| reply(302, &[("location", &place)], empty()));
    let answer = ask(&client(), &format!("http://{origin}/")).await.unwrap();
    assert_eq!(answer.status(), 302);
    assert!(target.seen().is_empty());
}

#[tokio::test]
async fn answers_have_bounds() {
    const MIB: usize = 1 << 20;
    let largest = Origin::http1(|_| text(vec![b'x'; MIB]));
    let answer = ask(&client(), &format!("http://{largest}/")).await.unwrap();
    assert_eq!(answer.body().len(), MIB);
    let endless = |head: &str, piece: usize| {
        let mut bytes = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").into_bytes();
        for _ in 0..(MIB / piece + 1) {
            bytes.extend(format!("{piece:x}\r\n").bytes());
            bytes.extend(vec![b'x'; piece]);
            bytes.extend(b"\r\n");
        }
        bytes
    };
    let many = format!(
        "HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n",
        "a: b\r\n".repeat(200)
    );
    let long = format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(100_000));
    for (what, bytes, is_expected) in [
        (
            "a length that is too large",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1048577\r\n\r\n".to_vec(),
            (|it| matches!(it, ClientError::TooLarge(_))) as fn(&ClientError) -> bool,
        ),
        (
            "a body that is too large",
            endless("transfer-encoding: chunked", 10_000),
            |it| matches!(it, ClientError::TooLarge(_)),
        ),
        (
            "an encoded body",
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx".to_vec(),
            |it| matches!(it, ClientError::Encoded),
        ),
        ("too many headers", many.into_bytes(), |it| {
            matches!(it, ClientError::Broken(_))
        }),
        ("a header that is too large", long.into_bytes(), |it| {
            matches!(it, ClientError::Broken(_))
        }),
        ("no HTTP", b"hello\r\n\r\n".to_vec(), |it| {
            matches!(it, ClientError::Broken(_))
        }),
    ] {
        let origin = writing(bytes);
        let refused = ask(&client(), &format!("http://{origin}/")).await;
        let error = refused.expect_err(what);
        assert!(is_expected(&error), "{what}: {error:?}");
    }
}

#[tokio::test]
async fn every_wait_ends() {
    for (what, bytes) in [
        ("nothing", &b""[..]),
        ("half a header", b"HTTP/1.1 200 OK\r\na: "),
        (
            "half a body",
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        ),
    ] {
        let origin = writing(bytes);
        let begin = Instant::now();
        let refused = ask(&impatient(), &format!("http://{origin}/")).await;
        assert!(
            matches!(refused, Err(ClientError::Deadline(_))),
            "{what}: {refused:?}"
        );
        assert_fired(begin);
    }
    // A byte at a time is no progress that counts.
    let dripping = RawOrigin::serving(|mut stream, _| async move {
        read_header(&mut stream).await;
        let mut drip = tokio::time::interval(Duration::from_millis(20));
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n")
            .await;
        while stream.write_all(b"x").await.is_ok() {
            drip.tick().await;
        }
    });
    let begin = Instant::now();
    let refused = ask(&impatient(), &format!("http://{dripping}/")).await;
    assert!(
        matches!(refused, Err(ClientError::Deadline(_))),
        "{refused:?}"
    );
    assert_fired(begin);
}

#[tokio::test]
async fn whoever_does_not_answer_is_told_apart_from_whoever_broke_off() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let refused = ask(&client(), &format!("http://{address}/")).await;
    assert!(
        matches!(refused, Err(ClientError::Connect(_))),
        "{refused:?}"
    );
    let closing = RawOrigin::serving(|mut stream, _| async move {
        read_header(&mut stream).await;
    });
    let refused = ask(&client(), &format!("http://{closing}/")).await;
    assert!(
        matches!(refused, Err(ClientError::Broken(_))),
        "{refused:?}"
    );
}

#[test]
fn authorities_that_are_none_are_told_of() {
    let folder = tempfile::tempdir().unwrap();
    for (content, expected) in [
        (None, "client.ca: cannot read "),
        (Some("hello"), "client.ca: there is no certificate in "),
    ] {
        let path = folder.path().join("ca.pem");
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let config = ClientConfig {
            ca: Some(Spanned::new(path, span())),
            ..ClientConfig::default()
        };
        let said = build(&config).unwrap_err();
        assert!(said.starts_with(expected), "{said}");
    }
}
