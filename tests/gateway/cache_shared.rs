//! `cache`: what one who asks is, wants or allows says nothing of what others get.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use northgate::identity::api_key::{KeyHash, Prefix, make};
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

async fn gateway(shop: &Origin, cache: &str) -> Arc<Gateway> {
    let draft = Gateway::draft(SHOP).with("shop", shop);
    draft.with("cache", cache).start().await.into()
}

/// What proves something to the upstream alone is not in the key, whoever has proven what to the gateway.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_for_the_upstream_are_not_those_for_the_gateway() {
    let key = make(&Prefix::default()).expect("randomness").text;
    for vary_by in ["\"identity\"", "[\"plan\", \"client\"]"] {
        let shop = Origin::http1(|seen| {
            let who = seen.header("authorization").unwrap_or_default().to_owned();
            reply(200, &[("cache-control", "max-age=60")], full(who))
        });
        let toml = format!(
            r#"
            [consumers.app]
            api_keys = ["{}"]
            {SHOP}
            policies.api_key = {{}}
            "#,
            KeyHash::of(key.as_bytes())
        );
        let draft = Gateway::draft(toml.as_str()).with("shop", &shop);
        let gateway = draft
            .with("cache", format!("vary_by = {vary_by}"))
            .start()
            .await;
        for who in ["Bearer ann", "Bearer ben", "Bearer ann"] {
            let ask = get("/x").header("x-api-key", &key);
            let answer = gateway.http1().send(ask.header("authorization", who)).await;
            assert_eq!(answer.text(), who, "{vary_by} {answer:?}");
        }
        for _ in 0..2 {
            let ask = get("/x").header("x-api-key", &key);
            assert_eq!(gateway.http1().send(ask).await.text(), "");
        }
        assert_eq!(shop.seen().len(), 4, "without them it is kept");
    }
}

/// An origin that answers once it is let.
fn held(control: &'static str) -> (Origin, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let shop = Origin::serving(Protocol::Http1, move |_| {
        let held = held.clone();
        async move {
            held.acquire().await.unwrap().forget();
            reply(200, &[("cache-control", control)], full("x"))
        }
    });
    (shop, gate)
}

/// Sends it on a task of its own, and gives it time to come.
async fn begun(gateway: &Arc<Gateway>, ask: Ask) -> tokio::task::JoinHandle<Answer> {
    let gateway = gateway.clone();
    let task = tokio::spawn(async move { gateway.http1().send(ask).await });
    tokio::time::sleep(Duration::from_millis(150)).await;
    task
}

/// Neither who shows credentials nor who wants nothing kept keeps something out of the cache, or has others go by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_somebody_or_wants_nothing_kept_holds_up_nobody() {
    for (name, value) in [("authorization", "x"), ("cache-control", "no-store")] {
        let (shop, gate) = held("max-age=60");
        let gateway = gateway(&shop, "").await;
        let special = || get("/x").header(name, value);
        let mut asked = Vec::new();
        for _ in 0..3 {
            asked.push(begun(&gateway, special()).await);
        }
        // They are not waited for, and others wait for each other.
        let before = shop.seen().len();
        for _ in 0..3 {
            asked.push(begun(&gateway, get("/x")).await);
        }
        assert_eq!(shop.seen().len(), before + 1, "{name}");
        gate.add_permits(100);
        for one in asked {
            assert_eq!(one.await.unwrap().status, 200);
        }
        let answer = gateway.http1().send(get("/x")).await;
        assert!(answer.header("age").is_some(), "{name} {answer:?}");
    }
}

/// Who takes a stale response where there is no other takes it for nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_allows_is_allowed_to_no_other() {
    let (turn, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (count, hold) = (turn.clone(), gate.clone());
    let shop = Origin::serving(Protocol::Http1, move |_| {
        let (turn, hold) = (count.fetch_add(1, Ordering::SeqCst), hold.clone());
        async move {
            if turn == 0 {
                return reply(
                    200,
                    &[("cache-control", "max-age=0"), ("etag", "\"1\"")],
                    full("old"),
                );
            }
            hold.acquire().await.unwrap().forget();
            reply(503, &[], full("down"))
        }
    });
    let gateway = gateway(&shop, "").await;
    assert_eq!(gateway.http1().send(get("/x")).await.text(), "old");
    let lenient = get("/x").header("cache-control", "stale-if-error=1000");
    let lenient = begun(&gateway, lenient).await;
    let strict = begun(&gateway, get("/x").header("cache-control", "no-cache")).await;
    let plain = begun(&gateway, get("/x")).await;
    gate.add_permits(100);
    assert_eq!(lenient.await.unwrap().text(), "old");
    for one in [strict, plain] {
        let answer = one.await.unwrap();
        assert_eq!(
            (answer.status, &*answer.text()),
            (503, "down"),
            "{answer:?}"
        );
    }
}

/// What a client wants of a part that is not there says nothing of the whole, to caches on the way either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_that_is_not_there_is_kept_by_nobody() {
    let shop = Origin::http1(|_| {
        let headers = [
            ("cache-control", "max-age=60"),
            ("cdn-cache-control", "max-age=600"),
            ("etag", "\"1\""),
            ("expires", "Sun, 06 Nov 2044 08:49:37 GMT"),
        ];
        reply(200, &headers, full("0123456789"))
    });
    let gateway = gateway(&shop, "").await;
    assert_eq!(gateway.http1().send(get("/x")).await.status, 200);
    let answer = gateway
        .http1()
        .send(get("/x").header("range", "bytes=10-"))
        .await;
    assert_eq!(
        (answer.status, answer.header("content-range")),
        (416, Some("bytes */10"))
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    for name in ["cdn-cache-control", "etag", "expires"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
}
