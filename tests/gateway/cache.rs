//! `cache`: what is kept answers for the upstream, whatever becomes of that. What the RFCs say of it is in `tests/cache`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use northgate::identity::api_key::{KeyHash, Prefix, make};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::harness::*;

const SHOP: &str = r#"
    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"
    timeouts = { first_byte = "400ms" }

    [routes.shop]
    match = { path = "/{*rest}" }
    upstream = "shop"
    policies.cache = { $cache }
"#;

fn draft(shop: impl std::fmt::Display, protocol: Protocol, cache: &str) -> Draft {
    Gateway::draft(SHOP)
        .with("shop", shop)
        .with("protocol", protocol)
        .with("cache", cache)
}

fn fresh(control: &str, body: impl Into<bytes::Bytes>) -> hyper::Response<Body> {
    reply(200, &[("cache-control", control)], full(body))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_ask_at_once_are_one_to_the_upstream() {
    over_each_pair(|pair| async move {
        let gate = Arc::new(Semaphore::new(0));
        let held = gate.clone();
        let shop = Origin::serving(pair.origin, move |_| {
            let held = held.clone();
            async move {
                held.acquire().await.unwrap().forget();
                fresh("max-age=60", vec![b'x'; 100_000])
            }
        });
        let draft = draft(&shop, pair.origin, "collapse = \"20s\"");
        let gateway = draft.start().await;
        let clients: Vec<_> = (0..20)
            .map(|_| Arc::new(gateway.client(pair.client)))
            .collect();
        let mut asking = JoinSet::new();
        // A thousand are in `tests/cache`; here it is about the pairs of protocols.
        let count = 100;
        for number in 0..count {
            let client = clients[number % clients.len()].clone();
            asking.spawn(async move { client.send(get("/big")).await });
        }
        eventually("the upstream is asked", async || {
            (shop.seen().len() == 1).then_some(())
        })
        .await;
        gate.add_permits(1);
        while let Some(answer) = asking.join_next().await {
            let answer = answer.unwrap();
            assert_eq!((answer.status, answer.body.len()), (200, 100_000));
        }
        assert_eq!(shop.seen().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_kept_holds_up_nobody() {
    let shop = Origin::http1(|_| fresh("no-store", "own"));
    let gateway = draft(&shop, Protocol::Http1, "").start().await;
    let client = Arc::new(gateway.http2());
    let mut asking = JoinSet::new();
    for _ in 0..50 {
        let client = client.clone();
        asking.spawn(async move { client.send(get("/x")).await });
    }
    while let Some(answer) = asking.join_next().await {
        let answer = answer.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &b"own"[..]));
        assert!(answer.header("age").is_none());
    }
    assert_eq!(shop.seen().len(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_kept_stands_in_for_an_upstream_that_fails() {
    const DOWN: [(&str, u16, &str); 3] = [
        ("status", 503, "upstream_503"),
        ("status", 500, "upstream_500"),
        ("silent", 0, "upstream_timeout"),
    ];
    for client in [Protocol::Http1, Protocol::H2] {
        for (how, status, reason) in DOWN {
            let mood = Arc::new(AtomicU16::new(200));
            let told = mood.clone();
            let shop = Origin::serving(Protocol::Http1, move |_| {
                let told = told.clone();
                async move {
                    match told.load(Ordering::SeqCst) {
                        200 => fresh("max-age=0, stale-if-error=60", "good"),
                        0 => std::future::pending().await,
                        status => reply(status, &[], empty()),
                    }
                }
            });
            let gateway = draft(&shop, Protocol::Http1, "").start().await;
            let http = gateway.client(client);
            assert_eq!(
                http.send(get("/x")).await.header("x-northgate-degraded"),
                None
            );
            mood.store(status, Ordering::SeqCst);
            let answer = http.send(get("/x")).await;
            assert_eq!(
                (answer.status, &answer.body[..]),
                (200, &b"good"[..]),
                "{how} {answer:?}"
            );
            assert_eq!(answer.header("x-northgate-degraded"), Some(reason));
            let log = gateway.log_of(&answer).await;
            assert_eq!(
                (&log["cache"], &log["fallback"]),
                (&"stale".into(), &"stale copy".into()),
                "{log}"
            );
            // What was never asked for before has nobody to stand in.
            let other = http.send(get("/other")).await;
            assert_eq!(other.status, if status == 0 { 504 } else { status });
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_breaker_and_a_chain_come_after_what_was_kept() {
    let good = Arc::new(AtomicUsize::new(1));
    let told = good.clone();
    let shop = Origin::http1(move |_| match told.load(Ordering::SeqCst) {
        0 => status(500),
        _ => fresh("max-age=0, stale-if-error=60", "good"),
    });
    let gateway = Gateway::draft(
        r#"
        [upstreams.shop]
        endpoints = ["$shop"]
        breaker = { failure_ratio = 0.5, min_requests = 5, window = "10s", open_for = "60s" }

        [routes.shop]
        match = { path = "/{*rest}" }
        upstream = "shop"
        fallback = { status = 503, json = { who = "the chain" } }
        policies.cache = {}
        "#,
    )
    .with("shop", &shop)
    .start()
    .await;
    let client = gateway.http1();
    client.send(get("/kept")).await;
    good.store(0, Ordering::SeqCst);
    for number in 0..10 {
        let answer = client.send(get(&format!("/{number}"))).await;
        assert_ne!(answer.status, 200);
    }
    let asked = shop.seen().len();
    let kept = client.send(get("/kept")).await;
    assert_eq!(
        (kept.status, &kept.body[..]),
        (200, &b"good"[..]),
        "{kept:?}"
    );
    assert_eq!(kept.header("x-northgate-degraded"), Some("circuit_open"));
    let told = kept.header("cache-status").unwrap();
    assert!(
        told.contains("fwd=stale") && told.contains("detail=circuit_open"),
        "{told}"
    );
    assert_eq!(client.send(get("/new")).await.json()["who"], "the chain");
    assert_eq!(shop.seen().len(), asked, "nobody is asked while it is open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_takes_nothing_away() {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let shop = Origin::serving(Protocol::Http1, move |_| {
        let held = held.clone();
        async move {
            held.acquire().await.unwrap().forget();
            fresh("max-age=60", "kept")
        }
    });
    let gateway = draft(&shop, Protocol::Http1, "").start().await;
    let client = gateway.http1();
    let leaving = tokio::spawn(async move { client.send(get("/x")).await });
    eventually("the upstream is asked", async || {
        (shop.seen().len() == 1).then_some(())
    })
    .await;
    leaving.abort();
    let _ = leaving.await;
    gate.add_permits(1);
    let answer = gateway.http2().send(get("/x")).await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"kept"[..]));
    assert_eq!(shop.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_says_who_has_answered() {
    let shop = Origin::http1(|_| fresh("max-age=60", "kept"));
    let gateway = draft(&shop, Protocol::Http1, "").start().await;
    let client = gateway.http1();
    let missed = gateway.log_of(&client.send(get("/x")).await).await;
    assert_eq!(
        (&missed["cache"], &missed["upstream"], &missed["attempts"]),
        (&"miss".into(), &"shop".into(), &1.into()),
        "{missed}"
    );
    assert!(missed["upstream_ms"].is_number(), "{missed}");
    let hit = gateway.log_of(&client.send(get("/x")).await).await;
    assert_eq!(
        (&hit["cache"], &hit["upstream"], &hit["attempts"]),
        (&"hit".into(), &serde_json::Value::Null, &0.into()),
        "{hit}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_passed_on_and_not_kept() {
    let shop = Origin::http1(|seen| {
        let body = vec![b'y'; 3 << 20];
        match seen.target.ends_with("/said") {
            true => fresh("max-age=60", body),
            false => {
                let (sender, body) = channel();
                tokio::spawn(async move {
                    for _ in 0..48 {
                        sender.send(bytes::Bytes::from(vec![b'y'; 64 << 10])).await;
                    }
                });
                reply(200, &[("cache-control", "max-age=60")], body)
            }
        }
    });
    let gateway = draft(&shop, Protocol::Http1, "max_object = \"1MiB\"")
        .start()
        .await;
    for target in ["/said", "/unsaid"] {
        for client in [gateway.http1(), gateway.http2()] {
            let answer = client.send(get(target)).await;
            assert_eq!(
                (answer.status, answer.body.len()),
                (200, 3 << 20),
                "{target}"
            );
            assert!(answer.header("age").is_none());
        }
    }
    assert_eq!(shop.seen().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_may_have_is_nobody_elses_unless_it_is_said_so() {
    let keys: Vec<String> = (0..2)
        .map(|_| make(&Prefix::default()).unwrap().text.to_string())
        .collect();
    let gateway_of = |shop: &Origin, cache: &str| {
        Gateway::draft(
            r#"
            [consumers.one]
            api_keys = ["$one"]
            plan = "gold"
            [consumers.other]
            api_keys = ["$other"]
            plan = "gold"
            [plans.gold]
            [upstreams.shop]
            endpoints = ["$shop"]
            [routes.shop]
            match = { path = "/{*rest}" }
            upstream = "shop"
            policies.api_key = {}
            policies.cache = { $cache }
            "#,
        )
        .with("one", KeyHash::of(keys[0].as_bytes()))
        .with("other", KeyHash::of(keys[1].as_bytes()))
        .with("shop", shop)
        .with("cache", cache)
    };
    for (cache, control, asked) in [
        ("", "max-age=60", 4),
        ("", "public, max-age=60", 1),
        ("vary_by = \"identity\"", "max-age=60", 2),
        ("vary_by = [\"consumer\", \"header:x-a\"]", "max-age=60", 2),
        ("vary_by = \"all\"", "max-age=60", 1),
    ] {
        let shop = Origin::http1(move |_| fresh(control, "mine"));
        let gateway = gateway_of(&shop, cache).start().await;
        let client = gateway.http1();
        for key in keys.iter().chain(&keys) {
            let answer = client.send(get("/x").header("x-api-key", key)).await;
            assert_eq!(answer.status, 200);
        }
        assert_eq!(shop.seen().len(), asked, "{cache} {control}");
        assert_eq!(
            client.send(get("/x")).await.status,
            401,
            "nobody gets past the door"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_count_of_a_query_reaches_nobody() {
    let shop = Origin::http1(|seen| fresh("max-age=60", seen.target));
    let gateway = draft(&shop, Protocol::Http1, "ignore_query = [\"utm_*\"]")
        .start()
        .await;
    let client = gateway.http1();
    for target in [
        "/x?b=1&utm_source=evil&a=2",
        "/x?a=2&b=1",
        "/x?utm_id=3&b=1&a=2",
    ] {
        assert_eq!(client.send(get(target)).await.text(), "/x?a=2&b=1");
    }
    assert_eq!(shop.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_and_writers_purge() {
    let shop = Origin::http1(|_| {
        let headers = [
            ("cache-control", "max-age=60"),
            ("surrogate-key", "red blue"),
        ];
        reply(200, &headers, full("v"))
    });
    let cache = "purge = 'request.headers[\"x-may\"] == \"yes\"', purge_on_write = [\"blue\"], ignore_query = [\"utm\"]";
    let gateway = draft(&shop, Protocol::Http1, cache).start().await;
    let client = gateway.http1();
    let host = "shop.test";
    let is_kept = async |expected: bool, what: &str| {
        let answer = client.send(get("/a/b?x=1&utm=7")).await;
        assert!(answer.header("surrogate-key").is_none());
        assert_eq!(
            answer.header("age").is_some(),
            expected,
            "{what} {answer:?}"
        );
    };
    is_kept(false, "at first").await;
    is_kept(true, "then").await;
    let url = format!("url=http%3A%2F%2F{host}%2Fa%2Fb%3Fx%3D1%26utm%3D9");
    for purge in [
        url.clone(),
        format!("prefix=http%3A%2F%2F{host}%2Fa%2F"),
        "prefix=%2Fa".to_owned(),
        format!("host={host}"),
        "tag=red".to_owned(),
        "all=true".to_owned(),
        "tag=blue&soft=true".to_owned(),
    ] {
        let answer = gateway
            .admin(post(&format!("/cache/purge?{purge}"), ""))
            .await;
        assert_eq!(answer.status, 200, "{purge} {answer:?}");
        is_kept(false, &purge).await;
        is_kept(true, &purge).await;
    }
    for (purge, status) in [
        ("tag=green", 200),
        ("", 400),
        ("url=x", 400),
        ("tag=a&host=b", 400),
        ("tags=a", 400),
        ("all=yes", 400),
    ] {
        let answer = gateway
            .admin(post(&format!("/cache/purge?{purge}"), ""))
            .await;
        assert_eq!(answer.status, status, "{purge}");
    }
    is_kept(true, "of others").await;
    let shown = gateway
        .admin(get(&format!("/cache/entries?{url}")))
        .await
        .json();
    assert_eq!(
        (&shown[0]["standing"], &shown[0]["tags"]),
        (&"fresh".into(), &2.into()),
        "{shown}"
    );
    assert!(gateway.admin(get("/cache")).await.json()["entries"].as_u64() >= Some(1));
    let purge = || request("PURGE", "/a/b?x=1");
    assert_eq!(client.send(purge()).await.status, 403);
    is_kept(true, "who may not purge").await;
    assert_eq!(
        client.send(purge().header("x-may", "yes")).await.status,
        204
    );
    is_kept(false, "who may").await;
    client.send(post("/somewhere/else", "written")).await;
    is_kept(false, "after a write").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_older_than_an_acknowledged_purge_is_served() {
    let version = Arc::new(AtomicUsize::new(0));
    let current = version.clone();
    let shop = Origin::http1(move |_| {
        let version = current.load(Ordering::SeqCst);
        fresh("max-age=60", version.to_string())
    });
    let gateway = Arc::new(draft(&shop, Protocol::Http1, "").start().await);
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let mut readers = JoinSet::new();
    for protocol in [Protocol::Http1, Protocol::H2, Protocol::Http1, Protocol::H2] {
        let (client, acknowledged) = (gateway.client(protocol), acknowledged.clone());
        readers.spawn(async move {
            let mut hits = 0;
            while acknowledged.load(Ordering::SeqCst) < 200 {
                let least = acknowledged.load(Ordering::SeqCst);
                let answer = client.send(get("/v")).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                let got: usize = answer.text().parse().unwrap();
                assert!(got >= least, "{got} after {least}");
                hits += usize::from(answer.header("age").is_some());
            }
            hits
        });
    }
    for number in 1..=200 {
        version.store(number, Ordering::SeqCst);
        let what = ["tag=none&soft=true", "all=true"];
        for purge in what {
            let answer = gateway
                .admin(post(&format!("/cache/purge?{purge}"), ""))
                .await;
            assert_eq!(answer.status, 200);
        }
        acknowledged.store(number, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
    let mut hits = 0;
    while let Some(reader) = readers.join_next().await {
        hits += reader.unwrap();
    }
    assert!(hits > 0, "something was kept meanwhile");
}
