//! `cache`: what purges and writes find, however they spell what they mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::*;

const SHOP: &str = r#"
    [upstreams.shop]
    endpoints = ["$shop"]

    [routes.read]
    match = { path = "/{*rest}", methods = ["GET", "HEAD", "PURGE"] }
    upstream = "shop"
    policies.cache = { ignore_query = ["utm_*"], purge = "true" }

    [routes.write]
    match = { path = "/{*rest}", methods = ["POST", "DELETE"] }
    upstream = "shop"
"#;

async fn is_kept(gateway: &Gateway, ask: Ask, expected: bool, why: &str) {
    let answer = gateway.http1().send(ask).await;
    assert_eq!(answer.status, 200, "{why}: {answer:?}");
    let is_kept = answer.header("age").is_some();
    assert_eq!(is_kept, expected, "{why}: {answer:?}");
}

/// What a purge names is found however it is spelled, and whichever port clients name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_finds_every_spelling() {
    let shop = Origin::http1(|_| reply(200, &[("cache-control", "max-age=60")], full("x")));
    let gateway = Gateway::draft(SHOP).with("shop", &shop).start().await;
    let ask = || get("/~ann/a%2520b?x=1&utm_a=2").host("shop.test:8443");
    for purge in [
        "url=http://SHOP.test/~ann/a%252520b?x=1",
        "url=https://shop.test:8443/%257Eann/./b/../a%252520b?utm_b=3%26x=1",
        "url=https://shop.test.:9/~ann/a%252520b?x=1",
        "prefix=http://shop.test/%257eann/",
        "prefix=/b/../~ann",
        "prefix=/%257eann/a%252520b?x=",
        "host=Shop.test:8443",
    ] {
        is_kept(&gateway, ask(), false, purge).await;
        is_kept(&gateway, ask(), true, purge).await;
        let asked = post(&format!("/cache/purge?{purge}"), "");
        let purged = gateway.admin(asked).await;
        assert_eq!(purged.status, 200, "{purge} {purged:?}");
        is_kept(&gateway, ask(), false, purge).await;
        is_kept(&gateway, ask(), true, purge).await;
        let purge = request("PURGE", "/%7Eann/a%2520b?utm_c=4&x=1");
        assert_eq!(gateway.http1().send(purge).await.status, 204);
    }
    for purge in [
        "url=/x",
        "url=http://shop.test/a%2500b",
        "prefix=x",
        "prefix=%2F%2500",
    ] {
        let asked = post(&format!("/cache/purge?{purge}"), "");
        let refused = gateway.admin(asked).await;
        assert_eq!(refused.status, 400, "{purge} {refused:?}");
    }
}

/// A write is a write, whether or not its own route keeps anything (RFC 9111 section 4.4).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_by_another_route_is_heard() {
    let status = Arc::new(AtomicUsize::new(200));
    let now = status.clone();
    let shop = Origin::http1(move |seen| match seen.method.as_str() {
        "GET" => reply(200, &[("cache-control", "max-age=60")], full("x")),
        _ => {
            let headers = [
                ("location", "http://shop.test:8443/b/../%7Ebe?utm_x=1&y=2"),
                ("content-location", "else"),
            ];
            reply(now.load(Ordering::SeqCst) as u16, &headers, full(""))
        }
    });
    let gateway = Gateway::draft(SHOP).with("shop", &shop).start().await;
    let urls = ["/a/x?q=1", "/~be?y=2", "/a/else", "/a/other"];
    let are_kept = async |expected: [bool; 4], why: &str| {
        for (url, expected) in urls.iter().zip(expected) {
            is_kept(&gateway, get(url), expected, why).await;
        }
    };
    are_kept([false; 4], "at first").await;
    for (ask, code, expected) in [
        (
            post("/a/x?q=1&utm_a=1", "new"),
            201,
            [false, false, false, true],
        ),
        (post("/a/x?q=1", "bad"), 400, [true; 4]),
        (post("/a/x?q=1", "bad"), 503, [true; 4]),
        (delete("/a/x?q=1"), 303, [false, false, false, true]),
        (request("GET", "/a/x?q=1"), 200, [true; 4]),
        (post("/a/x?q=2", "other"), 200, [true, false, false, true]),
    ] {
        status.store(code, Ordering::SeqCst);
        are_kept([true; 4], "before").await;
        let answer = gateway.http1().send(ask).await;
        assert_eq!(usize::from(answer.status), code);
        are_kept(expected, &format!("after {code}")).await;
    }
}
