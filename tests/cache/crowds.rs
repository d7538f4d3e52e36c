//! Many who want the same at once, and what they have of an upstream that is slow, fails, is dead or is left alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use http::Response;

use crate::CACHED;
use crate::harness::{
    Answer, Body, Client, Gateway, Origin, Protocol, Seen, channel, full, get, reply, status,
    within,
};

const LIFE: (&str, &str) = ("cache-control", "max-age=3600");
const PROTOCOLS: [Protocol; 2] = [Protocol::Http1, Protocol::H2];

fn piece(number: usize) -> Bytes {
    Bytes::from(format!("{number:015}\n").repeat(1024))
}

/// A body of so many pieces of 16 KiB, with a pause before each.
fn pieces(count: usize, pause: Duration) -> Response<Body> {
    let (chunks, body) = channel();
    tokio::spawn(async move {
        for number in 0..count {
            tokio::time::sleep(pause).await;
            if !chunks.send(piece(number)).await {
                return;
            }
        }
    });
    reply(200, &[LIFE], body)
}

#[track_caller]
fn assert_whole(answer: &Answer, count: usize) {
    assert_eq!(answer.status, 200);
    let expected: Vec<u8> = (0..count).flat_map(piece).collect();
    assert!(answer.body == expected, "{} bytes", answer.body.len());
}

/// One address is many clients here.
const CROWDED: &str =
    "[listeners.public]\nbind = \"127.0.0.1:0\"\nlimits = { connections_per_ip = 5000 }\n";

async fn before(origin: &Origin) -> Gateway {
    let draft = Gateway::draft(&[CACHED, CROWDED].concat());
    draft.with("origin", origin).start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_for_one_cold_object_are_one_request() {
    for protocol in PROTOCOLS {
        let origin = Origin::serving(Protocol::Http1, |_: Seen| async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            pieces(4, Duration::from_millis(20))
        });
        let gateway = before(&origin).await;
        let clients: Vec<Client> = (0..20).map(|_| gateway.client(protocol)).collect();
        let asking = (0..1000).map(|number| clients[number % clients.len()].send(get("/cold")));
        let answers = within("all answers", join_all(asking)).await;
        for answer in &answers {
            assert_whole(answer, 4);
        }
        assert_eq!(origin.seen().len(), 1, "over {protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_slowly_slows_nobody() {
    const COUNT: usize = 512;
    for protocol in PROTOCOLS {
        let origin = Origin::http1(|_: Seen| pieces(COUNT, Duration::ZERO));
        let gateway = before(&origin).await;
        // The first one is who has it fetched, and takes nothing.
        let slow = gateway.client(protocol);
        let mut slow = slow.open(get("/large")).await;
        let begin = Instant::now();
        let others: Vec<Client> = (0..4).map(|_| gateway.client(protocol)).collect();
        let answers = join_all(others.iter().map(|client| client.send(get("/large")))).await;
        assert!(begin.elapsed() < Duration::from_secs(8), "{protocol:?}");
        for answer in &answers {
            assert_whole(answer, COUNT);
        }
        let mut read = Vec::new();
        while let Some(chunk) = slow.chunk().await {
            read.extend_from_slice(&chunk);
        }
        let expected: Vec<u8> = (0..COUNT).flat_map(piece).collect();
        assert!(read == expected, "{} bytes over {protocol:?}", read.len());
        assert_eq!(origin.seen().len(), 1, "over {protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_takes_nothing_from_the_others() {
    for protocol in PROTOCOLS {
        let origin = Origin::http1(|_: Seen| pieces(20, Duration::from_millis(20)));
        let gateway = before(&origin).await;
        let leaving = gateway.client(protocol);
        let mut first = leaving.open(get("/left")).await;
        first.chunk().await.expect("a beginning");
        let staying = gateway.client(protocol);
        let rest = async {
            drop(first);
            drop(leaving);
        };
        let (answer, ()) = tokio::join!(staying.send(get("/left")), rest);
        assert_whole(&answer, 20);
        assert_whole(&staying.send(get("/left")).await, 20);
        assert_eq!(origin.seen().len(), 1, "over {protocol:?}");
    }
}

/// What may be served stale for an hour, and is stale at once; after that the origin does what `then` does.
fn once_good(then: impl Fn() -> Response<Body> + Send + Sync + 'static) -> Origin {
    let asked = Arc::new(AtomicUsize::new(0));
    Origin::http1(move |_: Seen| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => stale("good"),
        _ => then(),
    })
}

fn stale(body: &str) -> Response<Body> {
    let control = "max-age=10, stale-if-error=3600";
    let fields = [("cache-control", control), ("age", "20")];
    reply(200, &fields, full(body.to_owned()))
}

/// A cached route whose upstream has these lines.
async fn with_upstream(origin: &Origin, lines: &str) -> Gateway {
    let toml = CACHED.replace(
        "endpoints = [\"$origin\"]",
        "endpoints = [\"$origin\"]\n$lines",
    );
    let draft = Gateway::draft(&toml).with("origin", origin);
    draft.with("lines", lines).start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_upstream_leaves_what_is_stored() {
    for protocol in PROTOCOLS {
        let origin = Origin::http1(|_: Seen| stale("good"));
        let gateway = before(&origin).await;
        let client = gateway.client(protocol);
        assert_eq!(client.send(get("/dead")).await.text(), "good");
        drop(origin);
        for _ in 0..3 {
            let answer = client.send(get("/dead")).await;
            assert_eq!(answer.text(), "good", "over {protocol:?}: {answer:?}");
        }
        // Of what was never there nothing can be served.
        assert!(client.send(get("/unknown")).await.status >= 500);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_upstream_is_not_waited_for() {
    for protocol in PROTOCOLS {
        let asked = Arc::new(AtomicUsize::new(0));
        let origin = Origin::serving(Protocol::Http1, move |_: Seen| {
            let number = asked.fetch_add(1, Ordering::SeqCst);
            async move {
                if number > 0 {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
                stale("good")
            }
        });
        let gateway = with_upstream(&origin, "timeouts = { first_byte = \"300ms\" }").await;
        let client = gateway.client(protocol);
        assert_eq!(client.send(get("/slow")).await.text(), "good");
        let begin = Instant::now();
        let answer = client.send(get("/slow")).await;
        assert_eq!(answer.text(), "good", "over {protocol:?}: {answer:?}");
        assert!(begin.elapsed() < Duration::from_secs(3), "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_breaker_leaves_what_is_stored() {
    for protocol in PROTOCOLS {
        let origin = once_good(|| status(500));
        let breaker = "breaker = { min_requests = 5, open_for = \"60s\" }";
        let gateway = with_upstream(&origin, breaker).await;
        let client = gateway.client(protocol);
        assert_eq!(client.send(get("/broken")).await.text(), "good");
        for _ in 0..10 {
            let answer = client.send(get("/broken")).await;
            assert_eq!(answer.text(), "good", "over {protocol:?}: {answer:?}");
        }
        let opened = origin.seen().len();
        assert!(opened < 11, "the breaker is open");
        let answer = client.send(get("/unknown")).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        let answer = client.send(get("/broken")).await;
        assert_eq!(answer.text(), "good");
        assert_eq!(origin.seen().len(), opened, "it is left alone");
    }
}
