//! No wait for an upstream is endless, and each ends when it is said to.

use std::time::{Duration, Instant};

use crate::harness::*;
use crate::origins;

const SLOW: &str = r#"
    [upstreams.slow]
    endpoints = ["$slow"]
    protocol = "$protocol"
    timeouts = { $timeouts }

    [routes.slow]
    match = { path = "/{*rest}" }
    upstream = "slow"
    $route
"#;

/// Before an origin, with these timeouts of the upstream and these lines in the route.
async fn before(origin: impl std::fmt::Display, timeouts: &str, route: &str) -> Gateway {
    before_speaking(Protocol::Http1, origin, timeouts, route).await
}

async fn before_speaking(
    protocol: Protocol,
    origin: impl std::fmt::Display,
    timeouts: &str,
    route: &str,
) -> Gateway {
    Gateway::draft(SLOW)
        .with("slow", origin)
        .with("protocol", protocol)
        .with("timeouts", timeouts)
        .with("route", route)
        .start()
        .await
}

#[tokio::test]
async fn the_first_byte_does_not_come() {
    over_each_pair(|pair| async move {
        let silent = Origin::serving(pair.origin, |_| std::future::pending());
        let timeouts = r#"first_byte = "300ms", idle = "300ms""#;
        let gateway = before_speaking(pair.origin, &silent, timeouts, "").await;
        let begin = Instant::now();
        let answer = gateway.client(pair.client).send(get("/")).await;
        assert_fired(begin);
        answer.assert_problem(504, "upstream_timeout");
        let line = gateway.log_of(&answer).await;
        assert_eq!(
            (&line["fault"], &line["flag"]),
            (&"upstream".into(), &"UT".into())
        );
    })
    .await;
}

#[tokio::test]
async fn the_first_byte_is_awaited_from_the_end_of_the_request() {
    let slow = Origin::http1(|_| text("ok"));
    let gateway = before(&slow, r#"first_byte = "300ms""#, "").await;
    let (chunks, body) = channel();
    tokio::spawn(async move {
        for _ in 0..6 {
            chunks.send("x").await;
            // A client that takes longer to send than the origin may take to answer.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let answer = gateway.http1().send(request("POST", "/").body(body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(slow.only().body, "xxxxxx");
}

#[tokio::test]
async fn a_body_falls_silent() {
    let stalled = origins::stall::in_body();
    for protocol in [Protocol::Http1, Protocol::H2] {
        let gateway = before(&stalled, r#"idle = "300ms""#, "").await;
        let client = gateway.client(protocol);
        let begin = Instant::now();
        let end = within("the end of the body", client.try_send(get("/"))).await;
        assert_fired(begin);
        assert!(end.is_err(), "over {protocol:?}: {end:?}");
        let line = gateway.log_where("it", |line| line["path"] == "/").await;
        assert_eq!(line["code"], "upstream_timeout");
        assert_eq!(line["status"], 200);
    }
}

#[tokio::test]
async fn a_body_that_goes_on_is_not_cut_by_the_idle_timeout() {
    let slow = Origin::http1(|_| {
        let (chunks, body) = channel();
        tokio::spawn(async move {
            for _ in 0..6 {
                chunks.send("x").await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        reply(200, &[], body)
    });
    let gateway = before(&slow, r#"idle = "300ms", first_byte = "300ms""#, "").await;
    assert_eq!(gateway.http1().send(get("/")).await.text(), "xxxxxx");
}

#[tokio::test]
async fn the_whole_exchange_is_limited_though_the_header_trickles() {
    let slow = origins::slow_header::start(Duration::from_millis(20));
    let gateway = before(&slow, "", r#"timeout = "300ms""#).await;
    let begin = Instant::now();
    let answer = gateway.http1().send(get("/")).await;
    assert_fired(begin);
    answer.assert_problem(504, "upstream_timeout");
}

#[tokio::test]
async fn the_header_is_limited_though_it_trickles() {
    let slow = origins::slow_header::start(Duration::from_millis(20));
    let gateway = before(&slow, r#"first_byte = "300ms""#, "").await;
    let begin = Instant::now();
    let answer = gateway.http1().send(get("/")).await;
    assert_fired(begin);
    answer.assert_problem(504, "upstream_timeout");
}

#[tokio::test]
async fn the_whole_exchange_is_limited_though_the_body_trickles() {
    let slow = origins::stall::trickling_body(Duration::from_millis(20));
    for protocol in [Protocol::Http1, Protocol::H2] {
        let gateway = before(&slow, "", r#"timeout = "300ms""#).await;
        let begin = Instant::now();
        let broken = gateway.client(protocol);
        let broken = within("the end", broken.try_send(get("/"))).await;
        assert_fired(begin);
        assert!(broken.is_err());
        let line = gateway.log_where("it", |line| line["path"] == "/").await;
        assert_eq!(line["code"], "upstream_timeout");
    }
}

#[tokio::test]
async fn bodies_of_http2_are_limited_as_well() {
    for (pause, timeouts, route) in [
        (20, "", r#"timeout = "300ms""#),
        // One timer for both waits over HTTP/2, so both are short.
        (60_000, r#"idle = "300ms", first_byte = "300ms""#, ""),
    ] {
        let slow = Origin::speaking(Protocol::H2, move |_| {
            let (chunks, body) = channel();
            tokio::spawn(async move {
                while chunks.send("x").await {
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            });
            reply(200, &[], body)
        });
        let gateway = before_speaking(Protocol::H2, &slow, timeouts, route).await;
        for protocol in [Protocol::Http1, Protocol::H2] {
            let begin = Instant::now();
            let client = gateway.client(protocol);
            let broken = within("the end", client.try_send(get("/"))).await;
            assert_fired(begin);
            assert!(broken.is_err(), "over {protocol:?}");
        }
    }
}

#[tokio::test]
async fn the_whole_exchange_is_limited_over_http2_too() {
    let silent = Origin::serving(Protocol::H2, |_| std::future::pending());
    let gateway = before_speaking(Protocol::H2, &silent, "", r#"timeout = "300ms""#).await;
    let begin = Instant::now();
    let answer = gateway.http2().send(get("/")).await;
    assert_fired(begin);
    answer.assert_problem(504, "upstream_timeout");
}

#[tokio::test]
async fn a_client_that_is_slow_to_send_does_not_outlive_the_whole_exchange() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = before(&shop, "", r#"timeout = "300ms""#).await;
    let (chunks, body) = channel();
    let begin = Instant::now();
    let trickle = async {
        while chunks.send("x").await && begin.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let client = gateway.http1();
    let sending = client.try_send(request("POST", "/").body(body));
    let answer = tokio::select! {
        answer = sending => answer,
        () = trickle => panic!("the upload went on"),
    };
    assert_fired(begin);
    assert!(answer.is_ok_and(|answer| answer.status >= 400));
}

#[tokio::test]
async fn a_grpc_client_sets_its_own_limit() {
    let silent = Origin::serving(Protocol::Http1, |_| std::future::pending());
    let gateway = before(&silent, "", "").await;
    let begin = Instant::now();
    let answer = gateway
        .http1()
        .send(get("/").header("grpc-timeout", "300m"))
        .await;
    assert_fired(begin);
    assert_eq!(answer.status, 504);
}

#[tokio::test]
async fn a_tls_handshake_of_an_upstream_is_limited() {
    let silent = origins::silent::start();
    for protocol in ["http/1.1", "h2"] {
        let gateway = Gateway::draft(
            r#"
            [upstreams.silent]
            endpoints = ["$silent"]
            protocol = "$protocol"
            timeouts = { connect = "300ms" }
            tls = { insecure_skip_verify = true }

            [routes.all]
            match = { path = "/{*rest}" }
            upstream = "silent"
            "#,
        )
        .with("silent", &silent)
        .with("protocol", protocol)
        .start()
        .await;
        let begin = Instant::now();
        let answer = gateway.http1().send(get("/")).await;
        assert_fired(begin);
        answer.assert_problem(504, "upstream_connect_timeout");
    }
}

#[tokio::test]
async fn the_first_byte_is_awaited_from_the_end_of_the_request_over_http2_too() {
    let slow = Origin::speaking(Protocol::H2, |_| text("ok"));
    let timeouts = r#"first_byte = "300ms", idle = "300ms""#;
    let gateway = before_speaking(Protocol::H2, &slow, timeouts, "").await;
    let (chunks, body) = channel();
    tokio::spawn(async move {
        for _ in 0..6 {
            chunks.send("x").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let answer = gateway.http2().send(request("POST", "/").body(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(slow.only().body, "xxxxxx");
}

#[tokio::test]
async fn interim_responses_stop_no_clock() {
    let chatty = origins::interim::again_and_again(Duration::from_millis(50));
    let gateway = before(&chatty, r#"first_byte = "300ms", idle = "300ms""#, "").await;
    let begin = Instant::now();
    let answer = gateway.http2().send(get("/")).await;
    assert_fired(begin);
    answer.assert_problem(504, "upstream_timeout");
}
