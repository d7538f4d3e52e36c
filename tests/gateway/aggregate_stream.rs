//! An aggregation whose answer goes out as its parts come.

use std::time::{Duration, Instant};

use crate::harness::*;

const HOME: &str = r#"
    [upstreams.shop]
    endpoints = ["$shop"]

    [routes.home]
    match = { path = "/home" }
    policies.compression = {}
    [routes.home.aggregate]
    timeout = "2s"
    stream = true
    parts.profile = { upstream = "shop", path = "/profile", required = true }
    parts.cart = { upstream = "shop", path = "/cart", at = "shop.cart" }
    parts.tips = { upstream = "shop", path = "$tips", timeout = "600ms", default = [] }
"#;

fn shop() -> Origin {
    Origin::serving(Protocol::Http1, |seen| async move {
        match &*seen.target {
            "/slow" => tokio::time::sleep(Duration::from_millis(400)).await,
            "/never" => tokio::time::sleep(Duration::from_secs(30)).await,
            "/missing" => return status(404),
            _ => {}
        }
        reply(
            200,
            &[("cache-control", "max-age=60")],
            full(format!("\"{}\"", seen.target)),
        )
    })
}

async fn start(shop: &Origin, tips: &str) -> Gateway {
    let draft = Gateway::draft(HOME).with("shop", shop);
    draft.with("tips", tips).start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_is_sent_while_the_rest_is_waited_for() {
    let shop = shop();
    for (tips, stands, reason) in [
        ("/slow", serde_json::json!("/slow"), None),
        ("/never", serde_json::json!([]), Some("timeout")),
    ] {
        let gateway = start(&shop, tips).await;
        for client in [gateway.http1(), gateway.http2()] {
            let began = Instant::now();
            let mut answer = within("its header", client.open(get("/home"))).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert_eq!(answer.header("etag"), None);
            let mut text = String::new();
            while !text.contains("cart") {
                let part = within("a part", answer.chunk()).await.expect("more");
                text += std::str::from_utf8(&part).unwrap();
            }
            assert!(began.elapsed() < Duration::from_millis(350), "{text}");
            assert!(!text.contains("tips"), "{text}");
            while let Some(part) = within("the rest", answer.chunk()).await {
                text += std::str::from_utf8(&part).unwrap();
            }
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(json["profile"], "/profile", "{text}");
            assert_eq!(json["shop"]["cart"], "/cart", "{text}");
            assert_eq!(json["tips"], stands, "{text}");
            let told = json["degraded_parts"][0]["reason"].as_str();
            assert_eq!(told, reason, "{text}");
        }
        let logged = eventually("both are logged", async || {
            Some(gateway.log()).filter(|log| log.len() == 2)
        });
        for record in logged.await {
            let said = record["degraded"].as_str();
            let expected = reason.map(|_| "tips;reason=timeout;default");
            assert_eq!(said, expected, "{record}");
            assert!(record["parts"].as_str().unwrap().contains("profile=ok:"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_at_once_is_an_answer_like_any_other() {
    let shop = shop();
    let gateway = start(&shop, "/slow").await;
    let head = gateway.http1().send(head("/home")).await;
    assert_eq!(head.status, 200);
    assert!(head.header("etag").is_some());
    let toml = HOME.replace("path = \"/profile\"", "path = \"/missing\"");
    let draft = Gateway::draft(&toml).with("shop", &shop);
    let gateway = draft.with("tips", "/slow").start().await;
    let answer = gateway.http1().send(get("/home")).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(answer.json()["part"], "profile");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_in_the_middle_takes_the_parts_along() {
    let shop = shop();
    let gateway = start(&shop, "/never").await;
    for client in [gateway.http1(), gateway.http2()] {
        let answer = within("its header", client.open(get("/home"))).await;
        drop(answer);
        drop(client);
    }
    let record = gateway.log_where("a client that has left", |record| {
        let parts = record["parts"].as_str().unwrap_or_default();
        parts.contains("tips=cancelled:")
    });
    let record = record.await;
    assert_eq!(record["code"], "client_closed", "{record}");
    assert_eq!(gateway.http1().send(head("/home")).await.status, 200);
}
