//! What operators see: the access log, the metrics and the pages of the admin listener.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::harness::*;

const SHOP: &str = r#"
    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"

    [routes.order]
    match = { path = "/orders/{id}" }
    upstream = "shop"
"#;

async fn gateway(shop: &Origin, protocol: Protocol) -> Gateway {
    Gateway::draft(SHOP)
        .with("shop", shop)
        .with("protocol", protocol)
        .start()
        .await
}

#[tokio::test]
async fn a_line_of_the_access_log_is_complete() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| reply(201, &[], full("created")));
        let gateway = gateway(&shop, pair.origin).await;
        let ask = post("/orders/7?token=secret", "some body").host("api.shop.test:8080");
        let answer = gateway.client(pair.client).send(ask).await;
        let line = gateway.log_of(&answer).await;
        let protocol = match pair.client {
            Protocol::Http1 => "HTTP/1.1",
            Protocol::H2 => "HTTP/2",
        };
        let endpoint = shop.to_string();
        for (field, expected) in [
            ("listener", "public"),
            ("route", "order"),
            ("client", "127.0.0.1"),
            ("method", "POST"),
            ("host", "api.shop.test:8080"),
            ("path", "/orders/7"),
            ("protocol", protocol),
            ("upstream", "shop"),
            ("endpoint", &endpoint),
            ("trace_id", answer.header("x-trace-id").unwrap()),
        ] {
            assert_eq!(line[field], expected, "{field} in {line}");
        }
        for (field, expected) in [
            ("status", 201),
            ("bytes_in", 9),
            ("bytes_out", 7),
            ("attempts", 1),
        ] {
            assert_eq!(line[field], expected, "{field} in {line}");
        }
        let total = line["duration_ms"].as_f64().unwrap();
        for field in ["upstream_ms", "first_byte_ms"] {
            let part = line[field].as_f64().unwrap();
            assert!(part > 0.0 && part <= total + 1.0, "{field} in {line}");
        }
        let time = line["time"].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
        for absent in ["code", "fault", "flag", "cause", "consumer"] {
            assert!(line.get(absent).is_none(), "{absent} in {line}");
        }
        assert!(!line.to_string().contains("secret"), "{line}");
    })
    .await;
}

#[tokio::test]
async fn the_slowness_of_a_client_is_not_the_upstreams_time() {
    let shop = Origin::http1(|_| text("x".repeat(10_000)));
    let gateway = gateway(&shop, Protocol::Http1).await;
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    // It lets in a tenth of the response, and nothing more until it has read that.
    let mut client = http2::Builder::new(TokioExecutor::new());
    client.initial_stream_window_size(1_000);
    let handshake = client.handshake(TokioIo::new(stream)).await;
    let (mut client, connection) = handshake.unwrap();
    tokio::spawn(connection);
    let ask = http::Request::get("http://shop.test/orders/7").body(empty());
    let response = within("a response", client.send_request(ask.unwrap())).await;
    let slowness = Duration::from_millis(400);
    tokio::time::sleep(slowness).await;
    let body = within("the body", response.unwrap().into_body().collect()).await;
    assert_eq!(body.unwrap().to_bytes().len(), 10_000);
    let line = gateway.log_where("it", |line| line["status"] == 200).await;
    let (total, upstream) = (&line["duration_ms"], &line["upstream_ms"]);
    let (total, upstream) = (total.as_f64().unwrap(), upstream.as_f64().unwrap());
    assert!(total >= 400.0 && upstream < total - 200.0, "{line}");
}

#[tokio::test]
async fn what_a_client_writes_cannot_forge_a_line() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop, Protocol::Http1).await;
    let client = gateway.http1();
    for path in ["/a%0a%22,%22route%22:%22forged", "/a\"b", "/a\\b"] {
        // What is no target is refused before it is anybody's line.
        let answer = RawClient::exchange(
            gateway.address(),
            format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    client.send(get("/last")).await;
    gateway
        .log_where("the last line", |line| line["path"] == "/last")
        .await;
    // Every line was parsed to get here.
    assert!(gateway.log().iter().all(|line| line["route"] == "-"));
}

#[tokio::test]
async fn metrics_are_labelled_by_the_configuration_alone() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop, Protocol::Http1).await;
    let client = gateway.http1();
    for n in 0..5 {
        client.send(get(&format!("/orders/{n}"))).await;
        client
            .send(request(&format!("HOSTILE{n}"), &format!("/orders/{n}")))
            .await;
        client
            .send(get(&format!("/hostile/{n}")).host(&format!("hostile{n}.test")))
            .await;
    }
    let metrics = gateway.metrics().await;
    let name = "http_server_request_duration_seconds_count";
    for (labels, count) in [
        (
            r#"error_type="",http_request_method="GET",http_response_status_code="200",http_route="order""#,
            5,
        ),
        (
            r#"error_type="",http_request_method="_OTHER",http_response_status_code="200",http_route="order""#,
            5,
        ),
        (
            r#"error_type="route_not_found",http_request_method="GET",http_response_status_code="404",http_route="-""#,
            5,
        ),
    ] {
        let series = format!("{name}{{{labels}}} {count}\n");
        assert!(metrics.contains(&series), "{series} in {metrics}");
    }
    assert!(!metrics.to_lowercase().contains("hostile"), "{metrics}");
    let count = |start: &str| {
        metrics
            .lines()
            .filter(|line| line.starts_with(start))
            .count()
    };
    assert_eq!(count(name), 3);
    let client = r#"http_client_request_duration_seconds_count{http_response_status_code="200",northgate_upstream="shop"} 10"#;
    assert!(metrics.contains(client), "{metrics}");
    let healthy = format!(
        "northgate_endpoint_healthy{{northgate_upstream=\"shop\",server_address=\"{shop}\"}} 1\n"
    );
    assert!(metrics.contains(&healthy), "{metrics}");
}

#[tokio::test]
async fn gauges_return_to_zero() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |seen| match seen.target.as_str() {
            "/orders/1" => status(500),
            _ => text("ok"),
        });
        let gateway = gateway(&shop, pair.origin).await;
        let client = gateway.client(pair.client);
        for target in ["/orders/1", "/orders/2", "/nowhere"] {
            client.send(get(target)).await;
        }
        drop(client);
        let address = shop.to_string();
        eventually("the gauges are at zero", async || {
            let metrics = gateway.metrics().await;
            let zeroes = [
                "http_server_active_requests{northgate_listener=\"public\"} 0\n".to_owned(),
                "northgate_connections{northgate_listener=\"public\"} 0\n".to_owned(),
                format!(
                    "northgate_endpoint_active_requests{{northgate_upstream=\"shop\",server_address=\"{address}\"}} 0\n"
                ),
            ];
            zeroes.iter().all(|zero| metrics.contains(zero)).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn body_bytes_are_counted() {
    let shop = Origin::http1(|_| text("0123456789"));
    let gateway = gateway(&shop, Protocol::Http1).await;
    let client = gateway.http2();
    for _ in 0..3 {
        client.send(post("/orders/1", "12345")).await;
    }
    eventually("the bytes are counted", async || {
        let metrics = gateway.metrics().await;
        let counted = [
            r#"http_server_request_body_bytes_total{http_route="order"} 15"#,
            r#"http_server_response_body_bytes_total{http_route="order"} 30"#,
        ];
        counted.iter().all(|it| metrics.contains(it)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_admin_listener_shows_what_the_gateway_does() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = gateway(&shop, Protocol::Http1).await;
    assert_eq!(gateway.admin(get("/livez")).await.text(), "ok\n");
    assert_eq!(gateway.admin(get("/readyz")).await.text(), "ready\n");
    let metrics = gateway.admin(get("/metrics")).await;
    let content_type = metrics.header("content-type").unwrap();
    assert!(content_type.starts_with("text/plain; version=0.0.4"));
    let upstreams = gateway.admin(get("/upstreams")).await.json();
    let endpoints = upstreams["shop"]["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 1, "{endpoints:?}");
    assert_eq!(endpoints[0]["address"], shop.to_string());
    assert_eq!(endpoints[0]["healthy"], true);
    let routes = gateway.admin(get("/routes")).await.json();
    assert_eq!(routes["public"][0]["route"], "order");
    assert_eq!(routes["public"][0]["path"], "/orders/{id}");
    assert_eq!(gateway.admin(get("/nowhere")).await.status, 404);
    // Clients see none of it.
    assert_eq!(gateway.http1().send(get("/metrics")).await.status, 404);
}

#[tokio::test]
async fn the_admin_listener_asks_for_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "correct-horse-battery").unwrap();
    let gateway = Gateway::draft(
        r#"
        [admin]
        bind = "127.0.0.1:0"
        token = { file = "$file" }

        [routes.ping]
        match = { path = "/ping" }
        respond = { body = "pong" }
        "#,
    )
    .with("file", file.display())
    .start()
    .await;
    for page in ["/metrics", "/upstreams", "/routes"] {
        let anonymous = gateway.admin(get(page)).await;
        assert_eq!(anonymous.status, 401, "{page}");
        assert_eq!(anonymous.header("www-authenticate"), Some("Bearer"));
        assert!(!anonymous.text().contains("northgate"));
        for wrong in [
            "Bearer wrong",
            "Bearer correct-horse-batter",
            "Basic correct-horse-battery",
        ] {
            let refused = gateway
                .admin(get(page).header("authorization", wrong))
                .await;
            assert_eq!(refused.status, 401, "{page} with {wrong}");
        }
        let right = get(page).header("authorization", "Bearer correct-horse-battery");
        assert_eq!(gateway.admin(right).await.status, 200, "{page}");
    }
    // Whoever watches over the process has no token.
    assert_eq!(gateway.admin(get("/livez")).await.status, 200);
    assert_eq!(gateway.admin(get("/readyz")).await.status, 200);
}
