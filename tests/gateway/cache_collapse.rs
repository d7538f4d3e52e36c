//! `cache`: what many have of a response while it comes, and how long they wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::unfold;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::harness::*;

const SHOP: &str = r#"
    [cache]
    memory = "$memory"

    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"

    [routes.shop]
    match = { path = "/{*rest}" }
    upstream = "shop"
    policies.cache = { $cache }
"#;

async fn before(shop: &Origin, protocol: Protocol, cache: &str) -> Gateway {
    let draft = Gateway::draft(SHOP).with("memory", "64MiB");
    let draft = draft.with("shop", shop).with("protocol", protocol);
    draft.with("cache", cache).start().await
}

/// So little that somebody on the way may keep it back for more to be sent with it.
const HALF: usize = 5;

fn whole() -> Vec<u8> {
    [vec![b'a'; HALF], vec![b'b'; HALF]].concat()
}

/// What comes next of a body, so many bytes.
async fn read(body: &mut Incoming, count: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < count {
        read.extend(body.chunk().await.expect("more of the body"));
    }
    read
}

/// A body of two halves. The second comes once the gate is open; in its place, the body may break off.
fn in_two(gate: Arc<Semaphore>, is_broken: bool) -> Body {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let first = Frame::data(Bytes::from(vec![b'a'; HALF]));
        let _ = sender.send(Ok(first)).await;
        gate.acquire().await.unwrap().forget();
        let second = match is_broken {
            true => Err(std::io::Error::other("broken off")),
            false => Ok(Frame::data(Bytes::from(vec![b'b'; HALF]))),
        };
        let _ = sender.send(second).await;
    });
    let parts = unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    BodyExt::boxed(StreamBody::new(parts))
}

async fn asked(shop: &Origin, count: usize) {
    eventually("the upstream is asked", async || {
        (shop.seen().len() == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_is_read_while_it_comes() {
    over_each_pair(|pair| async move {
        for length in [None, Some("10")] {
            let gate = Arc::new(Semaphore::new(0));
            let held = gate.clone();
            let shop = Origin::speaking(pair.origin, move |_| {
                let headers = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
                let length = length.map(|length| ("content-length", length));
                let headers: Vec<_> = headers.into_iter().chain(length).collect();
                reply(200, &headers, in_two(held.clone(), false))
            });
            let gateway = before(&shop, pair.origin, "").await;
            let clients = [0, 1].map(|_| gateway.client(pair.client));
            let mut first = clients[0].open(get("/x")).await;
            let mut second = clients[1].open(get("/x")).await;
            // The upstream holds the rest back.
            assert!(read(&mut first, HALF).await == whole()[..HALF]);
            assert!(read(&mut second, HALF).await == whole()[..HALF]);
            let other = gateway.client(pair.client);
            let head = other.send(head("/x")).await;
            assert_eq!((head.status, head.header("content-length")), (200, length));
            let same = other.send(get("/x").header("if-none-match", "\"a\"")).await;
            assert_eq!(same.status, 304);
            if length.is_some() {
                let part = other.send(get("/x").header("range", "bytes=1-3")).await;
                assert_eq!((part.status, &*part.text()), (206, "aaa"));
            }
            assert_eq!(shop.seen().len(), 1);
            gate.add_permits(1);
            assert!(read(&mut first, HALF).await == whole()[HALF..]);
            assert!(read(&mut second, HALF).await == whole()[HALF..]);
            assert_eq!(first.chunk().await, None);
            assert_eq!(second.chunk().await, None);
            assert!(other.send(get("/x")).await.body == whole());
            assert_eq!(shop.seen().len(), 1);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_off_is_broken_for_all_and_kept_for_nobody() {
    over_each_pair(|pair| async move {
        for length in [None, Some("10")] {
            let gate = Arc::new(Semaphore::new(0));
            let (held, count) = (gate.clone(), AtomicUsize::new(0));
            let shop = Origin::speaking(pair.origin, move |_| {
                let control = Some(("cache-control", "max-age=60"));
                let length = length.map(|length| ("content-length", length));
                let headers: Vec<_> = control.into_iter().chain(length).collect();
                let is_first = count.fetch_add(1, Ordering::SeqCst) == 0;
                reply(200, &headers, in_two(held.clone(), is_first))
            });
            let gateway = before(&shop, pair.origin, "").await;
            let clients = [0, 1].map(|_| gateway.client(pair.client));
            let mut first = clients[0].open(get("/x")).await;
            let mut second = clients[1].open(get("/x")).await;
            assert!(read(&mut first, HALF).await == whole()[..HALF]);
            assert!(read(&mut second, HALF).await == whole()[..HALF]);
            gate.add_permits(1);
            for reader in [&mut first, &mut second] {
                let end = within("the end of the body", reader.try_chunk()).await;
                assert!(end.is_err(), "{end:?} of {length:?}");
            }
            assert_eq!(shop.seen().len(), 1);
            gate.add_permits(1);
            let again = gateway.client(pair.client).send(get("/x")).await;
            assert!(again.status == 200 && again.body == whole(), "{again:?}");
            assert_eq!(shop.seen().len(), 2);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_longer_than_the_route_says() {
    const MOST: Duration = Duration::from_millis(300);
    for protocol in [Protocol::Http1, Protocol::H2] {
        for (cache, least) in [
            ("collapse = \"300ms\"", Some(MOST)),
            ("collapse = \"off\"", Some(Duration::ZERO)),
            ("", None),
        ] {
            let gate = Arc::new(Semaphore::new(0));
            let held = gate.clone();
            let shop = Origin::serving(Protocol::Http1, move |_| {
                let held = held.clone();
                async move {
                    held.acquire().await.unwrap().forget();
                    reply(200, &[("cache-control", "max-age=60")], full("x"))
                }
            });
            let gateway = before(&shop, Protocol::Http1, cache).await;
            let mut asking = JoinSet::new();
            let begin = Instant::now();
            for count in 1..=2 {
                let client = gateway.client(protocol);
                asking.spawn(async move { client.send(get("/x")).await });
                match least.filter(|_| count == 2) {
                    Some(least) => {
                        asked(&shop, 2).await;
                        assert!(begin.elapsed() >= least, "{cache} {:?}", begin.elapsed());
                    }
                    None => asked(&shop, 1).await,
                }
            }
            if least.is_none() {
                // Longer than it takes the others to lose their patience.
                tokio::time::sleep(2 * MOST).await;
                assert_eq!(shop.seen().len(), 1);
            }
            gate.add_permits(2);
            while let Some(answer) = asking.join_next().await {
                assert_eq!(answer.unwrap().text(), "x");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fill_that_ends_ends_no_wait_for_another() {
    // The first answer has come, but for its body, when what it is of is purged. Whoever asks then begins anew, and
    // whoever asks after that waits for this one, even when the first has ended meanwhile.
    let gates = [0, 1].map(|_| Arc::new(Semaphore::new(0)));
    let (held, count) = (gates.clone(), Arc::new(AtomicUsize::new(0)));
    let shop = Origin::serving(Protocol::Http1, move |_| {
        let (held, number) = (held.clone(), count.fetch_add(1, Ordering::SeqCst));
        async move {
            let control = [("cache-control", "max-age=60")];
            match number {
                0 => reply(200, &control, in_two(held[0].clone(), false)),
                number => {
                    held[1].acquire().await.unwrap().forget();
                    reply(200, &control, full(number.to_string()))
                }
            }
        }
    });
    let gateway = before(&shop, Protocol::Http1, "").await;
    let mut first = gateway.http1().open(get("/x")).await;
    assert!(read(&mut first, HALF).await == whole()[..HALF]);
    let purged = gateway.admin(post("/cache/purge?all=true", "")).await;
    assert_eq!(purged.status, 200);
    let mut asking = JoinSet::new();
    let second = gateway.http1();
    asking.spawn(async move { second.send(get("/x")).await });
    asked(&shop, 2).await;
    gates[0].add_permits(1);
    assert!(read(&mut first, HALF).await == whole()[HALF..]);
    assert_eq!(first.chunk().await, None);
    // The exchange that has fetched it is told of in the log last of all.
    gateway
        .log_where("the first", |line| line["bytes_out"] == 10)
        .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let third = gateway.http1();
    asking.spawn(async move { third.send(get("/x")).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(shop.seen().len(), 2, "the third waits for the second");
    gates[1].add_permits(2);
    while let Some(answer) = asking.join_next().await {
        assert_eq!(answer.unwrap().text(), "1");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bound_whatever_is_asked_for() {
    let shop = Origin::http1(|seen| {
        let size = 1024 + seen.target.len() * 6_000;
        reply(
            200,
            &[("cache-control", "max-age=60")],
            full(vec![b'x'; size]),
        )
    });
    let draft = Gateway::draft(SHOP).with("memory", "1MiB");
    let draft = draft.with("shop", &shop).with("protocol", Protocol::Http1);
    let gateway = Arc::new(draft.with("cache", "").start().await);
    let mut asking = JoinSet::new();
    for worker in 0..8 {
        let client = gateway.client([Protocol::Http1, Protocol::H2][worker % 2]);
        asking.spawn(async move {
            for number in 0..100 {
                let target = format!("/{worker}/{}", "y".repeat(number % 7));
                let target = format!("{target}{number}");
                let answer = client.send(get(&target)).await;
                assert_eq!(
                    (answer.status, answer.body.len()),
                    (200, 1024 + target.len() * 6_000)
                );
            }
        });
    }
    while !asking.is_empty() {
        let shown = gateway.admin(get("/cache")).await.json();
        let (memory, bodies) = (shown["memory"].as_u64(), shown["bodies"].as_u64());
        // One entry may be counted before another has gone for it.
        assert!(memory <= Some((1 << 20) + (1 << 17)), "{shown}");
        assert!(bodies <= Some((1 << 20) + (1 << 17)), "{shown}");
        while let Some(done) = asking.try_join_next() {
            done.unwrap();
        }
    }
    let shown = gateway.admin(get("/cache")).await.json();
    assert!(shown["evicted"].as_u64() > Some(100), "{shown}");
    assert!(shown["entries"].as_u64() > Some(5), "{shown}");
}
