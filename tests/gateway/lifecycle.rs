//! How a gateway ends: nobody new, those in flight to their end, and not for ever.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::harness::*;

const SHOP: &str = r#"
    [gateway]
    shutdown_grace = "$grace"

    [upstreams.shop]
    endpoints = ["$shop"]

    [routes.all]
    match = { path = "/{*rest}" }
    upstream = "shop"
"#;

async fn gateway(shop: &Origin, grace: &str) -> Gateway {
    Gateway::draft(SHOP)
        .with("shop", shop)
        .with("grace", grace)
        .start()
        .await
}

/// An origin that answers once the test says so.
fn held() -> (Origin, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let origin = Origin::serving(Protocol::Http1, move |_| {
        let held = held.clone();
        async move {
            held.acquire().await.unwrap().forget();
            text("done")
        }
    });
    (origin, gate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_flight_end_and_new_ones_are_refused() {
    for protocol in [Protocol::Http1, Protocol::H2] {
        let (shop, gate) = held();
        let gateway = gateway(&shop, "10s").await;
        let address = gateway.address();
        let client = Arc::new(gateway.client(protocol));
        let sender = client.clone();
        let in_flight = tokio::spawn(async move { sender.send(get("/")).await });
        eventually("the request is in flight", async || shop.seen().pop()).await;
        let stopping = tokio::spawn(gateway.stop());
        eventually("new connections are refused", async || {
            tokio::net::TcpStream::connect(address).await.err()
        })
        .await;
        assert!(!stopping.is_finished(), "it waits for the request");
        gate.add_permits(1);
        let answer = in_flight.await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
        // The client keeps its connection; the gateway is the one to close it.
        assert!(stopping.await.unwrap(), "drained over {protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_closed() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop, "10s").await;
    let mut idle = RawClient::connect(gateway.address()).await;
    idle.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    idle.read_until("ok").await;
    let http2 = gateway.http2();
    assert_eq!(http2.send(get("/")).await.status, 200);
    assert!(gateway.stop().await, "nothing was in flight");
    assert_eq!(idle.read_to_end().await, "");
    let late = within("a refusal", http2.try_send(get("/"))).await;
    assert!(late.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_connection_that_has_said_nothing_does_not_hold_up_the_end() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop, "10s").await;
    let mut silent = RawClient::connect(gateway.address()).await;
    eventually("it is accepted", async || {
        let metrics = gateway.metrics().await;
        let series = "northgate_connections{northgate_listener=\"public\"} 1";
        metrics.contains(series).then_some(())
    })
    .await;
    let begin = std::time::Instant::now();
    assert!(gateway.stop().await);
    // At the latest with the time for a first header, which is five seconds.
    assert!(
        begin.elapsed() < Duration::from_secs(8),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(silent.read_to_end().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_grace_ends() {
    let (shop, _gate) = held();
    let gateway = gateway(&shop, "300ms").await;
    let client = gateway.http1();
    let in_flight = tokio::spawn(async move { client.try_send(get("/")).await });
    eventually("the request is in flight", async || shop.seen().pop()).await;
    let begin = std::time::Instant::now();
    assert!(!gateway.stop().await, "a request was still in flight");
    let took = begin.elapsed().as_millis();
    assert!((290..900).contains(&took), "{took} ms");
    in_flight.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_ends_before_the_requests_do() {
    let (shop, gate) = held();
    let gateway = gateway(&shop, "10s").await;
    let ready = gateway.admin(get("/readyz")).await;
    assert_eq!(ready.status, 200);
    let watch = gateway.admin_client();
    let client = gateway.http1();
    let in_flight = tokio::spawn(async move { client.send(get("/")).await });
    eventually("the request is in flight", async || shop.seen().pop()).await;
    let stopping = tokio::spawn(gateway.stop());
    eventually("not ready", async || {
        let answer = watch.send(get("/readyz")).await;
        (answer.status == 503).then_some(())
    })
    .await;
    // Alive it is still.
    assert_eq!(watch.send(get("/livez")).await.status, 200);
    gate.add_permits(1);
    assert_eq!(in_flight.await.unwrap().status, 200);
    drop(watch);
    assert!(stopping.await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_access_log_is_complete_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.log");
    let toml = format!(
        "[gateway]\naccess_log = {{ path = \"{}\" }}\n[routes.ping]\nmatch = {{ path = \"/ping\" }}\nrespond = {{ body = \"pong\" }}\n",
        path.display()
    );
    let gateway = Gateway::start(&toml).await;
    let client = gateway.http1();
    for _ in 0..25 {
        client.send(get("/ping")).await;
    }
    assert!(gateway.stop().await);
    let log = std::fs::read_to_string(&path).unwrap();
    assert_eq!(log.lines().count(), 25);
}

#[tokio::test]
async fn an_address_in_use_is_an_error_and_no_panic() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let toml = format!(
        "[listeners.public]\nbind = \"{}\"\n[routes.ping]\nmatch = {{ path = \"/\" }}\nrespond = {{ body = \"pong\" }}\n",
        taken.local_addr().unwrap()
    );
    let error = Gateway::draft(&toml).try_start().await.err().unwrap();
    assert!(error.starts_with("listener public: cannot bind"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_told_that_its_connection_ends() {
    let (shop, gate) = held();
    let gateway = gateway(&shop, "10s").await;
    let address = gateway.address();
    let client = gateway.http1();
    let in_flight = tokio::spawn(async move { client.send(get("/")).await });
    eventually("the request is in flight", async || shop.seen().pop()).await;
    let stopping = tokio::spawn(gateway.stop());
    eventually("new connections are refused", async || {
        tokio::net::TcpStream::connect(address).await.err()
    })
    .await;
    gate.add_permits(1);
    // RFC 9112 section 9.6; a client that is told to keep it loses its next request to a closed connection.
    let answer = in_flight.await.unwrap();
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(stopping.await.unwrap());
}

#[tokio::test]
async fn half_a_request_to_the_admin_listener_does_not_hold_the_end() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop, "1s").await;
    let mut half = TcpStream::connect(gateway.admin_address()).await.unwrap();
    half.write_all(b"GET /livez HTTP/1.1\r\nhost")
        .await
        .unwrap();
    assert!(gateway.stop().await);
}
