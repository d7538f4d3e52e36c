//! `cache`: what is stale, and serves while something better is on its way or is not to be had.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use crate::harness::*;

const SHOP: &str = r#"
    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"
    breaker = {}

    [upstreams.standby]
    endpoints = ["$standby"]

    [routes.shop]
    match = { path = "/{*rest}" }
    upstream = "shop"
    fallback = $fallback
    policies.cache = { $cache }
"#;

fn draft(shop: impl std::fmt::Display, protocol: Protocol, cache: &str) -> Draft {
    let draft = Gateway::draft(SHOP)
        .with("shop", shop)
        .with("protocol", protocol);
    draft.with("cache", cache)
}

/// Nobody is asked by way of the chain.
async fn alone(draft: Draft) -> Gateway {
    let draft = draft.with("standby", "127.0.0.1:1");
    draft.with("fallback", "[]").start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_while_one_revalidates() {
    over_each_pair(|pair| async move {
        for (cache, control) in [
            ("", "max-age=0, stale-while-revalidate=60"),
            ("stale_while_revalidate = \"60s\"", "max-age=0"),
        ] {
            let gate = Arc::new(Semaphore::new(1));
            let (held, count) = (gate.clone(), Arc::new(AtomicUsize::new(0)));
            let shop = Origin::serving(pair.origin, move |_| {
                let (held, version) = (held.clone(), count.fetch_add(1, Ordering::SeqCst));
                async move {
                    held.acquire().await.unwrap().forget();
                    let headers = [("cache-control", control)];
                    reply(200, &headers, full(version.to_string()))
                }
            });
            let gateway = alone(draft(&shop, pair.origin, cache)).await;
            let client = gateway.client(pair.client);
            assert_eq!(client.send(get("/x")).await.text(), "0");
            for _ in 0..20 {
                let answer = client.send(get("/x")).await;
                assert_eq!((answer.status, &*answer.text()), (200, "0"), "{cache}");
                assert_eq!(answer.header("x-northgate-degraded"), None);
                let log = gateway.log_of(&answer).await;
                assert_eq!(log["cache"], "stale", "{log}");
            }
            // The upstream, which has not answered yet, was asked once on behalf of them all.
            eventually("the upstream is asked", async || {
                (shop.seen().len() >= 2).then_some(())
            })
            .await;
            assert_eq!(shop.seen().len(), 2, "{cache}");
            gate.add_permits(1);
            eventually("the new one is served", async || {
                (client.send(get("/x")).await.text() == "1").then_some(())
            })
            .await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_break_leave_what_is_stored_where_that_is_allowed() {
    for protocol in [Protocol::Http1, Protocol::H2] {
        for (control, is_kept) in [
            ("max-age=0, stale-if-error=60", true),
            ("max-age=0, stale-if-error=60, must-revalidate", false),
            ("max-age=0, stale-if-error=60, proxy-revalidate", false),
            ("max-age=0", false),
        ] {
            let shop = RawOrigin::serving(move |mut stream, number| async move {
                let mut read = [0; 4096];
                let _ = stream.read(&mut read).await;
                if number == 0 {
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\ncache-control: {control}\r\ncontent-length: 4\r\nconnection: close\r\n\r\ngood"
                    );
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    let _ = stream.read(&mut read).await;
                }
            });
            let gateway = alone(draft(&shop, Protocol::Http1, "")).await;
            let client = gateway.client(protocol);
            assert_eq!(client.send(get("/x")).await.text(), "good");
            let answer = client.send(get("/x")).await;
            assert!(shop.connections() > 1, "the upstream is asked");
            if is_kept {
                assert_eq!((answer.status, &*answer.text()), (200, "good"), "{control}");
                assert!(answer.header("x-northgate-degraded").is_some());
            } else {
                assert_eq!(answer.status, 502, "{control} {answer:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breaker_that_an_operator_opens_leaves_what_is_stored() {
    for protocol in [Protocol::Http1, Protocol::H2] {
        let shop = Origin::http1(|_| {
            let control = [("cache-control", "max-age=0, stale-if-error=60")];
            reply(200, &control, full("good"))
        });
        let gateway = alone(draft(&shop, Protocol::Http1, "")).await;
        let client = gateway.client(protocol);
        client.send(get("/x")).await;
        let order = async |verb: &str| {
            let ask = post(&format!("/breakers/shop/{verb}"), "");
            assert_eq!(gateway.admin(ask).await.status, 200);
        };
        order("open").await;
        for _ in 0..2 {
            let answer = client.send(get("/x")).await;
            assert_eq!((answer.status, &*answer.text()), (200, "good"));
            assert_eq!(answer.header("x-northgate-degraded"), Some("circuit_open"));
            let told = answer.header("cache-status").unwrap();
            assert!(told.contains("detail=circuit_open"), "{told}");
            let log = gateway.log_of(&answer).await;
            let told = (&log["cache"], &log["degraded"]);
            assert_eq!(told, (&"stale".into(), &"circuit_open".into()), "{log}");
        }
        assert_eq!(shop.seen().len(), 1);
        let answer = client.send(get("/other")).await;
        answer.assert_problem(503, "circuit_open");
        order("close").await;
        let answer = client.send(get("/x")).await;
        assert_eq!(answer.header("x-northgate-degraded"), None);
        assert_eq!(shop.seen().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_upstream_answers_is_not_kept() {
    for protocol in [Protocol::Http1, Protocol::H2] {
        let is_good = Arc::new(AtomicUsize::new(0));
        let told = is_good.clone();
        let control = [("cache-control", "max-age=60")];
        let shop = Origin::http1(move |_| match told.load(Ordering::SeqCst) {
            0 => status(503),
            _ => reply(200, &control, full("shop")),
        });
        let standby = Origin::http1(move |_| reply(200, &control, full("standby")));
        let draft = draft(&shop, Protocol::Http1, "");
        let draft = draft.with("standby", &standby);
        let gateway = draft
            .with("fallback", "[{ upstream = \"standby\" }]")
            .start()
            .await;
        let client = gateway.client(protocol);
        for count in 1..=2 {
            let answer = client.send(get("/x")).await;
            assert_eq!((answer.status, &*answer.text()), (200, "standby"));
            assert_eq!(answer.header("x-northgate-degraded"), Some("status_503"));
            assert_eq!(answer.header("age"), None);
            assert_eq!(standby.seen().len(), count);
            let log = gateway.log_of(&answer).await;
            let told = (&log["degraded"], &log["fallback"]);
            let expected = (&"status_503".into(), &"upstream standby".into());
            assert_eq!(told, expected, "{log}");
        }
        is_good.store(1, Ordering::SeqCst);
        for _ in 0..2 {
            assert_eq!(client.send(get("/x")).await.text(), "shop");
        }
        assert_eq!(shop.seen().len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_often_is_fetched_ahead() {
    for (cache, is_ahead) in [("refresh_ahead = \"99%\"", true), ("", false)] {
        let count = Arc::new(AtomicUsize::new(0));
        let own = count.clone();
        let shop = Origin::http1(move |_| {
            let version = own.fetch_add(1, Ordering::SeqCst);
            reply(
                200,
                &[("cache-control", "max-age=20")],
                full(version.to_string()),
            )
        });
        let gateway = alone(draft(&shop, Protocol::Http1, cache)).await;
        let client = gateway.http1();
        for target in ["/often", "/often", "/often", "/rare"] {
            client.send(get(target)).await;
        }
        // More than a hundredth of twenty seconds.
        tokio::time::sleep(Duration::from_millis(400)).await;
        for target in ["/often", "/rare"] {
            let answer = client.send(get(target)).await;
            assert_eq!(gateway.log_of(&answer).await["cache"], "hit");
        }
        match is_ahead {
            true => {
                eventually("the new one is served", async || {
                    (client.send(get("/often")).await.text() == "2").then_some(())
                })
                .await;
            }
            false => tokio::time::sleep(Duration::from_millis(200)).await,
        }
        let expected = if is_ahead { 3 } else { 2 };
        assert_eq!(shop.seen().len(), expected, "{cache}");
    }
}
