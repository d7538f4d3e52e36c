//! `mirror`: copies of requests, whose answers no client sees.

use std::fmt::Display;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::harness::*;
use crate::origins::{reset, silent};

const GATEWAY: &str = r#"
    [upstreams]
    shop = { endpoints = ["$shop"], protocol = "$protocol" }
    next = { endpoints = ["$next"], protocol = "$other" }

    [routes.shop]
    match = { path = "/{*rest}" }
    upstream = "shop"
    rewrite = { path = "/in/{rest}" }
    mirror = { upstream = "next"$mirror }
    policies.request_headers.set = { x-added = "yes" }
"#;

fn draft(shop: &Origin, next: impl Display, protocols: [Protocol; 2], mirror: &str) -> Draft {
    Gateway::draft(GATEWAY)
        .with("shop", shop)
        .with("next", next)
        .with("protocol", protocols[0])
        .with("other", protocols[1])
        .with(
            "mirror",
            match mirror {
                "" => String::new(),
                mirror => format!(", {mirror}"),
            },
        )
}

/// Until so many requests of the sample have come to this.
async fn counted(gateway: &Gateway, series: &str, result: &str, count: usize) {
    let line = format!(
        "northgate_{series}_total{{http_route=\"shop\",northgate_upstream=\"next\",result=\"{result}\"}} {count}\n"
    );
    eventually(&line, async || {
        gateway.metrics().await.contains(&line).then_some(())
    })
    .await;
}

const PLAIN: [Protocol; 2] = [Protocol::Http1, Protocol::Http1];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_are_what_the_upstream_gets() {
    over_each_pair(|pair| async move {
        for other in [Protocol::Http1, Protocol::H2] {
            let shop = Origin::speaking(pair.origin, |seen| text(seen.body));
            let next = Origin::speaking(other, |_| {
                reply(500, &[("x-next", "1")], full("never seen"))
            });
            let gateway = draft(&shop, &next, [pair.origin, other], "sample = \"100%\"");
            let gateway = gateway.start().await;
            let client = gateway.client(pair.client);
            let sizes = [0, 5, 60_000];
            for (index, size) in sizes.into_iter().enumerate() {
                let ask = post("/a?b=1", vec![b'm'; size]).header("authorization", "secret");
                let answer = client.send(ask).await;
                assert_eq!((answer.status, answer.body.len()), (200, size));
                assert_eq!(answer.header("x-next"), None);
                counted(&gateway, "mirrored_requests", "sent", index + 1).await;
            }
            let (mut ours, mut theirs) = (shop.seen(), next.seen());
            assert_eq!((ours.len(), theirs.len()), (3, 3));
            ours.sort_by_key(|seen| seen.body.len());
            theirs.sort_by_key(|seen| seen.body.len());
            for (one, other) in ours.iter().zip(&theirs) {
                assert_eq!(
                    (&one.target, &one.method, &one.body),
                    (&other.target, &other.method, &other.body)
                );
                assert_eq!(other.target, "/in/a?b=1");
                assert_eq!(other.host, one.host);
                for name in [
                    "authorization",
                    "x-added",
                    "x-request-id",
                    "forwarded",
                    "traceparent",
                ] {
                    assert_eq!(one.header(name), other.header(name), "{name}");
                    assert!(other.header(name).is_some(), "{name}");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_mirror_that_hangs_or_is_down_is_never_noticed() {
    let shop = Origin::http1(|seen| text(seen.body));
    let hanging = silent::start();
    let gateway = draft(
        &shop,
        &hanging,
        PLAIN,
        "max_in_flight = 3, timeout = \"1m\"",
    )
    .start()
    .await;
    let client = gateway.http1();
    for number in 0..10 {
        let answer = client.send(post("/a", format!("{number}"))).await;
        assert_eq!((answer.status, answer.text()), (200, number.to_string()));
    }
    // Three are there, and there is no place for others.
    counted(&gateway, "mirrored_requests", "dropped", 7).await;
    let gateway = draft(&shop, free_address(), PLAIN, "timeout = \"1s\"")
        .start()
        .await;
    for _ in 0..5 {
        assert_eq!(gateway.http2().send(post("/a", "x")).await.text(), "x");
    }
    counted(&gateway, "mirrored_requests", "failed", 5).await;
    let slow = draft(
        &shop,
        &hanging,
        PLAIN,
        "max_in_flight = 1, timeout = \"100ms\"",
    )
    .start()
    .await;
    assert_eq!(slow.http1().send(post("/a", "x")).await.text(), "x");
    counted(&slow, "mirrored_requests", "failed", 1).await;
}

#[tokio::test]
async fn large_bodies_are_not_copied_and_arrive_whole() {
    let shop = Origin::http1(|seen| text(seen.body));
    let next = Origin::http1(|_| text(""));
    let gateway = draft(&shop, &next, PLAIN, "body = \"1KiB\"").start().await;
    let answer = gateway.http1().send(post("/a", vec![b'l'; 300_000])).await;
    assert_eq!(answer.body.len(), 300_000);
    counted(&gateway, "mirrored_requests", "too_large", 1).await;
    assert_eq!(
        gateway
            .http1()
            .send(post("/a", vec![b'l'; 1024]))
            .await
            .body
            .len(),
        1024
    );
    counted(&gateway, "mirrored_requests", "sent", 1).await;
    assert_eq!(next.only().body.len(), 1024);
}

#[tokio::test]
async fn a_sample_is_a_part_of_all() {
    let shop = Origin::http1(|_| text(""));
    let next = Origin::http1(|_| text(""));
    let gateway = draft(&shop, &next, PLAIN, "sample = 0.25").start().await;
    let client = gateway.http1();
    for _ in 0..400 {
        client.send(get("/a")).await;
    }
    // All that are on their way are there once one more is, which cannot be known: so at least.
    eventually("copies", async || (next.seen().len() >= 57).then_some(())).await;
    // A quarter of 400, give or take five standard deviations of 8.7.
    assert!(next.seen().len() <= 143, "{}", next.seen().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_are_compared() {
    for protocol in [Protocol::Http1, Protocol::H2] {
        let shop = Origin::speaking(protocol, |seen| match &*seen.target {
            "/in/status" => reply(201, &[], full("{}")),
            "/in/large" => text(vec![b'1'; 70_000]),
            "/in/text" => text("one"),
            _ => text(r#"{ "a": 1, "list": [1, 2], "time": 1 }"#),
        });
        let next = Origin::speaking(protocol, |seen| match &*seen.target {
            "/in/status" => reply(200, &[], full("{}")),
            "/in/large" => text(vec![b'1'; 70_000]),
            "/in/text" => text("two"),
            "/in/content" => text(r#"{ "a": 2, "list": [1], "time": 2 }"#),
            _ => text(r#"{"list":[1,2],"time":2,"a":1}"#),
        });
        let mirror = "compare = true, ignore = [\"/time\"]";
        let gateway = draft(&shop, &next, [protocol, protocol], mirror)
            .start()
            .await;
        let client = gateway.client(protocol);
        for (target, result) in [
            ("/same", "same"),
            ("/status", "status"),
            ("/content", "content"),
            ("/text", "unknown"),
            ("/large", "too_large"),
        ] {
            client.send(get(target)).await;
            counted(&gateway, "mirror_comparisons", result, 1).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_does_not_wait_for_the_upstream_nor_the_upstream_for_it() {
    let gate = Arc::new(Semaphore::new(0));
    let wait = gate.clone();
    let shop = Origin::serving(Protocol::Http1, move |_| {
        let gate = wait.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            text("late")
        }
    });
    let next = Origin::http1(|_| text(""));
    let gateway = draft(&shop, &next, PLAIN, "").start().await;
    let client = gateway.http1();
    let asking = tokio::spawn(async move { client.send(post("/a", "x")).await });
    counted(&gateway, "mirrored_requests", "sent", 1).await;
    gate.add_permits(1);
    assert_eq!(asking.await.unwrap().text(), "late");
}

#[tokio::test]
async fn what_is_refused_for_its_body_is_not_copied() {
    let shop = Origin::http1(|seen| text(seen.body));
    let next = Origin::http1(|_| text("never seen"));
    let limited = GATEWAY.replace("$mirror", ", sample = \"100%\"")
        + "policies.size_limits.request_body = \"10B\"\n";
    let gateway = Gateway::draft(&limited)
        .with("shop", &shop)
        .with("next", &next)
        .with("protocol", PLAIN[0])
        .with("other", PLAIN[1])
        .start()
        .await;
    let head =
        "POST /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let refused = format!("{head}14\r\n{}\r\n0\r\n\r\n", "x".repeat(20));
    let answer = RawClient::exchange(gateway.address(), &refused).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let taken = format!("{head}5\r\nhello\r\n0\r\n\r\n");
    let answer = RawClient::exchange(gateway.address(), &taken).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    counted(&gateway, "mirrored_requests", "sent", 1).await;
    let seen = next.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].body, "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_can_be_reached_by_tls() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for protocol in [Protocol::Http1, Protocol::H2] {
        let spoken = match protocol {
            Protocol::Http1 => "http/1.1",
            Protocol::H2 => "h2",
        };
        for (trusted, result) in [(&authority, "sent"), (&stranger, "failed")] {
            let shop = Origin::http1(|seen| text(seen.body));
            let config = authority.issue(&["localhost"]).server_config();
            let next = Origin::over_tls(protocol, config, |_| text("next"));
            let gateway = Gateway::draft(
                r#"
                [upstreams]
                shop = { endpoints = ["$shop"] }
                next = { endpoints = ["$next"], protocol = "$spoken", tls = { ca = "$ca", sni = "localhost" } }
                [routes.shop]
                match = { path = "/{*rest}" }
                upstream = "shop"
                mirror = { upstream = "next" }
                "#,
            )
            .with("shop", &shop)
            .with("next", &next)
            .with("spoken", spoken)
            .with("ca", trusted.path())
            .start()
            .await;
            let client = gateway.http1();
            for number in 1..=3 {
                let answer = client.send(post("/a", vec![b'm'; 20_000])).await;
                assert_eq!((answer.status, answer.body.len()), (200, 20_000));
                counted(&gateway, "mirrored_requests", result, number).await;
            }
            let bodies: Vec<usize> = next.seen().iter().map(|it| it.body.len()).collect();
            match result {
                "sent" => assert_eq!(bodies, [20_000; 3]),
                _ => assert!(bodies.is_empty(), "who is not trusted gets nothing"),
            }
        }
    }
}

/// What becomes of copies is learned as of any request. That the mirror's own time was short is not held against anybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_are_known_by_what_they_do_to_copies() {
    let next = |bad: &dyn Display, more: &str, other: Protocol| {
        let shop = Origin::http1(|seen| text(seen.body));
        let well = Origin::speaking(other, |_| text("well"));
        let toml = GATEWAY.replace(
            "protocol = \"$other\" }",
            &format!("protocol = \"$other\"{more}, outliers = {{ failure_ratio = \"50%\", min_requests = 3, base_ejection = \"1m\" }} }}"),
        );
        let toml = toml.replace("\"$next\"", "\"$bad\", \"$well\"");
        let draft = Gateway::draft(&toml)
            .with("shop", &shop)
            .with("well", &well);
        let draft = draft.with("bad", bad).with("protocol", Protocol::Http1);
        let draft = draft.with("other", other);
        (draft, [shop, well])
    };
    let is_out = async |gateway: &Gateway, address: &str| {
        let shown = gateway.admin(get("/upstreams")).await.json();
        let endpoints = shown["next"]["endpoints"].as_array().unwrap().clone();
        let mut found = endpoints.into_iter().filter(|it| it["address"] == address);
        found.next().expect("the endpoint")["healthy"] == false
    };
    let (before, within) = (reset::before_header(), reset::in_body());
    let quick = ", timeouts = { first_byte = \"300ms\" }";
    let hanging = silent::start();
    let cases: [(&dyn Display, &str, Protocol); 4] = [
        (&before, "", Protocol::Http1),
        (&within, "", Protocol::Http1),
        (&hanging, quick, Protocol::Http1),
        (&hanging, quick, Protocol::H2),
    ];
    for (bad, more, other) in cases {
        let (draft, _origins) = next(bad, more, other);
        let gateway = draft.with("mirror", "").start().await;
        let (client, address) = (gateway.http1(), bad.to_string());
        eventually("it is ejected", async || {
            client.send(post("/a", "x")).await;
            is_out(&gateway, &address).await.then_some(())
        })
        .await;
    }
    let (draft, _origins) = next(&hanging, "", Protocol::Http1);
    let gateway = draft.with("mirror", ", timeout = \"50ms\"").start().await;
    let client = gateway.http1();
    for _ in 0..10 {
        client.send(post("/a", "x")).await;
    }
    let count = |metrics: &str, result: &str| {
        let start = format!(
            "northgate_mirrored_requests_total{{http_route=\"shop\",northgate_upstream=\"next\",result=\"{result}\"}} "
        );
        let mut counts = metrics
            .lines()
            .filter_map(|line| line.strip_prefix(&*start));
        counts.next().map_or(0, |count| count.parse().unwrap())
    };
    let failed: usize = eventually("all copies have come to their end", async || {
        let metrics = gateway.metrics().await;
        let failed = count(&metrics, "failed");
        (failed + count(&metrics, "sent") == 10).then_some(failed)
    })
    .await;
    assert!(failed >= 5, "{failed}");
    assert!(!is_out(&gateway, &hanging.to_string()).await);
}
