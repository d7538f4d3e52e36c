//! gRPC from end to end, with a real server and a real client.

use http::HeaderMap;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::HealthReporter;

use crate::harness::*;

const HEALTH: &str = r#"
    [upstreams.health]
    endpoints = ["$health"]
    protocol = "grpc"

    [routes.health]
    match = { grpc = { service = "grpc.health.v1.Health" } }
    upstream = "health"
"#;

/// A health service as of the gRPC project, and the hand that sets what it says.
struct Health {
    address: String,
    reporter: HealthReporter,
    _serving: JoinSet<()>,
}

async fn health() -> Health {
    let (reporter, service) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let server = Server::builder().add_service(service);
        let incoming = TcpIncoming::from(listener);
        server.serve_with_incoming(incoming).await.unwrap();
    });
    reporter
        .set_service_status("shop", ServingStatus::Serving)
        .await;
    Health {
        address,
        reporter,
        _serving: serving,
    }
}

async fn gateway(health: &Health) -> Gateway {
    Gateway::draft(HEALTH)
        .with("health", &health.address)
        .start()
        .await
}

async fn client(gateway: &Gateway) -> HealthClient<Channel> {
    let endpoint = format!("http://{}", gateway.address());
    let channel = Channel::from_shared(endpoint).unwrap();
    let channel = within("a connection", channel.connect()).await.unwrap();
    HealthClient::new(channel)
}

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

#[tokio::test]
async fn unary_calls_pass() {
    let health = health().await;
    let gateway = gateway(&health).await;
    let mut client = client(&gateway).await;
    for _ in 0..3 {
        let answer = within("an answer", client.check(of("shop"))).await.unwrap();
        assert!(answer.metadata().contains_key("x-request-id"));
        assert_eq!(answer.into_inner().status, ServingStatus::Serving as i32);
    }
    let line = gateway
        .log_where("a call", |line| line["route"] == "health")
        .await;
    assert_eq!(line["path"], "/grpc.health.v1.Health/Check");
    assert_eq!(line["protocol"], "HTTP/2");
}

#[tokio::test]
async fn statuses_of_the_server_pass() {
    let health = health().await;
    let gateway = gateway(&health).await;
    let mut client = client(&gateway).await;
    let status = within("a status", client.check(of("nobody"))).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
    assert!(status.message().contains("not registered"), "{status}");
}

#[tokio::test]
async fn a_stream_of_the_server_passes_message_by_message() {
    let health = health().await;
    let gateway = gateway(&health).await;
    let mut client = client(&gateway).await;
    let watching = within("a stream", client.watch(of("shop"))).await;
    let mut watching = watching.unwrap().into_inner();
    for status in [
        ServingStatus::Serving,
        ServingStatus::NotServing,
        ServingStatus::Serving,
    ] {
        health.reporter.set_service_status("shop", status).await;
        let message = within("a message", watching.message()).await.unwrap();
        assert_eq!(message.unwrap().status, status as i32);
    }
}

#[tokio::test]
async fn the_deadline_of_the_caller_ends_a_stream() {
    let health = health().await;
    let gateway = gateway(&health).await;
    let mut client = client(&gateway).await;
    let mut ask = Request::new(of("shop"));
    ask.set_timeout(std::time::Duration::from_millis(300));
    let begin = std::time::Instant::now();
    let watching = within("a stream", client.watch(ask)).await;
    let ended = async {
        let mut watching = watching?.into_inner();
        while watching.message().await?.is_some() {}
        Ok::<(), tonic::Status>(())
    };
    let status = within("the end", ended).await.unwrap_err();
    assert!(begin.elapsed().as_millis() < 2000);
    assert_ne!(status.code(), Code::Ok);
}

/// A message of gRPC: not compressed, its length, its bytes.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

#[tokio::test]
async fn trailers_pass_over_tls_on_both_sides() {
    let authority = Authority::new();
    let config = authority.issue(&["localhost"]).server_config();
    let origin = Origin::over_tls(Protocol::H2, config, |seen| {
        assert_eq!(seen.header("te"), Some("trailers"));
        let (chunks, body) = channel();
        tokio::spawn(async move {
            chunks.send(framed(b"partial")).await;
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", 9.into());
            trailers.insert("grpc-message", "not%20now".parse().unwrap());
            chunks.trailers(trailers).await;
        });
        reply(200, &[("content-type", "application/grpc")], body)
    });
    let edge = authority.issue(&["shop.test"]);
    let gateway = Gateway::draft(
        r#"
        [listeners.public]
        bind = "127.0.0.1:0"
        tls = { certificates = [{ cert = "$cert", key = { file = "$key" } }] }

        [upstreams.orders]
        endpoints = ["localhost:$port"]
        protocol = "grpc"
        tls = { ca = "$ca" }

        [routes.orders]
        match = { grpc = { service = "shop.v1.Orders", method = "Pay" } }
        upstream = "orders"
        "#,
    )
    .with("cert", edge.cert_path.display())
    .with("key", edge.key_path.display())
    .with("port", origin.port())
    .with("ca", authority.path())
    .start()
    .await;
    let config = authority.client_config();
    let client = Client::over_tls(gateway.address(), Protocol::H2, "shop.test", config);
    let ask = post("/shop.v1.Orders/Pay", framed(b"order"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let answer = client.send(ask).await;
    assert_eq!((answer.status, &*answer.body), (200, &*framed(b"partial")));
    assert_eq!(answer.trailers["grpc-status"], "9");
    assert_eq!(answer.trailers["grpc-message"], "not%20now");
    assert_eq!(origin.only().body, framed(b"order"));
}
