//! `max_in_flight` and `queue`, of upstreams and routes, and what is learned of an upstream.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::harness::frames::{Frame, FrameClient, kind};
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
pub(crate) fn draft(upstream: &str, route: &str) -> Draft {
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

pub(crate) fn asking(client: &Arc<Client>, target: &str) -> JoinHandle<Answer> {
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
    for (queue, hurried) in [("300ms", ""), ("1m", "timeout = \"300ms\"")] {
        let (gate, shop) = held(Protocol::Http1);
        let upstream = format!("max_in_flight = 1\nqueue = {{ timeout = \"{queue}\" }}");
        let hurried = format!(
            "[routes.hurried]\nmatch = {{ path = \"/hurried\" }}\nupstream = \"shop\"\n{hurried}"
        );
        let gateway = draft(&format!("{upstream}\n{hurried}"), "")
            .with("shop", &shop)
            .with("protocol", Protocol::Http1)
            .start()
            .await;
        let client = Arc::new(gateway.http2());
        let first = asking(&client, "/normal/1");
        places(&gateway, 1, 0).await;
        let begin = Instant::now();
        let refused = client.send(get("/hurried")).await;
        refused.assert_problem(503, "upstream_busy");
        let log = gateway.log_of(&refused).await;
        assert_eq!(log["cause"], "its turn would have come too late");
        let waited = begin.elapsed();
        assert!(waited >= Duration::from_millis(250), "{waited:?}");
        assert!(waited < Duration::from_secs(5), "{waited:?}");
        places(&gateway, 1, 0).await;
        gate.add_permits(1);
        assert_eq!(
            first.await.unwrap().status,
            200,
            "who was first has all its time"
        );
    }
}

/// The route's places that are taken.
async fn route_places(gateway: &Gateway, route: &str, in_flight: u32) {
    let line = format!(
        "northgate_route_places{{http_route=\"{route}\",state=\"in_flight\"}} {in_flight}\n"
    );
    eventually(&line, async || {
        gateway.metrics().await.contains(&line).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_holds_no_place_however_long_the_answer_takes() {
    let (gate, shop) = held(Protocol::Http1);
    let gateway = draft("max_in_flight = 1", "max_in_flight = 2")
        .with("shop", &shop)
        .with("protocol", Protocol::Http1)
        .start()
        .await;
    let client = Arc::new(gateway.http2());
    let first = asking(&client, "/normal/1");
    places(&gateway, 1, 0).await;
    // With a window of nothing the answer cannot be sent. The route has a place, the upstream has none.
    let mut silent = FrameClient::connect(gateway.address(), &[(4, 0)]).await;
    for stream in [1, 3, 5] {
        silent.send_frame(frames::ask(stream, "/normal/2")).await;
        let is_answer = |frame: &Frame| frame.kind == kind::HEADERS && frame.stream == stream;
        assert!(silent.read_until(is_answer).await.is_some());
    }
    route_places(&gateway, "normal", 1).await;
    let refused = client.send(get("/normal/3")).await;
    refused.assert_problem(503, "upstream_busy");
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().status, 200);
    places(&gateway, 0, 0).await;
    route_places(&gateway, "normal", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_upstream_has_failed_holds_no_place_however_long_the_answer_takes() {
    let shop = RawOrigin::serving(|stream, _| moody(stream));
    let gateway = draft("max_in_flight = 1", "")
        .with("shop", &shop)
        .with("protocol", Protocol::Http1)
        .start()
        .await;
    let mut silent = FrameClient::connect(gateway.address(), &[(4, 0)]).await;
    silent.send_frame(frames::ask(1, "/normal/closed")).await;
    let is_answer = |frame: &Frame| frame.kind == kind::HEADERS && frame.stream == 1;
    assert!(silent.read_until(is_answer).await.is_some());
    let answer = gateway.http1().send(get("/normal/ok")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    places(&gateway, 0, 0).await;
    // And however long the rest of its body is waited for.
    let mut sending = RawClient::connect(gateway.address()).await;
    let head = "POST /normal/closed HTTP/1.1\r\nhost: a\r\ncontent-length: 9999\r\n\r\nsome";
    sending.send(head).await;
    let answer = sending.read_until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let answer = gateway.http1().send(get("/normal/ok")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
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
            path if path.ends_with("/socket") => {
                let switched = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
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

/// The engine says what it sends to an upstream. Where that is a request for `/panics`, whoever hears of it panics: in the
/// request's own task, which has all of its places.
struct Bomb;

static EXPLOSIONS: AtomicUsize = AtomicUsize::new(0);

impl log::Log for Bomb {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target() == "pingora_proxy::proxy_h1"
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata())
            && record
                .args()
                .to_string()
                .starts_with("Sending header to upstream")
            && record.args().to_string().contains("/panics")
        {
            EXPLOSIONS.fetch_add(1, Ordering::SeqCst);
            panic!("on purpose");
        }
    }

    fn flush(&self) {}
}

/// Asks over HTTP/1.1 and reads what comes, as far as it comes. True where it was a WebSocket that could be used.
async fn ask_raw(address: SocketAddr, target: &str, end: &str) -> bool {
    let more = match end {
        "socket" => {
            "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: x3JJHMbDL1EzLkh9GBhXDw==\r\n"
        }
        _ => "connection: close\r\n",
    };
    let mut client = RawClient::connect(address).await;
    let ask = format!("GET {target} HTTP/1.1\r\nhost: a\r\n{more}\r\n");
    client.send(ask).await;
    let (mut head, mut some) = (Vec::new(), [0; 512]);
    while !head.windows(4).any(|it| it == b"\r\n\r\n") {
        match client.stream.read(&mut some).await {
            Ok(read @ 1..) => head.extend_from_slice(&some[..read]),
            _ => return false,
        }
    }
    if !head.starts_with(b"HTTP/1.1 101 ") {
        return false;
    }
    client.send("to and fro").await;
    let echo = client.stream.read_exact(&mut some[..10]).await;
    echo.is_ok() && some.starts_with(b"to and fro")
}

/// The property of permits, seen from outside: whatever becomes of exchanges, their places come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_return_to_zero_whatever_becomes_of_requests() {
    log::set_boxed_logger(Box::new(Bomb)).expect("nobody else listens");
    log::set_max_level(log::LevelFilter::Debug);
    let shop = RawOrigin::serving(|stream, _| moody(stream));
    let upstream = "max_in_flight = 3\nqueue = { size = 8, timeout = \"100ms\" }\n\
                    timeouts = { first_byte = \"100ms\", idle = \"300ms\" }";
    let route = "max_in_flight = 9\nqueue = { size = 3 }\n\
                 policies.concurrency = { by = \"all\", limit = 6, queue = { size = 6, timeout = \"200ms\" } }";
    let gateway = draft(upstream, route)
        .with("shop", &shop)
        .with("protocol", Protocol::Http1)
        .start()
        .await;
    let (address, h2) = (gateway.address(), Arc::new(gateway.http2()));
    // Shown where it fails.
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let mut fates: Vec<&str> = ["ok", "hang", "late", "reset", "closed", "socket", "panics"]
        .into_iter()
        .flat_map(|fate| [fate; 50])
        .collect();
    fates.shuffle(&mut random);
    let sockets = Arc::new(AtomicUsize::new(0));
    let (mut asked, mut left) = (JoinSet::new(), Vec::new());
    for end in fates {
        let class = ["low", "normal", "high", "critical"][random.random_range(0..4)];
        let target = format!("/{class}/{}", if end == "late" { "hang" } else { end });
        let is_h2 = end == "late" || (end != "socket" && random.random_bool(0.5));
        let (h2, sockets) = (h2.clone(), sockets.clone());
        let task = asked.spawn(async move {
            match (is_h2, end) {
                // Dropped where the task is aborted: the stream is reset.
                (true, "late") => {
                    let call = get(&target).header("content-type", "application/grpc");
                    let _ = h2.try_send(call.header("grpc-timeout", "30m")).await;
                }
                (true, _) => {
                    let _ = h2.try_send(get(&target)).await;
                }
                (false, _) => {
                    let was_used = ask_raw(address, &target, end).await;
                    sockets.fetch_add(usize::from(was_used), Ordering::SeqCst);
                }
            }
        });
        if random.random_bool(0.2) {
            left.push(task);
        }
        if random.random_bool(0.2) {
            tokio::task::yield_now().await;
            left.drain(..).for_each(|task| task.abort());
        }
        // As many as find places to wait in, and some more.
        while asked.len() >= 24 {
            asked.join_next().await;
        }
    }
    let all = async { while asked.join_next().await.is_some() {} };
    within("the end of all requests", all).await;
    let (explosions, sockets) = (
        EXPLOSIONS.load(Ordering::SeqCst),
        sockets.load(Ordering::SeqCst),
    );
    assert!(
        explosions > 0 && sockets > 0,
        "{explosions} panics, {sockets} WebSockets"
    );
    places(&gateway, 0, 0).await;
    for class in ["low", "normal", "high", "critical"] {
        route_places(&gateway, class, 0).await;
        let metrics = gateway.metrics().await;
        let name = format!("northgate_limit=\"routes.{class}.policies.concurrency\"");
        for state in ["in_flight", "waiting", "keys"] {
            let line = format!("northgate_concurrency_places{{{name},state=\"{state}\"}} 0\n");
            assert!(metrics.contains(&line), "{line}: {metrics}");
        }
    }
    // And there is room for as many as before.
    let answers = (0..3).map(|_| asking(&h2, "/normal/ok"));
    for answer in answers.collect::<Vec<_>>() {
        assert_eq!(answer.await.unwrap().status, 200);
    }
}
