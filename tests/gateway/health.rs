//! Active health checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::harness::*;

/// One upstream with these settings, behind every path.
fn toml(upstream: &str) -> String {
    format!(
        "[upstreams.shop]\n{upstream}\n[routes.all]\nmatch = {{ path = \"/{{*rest}}\" }}\nupstream = \"shop\"\n"
    )
}

#[tokio::test]
async fn http_checks_take_an_endpoint_out_and_back_in() {
    let health = Arc::new(AtomicU16::new(200));
    let shown = health.clone();
    let sick = Origin::http1(move |seen| match seen.target.as_str() {
        "/healthz?deep=1" => {
            assert_eq!(seen.header("user-agent"), Some("northgate-health"));
            status(shown.load(Ordering::SeqCst))
        }
        _ => text("sick"),
    });
    let well = Origin::http1(|_| text("well"));
    let gateway = Gateway::draft(&toml(
        r#"
        endpoints = ["$sick", "$well"]
        health = { http = "/healthz?deep=1", interval = "20ms", healthy_after = 2, unhealthy_after = 2 }
        "#,
    ))
    .with("sick", &sick)
    .with("well", &well)
    .start()
    .await;
    let health_is = async |expected: bool| {
        eventually("the health that is shown", async || {
            let shown = gateway.admin(get("/upstreams")).await.json();
            let endpoints = shown["shop"]["endpoints"].as_array().unwrap().clone();
            let sick = sick.to_string();
            let sick = endpoints.into_iter().find(|it| it["address"] == *sick);
            (sick.unwrap()["healthy"] == expected).then_some(())
        })
        .await;
    };
    let client = gateway.http1();
    let answers = async || {
        let mut names = std::collections::BTreeSet::new();
        for _ in 0..10 {
            names.insert(client.send(get("/")).await.text());
        }
        names.into_iter().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(answers().await, "sick well");
    health.store(503, Ordering::SeqCst);
    health_is(false).await;
    assert_eq!(answers().await, "well");
    health.store(204, Ordering::SeqCst);
    health_is(true).await;
    assert_eq!(answers().await, "sick well");
}

#[tokio::test]
async fn checks_speak_what_the_upstream_speaks() {
    let authority = Authority::new();
    let config = authority.issue(&["localhost"]).server_config();
    let answer = |seen: Seen| match seen.target.as_str() {
        "/healthz" => status(200),
        _ => text("ok"),
    };
    let tls = format!(
        "tls = {{ ca = \"{}\", sni = \"localhost\" }}",
        authority.path()
    );
    for (origin, settings) in [
        (Origin::http1(answer), String::new()),
        (
            Origin::speaking(Protocol::H2, answer),
            "protocol = \"h2c\"".to_owned(),
        ),
        (
            Origin::over_tls(Protocol::Http1, config.clone(), answer),
            tls.clone(),
        ),
        (
            Origin::over_tls(Protocol::H2, config, answer),
            format!("protocol = \"h2\"\n{tls}"),
        ),
    ] {
        let gateway = Gateway::draft(&toml(&format!(
            "endpoints = [\"$shop\"]\n{settings}\nhealth = {{ http = \"/healthz\", interval = \"20ms\", unhealthy_after = 1 }}"
        )))
        .with("shop", &origin)
        .start()
        .await;
        eventually("some checks have come", async || {
            let checks = origin.seen();
            (checks.len() >= 3).then_some(())
        })
        .await;
        let answer = gateway.http1().send(get("/")).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "ok"),
            "{settings}"
        );
    }
}

#[tokio::test]
async fn without_a_healthy_endpoint_there_is_503() {
    let shop = Origin::http1(|_| status(500));
    let gateway = Gateway::draft(&toml(
        "endpoints = [\"$shop\"]\nhealth = { http = \"/healthz\", interval = \"20ms\", unhealthy_after = 1 }",
    ))
    .with("shop", &shop)
    .start()
    .await;
    let client = gateway.http1();
    let answer = eventually("503", async || {
        let answer = client.send(get("/")).await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    answer.assert_problem(503, "upstream_unhealthy");
    let line = gateway.log_of(&answer).await;
    assert_eq!(
        (&line["fault"], &line["flag"]),
        (&"upstream".into(), &"UH".into())
    );
}

#[tokio::test]
async fn tcp_checks_take_an_endpoint_out_and_back_in() {
    // On a Unix socket, which can be closed and opened again at the same address.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.sock");
    let shop = Origin::on_socket(&path, |_| text("ok"));
    let gateway = Gateway::draft(&toml(
        "endpoints = [\"$shop\"]\nhealth = { interval = \"20ms\", unhealthy_after = 2, healthy_after = 2 }",
    ))
    .with("shop", &shop)
    .start()
    .await;
    let client = gateway.http1();
    assert_eq!(client.send(get("/")).await.text(), "ok");
    drop(shop);
    std::fs::remove_file(&path).unwrap();
    eventually("503", async || {
        (client.send(get("/")).await.status == 503).then_some(())
    })
    .await;
    let _shop = Origin::on_socket(&path, |_| text("again"));
    eventually("200", async || {
        let answer = client.send(get("/")).await;
        (answer.status == 200 && answer.text() == "again").then_some(())
    })
    .await;
}
