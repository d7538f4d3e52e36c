//! `max_in_flight` and `queue`, of upstreams and routes, and what is learned of an upstream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::harness::*;

/// An origin that answers one request for each permit.
fn held(protocol: Protocol) -> (Arc<Semaphore>, Origin) {
    let gate = Arc::new(Semaphore::new(0));
    let wait = gate.clone();
    let origin = Origin::serving(protocol, move |seen| {
        let gate = wait.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            text(seen.target)
        }
    });
    (gate, origin)
}

/// One upstream with these settings, behind a route for each class.
fn draft(upstream: &str, route: &str) -> Draft {
    let route = |class: &str| {
        format!(
            "[routes.{class}]\nmatch = {{ path = \"/{class}/{{*rest}}\" }}\nupstream = \"shop\"\n\
             criticality = \"{class}\"\n{route}\n"
        )
    };
    let routes: String = ["low", "normal", "high", "critical"].map(route).concat();
    Gateway::draft(&format!(
        "[upstreams.shop]\nendpoints = [\"$shop\"]\nprotocol = \"$protocol\"\n{upstream}\n{routes}"
    ))
}

fn asking(client: &Arc<Client>, target: &str) -> JoinHandle<Answer> {
    let (client, ask) = (client.clone(), get(target));
    tokio::spawn(async move { client.send(ask).await })
}

/// Until the gateway says so of the upstream's places.
async fn places(gateway: &Gateway, in_flight: u32, waiting: u32) {
    let of = |state: &str, count: u32| {
        format!(
            "northgate_upstream_places{{northgate_upstream=\"shop\",state=\"{state}\"}} {count}\n"
        )
    };
    let lines = [of("in_flight", in_flight), of("waiting", waiting)];
    eventually(
        &format!("{in_flight} in flight, {waiting} waiting"),
        async || {
            let metrics = gateway.metrics().await;
            lines
                .iter()
                .all(|line| metrics.contains(line))
                .then_some(())
        },
    )
    .await;
}

async fn limit(gateway: &Gateway) -> u32 {
    let metrics = gateway.metrics().await;
    let start = "northgate_upstream_places{northgate_upstream=\"shop\",state=\"limit\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(start));
    line.expect("the limit").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_has_so_many_at_a_time_and_others_wait_their_turn() {
    over_each_pair(|pair| async move {
        let (gate, shop) = held(pair.origin);
        let gateway = draft(
            "max_in_flight = 2\nqueue = { size = 1, timeout = \"1m\" }",
            "",
        )
        .with("shop", &shop)
        .with("protocol", pair.origin)
        .start()
        .await;
        let client = Arc::new(gateway.client(pair.client));
        let first = [asking(&client, "/normal/1"), asking(&client, "/normal/2")];
        places(&gateway, 2, 0).await;
        let third = asking(&client, "/normal/3");
        places(&gateway, 2, 1).await;
        let refused = client.send(get("/normal/4")).await;
        refused.assert_problem(503, "upstream_busy");
        assert_eq!(refused.header("retry-after"), Some("1"));
        let log = gateway.log_of(&refused).await;
        assert_eq!(
            (&log["flag"], &log["cause"]),
            (&"UO".into(), &"no place is free".into())
        );
        gate.add_permits(3);
        for answer in first.into_iter().chain([third]) {
            assert_eq!(answer.await.unwrap().status, 200);
        }
        places(&gateway, 0, 0).await;
        assert_eq!(shop.seen().len(), 3);
        let metrics = gateway.metrics().await;
        for line in [
            "northgate_upstream_refused_total{northgate_upstream=\"shop\",reason=\"full\"} 1\n",
            "northgate_upstream_wait_seconds_count{northgate_upstream=\"shop\"} 1\n",
        ] {
            assert!(metrics.contains(line), "{line}: {metrics}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_matters_more_comes_first_and_takes_the_place_of_who_matters_less() {
    let (gate, shop) = held(Protocol::Http1);
    let gateway = draft(
        "max_in_flight = 1\nqueue = { size = 3, timeout = \"1m\" }",
        "",
    )
    .with("shop", &shop)
    .with("protocol", Protocol::Http1)
    .start()
    .await;
    let client = Arc::new(gateway.http2());
    let mut answers = Vec::new();
    for (waiting, class) in ["normal", "low", "normal", "high"].iter().enumerate() {
        answers.push(asking(&client, &format!("/{class}/{waiting}")));
        places(&gateway, 1, waiting as u32).await;
    }
    // The queue is full; only who matters less than the newcomer has to go.
    client
        .send(get("/low/4"))
        .await
        .assert_problem(503, "upstream_busy");
    let critical = asking(&client, "/critical/5");
    let displaced = answers.remove(1).await.unwrap();
    displaced.assert_problem(503, "upstream_busy");
    let log = gateway.log_of(&displaced).await;
    assert_eq!(
        log["cause"],
        "its place in the queue went to a more important request"
    );
    gate.add_permits(4);
    for answer in answers.into_iter().chain([critical]) {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    let order: Vec<String> = shop.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(order, ["/normal/0", "/critical/5", "/high/3", "/normal/2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_longer_than_the_queue_or_the_route_allows() {
    for (queue, route, code) in [
        ("300ms", "", "upstream_busy"),
        ("1m", "timeout = \"300ms\"", "upstream_busy"),
    ] {
        let (_gate, shop) = held(Protocol::Http1);
        let upstream = format!("max_in_flight = 1\nqueue = {{ timeout = \"{queue}\" }}");
        let gateway = draft(&upstream, route)
            .with("shop", &shop)
            .with("protocol", Protocol::Http1)
            .start()
            .await;
        let client = Arc::new(gateway.http2());
        let first = asking(&client, "/normal/1");
        places(&gateway, 1, 0).await;
        let begin = Instant::now();
        let refused = client.send(get("/normal/2")).await;
        match route.is_empty() {
            true => refused.assert_problem(503, code),
            // The first one is over at the same time.
            false => assert!([503, 504].contains(&refused.status), "{refused:?}"),
        }
        let waited = begin.elapsed();
        assert!(waited < Duration::from_secs(5), "{waited:?}");
        first.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_has_places_of_its_own() {
    let (gate, shop) = held(Protocol::Http1);
    let gateway = draft("", "max_in_flight = 1")
        .with("shop", &shop)
        .with("protocol", Protocol::Http1)
        .start()
        .await;
    let client = Arc::new(gateway.http2());
    let first = asking(&client, "/low/1");
    eventually("the first is in flight", async || shop.seen().pop()).await;
    let refused = client.send(get("/low/2")).await;
    refused.assert_problem(503, "route_busy");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let call = get("/low/3").header("content-type", "application/grpc");
    let call = client.send(call).await;
    assert_eq!((call.status, call.header("grpc-status")), (200, Some("14")));
    let other = asking(&client, "/high/1");
    gate.add_permits(2);
    assert_eq!(first.await.unwrap().status, 200);
    assert_eq!(other.await.unwrap().status, 200);
    let metrics = gateway.metrics().await;
    let line = "northgate_route_refused_total{http_route=\"low\",reason=\"full\"} 2\n";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_counts_on() {
    let (gate, shop) = held(Protocol::Http1);
    let with = |most: u32| {
        let upstream = format!("max_in_flight = {most}\nqueue = {{ timeout = \"1m\" }}");
        draft(&upstream, "")
            .with("shop", &shop)
            .with("protocol", Protocol::Http1)
    };
    let mut gateway = with(1).start().await;
    let client = Arc::new(gateway.http2());
    let first = asking(&client, "/normal/1");
    places(&gateway, 1, 0).await;
    let second = asking(&client, "/normal/2");
    places(&gateway, 1, 1).await;
    with(3).apply(&mut gateway).await.unwrap();
    let third = asking(&client, "/normal/3");
    places(&gateway, 3, 0).await;
    with(2).apply(&mut gateway).await.unwrap();
    let fourth = asking(&client, "/normal/4");
    places(&gateway, 3, 1).await;
    gate.add_permits(4);
    for answer in [first, second, third, fourth] {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    places(&gateway, 0, 0).await;
}

/// Does as the path says, on each connection again and again.
async fn moody(mut stream: TcpStream) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8_lossy(&head);
        let answer = match head.split(' ').nth(1).unwrap_or_default() {
            path if path.ends_with("/hang") => return std::future::pending().await,
            path if path.ends_with("/reset") => {
                let half = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
                let _ = stream.write_all(half).await;
                return;
            }
            path if path.ends_with("/closed") => return,
            path if path.ends_with("/tunnel") => {
                let switched = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
                let _ = stream.write_all(switched).await;
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                return;
            }
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        };
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}

/// The property of permits, seen from outside: whatever becomes of exchanges, their places come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_return_to_zero_whatever_becomes_of_requests() {
    let shop = RawOrigin::serving(|stream, _| moody(stream));
    let upstream = "max_in_flight = 3\nqueue = { size = 8, timeout = \"100ms\" }\n\
                    timeouts = { first_byte = \"100ms\", idle = \"300ms\" }";
    let gateway = draft(upstream, "max_in_flight = 9\nqueue = { size = 3 }")
        .with("shop", &shop)
        .with("protocol", Protocol::Http1)
        .start()
        .await;
    let (address, h2) = (gateway.address(), Arc::new(gateway.http2()));
    let mut random = rand::rngs::StdRng::seed_from_u64(6);
    let mut asked = JoinSet::new();
    let mut left = Vec::new();
    for _ in 0..300 {
        let end = ["ok", "hang", "reset", "closed", "tunnel"][random.random_range(0..5)];
        let class = ["low", "normal", "high", "critical"][random.random_range(0..4)];
        let target = format!("/{class}/{end}");
        let is_h2 = end != "tunnel" && random.random_bool(0.5);
        let h2 = h2.clone();
        let task = asked.spawn(async move {
            if is_h2 {
                // Dropped where the task is aborted: the stream is reset.
                let _ = h2.try_send(get(&target)).await;
                return;
            }
            let mut client = RawClient::connect(address).await;
            let upgrade = "connection: upgrade\r\nupgrade: echo\r\n";
            let more = if end == "tunnel" {
                upgrade
            } else {
                "connection: close\r\n"
            };
            client
                .send(format!("GET {target} HTTP/1.1\r\nhost: a\r\n{more}\r\n"))
                .await;
            let mut some = [0; 16];
            let _ = client.stream.read(&mut some).await;
        });
        if random.random_bool(0.3) {
            left.push(task);
        }
        if random.random_bool(0.2) {
            tokio::task::yield_now().await;
            left.drain(..).for_each(|task| task.abort());
        }
    }
    let all = async { while asked.join_next().await.is_some() {} };
    within("the end of all requests", all).await;
    places(&gateway, 0, 0).await;
    let metrics = gateway.metrics().await;
    for class in ["low", "normal", "high", "critical"] {
        let line =
            format!("northgate_route_places{{http_route=\"{class}\",state=\"in_flight\"}} 0\n");
        assert!(metrics.contains(&line), "{metrics}");
    }
    // And there is room for as many as before.
    let answers = (0..3).map(|_| asking(&h2, "/normal/ok"));
    for answer in answers.collect::<Vec<_>>() {
        assert_eq!(answer.await.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_follows_what_the_upstream_can_do() {
    let is_down = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let down = is_down.clone();
    let shop = Origin::http1(
        move |_| match down.load(std::sync::atomic::Ordering::SeqCst) {
            true => status(503),
            false => text("ok"),
        },
    );
    let upstream = "adaptive_concurrency = { min = 2, max = 50, initial = 10 }\n\
                    queue = { size = 1000, timeout = \"10s\" }";
    let gateway = draft(upstream, "")
        .with("shop", &shop)
        .with("protocol", Protocol::Http1)
        .start()
        .await;
    let client = Arc::new(gateway.http2());
    let load = |until: fn(u32) -> bool| {
        let (client, gateway) = (client.clone(), &gateway);
        async move {
            eventually("another limit", async || {
                let answers: Vec<_> = (0..60).map(|_| asking(&client, "/normal/1")).collect();
                for answer in answers {
                    answer.await.unwrap();
                }
                until(limit(gateway).await).then_some(())
            })
            .await;
        }
    };
    load(|limit| limit > 10).await;
    is_down.store(true, std::sync::atomic::Ordering::SeqCst);
    load(|limit| limit < 10).await;
    is_down.store(false, std::sync::atomic::Ordering::SeqCst);
    load(|limit| limit > 10).await;
}
