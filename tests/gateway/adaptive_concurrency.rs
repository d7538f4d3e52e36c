//! `adaptive_concurrency`: how many requests an upstream can do with is learned.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bulkhead::{asking, draft};
use crate::harness::frames::{self, Frame, FrameClient, kind};
use crate::harness::*;

async fn limit(gateway: &Gateway) -> u32 {
    let metrics = gateway.metrics().await;
    let start = "northgate_upstream_places{northgate_upstream=\"shop\",state=\"limit\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(start));
    line.expect("the limit").parse().expect("a number")
}

/// Has `ask` called again and again until the learned limit has been set anew several times.
async fn for_some_windows(mut ask: impl AsyncFnMut()) {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(1800) {
        ask().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_bring_about_makes_nobodys_limit_smaller() {
    let shop = Origin::serving(Protocol::Http1, |seen| async move {
        match seen.target.ends_with("/hang") {
            true => std::future::pending().await,
            false => text(vec![b'.'; 64 * 1024]),
        }
    });
    let upstream = "adaptive_concurrency = { min = 2, max = 10, initial = 10 }\n\
        [listeners.public]\nbind = \"127.0.0.1:0\"\ntimeouts = { request_body_idle = \"300ms\" }\n\
        [routes.brief]\nmatch = { path = \"/brief/{*rest}\" }\nupstream = \"shop\"\ntimeout = \"200ms\"\n\
        [routes.paced]\nmatch = { path = \"/paced/{*rest}\" }\nupstream = \"shop\"\ntimeout = \"200ms\"\n\
        policies.bandwidth = { by = \"path:rest\", response = \"1KiB\" }\n\
        [routes.sent]\nmatch = { path = \"/sent/{*rest}\" }\nupstream = \"shop\"\ntimeout = \"200ms\"\n\
        policies.bandwidth = { by = \"path:rest\", request = \"1KiB\" }\n";
    let gateway = draft(upstream, "")
        .with("shop", &shop)
        .with("protocol", Protocol::Http1)
        .start()
        .await;
    let client = Arc::new(gateway.http2());
    // Their own deadlines.
    for_some_windows(async || {
        let calls = (0..10).map(|_| {
            let call = get("/normal/hang").header("content-type", "application/grpc");
            let (client, call) = (client.clone(), call.header("grpc-timeout", "40m"));
            tokio::spawn(async move { client.send(call).await })
        });
        for call in calls.collect::<Vec<_>>() {
            assert_eq!(call.await.unwrap().header("grpc-status"), Some("4"));
        }
    })
    .await;
    assert_eq!(limit(&gateway).await, 10, "after short deadlines");
    // Pauses of a policy, of another caller each time.
    let mut callers = 0..;
    for_some_windows(async || {
        let asked = callers.by_ref().take(10).map(|number: u32| {
            let (client, ask) = (client.clone(), get(&format!("/paced/{number}")));
            tokio::spawn(async move { client.try_send(ask).await })
        });
        for answer in asked.collect::<Vec<_>>() {
            // It is too late, before or after it has begun; or one that was reset still has its place.
            if let Ok(answer) = answer.await.unwrap()
                && answer.status != 503
            {
                answer.assert_problem(504, "exchange_timeout");
            }
        }
    })
    .await;
    assert_eq!(limit(&gateway).await, 10, "after pauses");
    for_some_windows(async || {
        let asked = callers.by_ref().take(10).map(|number: u32| {
            let ask = post(&format!("/sent/{number}"), vec![b'.'; 16 * 1024]);
            let client = client.clone();
            tokio::spawn(async move { client.send(ask).await })
        });
        for answer in asked.collect::<Vec<_>>() {
            let answer = answer.await.unwrap();
            answer.assert_problem(504, "exchange_timeout");
        }
    })
    .await;
    assert_eq!(limit(&gateway).await, 10, "after pauses of uploads");
    let metrics = gateway.metrics().await;
    let failures = "northgate_upstream_failures_total{error_code=\"upstream_timeout\"";
    assert!(!metrics.contains(failures), "{metrics}");
    // They do not read.
    for_some_windows(async || {
        let mut silent = FrameClient::connect(gateway.address(), &[(4, 0)]).await;
        for number in 0..10 {
            silent
                .send_frame(frames::ask(2 * number + 1, "/brief/page"))
                .await;
        }
        for _ in 0..10 {
            let is_end = |frame: &Frame| frame.kind == kind::RST_STREAM;
            assert!(silent.read_until(is_end).await.is_some());
        }
    })
    .await;
    assert_eq!(limit(&gateway).await, 10, "after slow readers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_fast_makes_no_limit_larger() {
    let shop = Origin::http1(|seen| match &*seen.target {
        "/normal/none" => status(404),
        _ => status(500),
    });
    let upstream = "adaptive_concurrency = { min = 2, max = 50, initial = 10 }\n\
                    queue = { size = 1000, timeout = \"10s\" }";
    let gateway = draft(upstream, "")
        .with("shop", &shop)
        .with("protocol", Protocol::Http1)
        .start()
        .await;
    let client = Arc::new(gateway.http2());
    for_some_windows(async || {
        let targets = ["/normal/none", "/normal/broken"].into_iter().cycle();
        let asked = targets.take(60).map(|target| asking(&client, target));
        for answer in asked.collect::<Vec<_>>() {
            assert!([404, 500].contains(&answer.await.unwrap().status));
        }
    })
    .await;
    assert_eq!(limit(&gateway).await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_learned_outlives_changes_of_the_upstream() {
    let shop = Origin::http1(|_| status(503));
    let with = |min: u32, more: &str| {
        let upstream =
            format!("adaptive_concurrency = {{ min = {min}, max = 50, initial = 30 }}\n{more}");
        draft(&upstream, "")
            .with("shop", &shop)
            .with("protocol", Protocol::Http1)
    };
    let mut gateway = with(5, "").start().await;
    let client = Arc::new(gateway.http2());
    eventually("the least", async || {
        let answers: Vec<_> = (0..5).map(|_| asking(&client, "/normal/1")).collect();
        for answer in answers {
            answer.await.unwrap();
        }
        (limit(&gateway).await == 5).then_some(())
    })
    .await;
    with(4, "timeouts = { idle = \"9s\" }")
        .apply(&mut gateway)
        .await
        .unwrap();
    client.send(get("/normal/1")).await;
    assert_eq!(limit(&gateway).await, 5, "it does not begin anew");
    with(7, "").apply(&mut gateway).await.unwrap();
    client.send(get("/normal/1")).await;
    assert_eq!(
        limit(&gateway).await,
        7,
        "the bounds are those that are said"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_follows_what_the_upstream_can_do() {
    let is_down = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let down = is_down.clone();
    let shop = Origin::http1(
        move |_| match down.load(std::sync::atomic::Ordering::SeqCst) {
            true => status(503),
            false => text("ok"),
        },
    );
    let upstream = "adaptive_concurrency = { min = 2, max = 50, initial = 10 }\n\
                    queue = { size = 1000, timeout = \"10s\" }";
    let gateway = draft(upstream, "")
        .with("shop", &shop)
        .with("protocol", Protocol::Http1)
        .start()
        .await;
    let client = Arc::new(gateway.http2());
    let load = |until: fn(u32) -> bool| {
        let (client, gateway) = (client.clone(), &gateway);
        async move {
            eventually("another limit", async || {
                let answers: Vec<_> = (0..60).map(|_| asking(&client, "/normal/1")).collect();
                for answer in answers {
                    answer.await.unwrap();
                }
                until(limit(gateway).await).then_some(())
            })
            .await;
        }
    };
    load(|limit| limit > 10).await;
    is_down.store(true, std::sync::atomic::Ordering::SeqCst);
    load(|limit| limit < 10).await;
    is_down.store(false, std::sync::atomic::Ordering::SeqCst);
    load(|limit| limit > 10).await;
}
