//! Requests that are sent again: for what, how often, after how long, and where to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::*;
use crate::origins;

/// One upstream with these settings, behind every path.
const SHOP: &str = r#"
    [upstreams.shop]
    endpoints = [$endpoints]
    protocol = "$protocol"
    $settings

    [routes.all]
    match = { path = "/{*rest}" }
    upstream = "shop"
    $route
"#;

fn shop(protocol: Protocol, settings: &str) -> Draft {
    Gateway::draft(SHOP)
        .with("protocol", protocol)
        .with("settings", settings)
}

async fn before(endpoints: &[String], protocol: Protocol, settings: &str) -> Gateway {
    shop(protocol, settings)
        .with("endpoints", quoted(endpoints))
        .with("route", "")
        .start()
        .await
}

fn quoted(endpoints: &[String]) -> String {
    let quoted: Vec<String> = endpoints.iter().map(|it| format!("\"{it}\"")).collect();
    quoted.join(", ")
}

/// Answers with this status, and the second time well.
fn failing_once(protocol: Protocol, status: u16, headers: &'static [(&str, &str)]) -> Origin {
    let asked = AtomicUsize::new(0);
    Origin::speaking(protocol, move |seen| {
        match asked.fetch_add(1, Ordering::SeqCst) {
            0 => reply(status, headers, full("not yet")),
            _ => text(seen.body),
        }
    })
}

const ON_503: &str = r#"retry = { on = ["503"], backoff = { base = "1ms", max = "1ms" } }"#;

#[tokio::test]
async fn a_status_is_tried_again_elsewhere() {
    over_each_pair(|pair| async move {
        let bad = Origin::speaking(pair.origin, |_| status(503));
        let good = Origin::speaking(pair.origin, |seen| text(seen.body));
        let endpoints = [bad.to_string(), good.to_string()];
        let gateway = before(&endpoints, pair.origin, ON_503).await;
        let client = gateway.client(pair.client);
        let mut retried = 0;
        for n in 0..6 {
            let body = format!("body {n}");
            let ask = request("PUT", "/").body(full(body.clone()));
            let answer = client.send(ask).await;
            assert_eq!((answer.status, answer.text()), (200, body));
            let line = gateway.log_of(&answer).await;
            assert_eq!(line["endpoint"], good.to_string());
            if line["attempts"] == 2 {
                assert_eq!((&line["retry_on"], &line["retry_endpoint"]), (&"503".into(), &"other".into()));
                retried += 1;
            }
        }
        // They take turns.
        assert_eq!((bad.seen().len(), good.seen().len(), retried), (3, 6, 3));
        let counted = "northgate_upstream_retries_total{endpoint=\"other\",northgate_upstream=\"shop\",reason=\"503\"} 3\n";
        let metrics = gateway.metrics().await;
        assert!(metrics.contains(counted), "{metrics}");
    })
    .await;
}

#[tokio::test]
async fn the_last_answer_is_the_clients() {
    over_each_pair(|pair| async move {
        let bad = Origin::speaking(pair.origin, |_| {
            reply(503, &[("x-own", "1")], full("closed"))
        });
        let gateway = before(&[bad.to_string()], pair.origin, ON_503).await;
        let answer = gateway.client(pair.client).send(get("/")).await;
        assert_eq!((answer.status, answer.text().as_str()), (503, "closed"));
        assert_eq!(answer.header("x-own"), Some("1"));
        let line = gateway.log_of(&answer).await;
        assert_eq!(line["attempts"], 3);
        assert_eq!(
            (&line["retry_stop"], &line["retry_on"]),
            (&"attempts".into(), &"503".into())
        );
        assert_eq!(bad.seen().len(), 3);
    })
    .await;
}

#[tokio::test]
async fn what_may_do_something_twice_is_sent_once() {
    const ALL: &str = r#"retry = { on = ["503", "reset", "timeout"], idempotency_key = "X-Once", methods = ["PATCH"], backoff = { base = "1ms", max = "1ms" } }"#;
    for (method, header, expected) in [
        ("GET", "x-other", 200),
        ("DELETE", "x-other", 200),
        ("POST", "x-other", 503),
        ("POST", "idempotency-key", 503),
        ("POST", "x-once", 200),
        ("PATCH", "x-other", 200),
    ] {
        let once = failing_once(Protocol::Http1, 503, &[]);
        let gateway = before(&[once.to_string()], Protocol::Http1, ALL).await;
        let ask = request(method, "/")
            .header(header, "1")
            .body(full("the body"));
        let answer = gateway.http1().send(ask).await;
        assert_eq!(answer.status, expected, "{method} {header}");
        let line = gateway.log_of(&answer).await;
        let seen = once.seen();
        assert!(seen.iter().all(|seen| seen.body == "the body"));
        if expected == 200 {
            assert_eq!((seen.len(), &line["retry_endpoint"]), (2, &"same".into()));
        } else {
            assert_eq!((seen.len(), &line["retry_stop"]), (1, &"method".into()));
        }
    }
}

#[tokio::test]
async fn a_route_has_it_its_own_way() {
    let once = || failing_once(Protocol::Http1, 503, &[]);
    for (upstream, route, expected) in [
        (ON_503, "", 200),
        (ON_503, "retry = { attempts = 1 }", 503),
        ("", "", 503),
        ("", ON_503, 200),
    ] {
        let once = once();
        let gateway = shop(Protocol::Http1, upstream)
            .with("endpoints", quoted(&[once.to_string()]))
            .with("route", route)
            .start()
            .await;
        let answer = gateway.http1().send(get("/")).await;
        assert_eq!(answer.status, expected, "{upstream} {route}");
    }
}

#[tokio::test]
async fn a_body_is_sent_whole_or_not_again() {
    over_each_pair(|pair| async move {
        for (kept, size, expected) in [
            ("", 64 * 1024, 200),
            ("", 64 * 1024 + 1, 503),
            (r#", body = "1MiB""#, 1 << 20, 200),
            (r#", body = "1MiB""#, (1 << 20) + 1, 503),
        ] {
            let once = failing_once(pair.origin, 503, &[]);
            let settings = ON_503.replace(", backoff", &format!("{kept}, backoff"));
            let gateway = before(&[once.to_string()], pair.origin, &settings).await;
            let body: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let ask = request("PUT", "/").body(full(body.clone()));
            let answer = gateway.client(pair.client).send(ask).await;
            assert_eq!(answer.status, expected, "{kept} {size} {:?}", gateway.log());
            let seen = once.seen();
            assert!(seen.iter().all(|seen| seen.body == body), "{kept} {size}");
            assert_eq!(seen.len(), if expected == 200 { 2 } else { 1 });
            if expected != 200 {
                let line = gateway.log_of(&answer).await;
                assert_eq!(line["retry_stop"], "begun");
            }
        }
    })
    .await;
}

/// Once it has been sent, an answer is waited for; but not from when it begins to be sent again.
#[tokio::test]
async fn to_send_a_large_body_again_takes_no_time_from_the_upstream() {
    const SIZE: usize = 16 << 20;
    let asked = Arc::new(AtomicUsize::new(0));
    let slow = RawOrigin::serving(move |mut stream, _| {
        let asked = asked.clone();
        async move {
            assert!(origins::read_header(&mut stream).await);
            let is_first = asked.fetch_add(1, Ordering::SeqCst) == 0;
            let mut part = vec![0; 256 * 1024];
            let mut left = SIZE;
            while left > 0 {
                let read = stream.read(&mut part).await.expect("the body");
                assert!(read > 0, "{left} bytes are missing");
                left -= read;
                if !is_first {
                    tokio::time::sleep(Duration::from_millis(15)).await;
                }
            }
            let status = if is_first { "503 Busy" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let settings = r#"
        retry = { on = ["503"], body = "32MiB", backoff = { base = "1ms", max = "1ms" } }
        timeouts = { first_byte = "500ms", per_try = "500ms" }
    "#;
    let gateway = before(&[slow.to_string()], Protocol::Http1, settings).await;
    let begin = Instant::now();
    let ask = request("PUT", "/").body(full(vec![7; SIZE]));
    let answer = gateway.http1().send(ask).await;
    let took = begin.elapsed();
    assert_eq!(answer.status, 200, "after {took:?}: {answer:?}");
    assert!(took > Duration::from_millis(700), "{took:?}");
}

#[tokio::test]
async fn an_endpoint_that_asks_for_time_gets_it() {
    const PATIENT: &str = r#"retry = { on = ["503", "429"], max_retry_after = "1s", backoff = { base = "1ms", max = "1ms" } }"#;
    let short: &[(&str, &str)] = &[("retry-after", "1")];
    let long: &[(&str, &str)] = &[("retry-after", "2")];
    let check = async |status: u16, headers, has_other: bool, expected: (u16, bool)| {
        let once = failing_once(Protocol::Http1, status, headers);
        let other = Origin::http1(|_| text("other"));
        let endpoints = [once.to_string(), other.to_string()];
        let endpoints = if has_other {
            &endpoints[..]
        } else {
            &endpoints[..1]
        };
        let gateway = before(endpoints, Protocol::Http1, PATIENT).await;
        let client = gateway.http1();
        // Whoever is first: one of these is sent to the one that fails.
        let mut took = Duration::ZERO;
        let mut answers = Vec::new();
        for _ in 0..endpoints.len() {
            let begin = Instant::now();
            answers.push(client.send(get("/")).await);
            took = took.max(begin.elapsed());
        }
        let worst = answers.iter().map(|answer| answer.status).max();
        let has_waited = took >= Duration::from_millis(990);
        let what = format!("{status} {headers:?} {has_other}, {took:?}");
        assert_eq!((worst.unwrap(), has_waited), expected, "{what}");
    };
    check(503, short, false, (200, true)).await;
    check(503, long, false, (503, false)).await;
    // Another endpoint has said nothing of the kind.
    check(503, short, true, (200, false)).await;
    check(503, long, true, (200, false)).await;
    // That there are too many requests is so whoever says it.
    check(429, short, true, (200, true)).await;
    check(429, long, true, (429, false)).await;
}

#[tokio::test]
async fn a_try_ends_and_another_one_begins() {
    const IMPATIENT: &str = r#"
        timeouts = { per_try = "300ms" }
        retry = { on = ["timeout"], backoff = { base = "1ms", max = "1ms" } }
    "#;
    over_each_pair(|pair| async move {
        let silent = Origin::serving(pair.origin, |_| std::future::pending());
        let good = Origin::speaking(pair.origin, |seen| text(seen.body));
        let endpoints = [silent.to_string(), good.to_string()];
        let gateway = before(&endpoints, pair.origin, IMPATIENT).await;
        let client = gateway.client(pair.client);
        let mut late = 0;
        for _ in 0..4 {
            let begin = Instant::now();
            let answer = client.send(request("PUT", "/").body(full("body"))).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "body"));
            let line = gateway.log_of(&answer).await;
            if line["attempts"] == 2 {
                assert_eq!(line["retry_on"], "timeout");
                assert!(begin.elapsed() >= Duration::from_millis(290));
                late += 1;
            }
        }
        assert_eq!((late, silent.seen().len(), good.seen().len()), (2, 2, 4));
        // Nobody left to ask.
        let gateway = before(&[silent.to_string()], pair.origin, IMPATIENT).await;
        let begin = Instant::now();
        let answer = gateway.client(pair.client).send(get("/")).await;
        answer.assert_problem(504, "upstream_timeout");
        assert!(begin.elapsed() >= Duration::from_millis(890));
        assert_eq!(gateway.log_of(&answer).await["attempts"], 3);
    })
    .await;
}

#[tokio::test]
async fn there_is_no_other_try_behind_the_end_of_the_exchange() {
    let bad = Origin::http1(|_| status(503));
    let slow =
        r#"retry = { on = ["503"], attempts = 10, backoff = { base = "10s", max = "10s" } }"#;
    let gateway = shop(Protocol::Http1, slow)
        .with("endpoints", quoted(&[bad.to_string()]))
        .with("route", "timeout = \"1ms\"")
        .start()
        .await;
    let begin = Instant::now();
    let answer = gateway.http1().send(get("/")).await;
    assert!([503, 504].contains(&answer.status), "{answer:?}");
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert!(bad.seen().len() <= 1);
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_wait() {
    for protocol in [Protocol::Http1, Protocol::H2] {
        let bad = Origin::speaking(protocol, |_| reply(429, &[("retry-after", "60")], empty()));
        let patient = r#"retry = { on = ["429"], max_retry_after = "10m" }"#;
        let gateway = before(&[bad.to_string()], protocol, patient).await;
        let client = gateway.http1();
        {
            let asking = client.try_open(get("/left"));
            let mut asking = std::pin::pin!(asking);
            eventually("the first try", async || {
                let _ = futures_util::poll!(asking.as_mut());
                (!bad.seen().is_empty()).then_some(())
            })
            .await;
        }
        drop(client);
        let line = gateway
            .log_where("who left", |line| line["path"] == "/left")
            .await;
        assert_eq!(
            (&line["code"], &line["attempts"]),
            (&"client_closed".into(), &1.into())
        );
        assert_eq!(bad.seen().len(), 1);
    }
}

/// With every endpoint failing, an upstream gets no more than 1.2 times what clients ask for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_storm_cannot_happen() {
    const GREEDY: &str = r#"retry = { attempts = 10, on = ["connect", "reset", "timeout", "5xx", "refused_stream"], backoff = { base = "1ms", max = "1ms" } }"#;
    let failing = |protocol| -> Vec<Origin> {
        (0..3)
            .map(|_| Origin::speaking(protocol, |_| status(503)))
            .collect()
    };
    for protocol in [Protocol::Http1, Protocol::H2] {
        let endpoints = failing(protocol);
        let addresses: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
        let gateway = Arc::new(before(&addresses, protocol, GREEDY).await);
        let asked = ask_by_many(&gateway, 10, 50).await;
        let got: usize = endpoints.iter().map(|it| it.seen().len()).sum();
        assert!(
            (asked + 10..=asked * 12 / 10).contains(&got),
            "{got} for {asked}"
        );
        let metrics = gateway.metrics().await;
        let stopped = "northgate_upstream_retries_stopped_total{northgate_upstream=\"shop\",reason=\"budget\"} ";
        assert!(metrics.contains(stopped), "{metrics}");
    }
    // Connections that break off, and such as are never made.
    let resetting: Vec<RawOrigin> = (0..3).map(|_| origins::reset::before_header()).collect();
    let addresses: Vec<String> = resetting.iter().map(ToString::to_string).collect();
    let gateway = Arc::new(before(&addresses, Protocol::Http1, GREEDY).await);
    let asked = ask_by_many(&gateway, 10, 50).await;
    let got: usize = resetting.iter().map(RawOrigin::connections).sum();
    assert!(
        (asked + 10..=asked * 12 / 10).contains(&got),
        "{got} for {asked}"
    );

    let nobody: Vec<String> = (0..3).map(|_| free_address().to_string()).collect();
    for settings in [GREEDY, ""] {
        let gateway = Arc::new(before(&nobody, Protocol::Http1, settings).await);
        let asked = ask_by_many(&gateway, 10, 50).await;
        let lines = eventually("a line of each", async || {
            Some(gateway.log()).filter(|lines| lines.len() == asked)
        });
        let tries: u64 = lines
            .await
            .iter()
            .filter_map(|line| line["attempts"].as_u64())
            .sum();
        let tries = tries as usize;
        assert!(
            (asked + 10..=asked * 12 / 10).contains(&tries),
            "{tries} for {asked}"
        );
    }
}

/// So many clients at a time, and so many requests of each. How many that were.
async fn ask_by_many(gateway: &Arc<Gateway>, clients: usize, requests: usize) -> usize {
    let asking = (0..clients).map(|_| {
        let gateway = gateway.clone();
        tokio::spawn(async move {
            let client = gateway.http1();
            for _ in 0..requests {
                assert!(client.send(get("/")).await.status >= 500);
            }
        })
    });
    for asked in futures_util::future::join_all(asking).await {
        asked.unwrap();
    }
    clients * requests
}

/// Nobody notices that an endpoint cannot be reached, however many requests there are, while another one can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_tried_elsewhere_with_success_costs_nothing() {
    let good = Origin::http1(|_| text("ok"));
    let endpoints = [free_address().to_string(), good.to_string()];
    let gateway = before(&endpoints, Protocol::Http1, "").await;
    let client = gateway.http1();
    for _ in 0..200 {
        assert_eq!(client.send(get("/")).await.status, 200);
    }
    assert_eq!(good.seen().len(), 200);
}
