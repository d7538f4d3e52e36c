//! Which endpoint serves a request, and what happens when it cannot.

use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Semaphore;

use crate::harness::*;
use crate::origins;

/// Tells by its body which origin it was.
fn named(name: &'static str) -> Origin {
    Origin::http1(move |_| text(name))
}

fn nobody() -> std::net::SocketAddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap()
}

/// One upstream with these settings, behind every path.
fn toml(upstream: &str) -> String {
    format!(
        "[upstreams.shop]\n{upstream}\n[routes.all]\nmatch = {{ path = \"/{{*rest}}\" }}\nupstream = \"shop\"\n"
    )
}

#[tokio::test]
async fn endpoints_take_turns_as_their_weights_say() {
    let (a, b, c) = (named("a"), named("b"), named("c"));
    let gateway = Gateway::draft(&toml(
        r#"endpoints = [{ address = "$a", weight = 5 }, "$b", { address = "$c", weight = 1 }]"#,
    ))
    .with("a", &a)
    .with("b", &b)
    .with("c", &c)
    .start()
    .await;
    let client = gateway.http1();
    let mut turns = String::new();
    for _ in 0..28 {
        turns.push_str(&client.send(get("/")).await.text());
    }
    assert_eq!((a.seen().len(), b.seen().len(), c.seen().len()), (20, 4, 4));
    // Smooth: the heavy one gives way in between, wherever the turn began.
    let smooth = "aabacaa".repeat(6);
    assert!(smooth.contains(&turns), "{turns}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn least_request_prefers_who_is_idle() {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let busy = Origin::serving(Protocol::Http1, move |_| {
        let held = held.clone();
        async move {
            held.acquire().await.unwrap().forget();
            text("busy")
        }
    });
    let idle = named("idle");
    let gateway = Gateway::draft(&toml(
        "endpoints = [\"$busy\", \"$idle\"]\nbalance = \"least_request\"",
    ))
    .with("busy", &busy)
    .with("idle", &idle)
    .start()
    .await;
    let client = Arc::new(gateway.http2());
    // Requests go out, one at a time, until one hangs on the busy endpoint.
    let hanging = loop {
        let client = client.clone();
        let request = tokio::spawn(async move { client.send(get("/")).await });
        eventually("an answer, or a request that hangs", async || {
            (request.is_finished() || !busy.seen().is_empty()).then_some(())
        })
        .await;
        if !busy.seen().is_empty() {
            break request;
        }
    };
    // An answer is there before its request is counted out, and until then both are as busy.
    let counted_out = format!(
        "northgate_endpoint_active_requests{{northgate_upstream=\"shop\",server_address=\"{idle}\"}} 0\n"
    );
    for _ in 0..30 {
        eventually("the idle endpoint is idle", async || {
            let metrics = gateway.metrics().await;
            metrics.contains(&counted_out).then_some(())
        })
        .await;
        assert_eq!(client.send(get("/")).await.text(), "idle");
    }
    assert_eq!(busy.seen().len(), 1);
    gate.add_permits(1);
    assert_eq!(hanging.await.unwrap().text(), "busy");
}

#[tokio::test]
async fn a_refused_connection_is_tried_elsewhere() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |seen| text(seen.body));
        let gateway = Gateway::draft(&toml(
            "endpoints = [\"$nobody\", \"$shop\"]\nprotocol = \"$protocol\"",
        ))
        .with("nobody", nobody())
        .with("shop", &shop)
        .with("protocol", pair.origin)
        .start()
        .await;
        let client = gateway.client(pair.client);
        let mut attempts = std::collections::BTreeSet::new();
        for n in 0..4 {
            // Nothing has been sent yet, so any method may be tried again.
            let answer = client.send(post("/", format!("body {n}"))).await;
            assert_eq!(answer.text(), format!("body {n}"));
            let line = gateway.log_of(&answer).await;
            assert_eq!(line["endpoint"], shop.to_string());
            assert!(line.get("code").is_none(), "{line}");
            attempts.insert(line["attempts"].as_u64());
        }
        assert_eq!(attempts, [Some(1), Some(2)].into());
    })
    .await;
}

#[tokio::test]
async fn a_request_is_tried_on_three_endpoints_at_most() {
    let gateway = Gateway::draft(&toml(r#"endpoints = ["$a", "$b", "$c", "$d"]"#))
        .with("a", nobody())
        .with("b", nobody())
        .with("c", nobody())
        .with("d", nobody())
        .start()
        .await;
    let answer = gateway.http1().send(get("/")).await;
    answer.assert_problem(502, "upstream_connect_failed");
    assert_eq!(gateway.log_of(&answer).await["attempts"], 3);
}

#[tokio::test]
async fn a_stale_connection_is_replaced_for_get() {
    let stale = origins::stale::start();
    let gateway = Gateway::draft(&toml(r#"endpoints = ["$shop"]"#))
        .with("shop", &stale)
        .start()
        .await;
    let client = gateway.http1();
    for n in 1..=3 {
        let answer = client.send(get("/")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        let attempts = &gateway.log_of(&answer).await["attempts"];
        assert_eq!(attempts, if n == 1 { 1 } else { 2 });
        assert_eq!(stale.connections(), n);
    }
}

#[tokio::test]
async fn a_stale_connection_is_not_replaced_for_post() {
    let stale = origins::stale::start();
    let gateway = Gateway::draft(&toml(r#"endpoints = ["$shop"]"#))
        .with("shop", &stale)
        .start()
        .await;
    let client = gateway.http1();
    assert_eq!(client.send(post("/", "1")).await.status, 200);
    // The origin may have done what it was asked; asking twice could charge twice.
    let answer = client.send(post("/", "2")).await;
    answer.assert_problem(502, "upstream_reset");
    assert_eq!(stale.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_unused_is_not_used() {
    let closing = origins::stale::closing_after_response();
    let gateway = Gateway::draft(&toml(r#"endpoints = ["$shop"]"#))
        .with("shop", &closing)
        .start()
        .await;
    let client = gateway.http1();
    for _ in 0..5 {
        let answer = client.send(get("/")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    }
}

/// Speaks HTTP/2, takes so many streams at a time, and says goodbye after so many requests on a connection.
fn serving_h2(streams: u32, requests_per_connection: usize) -> RawOrigin {
    RawOrigin::serving(move |stream, _| {
        let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.max_concurrent_streams(streams);
        let (count, mut counted) = tokio::sync::watch::channel(0);
        let service = hyper::service::service_fn(move |_| {
            count.send_modify(|count| *count += 1);
            async {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                Ok::<_, std::convert::Infallible>(text("ok"))
            }
        });
        async move {
            let mut serving =
                std::pin::pin!(server.serve_connection(TokioIo::new(stream), service));
            tokio::select! {
                _ = serving.as_mut() => return,
                _ = counted.wait_for(|count| *count >= requests_per_connection) => {}
            }
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_says_goodbye_after_each_request_is_served_by_new_connections() {
    let shop = serving_h2(100, 1);
    let gateway = Gateway::draft(&toml("endpoints = [\"$shop\"]\nprotocol = \"h2c\""))
        .with("shop", &shop)
        .start()
        .await;
    let client = gateway.http2();
    for _ in 0..10 {
        let answer = client.send(get("/")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    }
}

#[tokio::test]
async fn endpoints_can_be_unix_sockets_and_names() {
    let folder = tempfile::tempdir().unwrap();
    let local = Origin::on_socket(&folder.path().join("shop.sock"), |_| text("socket"));
    let gateway = Gateway::draft(&toml(r#"endpoints = ["$shop"]"#))
        .with("shop", &local)
        .start()
        .await;
    let answer = gateway.http2().send(get("/x")).await;
    assert_eq!(answer.text(), "socket");
    assert_eq!(local.only().host, "shop.test");
    let line = gateway.log_of(&answer).await;
    assert_eq!(line["endpoint"], local.to_string());

    let by_name = named("name");
    let gateway = Gateway::draft(&toml(r#"endpoints = ["localhost:$port"]"#))
        .with("port", by_name.port())
        .start()
        .await;
    assert_eq!(gateway.http1().send(get("/")).await.text(), "name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_takes_few_streams_at_a_time_gets_more_connections() {
    let shop = serving_h2(2, usize::MAX);
    for _ in 0..20 {
        // Afresh each time: a new connection is where the origin's limit is not known yet.
        let gateway = Gateway::draft(&toml("endpoints = [\"$shop\"]\nprotocol = \"h2c\""))
            .with("shop", &shop)
            .start()
            .await;
        let client = gateway.http2();
        client.send(get("/")).await;
        let asking = (0..20).map(|_| client.send(get("/")));
        for answer in futures_util::future::join_all(asking).await {
            // RFC 9113 section 8.7: a stream that was refused was not processed, so any request may be sent again.
            let line = gateway.log_of(&answer).await;
            assert_eq!(answer.status, 200, "{line}");
        }
    }
}
