//! The cache beside other policies: what they do to a response, they do for the one who asks.

use std::io::Read;

use http::Response;
use northgate::identity::api_key::{KeyHash, Prefix, make};

use crate::harness::{Body, Gateway, Origin, Protocol, Seen, full, get, reply};

/// A cached route with these policies beside.
async fn gateway(origin: &Origin, policies: &str) -> Gateway {
    Gateway::draft(
        r#"
        [upstreams.origin]
        endpoints = ["$origin"]

        [routes.cached]
        match = { path = "/{*rest}" }
        upstream = "origin"

        [routes.cached.policies]
        cache = {}
        $policies
        "#,
    )
    .with("origin", origin)
    .with("policies", policies)
    .start()
    .await
}

fn document() -> String {
    "All work and no play makes Jack a dull boy. ".repeat(500)
}

fn served(body: &str) -> Response<Body> {
    let fields = [
        ("cache-control", "public, max-age=3600"),
        ("content-type", "text/plain"),
        ("etag", "\"v1\""),
    ];
    reply(200, &fields, full(body.to_owned()))
}

fn decode(encoding: Option<&str>, body: &[u8]) -> String {
    let mut text = String::new();
    let read = match encoding {
        None => return String::from_utf8(body.to_vec()).expect("a text"),
        Some("gzip") => flate2::read::GzDecoder::new(body).read_to_string(&mut text),
        Some("br") => brotli::Decompressor::new(body, 4096).read_to_string(&mut text),
        Some("zstd") => zstd::stream::read::Decoder::new(body)
            .expect("a decoder")
            .read_to_string(&mut text),
        Some(other) => panic!("nobody has asked for {other}"),
    };
    read.expect("what it is said to be");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_has_the_coding_he_can_read() {
    const ACCEPTED: [Option<&str>; 4] = [None, Some("gzip"), Some("br"), Some("zstd")];
    let origin = Origin::http1(|_: Seen| served(&document()));
    let gateway = gateway(&origin, "compression = {}").await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        // Each of them is the first once, whose answer is the one that is stored.
        for first in 0..ACCEPTED.len() {
            let path = format!("/{protocol:?}/{first}");
            for turn in 0..2 * ACCEPTED.len() {
                let accepted = ACCEPTED[(first + turn) % ACCEPTED.len()];
                let ask = match accepted {
                    None => get(&path),
                    Some(coding) => get(&path).header("accept-encoding", coding),
                };
                let answer = client.send(ask).await;
                let encoding = answer.header("content-encoding");
                assert!(encoding.is_none() || encoding == accepted, "{answer:?}");
                assert!(decode(encoding, &answer.body) == document(), "{path}");
                assert!(turn == 0 || answer.header("age").is_some(), "{answer:?}");
            }
        }
    }
    assert_eq!(origin.seen().len(), 8, "one of each path");
}

/// Half of what is compressed is nothing that can be read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_is_of_what_is_said_to_be_whole() {
    let origin = Origin::http1(|_: Seen| served(&document()));
    let gateway = gateway(&origin, "compression = {}").await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        let path = format!("/{protocol:?}");
        client
            .send(get(&path).header("accept-encoding", "gzip"))
            .await;
        let ask = get(&path).header("accept-encoding", "gzip");
        let answer = client.send(ask.header("range", "bytes=0-7")).await;
        assert_eq!(answer.status, 206, "{answer:?}");
        assert_eq!(answer.header("content-encoding"), None);
        assert_eq!(answer.text(), "All work");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_origin_of_a_script_is_answered_for_itself() {
    let origin = Origin::http1(|_: Seen| served("shared"));
    let cors = r#"cors = { origins = ["https://one.test", "https://two.test"] }"#;
    let gateway = gateway(&origin, cors).await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        let path = format!("/{protocol:?}");
        for (from, allowed) in [
            (None, None),
            (Some("https://one.test"), Some("https://one.test")),
            (Some("https://two.test"), Some("https://two.test")),
            (Some("https://evil.test"), None),
            (None, None),
        ] {
            let ask = match from {
                None => get(&path),
                Some(from) => get(&path).header("origin", from),
            };
            let answer = client.send(ask).await;
            let said = answer.header("access-control-allow-origin");
            assert_eq!(said, allowed, "to {from:?}: {answer:?}");
        }
    }
    assert_eq!(origin.seen().len(), 2, "one of each protocol");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_of_one_is_not_stored_with_the_answer() {
    let origin = Origin::http1(|_: Seen| served("shared"));
    let key = || {
        make(&Prefix::default())
            .expect("randomness")
            .text
            .to_string()
    };
    let (ann, ben) = (key(), key());
    let policies = format!(
        r#"
        api_key = {{}}
        response_headers = {{ set = {{ x-for = "{{identity.consumer}}" }} }}
        [consumers.ann]
        api_keys = ["{}"]
        [consumers.ben]
        api_keys = ["{}"]
        "#,
        KeyHash::of(ann.as_bytes()),
        KeyHash::of(ben.as_bytes())
    );
    let gateway = gateway(&origin, &policies).await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        let path = format!("/{protocol:?}");
        let mut ids = Vec::new();
        for (key, who) in [(&ann, "ann"), (&ben, "ben"), (&ann, "ann")] {
            let answer = client.send(get(&path).header("x-api-key", key)).await;
            assert_eq!(answer.text(), "shared");
            assert_eq!(answer.header("x-for"), Some(who), "{answer:?}");
            let id = answer.header("x-request-id").expect("an id");
            assert!(!ids.contains(&id.to_owned()), "{id} was somebody else's");
            ids.push(id.to_owned());
        }
    }
    assert_eq!(origin.seen().len(), 2, "one of each protocol");
}
