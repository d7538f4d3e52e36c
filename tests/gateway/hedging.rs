//! Requests that another endpoint is asked for as well, because the first takes its time.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Response;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use crate::harness::*;

const SHOP: &str = r#"
    [upstreams.shop]
    endpoints = ["$first", "$second"]
    retry = { attempts = $attempts, hedge = { after = "$after" } }
    $settings

    [routes.all]
    match = { path = "/{*rest}" }
    upstream = "shop"
"#;

/// Where who is quick answers long before, and who is not hangs for ever.
const PLENTY: &str = "400ms";
/// Where whoever is asked first takes longer.
const SOON: &str = "30ms";

fn draft(after: &str) -> Draft {
    Gateway::draft(SHOP)
        .with("after", after)
        .with("attempts", 2)
}

async fn before(after: &str, first: &Origin, second: &Origin, settings: &str) -> Gateway {
    draft(after)
        .with("first", first)
        .with("second", second)
        .with("settings", settings)
        .start()
        .await
}

/// Never answers.
fn hanging() -> Origin {
    Origin::serving(Protocol::Http1, |_| std::future::pending())
}

/// Two endpoints of which whichever is asked `number`th, from 0 on, answers so.
fn two<F: Future<Output = Response<Body>> + Send + 'static>(
    answer: impl Fn(usize, Seen) -> F + Send + Sync + 'static,
) -> [Origin; 2] {
    let (asked, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(answer));
    [(); 2].map(|()| {
        let (asked, answer) = (asked.clone(), answer.clone());
        Origin::serving(Protocol::Http1, move |seen| {
            answer(asked.fetch_add(1, Ordering::SeqCst), seen)
        })
    })
}

fn counted(result: &str, count: u32) -> String {
    format!(
        "northgate_upstream_hedges_total{{northgate_upstream=\"shop\",result=\"{result}\"}} {count}\n"
    )
}

#[tokio::test]
async fn who_hangs_is_overtaken() {
    for protocol in [Protocol::Http1, Protocol::H2] {
        let (slow, quick) = (hanging(), Origin::http1(|seen| text(seen.target)));
        let gateway = before(PLENTY, &slow, &quick, "").await;
        let client = gateway.client(protocol);
        let mut won = 0;
        for n in 0..6 {
            let target = format!("/{n}");
            let answer = client.send(get(&target)).await;
            assert_eq!((answer.status, answer.text()), (200, target));
            let line = gateway.log_of(&answer).await;
            assert_eq!(line["endpoint"], quick.to_string());
            if line["hedge"] == "won" {
                assert_eq!(line["attempts"], 2);
                won += 1;
            } else {
                assert_eq!(
                    (&line["hedge"], &line["attempts"]),
                    (&Value::Null, &1.into())
                );
            }
        }
        // They take turns.
        assert_eq!((quick.seen().len(), slow.seen().len(), won), (6, 3, 3));
        assert_eq!(quick.connections(), 1, "it is kept for the next");
        let metrics = gateway.metrics().await;
        assert!(metrics.contains(&counted("won", 3)), "{metrics}");
        let idle = |address: &str| {
            format!(
                "northgate_endpoint_active_requests{{northgate_upstream=\"shop\",server_address=\"{address}\"}} 0\n"
            )
        };
        for origin in [&slow, &quick] {
            assert!(metrics.contains(&idle(&origin.to_string())), "{metrics}");
        }
    }
}

#[tokio::test]
async fn who_is_overtaken_is_told_by_the_end_of_its_connection() {
    let closed = Arc::new(Semaphore::new(0));
    let told = closed.clone();
    let slow = RawOrigin::serving(move |mut stream, _| {
        let told = told.clone();
        async move {
            let mut all = Vec::new();
            stream
                .read_to_end(&mut all)
                .await
                .expect("a request, and its end");
            assert!(all.starts_with(b"GET /"), "{all:?}");
            told.add_permits(1);
        }
    });
    let quick = Origin::http1(|_| text("quick"));
    let gateway = draft(PLENTY)
        .with("first", &slow)
        .with("second", &quick)
        .with("settings", "")
        .start()
        .await;
    for _ in 0..2 {
        assert_eq!(gateway.http1().send(get("/")).await.status, 200);
    }
    let end = within("the end of the connection", closed.acquire()).await;
    drop(end.expect("it is open"));
}

#[tokio::test]
async fn the_first_is_heard_where_it_answers_first() {
    let second_asked = Arc::new(Semaphore::new(0));
    let [one, other] = two(move |number, seen| {
        let second_asked = second_asked.clone();
        async move {
            match number {
                0 => {
                    let asked = second_asked.acquire().await.expect("it is open");
                    drop(asked);
                    text("first")
                }
                1 => {
                    second_asked.add_permits(1);
                    std::future::pending().await
                }
                _ => text(seen.target),
            }
        }
    });
    let gateway = before(PLENTY, &one, &other, "").await;
    let client = gateway.http1();
    let answer = client.send(get("/")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "first"));
    let line = gateway.log_of(&answer).await;
    assert_eq!(
        (&line["hedge"], &line["attempts"]),
        (&"lost".into(), &2.into())
    );
    for n in 0..4 {
        let target = format!("/{n}");
        assert_eq!(client.send(get(&target)).await.text(), target);
    }
    let metrics = gateway.metrics().await;
    assert!(metrics.contains(&counted("lost", 1)), "{metrics}");
    // The one that was given up, and one that is kept of each.
    assert_eq!(one.connections() + other.connections(), 3);
}

#[tokio::test]
async fn whatever_its_size_a_response_comes_whole() {
    let large: Arc<Vec<u8>> = Arc::new((0..1 << 20).map(|n: u32| (n % 251) as u8).collect());
    let sent = large.clone();
    let quick = Origin::http1(move |seen| match seen.target.as_str() {
        "/none" => reply(204, &[], full("")),
        _ => reply(200, &[("x-own", "1")], full(sent.to_vec())),
    });
    let slow = hanging();
    let gateway = before(PLENTY, &slow, &quick, "").await;
    let client = gateway.http1();
    for method in ["GET", "HEAD", "DELETE", "GET"] {
        let answer = client.send(request(method, "/")).await;
        assert_eq!((answer.status, answer.header("x-own")), (200, Some("1")));
        let expected = if method == "HEAD" {
            &[][..]
        } else {
            &large[..]
        };
        assert!(
            answer.body == expected,
            "{method}: {} bytes",
            answer.body.len()
        );
        assert_eq!(client.send(get("/none")).await.status, 204);
    }
    assert!(!slow.seen().is_empty());
}

#[tokio::test]
async fn over_tls_as_well() {
    let authority = Authority::new();
    let config = || authority.issue(&["localhost"]).server_config();
    let answer = |number: &Arc<AtomicUsize>| number.fetch_add(1, Ordering::SeqCst);
    let asked = Arc::new(AtomicUsize::new(0));
    let quick = Origin::over_tls(Protocol::Http1, config(), move |_| {
        text(format!("{}", answer(&asked)))
    });
    let slow = RawOrigin::over(Some(config()), |mut stream, _| async move {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all).await;
    });
    let draft = draft(PLENTY)
        .with("first", slow.to_string().replace("127.0.0.1", "localhost"))
        .with(
            "second",
            quick.to_string().replace("127.0.0.1", "localhost"),
        )
        .with(
            "settings",
            format!("tls = {{ ca = \"{}\" }}", authority.path()),
        );
    let gateway = draft.start().await;
    for n in 0..6 {
        let answer = gateway.http1().send(get("/")).await;
        assert_eq!((answer.status, answer.text()), (200, n.to_string()));
    }
    let metrics = gateway.metrics().await;
    assert!(metrics.contains(&counted("won", 3)), "{metrics}");
    assert_eq!(quick.connections(), 1);
}

#[tokio::test]
async fn the_second_goes_on_where_the_first_breaks_off() {
    let second_asked = Arc::new(Semaphore::new(0));
    let serve = {
        let (asked, second_asked) = (Arc::new(AtomicUsize::new(0)), second_asked.clone());
        move |mut stream: tokio::net::TcpStream, _| {
            let (asked, second_asked) = (asked.clone(), second_asked.clone());
            async move {
                let mut head = [0; 1024];
                assert!(stream.read(&mut head).await.expect("a request") > 0);
                match asked.fetch_add(1, Ordering::SeqCst) {
                    0 => drop(second_asked.acquire().await.expect("it is open")),
                    _ => {
                        second_asked.add_permits(1);
                        // The end of the other has come before.
                        tokio::time::sleep(Duration::from_millis(300)).await;
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond";
                        stream.write_all(answer).await.expect("the gateway reads");
                        let _ = stream.read(&mut head).await;
                    }
                }
            }
        }
    };
    let (one, other) = (RawOrigin::serving(serve.clone()), RawOrigin::serving(serve));
    let gateway = draft(SOON)
        .with("first", &one)
        .with("second", &other)
        .with("settings", "")
        .start()
        .await;
    let answer = gateway.http1().send(get("/")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "second"));
    let line = gateway.log_of(&answer).await;
    assert_eq!(
        (&line["hedge"], &line["attempts"]),
        (&"won".into(), &2.into())
    );
}

#[tokio::test]
async fn where_both_fail_the_client_is_told() {
    let serve = |mut stream: tokio::net::TcpStream, _| async move {
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
    };
    let (one, other) = (RawOrigin::serving(serve), RawOrigin::serving(serve));
    let gateway = draft(SOON)
        .with("first", &one)
        .with("second", &other)
        .with("settings", "")
        .start()
        .await;
    let answer = gateway.http1().send(get("/")).await;
    answer.assert_problem(502, "upstream_reset");
    let line = gateway.log_of(&answer).await;
    assert_eq!(
        (&line["hedge"], &line["attempts"]),
        (&"lost".into(), &2.into())
    );
    assert_eq!((one.connections(), other.connections()), (1, 1));
}

#[tokio::test]
async fn what_may_not_be_sent_twice_is_not() {
    let late = |_: usize, seen: Seen| async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        text(seen.body)
    };
    let body = |ask: Ask, body: &'static str| ask.body(full(body));
    let asked: [(&str, Ask, usize); 6] = [
        ("", get("/"), 2),
        ("", request("POST", "/"), 1),
        ("", body(request("PUT", "/"), "a body"), 1),
        ("", request("POST", "/").header("idempotency-key", "1"), 2),
        ("max_in_flight = 1", get("/"), 1),
        ("sticky = { cookie = \"s\" }", get("/"), 2),
    ];
    for (number, (settings, ask, expected)) in asked.into_iter().enumerate() {
        let [one, other] = two(late);
        let gateway = before(SOON, &one, &other, settings).await;
        let answer = gateway.http1().send(ask).await;
        assert_eq!(answer.status, 200, "case {number}");
        assert_eq!(
            one.seen().len() + other.seen().len(),
            expected,
            "case {number}"
        );
        if let Some(cookie) = answer.header("set-cookie") {
            // It has a session now, which is where it is.
            let cookie = cookie.split(';').next().expect("a cookie").to_owned();
            let again = gateway
                .http1()
                .send(get("/").header("cookie", &cookie))
                .await;
            assert_eq!(again.status, 200);
            assert_eq!(one.seen().len() + other.seen().len(), expected + 1);
        }
    }
}

#[tokio::test]
async fn no_more_than_the_budget_has() {
    let [one, other] = two(|_, seen| async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        text(seen.target)
    });
    let gateway = before(SOON, &one, &other, "").await;
    let client = Arc::new(gateway.http2());
    let asking: Vec<_> = (0..100)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.send(get(&format!("/{n}"))).await.status })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.expect("no panic"), 200);
    }
    let twice = one.seen().len() + other.seen().len() - 100;
    // Half of 20 %; threads that ask at the same moment may each get the last one.
    assert!((5..=12).contains(&twice), "{twice}");
    let metrics = gateway.metrics().await;
    let line =
        "northgate_upstream_retries_stopped_total{northgate_upstream=\"shop\",reason=\"budget\"}";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn a_failure_is_not_heard_while_there_is_the_first() {
    let bad: [(&str, &[u8]); 3] = [
        (
            "a status",
            b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n",
        ),
        ("garbage", b"220 mail.test ESMTP ready\r\n"),
        ("the end", b""),
    ];
    for (case, bad) in bad {
        let second_asked = Arc::new(Semaphore::new(0));
        let asked = Arc::new(AtomicUsize::new(0));
        let serve = move |mut stream: tokio::net::TcpStream, _| {
            let (asked, second_asked) = (asked.clone(), second_asked.clone());
            async move {
                let mut head = [0; 1024];
                assert!(stream.read(&mut head).await.expect("a request") > 0);
                if asked.fetch_add(1, Ordering::SeqCst) > 0 {
                    let _ = stream.write_all(bad).await;
                    second_asked.add_permits(1);
                    return;
                }
                drop(second_asked.acquire().await.expect("it is open"));
                tokio::time::sleep(Duration::from_millis(200)).await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst";
                stream.write_all(answer).await.expect("the gateway reads");
                let _ = stream.read(&mut head).await;
            }
        };
        let (one, other) = (RawOrigin::serving(serve.clone()), RawOrigin::serving(serve));
        let gateway = draft(SOON)
            .with("first", &one)
            .with("second", &other)
            .with("settings", "")
            .start()
            .await;
        let answer = gateway.http1().send(get("/")).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "first"),
            "{case}"
        );
        let metrics = gateway.metrics().await;
        assert!(metrics.contains(&counted("failed", 1)), "{case}: {metrics}");
    }
}

#[tokio::test]
async fn who_has_won_has_one_place() {
    let (sending, streamed) = channel();
    let streamed = std::sync::Mutex::new(Some(streamed));
    let [one, other] = two(move |number, _| {
        let answer = match number {
            0 => None,
            1 => streamed
                .lock()
                .expect("no panic")
                .take()
                .map(|body| reply(200, &[], body)),
            _ => Some(text("more")),
        };
        async move {
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    });
    let gateway = before(PLENTY, &one, &other, "max_in_flight = 2").await;
    let client = gateway.http2();
    assert!(sending.send("a part").await);
    let stream = client.open(get("/stream")).await;
    assert_eq!(stream.status, 200);
    // The stream goes on, and has one of the two places.
    let answer = client.send(get("/")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "more"));
    drop(sending);
}
