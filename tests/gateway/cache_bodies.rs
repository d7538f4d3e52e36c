//! `cache`: ranges, bodies that are too large to be kept, and requests that have a body themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::*;

const SHOP: &str = r#"
    [cache]
    memory = "$memory"
    [upstreams.shop]
    endpoints = ["$shop"]
    [routes.shop]
    match = { path = "/{*rest}" }
    upstream = "shop"
    policies.cache = { $cache }
"#;

async fn gateway(shop: &Origin, memory: &str, cache: &str) -> Gateway {
    let draft = Gateway::draft(SHOP).with("shop", shop);
    let draft = draft.with("memory", memory).with("cache", cache);
    draft.start().await
}

const LENGTH: usize = 6 << 20;

/// Parts that are asked for from the end to the beginning, of a body that there is no room for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_in_any_order_are_served_while_a_body_passes() {
    let shop = Origin::http1(|_| {
        let headers = [("cache-control", "max-age=60"), ("etag", "\"1\"")];
        reply(200, &headers, full(vec![b'x'; LENGTH]))
    });
    let gateway = gateway(&shop, "2MiB", "").await;
    for ranges in [
        "bytes=5000000-5000009,0-9",
        "bytes=0-9,5000000-5000009",
        "bytes=-5,0-1,7-8",
    ] {
        let ask = get("/x").header("range", ranges);
        let answer = within("it is answered", gateway.http1().send(ask)).await;
        match answer.status {
            200 => assert_eq!(answer.body.len(), LENGTH, "{ranges}"),
            _ => assert_eq!(
                answer.status,
                206,
                "{ranges} {:?}",
                answer.header("content-type")
            ),
        }
    }
}

/// What has turned out to be too large is waited for by nobody for a while: each gets its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_what_has_turned_out_to_be_too_large() {
    let shop = Origin::http1(|_| {
        let (chunks, body) = channel();
        tokio::spawn(async move {
            for _ in 0..16 {
                chunks.send(vec![b'x'; 64 << 10]).await;
            }
        });
        reply(200, &[("cache-control", "max-age=60")], body)
    });
    let gateway = gateway(&shop, "64MiB", "max_object = \"100KiB\"").await;
    assert_eq!(gateway.http1().send(get("/x")).await.body.len(), 1 << 20);
    let mut first = gateway.http1().open(get("/x")).await;
    let second = gateway.http1().send(get("/x")).await;
    assert_eq!(second.body.len(), 1 << 20);
    assert_eq!(shop.seen().len(), 3);
    let mut read = 0;
    while let Some(chunk) = first.chunk().await {
        read += chunk.len();
    }
    assert_eq!(read, 1 << 20);
}

/// A part that is stale is asked about as a part (RFC 9110 section 13.2.2), and nobody is asked for the whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_part_is_asked_for_as_a_part() {
    let version = Arc::new(AtomicUsize::new(1));
    let now = version.clone();
    let shop = Origin::http1(move |seen| {
        let tag = format!("\"{}\"", now.load(Ordering::SeqCst));
        assert_eq!(seen.header("range"), Some("bytes=2-4"));
        let headers = [
            ("cache-control", "max-age=0"),
            ("etag", &*tag),
            ("content-range", "bytes 2-4/1000000"),
        ];
        match seen.header("if-none-match") == Some(&*tag) {
            true => reply(304, &headers[..2], empty()),
            false => reply(206, &headers, full(format!("v{tag}")[..3].to_owned())),
        }
    });
    let gateway = gateway(&shop, "64MiB", "").await;
    for (turn, expected, status) in [
        (1, "v\"1", "miss"),
        (1, "v\"1", "revalidated"),
        (2, "v\"2", "miss"),
    ] {
        version.store(turn, Ordering::SeqCst);
        let ask = get("/x").header("range", "bytes=2-4");
        let answer = gateway.http1().send(ask).await;
        assert_eq!(
            (answer.status, &*answer.text()),
            (206, expected),
            "{status} {answer:?}"
        );
        assert_eq!(answer.header("content-range"), Some("bytes 2-4/1000000"));
    }
    assert_eq!(shop.seen().len(), 3);
}

/// Only GET has ranges (RFC 9110 section 14.2).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_has_no_ranges() {
    let shop = Origin::http1(|seen| match seen.header("range") {
        Some(_) => {
            let headers = [
                ("cache-control", "max-age=60"),
                ("content-range", "bytes 0-0/10"),
            ];
            reply(206, &headers, full("x"))
        }
        None => reply(200, &[("cache-control", "max-age=60")], full("0123456789")),
    });
    let gateway = gateway(&shop, "64MiB", "").await;
    let client = gateway.http1();
    let part = client.send(get("/x").header("range", "bytes=0-0")).await;
    assert_eq!((part.status, &*part.text()), (206, "x"));
    assert_eq!(client.send(get("/x")).await.text(), "0123456789");
    let answer = client.send(head("/x").header("range", "bytes=0-0")).await;
    assert_eq!(
        (answer.status, answer.header("content-length")),
        (200, Some("10"))
    );
}

/// What a request with a body gets is for nobody else, also where no header says that there is one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_get_with_a_body_is_not_answered_from_the_cache() {
    let shop = Origin::http1(|seen| {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        reply(
            200,
            &[("cache-control", "max-age=60")],
            full(format!("got {body}")),
        )
    });
    let gateway = gateway(&shop, "64MiB", "").await;
    for (client, is_said) in [(gateway.http2(), false), (gateway.http1(), true)] {
        let (chunks, body) = channel();
        // Over HTTP/1.1 the client says so; over HTTP/2 nothing does.
        let ask = get("/x").body(body);
        let asked = client.send(match is_said {
            true => ask.header("transfer-encoding", "chunked"),
            false => ask,
        });
        let (answer, ()) = tokio::join!(asked, async move {
            chunks.send("own").await;
            drop(chunks);
        });
        assert_eq!(answer.text(), "got own", "{answer:?}");
        assert_eq!(client.send(get("/x")).await.text(), "got ");
    }
}

/// Who leaves at once leaves no more behind than there is room for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_fetched_for_nobody_is_bound() {
    struct Live(Arc<AtomicUsize>);
    impl Drop for Live {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    const ROOM: usize = 512;
    let live = Arc::new(AtomicUsize::new(0));
    let count = live.clone();
    let shop = Origin::serving(Protocol::Http1, move |seen| {
        let is_quick = seen.target == "/quick";
        count.fetch_add(1, Ordering::SeqCst);
        let live = Live(count.clone());
        async move {
            if !is_quick {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            drop(live);
            empty_reply()
        }
    });
    let gateway = gateway(&shop, "64MiB", "").await;
    let clients: Vec<_> = (0..7).map(|_| Arc::new(gateway.http2())).collect();
    for client in &clients {
        // Each has one connection from then on.
        assert_eq!(client.send(get("/quick")).await.status, 200);
    }
    let asked: Vec<_> = (0..ROOM + 48)
        .map(|number| {
            let client = clients[number % clients.len()].clone();
            tokio::spawn(async move { client.try_send(get(&format!("/{number}"))).await })
        })
        .collect();
    eventually("all are asked for", async || {
        (live.load(Ordering::SeqCst) == ROOM + 48).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(live.load(Ordering::SeqCst), ROOM + 48, "somebody waits");
    asked.iter().for_each(tokio::task::JoinHandle::abort);
    eventually("what has no room is broken off", async || {
        (live.load(Ordering::SeqCst) == ROOM).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(live.load(Ordering::SeqCst), ROOM, "the others go on");
}

fn empty_reply() -> hyper::Response<Body> {
    reply(200, &[], empty())
}
