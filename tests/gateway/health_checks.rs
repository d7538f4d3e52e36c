//! What active checks ask, and what they expect.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::outliers::shown;
use crate::harness::*;

fn toml(upstream: &str) -> String {
    format!(
        "[upstreams.shop]\n{upstream}\n[routes.all]\nmatch = {{ path = \"/{{*rest}}\" }}\nupstream = \"shop\"\n"
    )
}

async fn health_is(gateway: &Gateway, endpoint: &str, expected: bool) {
    eventually(&format!("healthy is {expected}"), async || {
        (shown(gateway, endpoint).await["healthy"] == expected).then_some(())
    })
    .await;
}

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
    Health {
        address,
        reporter,
        _serving: serving,
    }
}

const QUICK: &str = "interval = \"20ms\", healthy_after = 1, unhealthy_after = 2";

#[tokio::test]
async fn a_server_of_grpc_is_asked_in_its_own_words() {
    let health = health().await;
    health
        .reporter
        .set_service_status("shop", ServingStatus::Serving)
        .await;
    for protocol in ["grpc", "http/1.1"] {
        let gateway = Gateway::draft(&toml(&format!(
            "endpoints = [\"$shop\"]\nprotocol = \"{protocol}\"\nhealth = {{ grpc = \"shop\", {QUICK} }}"
        )))
        .with("shop", &health.address)
        .start()
        .await;
        health_is(&gateway, &health.address, true).await;
        for (status, expected, why) in [
            (ServingStatus::NotServing, false, "NotServing"),
            (ServingStatus::Serving, true, ""),
            (ServingStatus::Unknown, false, "Unknown"),
            (ServingStatus::Serving, true, ""),
        ] {
            health.reporter.set_service_status("shop", status).await;
            health_is(&gateway, &health.address, expected).await;
            if !expected {
                let shown = shown(&gateway, &health.address).await;
                let said = shown["out"][0]["why"].as_str().unwrap();
                assert!(said.contains(why), "{said}");
            }
        }
    }
    // A service that it does not know is not found, and the server as a whole is well.
    for (service, expected) in [("nowhere", false), ("", true)] {
        let gateway = Gateway::draft(&toml(&format!(
            "endpoints = [\"$shop\"]\nprotocol = \"grpc\"\nhealth = {{ grpc = \"{service}\", {QUICK} }}"
        )))
        .with("shop", &health.address)
        .start()
        .await;
        health_is(&gateway, &health.address, expected).await;
        let shown = shown(&gateway, &health.address).await;
        if !expected {
            assert!(
                shown["out"][0]["why"]
                    .as_str()
                    .unwrap()
                    .contains("status 5")
            );
        }
    }
}

#[tokio::test]
async fn what_is_no_answer_of_grpc_is_unhealthy() {
    let plain = Origin::speaking(Protocol::H2, |_| text("hello"));
    let old = Origin::http1(|_| text("hello"));
    let truncated = Origin::speaking(Protocol::H2, |_| {
        let ok = [("content-type", "application/grpc"), ("grpc-status", "0")];
        reply(200, &ok, full("\0\0\0\0\x09\x08\x01"))
    });
    for origin in [plain, old, truncated] {
        let gateway = Gateway::draft(&toml(&format!(
            "endpoints = [\"$shop\"]\nprotocol = \"grpc\"\nhealth = {{ grpc = \"\", {QUICK} }}"
        )))
        .with("shop", &origin)
        .start()
        .await;
        health_is(&gateway, &origin.to_string(), false).await;
    }
}

#[tokio::test]
async fn checks_over_tls_verify_as_requests_do() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let config = authority.issue(&["localhost"]).server_config();
    let origin = Origin::over_tls(Protocol::Http1, config, |_| text("ok"));
    for (trusted, sni, expected) in [
        (&authority, "localhost", true),
        (&stranger, "localhost", false),
        (&authority, "elsewhere.test", false),
    ] {
        for check in ["http = \"/\"", "tcp = true"] {
            let gateway = Gateway::draft(&toml(&format!(
                "endpoints = [\"$shop\"]\ntls = {{ ca = \"{}\", sni = \"{sni}\" }}\nhealth = {{ {check}, {QUICK} }}",
                trusted.path()
            )))
            .with("shop", &origin)
            .start()
            .await;
            if expected {
                let before = origin.connections();
                eventually("some checks", async || {
                    (origin.connections() > before + 3).then_some(())
                })
                .await;
            }
            health_is(&gateway, &origin.to_string(), expected).await;
        }
    }
}

#[tokio::test]
async fn each_check_has_a_connection_of_its_own() {
    for (protocol, check) in [
        (Protocol::Http1, "http = \"/\""),
        (Protocol::H2, "http = \"/\""),
        (Protocol::H2, "grpc = \"\""),
    ] {
        let origin = Origin::speaking(protocol, |_| text("ok"));
        let gateway = Gateway::draft(&toml(&format!(
            "endpoints = [\"$shop\"]\nprotocol = \"{protocol}\"\nhealth = {{ {check}, {QUICK} }}"
        )))
        .with("shop", &origin)
        .start()
        .await;
        eventually("some checks", async || {
            (origin.seen().len() > 5).then_some(())
        })
        .await;
        drop(gateway);
        let (connections, checks) = (origin.connections(), origin.seen().len());
        assert!(connections >= checks, "{connections} for {checks} checks");
    }
}

#[tokio::test]
async fn an_answer_is_looked_at_as_closely_as_is_said() {
    let said = Arc::new(Mutex::new((200, r#"{"status": "UP", "db": {"ok": true}}"#)));
    let words = said.clone();
    let shop = Origin::http1(move |seen| {
        let (status, body) = *words.lock().unwrap();
        match seen.target.as_str() {
            "/healthz" => reply(status, &[], full(body)),
            _ => text("ok"),
        }
    });
    let gateway = Gateway::draft(&toml(&format!(
        r#"
        endpoints = ["$shop"]
        [upstreams.shop.health]
        http = "/healthz"
        expected = [200, "429-430"]
        body_contains = "UP"
        body_json = {{ "/status" = "UP", "/db/ok" = true }}
        {}
        "#,
        QUICK.replace(", ", "\n")
    )))
    .with("shop", &shop)
    .start()
    .await;
    let address = shop.to_string();
    let well = (200, r#"{"status": "UP", "db": {"ok": true}}"#);
    for (sick, why) in [
        ((204, ""), "it answers 204 No Content"),
        ((503, well.1), "it answers 503"),
        ((200, "down"), "does not contain \"UP\""),
        ((200, "UP"), "is no JSON"),
        (
            (200, r#"{"status": "UP", "db": {"ok": false}}"#),
            "does not have true at /db/ok",
        ),
    ] {
        *said.lock().unwrap() = sick;
        health_is(&gateway, &address, false).await;
        let out = shown(&gateway, &address).await["out"][0].clone();
        assert_eq!(out["kind"], "unhealthy");
        assert!(out["why"].as_str().unwrap().contains(why), "{out}");
        *said.lock().unwrap() = match sick.0 {
            204 => (429, well.1),
            _ => well,
        };
        health_is(&gateway, &address, true).await;
    }
}

#[tokio::test]
async fn what_checks_ask_can_be_elsewhere() {
    let shop = Origin::http1(|_| text("ok"));
    let fails = Arc::new(AtomicBool::new(false));
    let switch = fails.clone();
    let beside = Origin::http1(move |_| match switch.load(Ordering::SeqCst) {
        true => status(500),
        false => text("ok"),
    });
    let gateway = Gateway::draft(&toml(&format!(
        "endpoints = [\"$shop\"]\nhealth = {{ http = \"/live\", port = $port, host = \"probe.test\", headers = {{ x-probe = \"a b\" }}, {QUICK} }}"
    )))
    .with("shop", &shop)
    .with("port", beside.port())
    .start()
    .await;
    let check = eventually("a check", async || beside.seen().first().cloned()).await;
    assert_eq!(
        (&*check.target, &*check.host, check.header("x-probe")),
        ("/live", "probe.test", Some("a b"))
    );
    assert_eq!(shop.connections(), 0);
    fails.store(true, Ordering::SeqCst);
    health_is(&gateway, &shop.to_string(), false).await;
}

#[tokio::test]
async fn a_port_of_its_own_can_speak_clear_text() {
    let authority = Authority::new();
    let config = authority.issue(&["localhost"]).server_config();
    let shop = Origin::over_tls(Protocol::Http1, config, |_| text("ok"));
    let beside = Origin::http1(|_| text("ok"));
    let gateway = Gateway::draft(&toml(&format!(
        "endpoints = [\"$shop\"]\ntls = {{ ca = \"{}\", sni = \"localhost\" }}\nhealth = {{ http = \"/live\", port = $port, tls = false, {QUICK} }}",
        authority.path()
    )))
    .with("shop", &shop)
    .with("port", beside.port())
    .start()
    .await;
    eventually("some checks", async || {
        (beside.seen().len() > 3).then_some(())
    })
    .await;
    health_is(&gateway, &shop.to_string(), true).await;
    assert_eq!(gateway.http1().send(get("/")).await.text(), "ok");
}

#[tokio::test]
async fn the_unhealthy_are_asked_at_their_own_pace() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let record = asked.clone();
    let sick = Origin::http1(move |_| {
        record.lock().unwrap().push(Instant::now());
        status(500)
    });
    let gateway = Gateway::draft(&toml(
        "endpoints = [\"$sick\"]\nhealth = { http = \"/\", interval = \"20ms\", unhealthy_interval = \"400ms\", unhealthy_after = 3 }",
    ))
    .with("sick", &sick)
    .start()
    .await;
    health_is(&gateway, &sick.to_string(), false).await;
    eventually("six checks", async || {
        (asked.lock().unwrap().len() >= 6).then_some(())
    })
    .await;
    let asked = asked.lock().unwrap();
    for pair in asked[2..6].windows(2) {
        let pause = pair[1] - pair[0];
        assert!(pause >= Duration::from_millis(300), "{pause:?}");
    }
}

#[tokio::test]
async fn who_is_new_is_checked_at_once_and_who_was_unhealthy_stays_so() {
    let (sick, new) = (
        Origin::http1(|_| status(500)),
        Origin::http1(|_| text("ok")),
    );
    let well = Origin::http1(|_| text("ok"));
    let draft = |endpoints: &str| {
        let health = "health = { http = \"/\", interval = \"1h\", unhealthy_after = 1 }";
        Gateway::draft(&toml(&format!("endpoints = [{endpoints}]\n{health}")))
            .with("sick", &sick)
            .with("well", &well)
    };
    let mut gateway = draft(r#""$sick", "$well""#).start().await;
    health_is(&gateway, &sick.to_string(), false).await;
    draft(r#""$sick", "$well", "$new""#)
        .with("new", &new)
        .apply(&mut gateway)
        .await
        .unwrap();
    assert_eq!(shown(&gateway, &sick.to_string()).await["healthy"], false);
    eventually("its first check", async || {
        (!new.seen().is_empty()).then_some(())
    })
    .await;
}
