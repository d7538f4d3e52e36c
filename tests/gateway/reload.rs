//! Another configuration while the gateway runs: what changes, what stays, and who notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::net::TcpStream;

use crate::harness::*;

const ASK: &str = "GET /x HTTP/1.1\r\nhost: a\r\n\r\n";

/// What every route answers, on the listener `public` and on those written here.
fn saying(word: &str, more: &str) -> Draft {
    Gateway::draft(&format!(
        "[listeners.public]\nbind = \"127.0.0.1:0\"\n{more}\n\
         [routes.all]\nmatch = {{ path = \"/{{*rest}}\" }}\nrespond = {{ body = \"{word}\" }}\n"
    ))
}

/// All paths to this origin, over an upstream with these settings.
fn to(origin: &impl std::fmt::Display, upstream: &str) -> Draft {
    Gateway::draft(&format!(
        "[upstreams.shop]\nendpoints = [\"$shop\"]\n{upstream}\n\
         [routes.all]\nmatch = {{ path = \"/{{*rest}}\" }}\nupstream = \"shop\"\n"
    ))
    .with("shop", origin)
}

async fn say(client: &mut RawClient, expected: &str) {
    client.send(ASK).await;
    let answer = client.read_until(expected).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_connections_see_the_new_routes() {
    let mut gateway = saying("old", "").start().await;
    let mut kept = RawClient::connect(gateway.address()).await;
    say(&mut kept, "old").await;
    let h2 = gateway.http2();
    assert_eq!(h2.send(get("/x")).await.text(), "old");
    let address = gateway.address();
    saying("new", "").apply(&mut gateway).await.unwrap();
    assert_eq!(gateway.address(), address);
    // The same connection, which has not been told to close.
    say(&mut kept, "new").await;
    say(&mut kept, "new").await;
    assert_eq!(h2.send(get("/x")).await.text(), "new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_flight_keep_what_they_began_under() {
    let (gate, held) = (Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(()));
    let wait = (gate.clone(), held.clone());
    let origin = Origin::serving(Protocol::Http1, move |_| {
        let (gate, _held) = wait.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            text("from the origin")
        }
    });
    let old = "[routes.all.policies]\nresponse_headers = { set = { x-version = \"1\" } }\n";
    let routes = format!("{{ path = \"/{{*rest}}\" }}\nupstream = \"shop\"\n{old}");
    let draft =
        format!("[upstreams.shop]\nendpoints = [\"$shop\"]\n[routes.all]\nmatch = {routes}");
    let mut gateway = Gateway::draft(&draft).with("shop", &origin).start().await;
    let client = Arc::new(gateway.http1());
    let asking = client.clone();
    let in_flight = tokio::spawn(async move { asking.send(get("/slow")).await });
    eventually("it is in flight", async || origin.seen().pop()).await;
    // The route and its upstream are gone.
    saying("new", "").apply(&mut gateway).await.unwrap();
    assert_eq!(gateway.http1().send(get("/")).await.text(), "new");
    gate.add_permits(1);
    let answer = in_flight.await.unwrap();
    assert_eq!(answer.text(), "from the origin");
    assert_eq!(answer.header("x-version"), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_come_and_go_without_the_others() {
    let second = "[listeners.second]\nbind = \"127.0.0.1:0\"\n";
    let mut gateway = saying("one", "").start().await;
    let mut kept = RawClient::connect(gateway.address()).await;
    say(&mut kept, "one").await;

    saying("two", second).apply(&mut gateway).await.unwrap();
    let added = gateway.address_of("second");
    let mut other = RawClient::connect(added).await;
    say(&mut other, "two").await;
    say(&mut kept, "two").await;

    saying("three", "").apply(&mut gateway).await.unwrap();
    say(&mut kept, "three").await;
    // Its listener is gone: it is served once more as it was there last, and told to go.
    other.send(ASK).await;
    let answer = other.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.contains("\r\nConnection: close\r\n")
            || answer.contains("\r\nconnection: close\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("two"), "{answer}");
    eventually("nobody accepts there", async || {
        TcpStream::connect(added).await.err()
    })
    .await;
    say(&mut kept, "three").await;
    assert!(gateway.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_altered_listener_keeps_its_socket_and_lets_its_connections_go() {
    let quick = "limits = { connections_per_ip = 3 }\n";
    let mut gateway = saying("old", "").start().await;
    let address = gateway.address();
    let mut kept = RawClient::connect(address).await;
    say(&mut kept, "old").await;
    saying("new", quick).apply(&mut gateway).await.unwrap();
    assert_eq!(gateway.address(), address);
    let mut fresh = Vec::new();
    for _ in 0..2 {
        let mut client = RawClient::connect(address).await;
        say(&mut client, "new").await;
        fresh.push(client);
    }
    // The connection from before counts as well.
    let mut fourth = RawClient::connect(address).await;
    assert_eq!(fourth.read_to_end().await, "");
    kept.send(ASK).await;
    let last = kept.read_to_end().await.to_lowercase();
    assert!(last.contains("\r\nconnection: close\r\n"), "{last}");
    assert!(last.ends_with("new"), "{last}");
    // Policies are not the listener: its connections stay.
    let policies = "limits = { connections_per_ip = 3 }\n[listeners.public.policies]\nresponse_headers = { set = { x-new = \"1\" } }\n";
    saying("newer", policies).apply(&mut gateway).await.unwrap();
    fresh[0].send(ASK).await;
    let answer = fresh[0].read_until("newer").await.to_lowercase();
    assert!(answer.contains("x-new: 1"), "{answer}");
    assert!(!answer.contains("connection: close"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_stays_keeps_its_connections() {
    let origin = Origin::http1(|_| text("shop"));
    let mut gateway = to(&origin, "").start().await;
    let client = gateway.http1();
    assert_eq!(client.send(get("/1")).await.text(), "shop");
    // Written otherwise, with a comment, and beside another; it means the same.
    let same = format!(
        "[upstreams]\nshop = {{ endpoints = ['{origin}'] }} # the shop\n[upstreams.other]\nendpoints = ['127.0.0.1:1']\n\
         [routes.all]\nmatch = {{ path = \"/{{*rest}}\" }}\nupstream = \"shop\"\n\
         [routes.other]\nmatch = {{ path = \"/other\" }}\nupstream = \"other\"\n"
    );
    Gateway::draft(&same).apply(&mut gateway).await.unwrap();
    assert_eq!(client.send(get("/2")).await.text(), "shop");
    assert_eq!(origin.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_known_of_endpoints_survives() {
    let health = Arc::new(AtomicU16::new(503));
    let shown = health.clone();
    let origin = Origin::http1(move |_| status(shown.load(Ordering::SeqCst)));
    let checks = "health = { http = \"/healthz\", interval = \"20ms\", unhealthy_after = 1, healthy_after = 2 }\n";
    let mut gateway = to(&origin, checks).start().await;
    let client = gateway.http1();
    eventually("it is out", async || {
        let answer = client.send(get("/")).await;
        answer.text().contains("upstream_unhealthy").then_some(())
    })
    .await;
    // Checks come too rarely to find out again.
    let rare = checks
        .replace("20ms", "600s")
        .replace("unhealthy_after = 1", "unhealthy_after = 100");
    let changed = format!("{rare}timeouts = {{ connect = \"2s\" }}\n");
    to(&origin, &changed).apply(&mut gateway).await.unwrap();
    client
        .send(get("/"))
        .await
        .assert_problem(503, "upstream_unhealthy");
    // Without checks nothing would ever find it well again.
    to(&origin, "").apply(&mut gateway).await.unwrap();
    health.store(200, Ordering::SeqCst);
    assert_eq!(client.send(get("/")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_had_changes_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let _held = std::net::TcpListener::bind(taken);
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap();
    let mut gateway = saying("old", "").start().await;
    let mut kept = RawClient::connect(gateway.address()).await;
    say(&mut kept, "old").await;
    let third = format!("[listeners.third]\nbind = \"{address}\"\n");
    let error = saying("new", &third).apply(&mut gateway).await.unwrap_err();
    assert!(error.contains("listener third: cannot bind"), "{error}");
    say(&mut kept, "old").await;
    let mut fresh = RawClient::connect(gateway.address()).await;
    say(&mut fresh, "old").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_listener_moves() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let mut gateway = saying("one", "").start().await;
    let before = gateway.admin_address();
    let moved = format!("[admin]\nbind = \"unix:{}\"\n", socket.display());
    saying("two", &moved).apply(&mut gateway).await.unwrap();
    let admin = Client::of_socket(&socket, Protocol::Http1);
    assert_eq!(admin.send(get("/readyz")).await.text(), "ready\n");
    eventually("nobody is there", async || {
        TcpStream::connect(before).await.err()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_the_web_gives_no_orders() {
    let gateway = saying("one", "").start().await;
    let own = gateway.admin_address();
    let check = async |ask: Ask, expected: u16| {
        assert_eq!(gateway.admin_client().send(ask).await.status, expected);
    };
    let local = |ask: Ask| ask.host(&own.to_string());
    check(local(get("/routes")), 200).await;
    check(get("/routes").host("localhost:1"), 200).await;
    check(get("/routes").host("[::1]:1"), 200).await;
    check(
        local(get("/routes")).header("origin", &format!("http://{own}")),
        200,
    )
    .await;
    check(local(get("/routes")).header("sec-fetch-site", "none"), 200).await;
    check(
        local(get("/routes")).header("sec-fetch-site", "same-origin"),
        200,
    )
    .await;
    for (method, target) in [("GET", "/routes"), ("GET", "/diff"), ("POST", "/reload")] {
        let again = || local(request(method, target));
        check(again().header("origin", "https://evil.example"), 403).await;
        check(again().header("origin", "null"), 403).await;
        check(again().header("sec-fetch-site", "cross-site"), 403).await;
        // Its own name, which points here by now.
        check(again().host("evil.example:9900"), 403).await;
        check(again().host("127.0.0.1.evil.example"), 403).await;
    }
    // Health may be asked by anybody who can.
    check(get("/readyz").host("gateway.example"), 200).await;
}

/// From this machine alone to everybody, and back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_widened_and_narrowed() {
    let mut gateway = saying("narrow", "").start().await;
    let address = gateway.address();
    let port = address.port();
    let at = |bind: &str, word: &str| {
        Gateway::draft(&format!(
            "[listeners.public]\nbind = \"{bind}:{port}\"\n\
             [routes.all]\nmatch = {{ path = \"/{{*rest}}\" }}\nrespond = {{ body = \"{word}\" }}\n"
        ))
    };
    for (bind, word) in [
        ("0.0.0.0", "wide"),
        ("127.0.0.1", "narrow"),
        ("[::]", "all"),
    ] {
        let mut kept = RawClient::connect(address).await;
        kept.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n").await;
        kept.read_until("\r\n\r\n").await;
        at(bind, word).apply(&mut gateway).await.unwrap();
        eventually("it is served there", async || {
            let client = Client::of(address, Protocol::Http1);
            let answer = client.try_send(get("/x")).await.ok()?;
            (answer.text() == word).then_some(())
        })
        .await;
        // Nobody else gets in beside it.
        let taken = std::net::TcpListener::bind(("0.0.0.0", port));
        assert!(taken.is_err(), "{bind}");
    }
}

/// A stream does not hold the configuration that it began under, but for its own route.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_do_not_hold_what_was_replaced() {
    let (chunks, body) = channel();
    let body = std::sync::Mutex::new(Some(body));
    let origin = Origin::http1(move |_| reply(200, &[], body.lock().unwrap().take().unwrap()));
    let mut gateway = to(&origin, "").start().await;
    let client = gateway.http1();
    let mut stream = client.open(get("/events")).await;
    assert!(chunks.send("first").await);
    assert_eq!(&stream.chunk().await.unwrap()[..], b"first");
    let old = gateway.snapshot();
    saying("new", "").apply(&mut gateway).await.unwrap();
    eventually("it is taken apart", async || {
        old.upgrade().is_none().then_some(())
    })
    .await;
    assert!(chunks.send("second").await);
    assert_eq!(&stream.chunk().await.unwrap()[..], b"second");
}
