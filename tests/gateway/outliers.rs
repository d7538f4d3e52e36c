//! Endpoints that do badly are out for a while, and find their way back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::*;
use crate::origins;

fn toml(endpoints: &str, outliers: &str) -> String {
    format!(
        "[upstreams.shop]\nendpoints = [{endpoints}]\noutliers = {outliers}\n[routes.all]\nmatch = {{ path = \"/{{*rest}}\" }}\nupstream = \"shop\"\n"
    )
}

/// An origin that fails while the switch says so.
fn switched(name: &'static str) -> (Origin, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(true));
    let switch = fails.clone();
    let origin = Origin::http1(move |_| match switch.load(Ordering::SeqCst) {
        true => status(500),
        false => text(name),
    });
    (origin, fails)
}

/// What is shown of an endpoint.
pub async fn shown(gateway: &Gateway, endpoint: &str) -> Value {
    let shown = gateway.admin(get("/upstreams")).await.json();
    let endpoints = shown["shop"]["endpoints"].as_array().unwrap().clone();
    let mut found = endpoints.into_iter().filter(|it| it["address"] == endpoint);
    found.next().expect("the endpoint")
}

async fn is_out(gateway: &Gateway, endpoint: &str) -> bool {
    shown(gateway, endpoint).await["healthy"] == false
}

/// Asks until that endpoint is out.
async fn provoke(gateway: &Gateway, endpoint: &str) {
    let client = gateway.http1();
    eventually("the ejection", async || {
        client.send(get("/")).await;
        is_out(gateway, endpoint).await.then_some(())
    })
    .await;
}

async fn come_back(gateway: &Gateway, endpoint: &str) {
    eventually("the endpoint is back", async || {
        (!is_out(gateway, endpoint).await).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_fails_is_out_and_back_without_being_asked() {
    let (sick, fails) = switched("sick");
    let well = Origin::http1(|_| text("well"));
    let gateway = Gateway::draft(&toml(
        r#""$sick", "$well""#,
        r#"{ consecutive_5xx = 3, base_ejection = "700ms" }"#,
    ))
    .with("sick", &sick)
    .with("well", &well)
    .start()
    .await;
    let address = sick.to_string();
    provoke(&gateway, &address).await;
    let begin = Instant::now();
    let out = shown(&gateway, &address).await["out"][0].clone();
    assert_eq!(
        (&out["kind"], &out["why"]),
        (&"ejected".into(), &"consecutive_5xx".into())
    );
    assert!(out["until"].as_str().unwrap().ends_with('Z'), "{out}");
    let metrics = gateway.metrics().await;
    let labels = format!("{{northgate_upstream=\"shop\",server_address=\"{address}\"}}");
    for line in [
        format!("northgate_endpoint_ejected{labels} 1"),
        format!("northgate_endpoint_healthy{labels} 0"),
        "northgate_ejections_total{northgate_upstream=\"shop\",reason=\"consecutive_5xx\"} 1"
            .into(),
    ] {
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    let asked = sick.seen().len();
    let client = gateway.http1();
    while begin.elapsed() < Duration::from_millis(300) {
        assert_eq!(client.send(get("/")).await.text(), "well");
    }
    assert_eq!(sick.seen().len(), asked);
    fails.store(false, Ordering::SeqCst);
    // Nobody asks for anything meanwhile.
    come_back(&gateway, &address).await;
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(500), "{took:?}");
    eventually("requests to it", async || {
        (client.send(get("/")).await.text() == "sick").then_some(())
    })
    .await;
    let metrics = gateway.metrics().await;
    assert!(metrics.contains(&format!("northgate_endpoint_ejected{labels} 0")));
}

#[tokio::test]
async fn ejections_grow_while_it_does_not_get_better() {
    let (sick, _) = switched("sick");
    let well = Origin::http1(|_| text("well"));
    let gateway = Gateway::draft(&toml(
        r#""$sick", "$well""#,
        r#"{ consecutive_5xx = 1, base_ejection = "300ms", max_ejection = "700ms" }"#,
    ))
    .with("sick", &sick)
    .with("well", &well)
    .start()
    .await;
    let mut lengths = Vec::new();
    for _ in 0..4 {
        provoke(&gateway, &sick.to_string()).await;
        let begin = Instant::now();
        come_back(&gateway, &sick.to_string()).await;
        lengths.push(begin.elapsed());
    }
    // What is seen begins and ends a little later than what is; the third and the fourth are the longest there are.
    assert!(lengths[1] >= Duration::from_millis(450), "{lengths:?}");
    assert!(lengths[2] >= Duration::from_millis(550), "{lengths:?}");
    assert!(lengths[3] >= Duration::from_millis(550), "{lengths:?}");
}

#[tokio::test]
async fn somebody_always_stays() {
    for (count, most, expected) in [(1, "100%", 0), (3, "100%", 2), (4, "50%", 2), (4, "1%", 1)] {
        let origins: Vec<Origin> = (0..count).map(|_| Origin::http1(|_| status(500))).collect();
        let list: Vec<String> = origins.iter().map(|it| format!("\"{it}\"")).collect();
        let outliers = format!("{{ consecutive_5xx = 1, max_ejected = \"{most}\" }}");
        let gateway = Gateway::start(&toml(&list.join(", "), &outliers)).await;
        let client = gateway.http1();
        let out = async || {
            let shown = gateway.admin(get("/upstreams")).await.json();
            let endpoints = shown["shop"]["endpoints"].as_array().unwrap().clone();
            let is_out = |it: &&Value| it["healthy"] == false;
            endpoints.iter().filter(is_out).count()
        };
        eventually("as many are out as may be", async || {
            let answer = client.send(get("/")).await;
            assert_eq!(answer.status, 500);
            (out().await == expected).then_some(())
        })
        .await;
        for _ in 0..50 {
            assert_eq!(client.send(get("/")).await.status, 500);
        }
        assert_eq!(out().await, expected, "of {count}");
    }
}

#[tokio::test]
async fn who_goes_does_not_leave_nobody_behind() {
    let (sick, _) = switched("sick");
    let well = Origin::http1(|_| text("well"));
    let mut gateway = Gateway::draft(&toml(r#""$sick", "$well""#, "{ consecutive_5xx = 1 }"))
        .with("sick", &sick)
        .with("well", &well)
        .start()
        .await;
    provoke(&gateway, &sick.to_string()).await;
    Gateway::draft(&toml(r#""$sick""#, "{ consecutive_5xx = 1 }"))
        .with("sick", &sick)
        .apply(&mut gateway)
        .await
        .unwrap();
    assert!(!is_out(&gateway, &sick.to_string()).await);
    assert_eq!(gateway.http1().send(get("/")).await.status, 500);
}

#[tokio::test]
async fn an_ejection_goes_on_over_reloads_and_ends() {
    let (sick, fails) = switched("sick");
    let well = Origin::http1(|_| text("well"));
    let draft = |more: &str| {
        let outliers = format!("{{ consecutive_5xx = 2, base_ejection = \"1s\" }}{more}");
        Gateway::draft(&toml(r#""$sick", "$well""#, &outliers))
            .with("sick", &sick)
            .with("well", &well)
    };
    let mut gateway = draft("").start().await;
    provoke(&gateway, &sick.to_string()).await;
    fails.store(false, Ordering::SeqCst);
    // Of the same name, and another upstream.
    let other = "\ntimeouts = { first_byte = \"7s\" }";
    draft(other).apply(&mut gateway).await.unwrap();
    assert!(is_out(&gateway, &sick.to_string()).await);
    come_back(&gateway, &sick.to_string()).await;
    let client = gateway.http1();
    eventually("requests to it", async || {
        (client.send(get("/")).await.text() == "sick").then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_does_not_answer_is_out() {
    let well = Origin::http1(|_| text("well"));
    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = refused.local_addr().unwrap();
    drop(refused);
    let resets = origins::reset::before_header();
    for address in [closed.to_string(), resets.to_string()] {
        let gateway = Gateway::draft(&toml(
            r#""$sick", "$well""#,
            "{ consecutive_5xx = 100, consecutive_failures = 2 }",
        ))
        .with("sick", &address)
        .with("well", &well)
        .start()
        .await;
        provoke(&gateway, &address).await;
        let out = shown(&gateway, &address).await["out"][0].clone();
        assert_eq!(out["why"], "consecutive_failures", "{address}");
    }
}

#[tokio::test]
async fn who_breaks_its_bodies_off_is_out() {
    let well = Origin::http1(|_| text("well"));
    let sick = origins::reset::in_body();
    let gateway = Gateway::draft(&toml(
        r#""$sick", "$well""#,
        r#"{ failure_ratio = "50%", min_requests = 3 }"#,
    ))
    .with("sick", &sick)
    .with("well", &well)
    .start()
    .await;
    let client = gateway.http1();
    eventually("the ejection", async || {
        let _ = client.try_send(get("/")).await;
        is_out(&gateway, &sick.to_string()).await.then_some(())
    })
    .await;
}

/// What becomes of a tunnel, and of a request that is not all there, may be the client's doing.
#[tokio::test]
async fn what_clients_may_have_provoked_is_held_against_nobody() {
    const TUNNEL: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                          sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    const UPLOAD: &str = "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 999999\r\n\r\nsome";
    const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                            sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    const REFUSED: &str = "HTTP/1.1 413 Too Large\r\ncontent-length: 99\r\n\r\ntoo much";
    for (ask, answer) in [(TUNNEL, SWITCHED), (UPLOAD, REFUSED)] {
        let origins = [(); 2].map(|()| {
            RawOrigin::serving(move |mut stream, _| async move {
                if origins::read_header(&mut stream).await {
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.read_u8().await;
                    origins::reset::reset(&stream);
                }
            })
        });
        let outliers = "{ failure_ratio = \"1%\", min_requests = 1, consecutive_failures = 1 }";
        let gateway = Gateway::draft(&toml(r#""$one", "$other""#, outliers))
            .with("one", &origins[0])
            .with("other", &origins[1])
            .start()
            .await;
        for _ in 0..6 {
            let mut client = RawClient::connect(gateway.address()).await;
            client.send(ask).await;
            let head = client.read_until("\r\n\r\n").await;
            assert_eq!(head.get(..12), answer.get(..12));
            let _ = client.stream.write_all(b"nonsense").await;
            client.read_to_end().await;
            for origin in &origins {
                assert!(!is_out(&gateway, &origin.to_string()).await, "{answer}");
            }
        }
    }
}

#[tokio::test]
async fn clients_cannot_have_an_endpoint_ejected() {
    let slow = |_| async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        reply(
            200,
            &[("content-type", "application/grpc")],
            Body::default(),
        )
    };
    let missing = |seen: Seen| match seen.target.as_str() {
        "/missing" => status(501),
        _ => status(404),
    };
    let one = Origin::serving(Protocol::H2, slow);
    let other = Origin::speaking(Protocol::H2, missing);
    let gateway = Gateway::draft(&format!(
        "{}\n[upstreams.shop.timeouts]\nfirst_byte = \"5s\"",
        toml(
            r#""$one", "$other""#,
            "{ consecutive_5xx = 1, consecutive_failures = 1 }\nprotocol = \"grpc\""
        )
        .replace("[routes.all]", "[routes.all]\ntimeout = \"5s\"")
    ))
    .with("one", &one)
    .with("other", &other)
    .start()
    .await;
    let client = gateway.http2();
    for _ in 0..10 {
        let hurried = post("/call", "")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", "20m");
        client.send(hurried).await;
        let _ = client.try_send(get("/missing")).await;
        // One that leaves before there is an answer.
        let left = client.try_send(get("/left"));
        let _ = tokio::time::timeout(Duration::from_millis(20), left).await;
    }
    assert!(!is_out(&gateway, &one.to_string()).await);
    assert!(!is_out(&gateway, &other.to_string()).await);
}
