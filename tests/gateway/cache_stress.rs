//! `cache`: nothing that is older than a purge which was acknowledged comes of a request that was made after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::harness::*;

const SHOP: &str = r#"
    [cache]
    memory = "1MiB"

    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"

    [routes.shop]
    match = { path = "/{*rest}" }
    upstream = "shop"
    policies.cache = {}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_after_a_purge_has_no_answer_from_before_it() {
    const URL: &str = "url=http%3A%2F%2Fshop.test%2Fv";
    for protocol in [Protocol::Http1, Protocol::H2] {
        for purge in [
            "all=true".to_owned(),
            URL.to_owned(),
            format!("{URL}&soft=true"),
            "tag=v".to_owned(),
            "a write".to_owned(),
        ] {
            let gate = Arc::new(Semaphore::new(0));
            let version = Arc::new(AtomicUsize::new(0));
            let (held, current) = (gate.clone(), version.clone());
            let shop = Origin::serving(Protocol::Http1, move |seen| {
                let (held, version) = (held.clone(), current.load(Ordering::SeqCst));
                async move {
                    if seen.method == "GET" && version == 0 {
                        held.acquire().await.unwrap().forget();
                    }
                    let headers = [("cache-control", "max-age=60"), ("cache-tag", "v")];
                    reply(200, &headers, full(version.to_string()))
                }
            });
            let draft = Gateway::draft(SHOP).with("shop", &shop);
            let gateway = draft.with("protocol", Protocol::Http1).start().await;
            let early = gateway.client(protocol);
            let early = tokio::spawn(async move { early.send(get("/v")).await });
            eventually("the upstream is asked", async || {
                (shop.seen().len() == 1).then_some(())
            })
            .await;
            version.store(1, Ordering::SeqCst);
            let done = match &*purge {
                "a write" => gateway.http1().send(post("/v", "written")).await,
                purge => {
                    gateway
                        .admin(post(&format!("/cache/purge?{purge}"), ""))
                        .await
                }
            };
            assert_eq!(done.status, 200, "{purge}");
            // The answer from before is still on its way.
            let late = gateway.client(protocol);
            let late = tokio::spawn(async move { late.send(get("/v")).await });
            tokio::time::sleep(Duration::from_millis(50)).await;
            gate.add_permits(1);
            assert_eq!(early.await.unwrap().text(), "0", "{purge}");
            assert_eq!(late.await.unwrap().text(), "1", "{purge} over {protocol:?}");
            let after = gateway.client(protocol).send(get("/v")).await;
            assert_eq!(after.text(), "1", "{purge} over {protocol:?}");
        }
    }
}

/// Objects, the newest version of each, and the newest whose purge was acknowledged.
struct Objects([(AtomicUsize, AtomicUsize); 4]);

impl Objects {
    fn of(&self, target: &str) -> &(AtomicUsize, AtomicUsize) {
        let number: usize = target.trim_start_matches("/v/").parse().unwrap();
        &self.0[number]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_older_than_an_acknowledged_purge_comes_of_a_busy_cache() {
    const LIFE: Duration = Duration::from_millis(2_500);
    for protocol in [Protocol::Http1, Protocol::H2] {
        let objects = Arc::new(Objects(Default::default()));
        let own = objects.clone();
        let shop = Origin::serving(protocol, move |seen| {
            let own = own.clone();
            async move {
                let count = rand::random_range(0..8);
                if !seen.target.starts_with("/v/") {
                    return reply(
                        200,
                        &[("cache-control", "max-age=60")],
                        full(vec![b'n'; 40_000]),
                    );
                }
                let version = own.of(&seen.target).0.load(Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(count)).await;
                let control = [
                    "max-age=60",
                    "max-age=1",
                    "max-age=0, stale-while-revalidate=0",
                ];
                let control = control[count as usize % control.len()];
                let headers = [
                    ("cache-control", control),
                    ("etag", &format!("\"{version}\"")),
                ];
                match seen.header("if-none-match") == Some(&format!("\"{version}\"")) {
                    true => reply(304, &headers, empty()),
                    false => reply(200, &headers, full(version.to_string())),
                }
            }
        });
        let draft = Gateway::draft(SHOP).with("shop", &shop);
        let gateway = Arc::new(draft.with("protocol", protocol).start().await);
        let end = Instant::now() + LIFE;
        let mut readers = JoinSet::new();
        for number in 0..8 {
            let client = gateway.client([Protocol::Http1, Protocol::H2][number % 2]);
            let objects = objects.clone();
            readers.spawn(async move {
                let mut hits = 0;
                while Instant::now() < end {
                    let target = format!("/v/{}", rand::random_range(0..4));
                    let least = objects.of(&target).1.load(Ordering::SeqCst);
                    let answer = client.send(get(&target)).await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                    let version: usize = answer.text().parse().unwrap();
                    assert!(
                        version >= least,
                        "{version} of {target} after {least}: {answer:?}"
                    );
                    hits += usize::from(answer.header("age").is_some());
                }
                hits
            });
        }
        // What fills the cache, so that the objects have to go from it as well.
        let (client, mut noise) = (gateway.http2(), JoinSet::new());
        noise.spawn(async move {
            for number in 0.. {
                if Instant::now() > end {
                    return;
                }
                client.send(get(&format!("/noise/{number}"))).await;
            }
        });
        let (client, mut purges) = (gateway.http1(), 0);
        while Instant::now() < end {
            let number = rand::random_range(0..4);
            let target = format!("/v/{number}");
            let object = objects.of(&target);
            let version = object.0.fetch_add(1, Ordering::SeqCst) + 1;
            let url = format!("url=http%3A%2F%2Fshop.test%2Fv%2F{number}");
            let done = match rand::random_range(0..5) {
                0 => client.send(post(&target, "written")).await,
                1 => gateway.admin(post("/cache/purge?prefix=%2Fv", "")).await,
                2 => {
                    gateway
                        .admin(post(&format!("/cache/purge?{url}&soft=true"), ""))
                        .await
                }
                _ => {
                    gateway
                        .admin(post(&format!("/cache/purge?{url}"), ""))
                        .await
                }
            };
            assert_eq!(done.status, 200, "{done:?}");
            object.1.fetch_max(version, Ordering::SeqCst);
            purges += 1;
        }
        let mut hits = 0;
        while let Some(reader) = readers.join_next().await {
            hits += reader.unwrap();
        }
        while noise.join_next().await.is_some() {}
        assert!(hits > 100 && purges > 100, "{hits} hits, {purges} purges");
        let shown = gateway.admin(get("/cache")).await.json();
        assert!(shown["evicted"].as_u64() > Some(0), "{shown}");
    }
}
