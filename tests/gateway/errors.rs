//! How failures are told: to the client by a problem document or a gRPC status, to the operator by the log.

use std::time::{Duration, Instant};

use crate::harness::*;
use crate::origins;

const BROKEN: &str = r#"
    [upstreams.broken]
    endpoints = ["$broken"]
    timeouts = { connect = "300ms", first_byte = "1s" }

    [routes.broken]
    match = { path = "/{*rest}" }
    upstream = "broken"
"#;

async fn before(origin: impl std::fmt::Display) -> Gateway {
    Gateway::draft(BROKEN).with("broken", origin).start().await
}

/// A port that nobody listens on.
fn nobody() -> std::net::SocketAddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap()
}

/// What the log says of who is to blame.
#[track_caller]
fn assert_blame(line: &serde_json::Value, code: &str, fault: &str, flag: &str) {
    let said = (&line["code"], &line["fault"], &line["flag"]);
    assert_eq!(said, (&code.into(), &fault.into(), &flag.into()), "{line}");
}

#[tokio::test]
async fn nobody_listens() {
    let gateway = before(nobody()).await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let answer = gateway.client(protocol).send(get("/")).await;
        answer.assert_problem(502, "upstream_connect_failed");
        let line = gateway.log_of(&answer).await;
        assert_blame(&line, "upstream_connect_failed", "upstream", "UF");
        assert_eq!(line["status"], 502);
        assert!(line["cause"].is_string());
        // The cause is for the log alone.
        assert!(!answer.text().contains("127.0.0.1"), "{}", answer.text());
    }
}

#[tokio::test]
async fn connections_are_not_answered() {
    let hole = origins::black_hole::start();
    let gateway = before(&hole).await;
    let begin = Instant::now();
    let answer = gateway.http1().send(get("/")).await;
    let took = begin.elapsed();
    answer.assert_problem(504, "upstream_connect_timeout");
    assert!((300..900).contains(&took.as_millis()), "{took:?}");
    let line = gateway.log_of(&answer).await;
    assert_blame(&line, "upstream_connect_timeout", "upstream", "UF");
}

#[tokio::test]
async fn a_name_does_not_resolve() {
    let gateway = before("no-such-host.invalid:80").await;
    let answer = gateway.http1().send(get("/")).await;
    answer.assert_problem(503, "upstream_unhealthy");
    let line = gateway.log_of(&answer).await;
    assert_blame(&line, "upstream_unhealthy", "upstream", "UH");
    assert_eq!(line["attempts"], 0);
}

#[tokio::test]
async fn garbage_comes_back() {
    let origin = origins::garbage::start();
    let gateway = before(&origin).await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let answer = gateway.client(protocol).send(get("/")).await;
        answer.assert_problem(502, "upstream_protocol");
        let line = gateway.log_of(&answer).await;
        assert_blame(&line, "upstream_protocol", "upstream", "UPE");
    }
}

#[tokio::test]
async fn the_connection_ends_before_the_header_does() {
    for origin in [
        origins::half_close::at_once(),
        origins::half_close::in_header(),
        origins::reset::before_header(),
    ] {
        let gateway = before(&origin).await;
        let answer = gateway.http1().send(get("/")).await;
        answer.assert_problem(502, "upstream_reset");
        let line = gateway.log_of(&answer).await;
        assert_blame(&line, "upstream_reset", "upstream", "UC");
        assert_eq!(origin.connections(), 1, "a fresh connection is not retried");
    }
}

#[tokio::test]
async fn the_connection_ends_in_the_body() {
    for origin in [
        origins::reset::in_body(),
        origins::half_close::in_chunks(),
        origins::wrong_length::too_short(),
    ] {
        let gateway = before(&origin).await;
        for protocol in [Protocol::Http1, Protocol::H2] {
            let path = format!("/{protocol:?}");
            let client = gateway.client(protocol);
            let broken = within("the end of the body", client.try_send(get(&path))).await;
            assert!(broken.is_err(), "as if it were whole: {broken:?}");
            let line = gateway
                .log_where("the broken one", |line| line["path"] == path)
                .await;
            assert_blame(&line, "upstream_reset", "upstream", "UC");
            assert_eq!(line["status"], 200);
        }
    }
}

#[tokio::test]
async fn bytes_behind_a_response_are_nobodys_response() {
    for origin in [
        origins::wrong_length::too_long(),
        origins::conflicting_framing::two_lengths(),
    ] {
        let gateway = before(&origin).await;
        let client = gateway.http1();
        for _ in 0..3 {
            // Either nothing of such an origin is used, or exactly what it announced.
            let answer = client.send(get("/")).await;
            let body = answer.text();
            assert!(
                answer.status == 502 || ["four", "ok"].contains(&&*body),
                "{answer:?}"
            );
        }
    }
}

#[tokio::test]
async fn chunks_win_over_a_length() {
    let origin = origins::conflicting_framing::length_and_chunks();
    let gateway = before(&origin).await;
    let client = gateway.http1();
    for _ in 0..2 {
        let answer = client.send(get("/")).await;
        if answer.status == 200 {
            assert_eq!(answer.text(), "ok");
            assert_ne!(answer.header("content-length"), Some("400"));
        } else {
            answer.assert_problem(502, "upstream_protocol");
        }
    }
}

#[tokio::test]
async fn an_origin_of_http2_breaks_off() {
    let origin = RawOrigin::serving(|_, _| async {});
    let gateway = Gateway::draft(
        BROKEN
            .replace("timeouts", "protocol = \"h2c\"\ntimeouts")
            .as_str(),
    )
    .with("broken", &origin)
    .start()
    .await;
    let answer = gateway.http2().send(get("/")).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(gateway.log_of(&answer).await["fault"], "upstream");
}

#[tokio::test]
async fn grpc_callers_get_a_grpc_status_of_the_gateway_itself() {
    let gateway = before(nobody()).await;
    let ask = request("TRACE", "/shop.Nobody/Get").header("content-type", "application/grpc+proto");
    let answer = gateway.http2().send(ask).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/grpc"));
    assert_eq!(answer.header("grpc-status"), Some("12"));
    assert!(answer.body.is_empty());
    assert_eq!(
        gateway.log_of(&answer).await["code"],
        "method_not_implemented"
    );
}

#[tokio::test]
async fn requests_beyond_the_limits_are_refused() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = Gateway::draft(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        limits = { uri_bytes = "1KiB", header_bytes = "4KiB", headers = 30 }

        [upstreams.shop]
        endpoints = ["$shop"]

        [routes.all]
        match = { path = "/{*rest}" }
        upstream = "shop"
        "#,
    )
    .with("shop", &shop)
    .start()
    .await;
    let many = (0..40).fold(get("/"), |ask, n| ask.header(&format!("x-{n}"), "v"));
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        let long = client.send(get(&format!("/{}", "a".repeat(2000)))).await;
        long.assert_problem(414, "uri_too_long");
        let large = get("/").header("x-large", &"v".repeat(5000));
        let large = client.send(large).await;
        large.assert_problem(431, "headers_too_large");
        let trace = client.send(request("TRACE", "/")).await;
        trace.assert_problem(501, "method_not_implemented");
        let line = gateway.log_of(&trace).await;
        assert_blame(&line, "method_not_implemented", "client", "DPE");
    }
    let many = gateway.http1().send(many).await;
    many.assert_problem(431, "headers_too_large");
    assert!(shop.seen().is_empty(), "{:?}", shop.seen());
}

#[tokio::test]
async fn a_client_that_leaves_is_to_blame_itself() {
    let silent = origins::silent::start();
    let gateway = before(&silent).await;
    let client = gateway.http1();
    let asking = client.try_send(get("/left"));
    let asking = tokio::time::timeout(Duration::from_millis(200), asking).await;
    assert!(asking.is_err(), "nobody has answered");
    drop(client);
    let line = gateway
        .log_where("the one who left", |line| line["path"] == "/left")
        .await;
    assert_blame(&line, "client_closed", "client", "DC");
    assert_eq!(line["status"], 0);
}

#[tokio::test]
async fn a_client_that_leaves_is_no_failure_of_the_upstream() {
    let silent = origins::silent::start();
    let shop = Origin::http1(|_| {
        let (chunks, body) = channel();
        tokio::spawn(async move { while chunks.send("more").await {} });
        reply(200, &[], body)
    });
    let gateway = Gateway::draft(
        r#"
        [upstreams.silent]
        endpoints = ["$silent"]

        [upstreams.shop]
        endpoints = ["$shop"]

        [upstreams.gone]
        endpoints = ["$gone"]

        [routes]
        silent = { match = { path = "/silent" }, upstream = "silent" }
        endless = { match = { path = "/endless" }, upstream = "shop" }
        gone = { match = { path = "/gone" }, upstream = "gone" }
        "#,
    )
    .with("silent", &silent)
    .with("shop", &shop)
    .with("gone", nobody())
    .start()
    .await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let client = gateway.client(protocol);
        let asking = client.try_send(get("/silent"));
        let asking = tokio::time::timeout(Duration::from_millis(200), asking).await;
        assert!(asking.is_err(), "nobody has answered");
        let mut endless = client.open(get("/endless")).await;
        assert!(endless.chunk().await.is_some());
    }
    let mut uploading = RawClient::connect(gateway.address()).await;
    uploading
        .send("POST /silent HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf")
        .await;
    eventually("the upload is on its way", async || {
        (silent.connections() == 3).then_some(())
    })
    .await;
    drop(uploading);
    eventually("all five are over", async || {
        let log = gateway.log();
        let left = log.iter().filter(|line| line["code"] == "client_closed");
        (left.count() == 5).then_some(())
    })
    .await;
    let failures = "northgate_upstream_failures_total{";
    let metrics = gateway.metrics().await;
    assert!(!metrics.contains(failures), "{metrics}");
    // It does count what is one.
    gateway.http1().send(get("/gone")).await;
    let metrics = gateway.metrics().await;
    let labels = r#"error_type="upstream_connect_failed",northgate_upstream="gone"}"#;
    let failure = metrics.lines().find(|line| line.starts_with(failures));
    assert!(failure.is_some_and(|it| it.contains(labels)), "{metrics}");
}

#[tokio::test]
async fn grpc_callers_get_a_grpc_status() {
    let silent = origins::silent::start();
    let gateway = Gateway::draft(
        r#"
        [upstreams.gone]
        endpoints = ["$gone"]
        protocol = "grpc"

        [upstreams.silent]
        endpoints = ["$silent"]
        protocol = "grpc"
        timeouts = { first_byte = "300ms", idle = "300ms" }

        [routes.gone]
        match = { grpc = { service = "shop.Gone" } }
        upstream = "gone"

        [routes.silent]
        match = { grpc = { service = "shop.Silent" } }
        upstream = "silent"
        "#,
    )
    .with("gone", nobody())
    .with("silent", &silent)
    .start()
    .await;
    let client = gateway.http2();
    for (path, grpc_status, code) in [
        ("/shop.Nobody/Get", "12", "route_not_found"),
        ("/shop.Gone/Get", "14", "upstream_connect_failed"),
        ("/shop.Silent/Get", "4", "upstream_timeout"),
    ] {
        let ask = post(path, "").header("content-type", "application/grpc+proto");
        let answer = client.send(ask.header("te", "trailers")).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some("application/grpc"));
        assert_eq!(answer.header("grpc-status"), Some(grpc_status), "{path}");
        assert!(
            answer
                .header("grpc-message")
                .is_some_and(|it| !it.is_empty())
        );
        assert!(answer.body.is_empty());
        assert_eq!(gateway.log_of(&answer).await["code"], code);
    }
}

#[tokio::test]
async fn a_failure_without_a_body_is_whole_over_http2() {
    let gateway = before(nobody()).await;
    let answer = gateway.http2().send(head("/")).await;
    assert_eq!((answer.status, answer.body.len()), (502, 0));
}

#[tokio::test]
async fn an_interim_response_is_no_response() {
    let gone = origins::interim::then_closed();
    let gateway = Gateway::draft(
        r#"
        [upstreams.gone]
        endpoints = ["$gone"]

        [routes.all]
        match = { path = "/{*rest}" }
        upstream = "gone"
        "#,
    )
    .with("gone", &gone)
    .start()
    .await;
    for protocol in [Protocol::Http1, Protocol::H2] {
        let answer = gateway.client(protocol).send(get("/")).await;
        answer.assert_problem(502, "upstream_reset");
    }
    let line = gateway.log_where("it", |line| line["path"] == "/").await;
    assert_eq!(line["status"], 502);
}
