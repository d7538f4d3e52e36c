//! What endpoints are told of the time that they have, and waits that each try has by itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::*;
use crate::origins;

const SHOP: &str = r#"
    [upstreams.shop]
    endpoints = [$endpoints]
    protocol = "$protocol"
    deadline_header = "X-Request-Timeout"
    $settings

    [routes.all]
    match = { path = "/{*rest}" }
    upstream = "shop"
    $route
"#;

async fn before(endpoints: &str, protocol: Protocol, settings: &str, route: &str) -> Gateway {
    Gateway::draft(SHOP)
        .with("endpoints", endpoints)
        .with("protocol", protocol)
        .with("settings", settings)
        .with("route", route)
        .start()
        .await
}

fn one(origin: impl std::fmt::Display) -> String {
    format!("\"{origin}\"")
}

#[tokio::test]
async fn an_endpoint_is_told_how_long_a_try_may_take() {
    over_each_pair(|pair| async move {
        for (settings, route, most) in [
            ("", "", None),
            ("", "timeout = \"20s\"", Some(20_000)),
            ("timeouts = { per_try = \"10s\" }", "", Some(10_000)),
            (
                "timeouts = { per_try = \"10s\" }",
                "timeout = \"20s\"",
                Some(10_000),
            ),
            (
                "timeouts = { per_try = \"20s\" }",
                "timeout = \"10s\"",
                Some(10_000),
            ),
        ] {
            let shop = Origin::speaking(pair.origin, |_| text("ok"));
            let gateway = before(&one(&shop), pair.origin, settings, route).await;
            // Nobody believes what a client says of it.
            let ask = post("/", "body").header("x-request-timeout", "1");
            let answer = gateway.client(pair.client).send(ask).await;
            assert_eq!(answer.status, 200);
            let seen = shop.only();
            let told = seen.header("x-request-timeout");
            let told: Option<u32> = told.map(|told| told.parse().expect("milliseconds"));
            match (told, most) {
                (None, None) => {}
                (Some(told), Some(most)) => {
                    assert!(
                        (most / 2..=most).contains(&told),
                        "{told} {settings} {route}"
                    );
                }
                other => panic!("{other:?} {settings} {route}"),
            }
            assert_eq!(seen.header("grpc-timeout"), None);
        }
    })
    .await;
}

#[tokio::test]
async fn a_call_of_grpc_is_told_what_is_left() {
    for (asked, route, most) in [
        (Some("20S"), "", Some(20_000)),
        (Some("20S"), "timeout = \"10s\"", Some(10_000)),
        (Some("5S"), "timeout = \"10s\"", Some(5_000)),
        (None, "timeout = \"10s\"", Some(10_000)),
        (None, "", None),
    ] {
        let shop = Origin::speaking(Protocol::H2, |_| text("ok"));
        let gateway = before(&one(&shop), Protocol::H2, "", route).await;
        let mut call = post("/", "x").header("content-type", "application/grpc");
        if let Some(asked) = asked {
            call = call.header("grpc-timeout", asked);
        }
        assert_eq!(gateway.http2().send(call).await.status, 200);
        let seen = shop.only();
        let told = seen.header("grpc-timeout").map(|told| {
            let (amount, unit) = told.split_at(told.len() - 1);
            let amount: u64 = amount.parse().expect("a number");
            match unit {
                "u" => amount / 1000,
                "m" => amount,
                other => panic!("{other} in {told}"),
            }
        });
        match (told, most) {
            (None, None) => {}
            (Some(told), Some(most)) => {
                assert!((most / 2..=most).contains(&told), "{told} {route}")
            }
            other => panic!("{other:?} {asked:?} {route}"),
        }
    }
}

#[tokio::test]
async fn a_call_that_ends_with_its_header_is_tried_again() {
    let asked = AtomicUsize::new(0);
    let shop = Origin::speaking(Protocol::H2, move |seen| {
        let status = match asked.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => "14",
            _ => "0",
        };
        let headers = [
            ("content-type", "application/grpc"),
            ("grpc-status", status),
        ];
        reply(200, &headers, full(seen.body.slice(..0)))
    });
    let call = |key: &str| {
        let call = post("/", "a message").header("content-type", "application/grpc");
        call.header(key, "1")
    };
    let settings =
        r#"retry = { on = ["grpc:unavailable"], backoff = { base = "1ms", max = "1ms" } }"#;
    let gateway = before(&one(&shop), Protocol::H2, settings, "").await;
    let client = gateway.http2();
    let answer = client.send(call("idempotency-key")).await;
    assert_eq!(answer.header("grpc-status"), Some("0"));
    let line = gateway.log_of(&answer).await;
    assert_eq!(
        (&line["attempts"], &line["retry_on"]),
        (&2.into(), &"unavailable".into())
    );
    // The server may have done something, so that nobody but the caller knows whether to call again.
    let answer = client.send(call("x-other")).await;
    assert_eq!(answer.header("grpc-status"), Some("14"));
    assert_eq!(gateway.log_of(&answer).await["retry_stop"], "method");
    assert!(shop.seen().iter().all(|seen| seen.body == "a message"));
}

#[tokio::test]
async fn a_handshake_has_a_limit_of_its_own() {
    // It accepts, and says nothing of TLS.
    let silent = origins::silent::start();
    let settings = r#"
        tls = { insecure_skip_verify = true }
        timeouts = { connect = "20s", tls = "300ms" }
    "#;
    let gateway = before(&one(&silent), Protocol::Http1, settings, "").await;
    let begin = Instant::now();
    let answer = gateway.http1().send(get("/")).await;
    answer.assert_problem(504, "upstream_connect_timeout");
    let took = begin.elapsed();
    assert!(
        (Duration::from_millis(290)..Duration::from_secs(10)).contains(&took),
        "{took:?}"
    );
}

/// What is kept of a body is there for another upstream as well.
#[tokio::test]
async fn a_body_that_is_kept_goes_to_the_fallback_whole() {
    over_each_pair(|pair| async move {
        let (bad, good) = (
            Origin::speaking(pair.origin, |_| status(503)),
            Origin::speaking(pair.origin, |seen| text(seen.body)),
        );
        let toml = r#"
            [upstreams.bad]
            endpoints = ["$bad"]
            protocol = "$protocol"
            retry = { on = ["503"], attempts = 2, body = "1MiB", backoff = { base = "1ms", max = "1ms" } }

            [upstreams.good]
            endpoints = ["$good"]
            protocol = "$protocol"

            [routes.all]
            match = { path = "/{*rest}" }
            upstream = "bad"
            fallback = [{ upstream = "good", on = [503] }]
        "#;
        let gateway = Gateway::draft(toml)
            .with("bad", &bad)
            .with("good", &good)
            .with("protocol", pair.origin)
            .start()
            .await;
        let body: Vec<u8> = (0..300_000).map(|n| (n % 251) as u8).collect();
        let ask = request("PUT", "/").body(full(body.clone()));
        let answer = gateway.client(pair.client).send(ask).await;
        assert_eq!(answer.status, 200, "{:?}", gateway.log());
        assert!(answer.body == body);
        assert_eq!((bad.seen().len(), good.seen().len()), (2, 1));
        let seen = bad.seen().into_iter().chain(good.seen());
        assert!(seen.into_iter().all(|seen| seen.body == body));
    })
    .await;
}
