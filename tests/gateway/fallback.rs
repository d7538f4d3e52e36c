//! `fallback`: what answers where a route's upstream cannot.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::harness::*;
use crate::origins::{garbage, reset, silent};

const CHAIN: &str = r#"
    [upstreams.shop]
    endpoints = ["$shop"]
    timeouts = { first_byte = "300ms" }

    [upstreams.standby]
    endpoints = ["$standby"]
    protocol = "$protocol"

    [routes.shop]
    match = { path = "/{*rest}" }
    upstream = "shop"
    fallback = [
        { upstream = "standby" },
        { json = { degraded = true, path = "{request.path}", who = "{identity.subject}" }, headers = { x-note = "fixed" } },
    ]
"#;

fn chain(shop: impl std::fmt::Display, standby: &Origin, protocol: Protocol) -> Draft {
    Gateway::draft(CHAIN)
        .with("shop", shop)
        .with("standby", standby)
        .with("protocol", protocol)
}

fn echo(protocol: Protocol) -> Origin {
    Origin::speaking(protocol, |seen| text(seen.body))
}

/// Answered by the other upstream, which had the whole request once.
async fn assert_standby(gateway: &Gateway, answer: &Answer, standby: &Origin, reason: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-northgate-degraded"), Some(reason));
    let log = gateway.log_of(answer).await;
    assert_eq!(log["degraded"], reason, "{log}");
    assert_eq!(log["fallback"], "upstream standby");
    assert_eq!(log["upstream"], "standby");
    assert_eq!(standby.seen().len(), 1);
}

/// Answered by the gateway itself, and the other upstream had nothing.
async fn assert_reply(gateway: &Gateway, answer: &Answer, standby: &Origin, reason: &str) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("x-northgate-degraded"), Some(reason));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-note"), Some("fixed"));
    assert!(answer.header("x-request-id").is_some());
    let body = serde_json::json!({ "degraded": true, "path": "/x", "who": null });
    assert_eq!(answer.json(), body);
    let log = gateway.log_of(answer).await;
    assert_eq!(log["degraded"], reason, "{log}");
    assert_eq!(log["fallback"], "reply 503");
    assert_eq!(standby.seen().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_was_never_sent_goes_elsewhere_whole() {
    over_each_pair(|pair| async move {
        let asks: [fn() -> Ask; 4] = [
            || get("/x"),
            || post("/x", "short"),
            || post("/x", vec![b'a'; 1 << 20]),
            || request("PUT", "/x").body(full(vec![b'b'; 200_000])),
        ];
        for ask in asks {
            let standby = echo(pair.origin);
            let draft = chain(free_address(), &standby, pair.origin);
            let gateway = draft.start().await;
            let answer = gateway.client(pair.client).send(ask()).await;
            assert_standby(&gateway, &answer, &standby, "upstream_connect_failed").await;
            assert_eq!(answer.body, standby.only().body);
            let metrics = gateway.metrics().await;
            let line = "northgate_fallbacks_total{http_route=\"shop\",northgate_fallback=\"upstream standby\",reason=\"upstream_connect_failed\"} 1\n";
            assert!(metrics.contains(line), "{metrics}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_have_been_done_is_not_asked_of_somebody_else() {
    type Start = fn() -> RawOrigin;
    let failing: [(Start, &str); 3] = [
        (reset::before_header, "upstream_reset"),
        (silent::start, "upstream_timeout"),
        (garbage::start, "upstream_protocol"),
    ];
    for (start, reason) in failing {
        for protocol in [Protocol::Http1, Protocol::H2] {
            let (shop, standby) = (start(), echo(protocol));
            let gateway = chain(&shop, &standby, protocol).start().await;
            let client = gateway.client(protocol);
            let answer = client.send(post("/x", "once")).await;
            assert_reply(&gateway, &answer, &standby, reason).await;
            let answer = client.send(get("/x")).await;
            assert_standby(&gateway, &answer, &standby, reason).await;
        }
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_replayed_is_not_sent_in_part() {
    // It takes in the whole of the body, and then says nothing.
    let shop = RawOrigin::serving(|mut stream, _| async move {
        let mut sink = [0; 65536];
        while !matches!(
            tokio::io::AsyncReadExt::read(&mut stream, &mut sink).await,
            Ok(0) | Err(_)
        ) {}
    });
    let standby = echo(Protocol::Http1);
    let gateway = chain(&shop, &standby, Protocol::Http1).start().await;
    let put = |size: usize| request("PUT", "/x").body(full(vec![b'p'; size]));
    let answer = gateway.http1().send(put(1 << 20)).await;
    assert_reply(&gateway, &answer, &standby, "upstream_timeout").await;
    // As much as is kept goes on.
    let answer = gateway.http1().send(put(10_000)).await;
    assert_standby(&gateway, &answer, &standby, "upstream_timeout").await;
    assert_eq!(standby.only().body.len(), 10_000);
}

#[tokio::test]
async fn statuses_are_covered_up_where_that_is_said() {
    over_each_pair(|pair| async move {
        let shop = Origin::http1(|seen| match &*seen.target {
            "/x" => reply(503, &[("x-northgate-degraded", "spoof")], full("busy")),
            "/500" => reply(500, &[("x-northgate-degraded", "spoof")], full("bug")),
            _ => reply(200, &[("x-northgate-degraded", "spoof")], full("fine")),
        });
        let standby = echo(pair.origin);
        let gateway = chain(&shop, &standby, pair.origin).start().await;
        let client = gateway.client(pair.client);
        let answer = client.send(post("/x", "done?")).await;
        assert_reply(&gateway, &answer, &standby, "status_503").await;
        let answer = client.send(get("/x")).await;
        assert_standby(&gateway, &answer, &standby, "status_503").await;
        for (target, status, body) in [("/500", 500, "bug"), ("/fine", 200, "fine")] {
            let answer = client.send(get(target)).await;
            assert_eq!((answer.status, answer.text()), (status, body.to_owned()));
            assert_eq!(answer.header("x-northgate-degraded"), None, "{target}");
            assert!(gateway.log_of(&answer).await.get("degraded").is_none());
        }
    })
    .await;
}

#[tokio::test]
async fn steps_are_taken_in_order_for_what_they_are_for() {
    let standby = Origin::http1(|_| status(502));
    let gateway = Gateway::draft(
        r#"
        [upstreams.down]
        endpoints = ["$down"]
        [upstreams.standby]
        endpoints = ["$standby"]
        [routes.one]
        match = { path = "/one" }
        upstream = "down"
        fallback = { status = 200, body = "one", on = ["connect"] }
        [routes.other]
        match = { path = "/other" }
        upstream = "down"
        fallback = { status = 200, body = "one", on = ["timeout", 503] }
        [routes.several]
        match = { path = "/several" }
        upstream = "down"
        fallback = [
            { body = "never", on = ["busy"] },
            { upstream = "standby", on = ["connect"] },
            { body = "never", on = ["connect"] },
            { status = 200, body = "last", on = ["502"], headers = { cache-control = "max-age=5" } },
        ]
        "#,
    )
    .with("down", free_address())
    .with("standby", &standby)
    .start()
    .await;
    let client = gateway.http1();
    let one = client.send(get("/one")).await;
    assert_eq!((one.status, one.text()), (200, "one".to_owned()));
    let other = client.send(get("/other")).await;
    other.assert_problem(502, "upstream_connect_failed");
    assert_eq!(other.header("x-northgate-degraded"), None);
    let several = client.send(get("/several")).await;
    assert_eq!((several.status, several.text()), (200, "last".to_owned()));
    assert_eq!(several.header("x-northgate-degraded"), Some("status_502"));
    assert_eq!(several.header("cache-control"), Some("max-age=5"));
    standby.only();
}

#[tokio::test]
async fn nothing_healthy_is_a_reason() {
    let standby = echo(Protocol::Http1);
    let gateway = Gateway::draft(CHAIN)
        .with(
            "shop\"]",
            format!(
                "{}\"]\nhealth = {{ interval = \"50ms\", unhealthy_after = 1 }}",
                free_address()
            ),
        )
        .with("standby", &standby)
        .with("protocol", Protocol::Http1)
        .start()
        .await;
    let client = gateway.http1();
    eventually("the endpoint is unhealthy", async || {
        let answer = client.send(post("/x", "whole")).await;
        assert_eq!((answer.status, answer.text()), (200, "whole".to_owned()));
        (answer.header("x-northgate-degraded") == Some("upstream_unhealthy")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_upstream_is_passed_by_and_a_busy_route_is_not() {
    let gate = Arc::new(Semaphore::new(0));
    let wait = gate.clone();
    let shop = Origin::serving(Protocol::Http1, move |_| {
        let gate = wait.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            text("shop")
        }
    });
    let standby = echo(Protocol::Http1);
    let gateway = Gateway::draft(
        r#"
        [upstreams.shop]
        endpoints = ["$shop"]
        max_in_flight = 1
        [upstreams.wide]
        endpoints = ["$shop"]
        [upstreams.standby]
        endpoints = ["$standby"]
        [routes.upstream]
        match = { path = "/upstream" }
        upstream = "shop"
        fallback = [{ upstream = "standby" }, { status = 200, body = "fixed" }]
        [routes.route]
        match = { path = "/route" }
        upstream = "wide"
        max_in_flight = 1
        fallback = [{ upstream = "standby" }, { status = 200, body = "fixed" }]
        "#,
    )
    .with("shop", &shop)
    .with("standby", &standby)
    .start()
    .await;
    let client = Arc::new(gateway.http2());
    for (path, reason, expected) in [
        ("/upstream", "upstream_busy", "mine"),
        ("/route", "route_busy", "fixed"),
    ] {
        let before = shop.seen().len();
        let first = tokio::spawn({
            let client = client.clone();
            async move { client.send(get(path)).await }
        });
        eventually("the first is there", async || {
            (shop.seen().len() > before).then_some(())
        })
        .await;
        let second = client.send(post(path, "mine")).await;
        assert_eq!(second.header("x-northgate-degraded"), Some(reason));
        assert_eq!(second.text(), expected);
        gate.add_permits(1);
        assert_eq!(first.await.unwrap().text(), "shop");
    }
}

#[tokio::test]
async fn what_is_left_of_the_time_is_all_there_is() {
    let (shop, standby) = (silent::start(), echo(Protocol::Http1));
    let gateway = Gateway::draft(&CHAIN.replace(
        "upstream = \"shop\"",
        "upstream = \"shop\"\ntimeout = \"200ms\"",
    ))
    .with("shop", &shop)
    .with("standby", &standby)
    .with("protocol", Protocol::Http1)
    .start()
    .await;
    let answer = gateway.http1().send(get("/x")).await;
    // There is none for another upstream, and a reply needs none.
    assert_reply(&gateway, &answer, &standby, "upstream_timeout").await;
}

#[tokio::test]
async fn callers_of_grpc_get_the_status_of_the_failure() {
    let gateway = Gateway::draft(
        r#"
        [upstreams.calls]
        endpoints = ["$down"]
        protocol = "grpc"
        [routes.calls]
        match = { path = "/{*rest}" }
        upstream = "calls"
        fallback = { status = 200, json = { degraded = true } }
        "#,
    )
    .with("down", free_address())
    .start()
    .await;
    let call = post("/shop.Orders/Get", "").header("content-type", "application/grpc");
    let answer = gateway.http2().send(call).await;
    assert_eq!(answer.header("grpc-status"), Some("14"), "{answer:?}");
    assert_eq!(
        answer.header("x-northgate-degraded"),
        Some("upstream_connect_failed")
    );
    assert!(answer.body.is_empty());
}

#[tokio::test]
async fn a_response_that_has_begun_is_not_made_up_for() {
    let (shop, standby) = (reset::in_body(), echo(Protocol::Http1));
    let gateway = chain(&shop, &standby, Protocol::Http1).start().await;
    assert!(gateway.http1().try_send(get("/x")).await.is_err());
    assert_eq!(standby.seen().len(), 0);
}
