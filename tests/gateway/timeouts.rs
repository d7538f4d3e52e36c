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

/// A body of so many bytes, one every so often.
fn trickle(bytes: usize, pause: Duration) -> Body {
    let (chunks, body) = channel();
    tokio::spawn(async move {
        for _ in 0..bytes {
            if !chunks.send("x").await {
                return;
            }
            tokio::time::sleep(pause).await;
        }
    });
    body
}

const TENTH: Duration = Duration::from_millis(100);

#[tokio::test]
async fn the_first_byte_is_awaited_from_the_end_of_the_request() {
    over_each_pair(|pair| async move {
        let slow = Origin::speaking(pair.origin, |_| text("ok"));
        let timeouts = r#"first_byte = "300ms""#;
        let gateway = before_speaking(pair.origin, &slow, timeouts, "").await;
        // A client that takes longer to send than the origin may take to answer.
        let ask = request("POST", "/").body(trickle(6, TENTH));
        let answer = gateway.client(pair.client).send(ask).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(slow.only().body, "xxxxxx");
    })
    .await;
}

#[tokio::test]
async fn the_first_byte_does_not_come_after_a_large_upload() {
    over_each_pair(|pair| async move {
        let (taken, mut was_taken) = tokio::sync::mpsc::channel(1);
        let silent = Origin::serving(pair.origin, move |seen| {
            assert_eq!(seen.body.len(), 1 << 20);
            taken.try_send(Instant::now()).expect("one request");
            std::future::pending()
        });
        let timeouts = r#"first_byte = "300ms""#;
        let gateway = before_speaking(pair.origin, &silent, timeouts, "").await;
        let client = gateway.client(pair.client);
        let answer = client.send(post("/", vec![b'x'; 1 << 20]));
        let (answer, taken) = tokio::join!(answer, was_taken.recv());
        answer.assert_problem(504, "upstream_timeout");
        // The gateway sent its last byte a little before the origin had it.
        let took = taken.expect("a whole request").elapsed().as_millis();
        assert!((200..900).contains(&took), "after {took} ms");
    })
    .await;
}

#[tokio::test]
async fn a_body_falls_silent() {
    over_each_pair(|pair| async move {
        let stalled = Origin::speaking(pair.origin, |_| {
            let (chunks, body) = channel();
            tokio::spawn(async move {
                chunks.send("0123456789").await;
                std::future::pending::<()>().await;
            });
            reply(200, &[], body)
        });
        let gateway = before_speaking(pair.origin, &stalled, r#"idle = "300ms""#, "").await;
        let client = gateway.client(pair.client);
        let begin = Instant::now();
        let end = within("the end of the body", client.try_send(get("/"))).await;
        assert_fired(begin);
        assert!(end.is_err(), "{end:?}");
        let line = gateway.log_where("it", |line| line["path"] == "/").await;
        assert_eq!(line["code"], "upstream_timeout");
        assert_eq!(line["status"], 200);
    })
    .await;
}

#[tokio::test]
async fn a_body_that_goes_on_is_not_cut_by_the_idle_timeout() {
    over_each_pair(|pair| async move {
        let slow = Origin::speaking(pair.origin, |_| reply(200, &[], trickle(6, TENTH)));
        let timeouts = r#"idle = "300ms", first_byte = "300ms""#;
        let gateway = before_speaking(pair.origin, &slow, timeouts, "").await;
        let answer = gateway.client(pair.client).send(get("/")).await;
        assert_eq!(answer.text(), "xxxxxx");
    })
    .await;
}

#[tokio::test]
async fn each_wait_has_its_own_limit() {
    over_each_pair(|pair| async move {
        // A body that is slower than the first byte may be, and a first byte that is slower than a body.
        let slow = Origin::speaking(pair.origin, |_| reply(200, &[], trickle(2, TENTH * 5)));
        let gateway = before_speaking(pair.origin, &slow, r#"first_byte = "300ms""#, "").await;
        let answer = gateway.client(pair.client).send(get("/")).await;
        assert_eq!(answer.text(), "xx");
        let late = Origin::serving(pair.origin, |_| async {
            tokio::time::sleep(TENTH * 5).await;
            text("late")
        });
        let gateway = before_speaking(pair.origin, &late, r#"idle = "300ms""#, "").await;
        let answer = gateway.client(pair.client).send(post("/", "x")).await;
        assert_eq!(answer.text(), "late");
    })
    .await;
}

const IMPATIENT: &str = r#"
    [listeners.public]
    bind = "127.0.0.1:0"
    timeouts = { request_body_idle = "300ms" }
"#;

#[tokio::test]
async fn a_client_that_stops_sending_is_at_fault() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("ok"));
        let gateway = Gateway::draft(&format!("{IMPATIENT}{SLOW}"))
            .with("slow", &shop)
            .with("protocol", pair.origin)
            .with("timeouts", "")
            .with("route", "")
            .start()
            .await;
        let (chunks, body) = channel();
        chunks.send("the beginning").await;
        let begin = Instant::now();
        let answer = gateway.client(pair.client);
        let answer = answer.send(request("POST", "/").body(body)).await;
        assert_fired(begin);
        answer.assert_problem(408, "request_timeout");
        drop(chunks);
        assert!(shop.seen().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_call_of_grpc_may_be_silent_for_as_long_as_idle_says() {
    let mute = origins::unread::start();
    let gateway = Gateway::draft(&format!("{IMPATIENT}{SLOW}"))
        .with("slow", &mute)
        .with("protocol", "grpc")
        .with("timeouts", r#"idle = "600ms", first_byte = "100ms""#)
        .with("route", "")
        .start()
        .await;
    // Whether it has begun to answer or not: the call goes on, so nobody owes anybody anything.
    for path in ["/mute", "/never"] {
        let (chunks, body) = channel();
        chunks.send("a message").await;
        let call = request("POST", path).body(body);
        let call = call.header("content-type", "application/grpc");
        let begin = Instant::now();
        let client = gateway.http2();
        let _ = within("the end", client.try_send(call)).await;
        let took = begin.elapsed().as_millis();
        assert!((590..1200).contains(&took), "{path} after {took} ms");
        let line = gateway.log_where(path, |line| line["path"] == path).await;
        assert_eq!(line["code"], "upstream_timeout");
        drop(chunks);
    }
}

#[tokio::test]
async fn an_upload_that_is_not_taken_ends() {
    for client in [Protocol::Http1, Protocol::H2] {
        let unread = origins::unread::start();
        let gateway = before_speaking(Protocol::H2, &unread, r#"idle = "300ms""#, "").await;
        let begin = Instant::now();
        let upload = post("/never", vec![b'x'; 8 << 20]);
        let answer = gateway.client(client).send(upload).await;
        // The time of the stall, and that of noticing that the engine has given up sending.
        let took = begin.elapsed().as_millis();
        assert!((290..1500).contains(&took), "after {took} ms");
        answer.assert_problem(504, "upstream_timeout");
        // An answer that does not wait for the upload is not lost in it.
        let upload = post("/quick", vec![b'x'; 8 << 20]);
        let answer = gateway.http2().send(upload).await;
        assert_eq!(answer.text(), "quick");
        assert_eq!(unread.connections(), 1);
    }
}

#[tokio::test]
async fn the_end_of_one_exchange_leaves_the_connection_to_the_others() {
    const BOTH: &str = r#"
        [upstreams.shop]
        endpoints = ["$shop"]
        protocol = "h2c"

        [routes.never]
        match = { path = "/never" }
        upstream = "shop"
        timeout = "300ms"

        [routes.slow]
        match = { path = "/slow" }
        upstream = "shop"
    "#;
    let shop = Origin::serving(Protocol::H2, |seen| async move {
        if seen.target == "/never" {
            return std::future::pending().await;
        }
        reply(200, &[], trickle(8, TENTH))
    });
    let gateway = Gateway::draft(BOTH).with("shop", &shop).start().await;
    let client = gateway.http2();
    assert_eq!(client.send(get("/slow")).await.text(), "xxxxxxxx");
    let (slow, never) = tokio::join!(client.send(get("/slow")), client.send(get("/never")));
    assert_eq!(slow.text(), "xxxxxxxx");
    never.assert_problem(504, "upstream_timeout");
    assert_eq!(client.send(get("/slow")).await.status, 200);
    assert_eq!(shop.connections(), 1);
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
    over_each_pair(|pair| async move {
        let pause = Duration::from_millis(20);
        let slow = Origin::speaking(pair.origin, move |_| reply(200, &[], trickle(1000, pause)));
        let gateway = before_speaking(pair.origin, &slow, "", r#"timeout = "300ms""#).await;
        let begin = Instant::now();
        let client = gateway.client(pair.client);
        let broken = within("the end", client.try_send(get("/"))).await;
        assert_fired(begin);
        assert!(broken.is_err());
        let line = gateway.log_where("it", |line| line["path"] == "/").await;
        assert_eq!(line["code"], "upstream_timeout");
    })
    .await;
}

#[tokio::test]
async fn the_whole_exchange_is_limited_though_nothing_comes() {
    over_each_pair(|pair| async move {
        let silent = Origin::serving(pair.origin, |_| std::future::pending());
        let gateway = before_speaking(pair.origin, &silent, "", r#"timeout = "300ms""#).await;
        let begin = Instant::now();
        let answer = gateway.client(pair.client).send(post("/", "x")).await;
        assert_fired(begin);
        answer.assert_problem(504, "upstream_timeout");
    })
    .await;
}

#[tokio::test]
async fn a_client_that_is_slow_to_send_does_not_outlive_the_whole_exchange() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text("ok"));
        let gateway = before_speaking(pair.origin, &shop, "", r#"timeout = "300ms""#).await;
        let begin = Instant::now();
        let body = trickle(1000, Duration::from_millis(20));
        let client = gateway.client(pair.client);
        let sending = client.try_send(request("POST", "/").body(body));
        let answer = within("the end", sending).await;
        assert_fired(begin);
        assert!(answer.is_ok_and(|answer| answer.status >= 400));
    })
    .await;
}

#[tokio::test]
async fn a_grpc_client_sets_its_own_limit() {
    over_each_pair(|pair| async move {
        let silent = Origin::serving(pair.origin, |_| std::future::pending());
        let gateway = before_speaking(pair.origin, &silent, "", "").await;
        let begin = Instant::now();
        let ask = get("/").header("grpc-timeout", "300m");
        let answer = gateway.client(pair.client).send(ask).await;
        assert_fired(begin);
        assert_eq!(answer.status, 504);
    })
    .await;
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
async fn interim_responses_stop_no_clock() {
    let chatty = origins::interim::again_and_again(Duration::from_millis(50));
    let gateway = before(&chatty, r#"first_byte = "300ms", idle = "300ms""#, "").await;
    let begin = Instant::now();
    let answer = gateway.http2().send(get("/")).await;
    assert_fired(begin);
    answer.assert_problem(504, "upstream_timeout");
}
