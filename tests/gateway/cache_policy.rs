//! `cache`: what a route says of what is kept, and the other policies beside it.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use northgate::identity::api_key::{KeyHash, Prefix, make};

use crate::harness::*;

const SHOP: &str = r#"
    [upstreams.shop]
    endpoints = ["$shop"]

    [routes.shop]
    match = { path = "/{*rest}" }
    upstream = "shop"

    [routes.shop.policies]
    cache = { $cache }
    $others
"#;

fn draft(shop: &Origin, cache: &str, others: &str) -> Draft {
    let draft = Gateway::draft(SHOP).with("shop", shop);
    draft.with("cache", cache).with("others", others)
}

const LIFE: [(&str, &str); 1] = [("cache-control", "max-age=60")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_says_how_long_what_is_good() {
    // What is answered is asked for twice; of so many times the upstream hears.
    for (cache, status, control, asked) in [
        ("", 200, "", 2),
        ("default_ttl = \"60s\"", 200, "", 1),
        ("default_ttl = \"60s\"", 200, "max-age=0", 2),
        ("default_ttl = \"60s\"", 200, "no-store", 2),
        ("ttl = \"60s\"", 200, "max-age=0", 1),
        ("ttl = \"60s\"", 200, "", 1),
        ("ttl = \"60s\"", 200, "no-store", 2),
        ("ttl = \"60s\"", 200, "private", 2),
        ("ttl = \"60s\"", 200, "no-cache", 2),
        ("", 404, "", 2),
        ("statuses = { \"404\" = \"60s\" }", 404, "", 1),
        ("statuses = { \"4xx\" = \"60s\" }", 404, "", 1),
        ("statuses = { \"404\" = \"60s\" }", 404, "no-store", 2),
        ("statuses = { \"404\" = \"60s\" }", 410, "", 2),
        ("statuses = { \"404\" = \"60s\" }", 200, "", 2),
        ("statuses = { \"5xx\" = \"60s\" }", 503, "", 1),
        ("statuses = { \"5xx\" = \"60s\" }", 503, "max-age=0", 2),
        ("min_uses = 2", 200, "max-age=60", 2),
        // What one request does wrong is not what all get.
        ("default_ttl = \"60s\"", 400, "", 2),
        ("default_ttl = \"60s\"", 404, "", 1),
        ("ttl = \"60s\"", 401, "max-age=0", 2),
        ("ttl = \"60s\"", 500, "", 2),
    ] {
        let shop = Origin::http1(move |_| {
            let control = (!control.is_empty()).then_some(("cache-control", control));
            reply(status, &control.into_iter().collect::<Vec<_>>(), full("x"))
        });
        let gateway = draft(&shop, cache, "").start().await;
        for client in [gateway.http1(), gateway.http2()] {
            let answer = client.send(get("/x")).await;
            assert_eq!((answer.status, &*answer.text()), (status, "x"));
        }
        assert_eq!(shop.seen().len(), asked, "{cache}, {status} {control}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_often_enough_is_kept() {
    let shop = Origin::http1(|_| reply(200, &LIFE, full("x")));
    let gateway = draft(&shop, "min_uses = 3", "").start().await;
    for expected in [1, 2, 3, 3, 3] {
        gateway.http1().send(get("/x")).await;
        assert_eq!(shop.seen().len(), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_have_a_say_where_the_route_lets_them() {
    for (cache, asked) in [("", [2, 3]), ("client_control = false", [1, 1])] {
        let shop = Origin::http1(|_| reply(200, &LIFE, full("x")));
        let gateway = draft(&shop, cache, "").start().await;
        let client = gateway.http1();
        client.send(get("/x")).await;
        for (field, asked) in ["no-cache", "max-age=0, no-store"].into_iter().zip(asked) {
            let answer = client.send(get("/x").header("cache-control", field)).await;
            assert_eq!(answer.status, 200);
            assert_eq!(shop.seen().len(), asked, "{cache}, {field}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_bypassed_neither_reads_nor_writes() {
    let count = AtomicUsize::new(0);
    let shop = Origin::http1(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        reply(200, &LIFE, full(number.to_string()))
    });
    let bypass = "bypass = '\"x-preview\" in request.headers'";
    let gateway = draft(&shop, bypass, "").start().await;
    let client = gateway.http1();
    let preview = || get("/x").header("x-preview", "1");
    for (ask, expected, word) in [
        (preview(), "0", "pass"),
        (get("/x"), "1", "miss"),
        (preview(), "2", "pass"),
        (get("/x"), "1", "hit"),
    ] {
        let answer = client.send(ask).await;
        assert_eq!(answer.text(), expected);
        assert_eq!(gateway.log_of(&answer).await["cache"], word);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_is_compressed_for_who_wants_that() {
    let document = "the same again and again, ".repeat(4_000);
    let own = document.clone();
    let shop = Origin::http1(move |_| {
        let headers = [LIFE[0], ("content-type", "text/plain")];
        reply(200, &headers, full(own.clone()))
    });
    let gateway = draft(&shop, "", "compression = {}").start().await;
    for client in [gateway.http1(), gateway.http2()] {
        for encoding in ["gzip", "br", "zstd", "identity"] {
            let answer = client
                .send(get("/x").header("accept-encoding", encoding))
                .await;
            let mut decoded = Vec::new();
            let is_encoded = encoding != "identity";
            let body = &answer.body[..];
            match encoding {
                "gzip" => flate2::read::GzDecoder::new(body).read_to_end(&mut decoded),
                "br" => brotli::Decompressor::new(body, 4096).read_to_end(&mut decoded),
                "zstd" => zstd::stream::read::Decoder::new(body)
                    .unwrap()
                    .read_to_end(&mut decoded),
                _ => (&mut &body[..]).read_to_end(&mut decoded),
            }
            .unwrap();
            let told = answer.header("content-encoding");
            assert_eq!(told, is_encoded.then_some(encoding), "{answer:?}");
            assert!(decoded == document.as_bytes(), "{encoding}");
            assert_eq!(answer.body.len() < document.len() / 4, is_encoded);
        }
    }
    assert_eq!(shop.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_are_edited_for_each_who_asks() {
    let shop = Origin::http1(|_| reply(200, &[LIFE[0], ("x-internal", "secret")], full("x")));
    let others = r#"
    response_headers = { remove = ["x-internal"], set = { x-id = "{request.id}" } }
    request_headers = { set = { x-edge = "yes" } }
    "#;
    let gateway = draft(&shop, "", others).start().await;
    for client in [gateway.http1(), gateway.http2(), gateway.http1()] {
        let answer = client.send(get("/x")).await;
        assert_eq!(answer.header("x-internal"), None);
        let id = answer.header("x-request-id");
        assert!(id.is_some() && answer.header("x-id") == id, "{answer:?}");
    }
    assert_eq!(shop.only().header("x-edge"), Some("yes"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_says_who_has_answered() {
    for protocol in [Protocol::Http1, Protocol::H2] {
        let shop = Origin::http1(|seen| match &*seen.target {
            "/once" => reply(200, &[("cache-control", "no-store")], full("x")),
            "/same" if seen.header("if-none-match").is_some() => status(304),
            "/same" => {
                let headers = [("cache-control", "max-age=0"), ("etag", "\"a\"")];
                reply(200, &headers, full("x"))
            }
            _ => reply(200, &LIFE, full("x")),
        });
        let gateway = draft(&shop, "", "").start().await;
        let client = gateway.client(protocol);
        for (target, word, is_asked) in [
            ("/kept", "miss", true),
            ("/kept", "hit", false),
            ("/once", "miss", true),
            ("/same", "miss", true),
            ("/same", "revalidated", true),
        ] {
            let answer = client.send(get(target)).await;
            let log = gateway.log_of(&answer).await;
            let what = format!("{target}: {log}");
            assert_eq!(log["cache"], word, "{what}");
            let expected = is_asked.then_some("shop");
            assert_eq!(log["upstream"].as_str(), expected, "{what}");
            let endpoint = log["endpoint"].as_str();
            assert_eq!(endpoint.is_some(), is_asked, "{what}");
            assert_eq!(log["attempts"], u64::from(is_asked), "{what}");
            assert_eq!(log["upstream_ms"].is_number(), is_asked, "{what}");
            assert_eq!(
                (&log["status"], &log["bytes_out"]),
                (&200.into(), &1.into())
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_only_read_slowly_slows_nobody() {
    const SIZE: usize = 256 * 1024;
    let shop = Origin::http1(|_| reply(200, &LIFE, full(vec![b'x'; SIZE])));
    let others = "bandwidth = { by = [\"header:x-who\"], response = \"64KiB\" }";
    let draft = draft(&shop, "", others);
    let gateway = Arc::new(draft.start().await);
    let begin = Instant::now();
    let slow = gateway.clone();
    let slow = tokio::spawn(async move {
        let ask = get("/x").header("x-who", "slow");
        slow.http1().send(ask).await.body.len()
    });
    eventually("all of it is there", async || {
        let url = "/cache/entries?url=http%3A%2F%2Fshop.test%2Fx";
        let shown = gateway.admin(get(url)).await.json();
        (shown[0]["whole"] == true).then_some(())
    })
    .await;
    let took = begin.elapsed();
    assert!(took < Duration::from_millis(1_500), "{took:?}");
    assert_eq!(slow.await.unwrap(), SIZE);
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(2_500), "{took:?}");
    assert_eq!(shop.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_counts_against_limits() {
    let shop = Origin::http1(|_| reply(200, &LIFE, full("x")));
    let others = "rate_limit = { by = [\"client\"], rate = \"1/h\", burst = 3 }";
    let gateway = draft(&shop, "", others).start().await;
    for expected in [200, 200, 200, 429] {
        assert_eq!(gateway.http2().send(get("/x")).await.status, expected);
    }
    assert_eq!(shop.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_loses_nothing() {
    let shop = Origin::http1(|_| reply(200, &LIFE, full("before")));
    let other = Origin::http1(|_| reply(200, &LIFE, full("after")));
    let mut gateway = draft(&shop, "", "").start().await;
    assert_eq!(gateway.http1().send(get("/x")).await.text(), "before");
    let of_other = draft(&other, "tags = [\"new\"]", "");
    of_other.apply(&mut gateway).await.unwrap();
    for client in [gateway.http1(), gateway.http2()] {
        assert_eq!(client.send(get("/x")).await.text(), "before");
        assert_eq!(client.send(get("/y")).await.text(), "after");
    }
    let counts = (shop.seen().len(), other.seen().len());
    assert_eq!(counts, (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirmed_response_is_purged_by_the_tags_that_it_has_then_as_well() {
    let shop = Origin::http1(|seen| {
        let is_confirmed = seen.header("if-none-match").is_some();
        let (tag, life) = match is_confirmed {
            true => ("b", "max-age=600"),
            false => ("a", "max-age=0"),
        };
        let headers = [
            ("etag", "\"1\""),
            ("cache-tag", tag),
            ("cache-control", life),
        ];
        match is_confirmed {
            true => reply(304, &headers, empty()),
            false => reply(200, &headers, full("x")),
        }
    });
    for tag in ["a", "b"] {
        let gateway = draft(&shop, "", "").start().await;
        let before = shop.seen().len();
        for _ in 0..3 {
            let answer = gateway.http1().send(get("/x")).await;
            assert_eq!(answer.header("cache-tag"), None);
        }
        assert_eq!(shop.seen().len(), before + 2, "the third is a hit");
        let purge = post(&format!("/cache/purge?tag={tag}"), "");
        assert_eq!(gateway.admin(purge).await.status, 200);
        gateway.http1().send(get("/x")).await;
        assert_eq!(shop.seen().len(), before + 3, "{tag}");
    }
}

/// Confirmed while it is still being written, and then broken off: who asks later gets all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_breaks_off_after_it_was_confirmed_is_not_kept() {
    let (sources, taken) = std::sync::mpsc::channel();
    let sources = std::sync::Mutex::new(sources);
    let shop = Origin::http1(move |seen| {
        let headers = [("etag", "\"1\""), ("cache-control", "max-age=0")];
        if seen.header("if-none-match").is_some() {
            let headers = [("etag", "\"1\""), ("cache-control", "max-age=600")];
            return reply(304, &headers, empty());
        }
        let (source, body) = channel();
        sources.lock().unwrap().send(source).unwrap();
        reply(200, &headers, body)
    });
    let gateway = draft(&shop, "", "").start().await;
    let client = gateway.http1();
    let first = tokio::spawn(async move { client.try_send(get("/x")).await });
    let source = tokio::task::spawn_blocking(move || (taken.recv().unwrap(), taken));
    let (source, taken) = source.await.unwrap();
    source.send("the beginning, ").await;
    // It is stale as it comes, and the upstream says that it is good.
    eventually("it is confirmed", async || {
        let client = gateway.http1();
        let second = tokio::spawn(async move { client.try_send(get("/x")).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        second.abort();
        let seen = shop.seen();
        seen.iter()
            .any(|seen| seen.header("if-none-match").is_some())
            .then_some(())
    })
    .await;
    source.fail().await;
    assert!(first.await.unwrap().is_err(), "it has broken off");
    let client = gateway.http1();
    let third = tokio::spawn(async move { client.send(get("/x")).await });
    let whole = tokio::task::spawn_blocking(move || taken.recv().unwrap());
    let whole = within("it is asked for anew", whole).await.unwrap();
    whole.send("all of it").await;
    drop(whole);
    assert_eq!(third.await.unwrap().text(), "all of it");
}

/// Who shows credentials that nobody here has looked at is nobody of whom a key could say who that is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_were_not_looked_at_are_shared_with_nobody() {
    for (vary_by, asked) in [("identity", 4), ("all", 1)] {
        let shop = Origin::http1(|seen| {
            let who = seen.header("authorization").unwrap_or_default().to_owned();
            reply(200, &LIFE, full(who))
        });
        let cache = format!("vary_by = \"{vary_by}\"");
        let gateway = draft(&shop, &cache, "").start().await;
        for _ in 0..2 {
            for who in ["Bearer ann", "Bearer ben"] {
                let answer = gateway
                    .http1()
                    .send(get("/x").header("authorization", who))
                    .await;
                let is_own = answer.text() == who;
                assert!(is_own || vary_by == "all", "{vary_by}: {answer:?}");
            }
        }
        assert_eq!(shop.seen().len(), asked, "{vary_by}");
    }
}

/// Requests that want nothing kept take nothing from others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_nothing_kept_takes_nothing_away() {
    for validator in [None, Some(("etag", "\"1\""))] {
        let shop = Origin::serving(Protocol::Http1, move |seen| async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let headers: Vec<_> = LIFE.into_iter().chain(validator).collect();
            match seen.header("if-none-match") {
                Some(_) => reply(304, &headers, empty()),
                None => reply(200, &headers, full("x")),
            }
        });
        let gateway = draft(&shop, "", "").start().await;
        gateway.http1().send(get("/x")).await;
        let asking = || get("/x").header("cache-control", "no-cache, no-store");
        let (one, two) = (gateway.http1(), gateway.http1());
        let both = tokio::join!(one.send(asking()), two.send(asking()));
        assert_eq!((both.0.status, both.1.status), (200, 200));
        let before = shop.seen().len();
        for _ in 0..3 {
            let answer = gateway.http1().send(get("/x")).await;
            assert_eq!(answer.text(), "x");
        }
        assert_eq!(shop.seen().len(), before, "{validator:?}: it is still kept");
    }
}

/// What an upstream says of a stale response to one client alone is for no other that has waited.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_confirmed_for_one_alone_is_for_no_other() {
    let count = Arc::new(AtomicUsize::new(0));
    let own = count.clone();
    let shop = Origin::serving(Protocol::Http1, move |seen| {
        let number = own.fetch_add(1, Ordering::SeqCst).to_string();
        async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let is_known = seen.header("if-none-match").is_some();
            let control = if is_known { "private" } else { "max-age=0" };
            let headers = [
                ("etag", "\"1\""),
                ("cache-control", control),
                ("x-mine", &*number),
            ];
            match is_known {
                true => reply(304, &headers, empty()),
                false => reply(200, &headers, full("x")),
            }
        }
    });
    let gateway = draft(&shop, "", "").start().await;
    gateway.http1().send(get("/x")).await;
    let clients = [gateway.http1(), gateway.http1(), gateway.http1()];
    let answers = clients.iter().map(|client| client.send(get("/x")));
    let answers = futures_util::future::join_all(answers).await;
    let mut mine: Vec<_> = answers.iter().map(|it| it.header("x-mine")).collect();
    assert!(answers.iter().all(|it| it.text() == "x"), "{answers:?}");
    mine.sort_unstable();
    mine.dedup();
    assert_eq!(mine.len(), 3, "each has its own: {answers:?}");
}

/// A response that is for one client alone is fetched no longer than that waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_will_read_is_not_waited_for() {
    let shop = Origin::serving(Protocol::Http1, |_| async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        reply(
            200,
            &[("cache-control", "no-store")],
            full(vec![b'x'; 4_000_000]),
        )
    });
    let gateway = draft(&shop, "", "").start().await;
    for (client, path) in [(gateway.http1(), "/1"), (gateway.http2(), "/2")] {
        let early = tokio::time::timeout(Duration::from_millis(80), client.send(get(path))).await;
        assert!(early.is_err(), "it has left");
    }
    eventually("both were asked for", async || {
        (shop.seen().len() == 2).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    eventually("nothing is under way", async || {
        let text = gateway.metrics().await;
        let mut lines = text
            .lines()
            .filter(|it| it.starts_with("northgate_endpoint_active_requests{"));
        let line = lines.next()?.to_owned();
        line.ends_with(" 0").then_some(())
    })
    .await;
}

/// What a response varies by that clients have not sent tells nobody for whom it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_varies_by_who_calls_is_not_told_apart_by_what_clients_send() {
    let keys = ["ann", "ben"].map(|_| make(&Prefix::default()).expect("randomness").text);
    let toml = r#"
        [consumers.ann]
        api_keys = ["$ann"]
        [consumers.ben]
        api_keys = ["$ben"]
        [upstreams.shop]
        endpoints = ["$shop"]
        [routes.shop]
        match = { path = "/{*rest}" }
        upstream = "shop"
        policies.api_key = { forward = { x-who = "consumer" } }
        policies.cache = {}
    "#;
    let shop = Origin::http1(|seen| {
        let who = seen.header("x-who").unwrap_or_default().to_owned();
        let vary = seen.target.trim_start_matches('/');
        reply(
            200,
            &[("cache-control", "public, max-age=60"), ("vary", vary)],
            full(who),
        )
    });
    let draft = Gateway::draft(toml).with("shop", &shop);
    let draft = draft.with("ann", KeyHash::of(keys[0].as_bytes()));
    let gateway = draft
        .with("ben", KeyHash::of(keys[1].as_bytes()))
        .start()
        .await;
    for (path, asked) in [("/x-who", 4), ("/accept-language", 1)] {
        let before = shop.seen().len();
        for _ in 0..2 {
            for (key, who) in keys.iter().zip(["ann", "ben"]) {
                let answer = gateway
                    .http1()
                    .send(get(path).header("x-api-key", key))
                    .await;
                assert_eq!(answer.status, 200, "{answer:?}");
                assert!(answer.text() == who || asked == 1, "{answer:?}");
            }
        }
        assert_eq!(shop.seen().len() - before, asked, "{path}");
    }
}
