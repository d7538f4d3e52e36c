//! `cache`: what is said of something that is kept already.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::harness::*;

const SHOP: &str = r#"
    [upstreams.shop]
    endpoints = ["$shop"]
    [routes.shop]
    match = { path = "/{*rest}" }
    upstream = "shop"
    policies.cache = { $cache }
"#;

async fn gateway(shop: &Origin, cache: &str) -> Gateway {
    let draft = Gateway::draft(SHOP).with("shop", shop);
    draft.with("cache", cache).start().await
}

/// What is gone, or must not be kept any more, does not come back where the upstream fails. What is wrong with one request takes
/// nothing away from others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_kept_ends_what_was_kept() {
    for (status, control, is_ended) in [
        (200, "no-store", true),
        (200, "private", true),
        (302, "no-store", true),
        (404, "no-store", true),
        (410, "no-store", true),
        (401, "no-store", false),
        (429, "no-store", false),
        (400, "no-store", false),
    ] {
        let turn = Arc::new(AtomicUsize::new(0));
        let shop = Origin::http1(move |_| match turn.fetch_add(1, Ordering::SeqCst) {
            0 => reply(200, &[("cache-control", "max-age=0")], full("old")),
            1 => reply(status, &[("cache-control", control)], full("new")),
            _ => reply(503, &[], full("down")),
        });
        let gateway = gateway(&shop, "stale_if_error = \"60s\"").await;
        let client = gateway.http1();
        assert_eq!(client.send(get("/x")).await.text(), "old");
        assert_eq!(client.send(get("/x")).await.text(), "new");
        let after = client.send(get("/x")).await.text();
        let expected = if is_ended { "down" } else { "old" };
        assert_eq!(after, expected, "{status} {control}");
    }
}

/// A response that is confirmed may say that it varies by more than before (RFC 9111 section 4.3.4).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirmation_may_tell_more_apart() {
    let shop = Origin::http1(|seen| {
        let language = seen
            .header("accept-language")
            .unwrap_or_default()
            .to_owned();
        let is_first = language == "en" && seen.header("if-none-match").is_none();
        let headers = [
            ("etag", "\"1\""),
            (
                "cache-control",
                if is_first { "max-age=0" } else { "max-age=60" },
            ),
            (
                "vary",
                if is_first {
                    "x-none"
                } else {
                    "x-none, accept-language"
                },
            ),
        ];
        match seen.header("if-none-match") {
            Some(_) => reply(304, &headers, full("")),
            None => reply(200, &headers, full(language)),
        }
    });
    let gateway = gateway(&shop, "").await;
    let ask = |language: &str| get("/x").header("accept-language", language);
    for language in ["en", "en", "fr", "fr", "de"] {
        let answer = gateway.http1().send(ask(language)).await;
        assert_eq!(answer.text(), language, "{answer:?}");
    }
}

/// With a soft purge the time of what was kept is over; how long it may still stand in counts from then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_purged_softly_stands_in_no_longer_than_what_is_stale() {
    let turn = Arc::new(AtomicUsize::new(0));
    let shop = Origin::http1(move |_| match turn.fetch_add(1, Ordering::SeqCst) {
        0 => reply(200, &[("cache-control", "max-age=60")], full("old")),
        _ => reply(503, &[], full("down")),
    });
    let gateway = gateway(&shop, "stale_if_error = \"3s\"").await;
    let client = gateway.http1();
    assert_eq!(client.send(get("/x")).await.text(), "old");
    let purged = gateway.admin(post("/cache/purge?all=true&soft=true", ""));
    assert_eq!(purged.await.status, 200);
    assert_eq!(client.send(get("/x")).await.text(), "old");
    tokio::time::sleep(Duration::from_millis(4200)).await;
    assert_eq!(client.send(get("/x")).await.text(), "down");
}

/// Where nobody waits for what is not kept, who wants nothing but what is kept gets nothing (RFC 9111 section 5.2.1.7).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_only_what_is_kept_asks_nobody() {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let shop = Origin::serving(Protocol::Http1, move |_| {
        let held = held.clone();
        async move {
            held.acquire().await.unwrap().forget();
            reply(200, &[("cache-control", "no-store")], full("x"))
        }
    });
    let gateway = Arc::new(gateway(&shop, "").await);
    let several: Vec<_> = (0..4)
        .map(|_| {
            let client = gateway.http1();
            tokio::spawn(async move { client.send(get("/x")).await.status })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    gate.add_permits(100);
    for one in several {
        assert_eq!(one.await.unwrap(), 200);
    }
    let before = shop.seen().len();
    let ask = get("/x").header("cache-control", "only-if-cached");
    assert_eq!(gateway.http1().send(ask).await.status, 504);
    assert_eq!(shop.seen().len(), before);
}
