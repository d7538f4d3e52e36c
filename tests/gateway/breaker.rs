//! Circuit breakers of upstreams and of endpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;

use crate::harness::*;

fn toml(upstream: &str) -> String {
    format!(
        "[upstreams.shop]\n{upstream}\n[routes.all]\nmatch = {{ path = \"/{{*rest}}\" }}\nupstream = \"shop\"\n"
    )
}

fn switched() -> (Origin, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(true));
    let switch = fails.clone();
    let origin = Origin::http1(move |_| match switch.load(Ordering::SeqCst) {
        true => status(500),
        false => text("well"),
    });
    (origin, fails)
}

/// The breaker of the upstream, or of an endpoint.
async fn breaker(gateway: &Gateway, endpoint: Option<&Origin>) -> Value {
    let all = gateway.admin(get("/breakers")).await.json();
    let endpoint = endpoint.map_or(Value::Null, |it| it.to_string().into());
    let mut all = all.as_array().unwrap().iter();
    let found = all.find(|it| it["endpoint"] == endpoint);
    found.expect("the breaker").clone()
}

async fn until_it_is(gateway: &Gateway, endpoint: Option<&Origin>, state: &str) {
    eventually(&format!("the breaker is {state}"), async || {
        (breaker(gateway, endpoint).await["state"] == state).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_upstream_that_fails_is_left_alone_and_tried_again() {
    let (shop, fails) = switched();
    let rules = "endpoints = [\"$shop\"]\nbreaker = { min_requests = 5, open_for = \"1500ms\", probes = 2 }\n";
    let draft = |more: &str| Gateway::draft(&toml(&format!("{rules}{more}"))).with("shop", &shop);
    let mut gateway = draft("").start().await;
    let client = gateway.http1();
    for _ in 0..5 {
        assert_eq!(client.send(get("/")).await.status, 500);
    }
    let answer = client.send(get("/")).await;
    answer.assert_problem(503, "circuit_open");
    let again: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&again), "{again}");
    // The connection goes on, and the upstream has not been asked.
    assert_ne!(answer.header("connection"), Some("close"));
    assert_eq!(shop.seen().len(), 5);
    let line = gateway.log_of(&answer).await;
    assert_eq!(
        (&line["code"], &line["flag"], &line["fault"]),
        (&"circuit_open".into(), &"UO".into(), &"upstream".into())
    );
    until_it_is(&gateway, None, "open").await;
    let labels = "{northgate_upstream=\"shop\",server_address=\"\"}";
    let opened = format!("northgate_breaker_opened_total{labels} 1\n");
    for line in [
        format!("northgate_breaker_state{labels} 2\n"),
        opened.clone(),
    ] {
        eventually(&line, async || {
            gateway.metrics().await.contains(&line).then_some(())
        })
        .await;
    }
    // That goes on in another configuration, and is no news there.
    let other = draft("timeouts = { first_byte = \"7s\" }");
    other.apply(&mut gateway).await.unwrap();
    assert!(gateway.metrics().await.contains(&opened));
    until_it_is(&gateway, None, "half_open").await;
    // It fails still.
    assert_eq!(client.send(get("/")).await.status, 500);
    client
        .send(get("/"))
        .await
        .assert_problem(503, "circuit_open");
    assert_eq!(shop.seen().len(), 6);
    fails.store(false, Ordering::SeqCst);
    until_it_is(&gateway, None, "half_open").await;
    for _ in 0..2 {
        assert_eq!(client.send(get("/")).await.text(), "well");
    }
    until_it_is(&gateway, None, "closed").await;
    let shown = gateway.admin(get("/upstreams")).await.json();
    assert_eq!(shown["shop"]["breaker"], "closed");
}

#[tokio::test]
async fn a_grpc_call_is_told_in_its_own_way() {
    let shop = Origin::speaking(Protocol::H2, |_| {
        let unavailable = [("content-type", "application/grpc"), ("grpc-status", "14")];
        reply(200, &unavailable, Body::default())
    });
    let gateway = Gateway::draft(&toml(
        "endpoints = [\"$shop\"]\nprotocol = \"grpc\"\nbreaker = { min_requests = 2, open_for = \"1m\" }",
    ))
    .with("shop", &shop)
    .start()
    .await;
    let client = gateway.http2();
    let call = || {
        post("/shop.Shop/List", "")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
    };
    for _ in 0..2 {
        client.send(call()).await;
    }
    let answer = client.send(call()).await;
    assert_eq!(
        (answer.status, answer.header("grpc-status")),
        (200, Some("14"))
    );
    assert_eq!(shop.seen().len(), 2);
    assert_eq!(gateway.log_of(&answer).await["code"], "circuit_open");
}

#[tokio::test]
async fn few_are_let_in_to_see_and_one_that_leaves_makes_room() {
    let (gate, fails) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicBool::new(true)));
    let (open, switch) = (gate.clone(), fails.clone());
    let shop = Origin::serving(Protocol::Http1, move |_| {
        let (open, is_bad) = (open.clone(), switch.load(Ordering::SeqCst));
        async move {
            if is_bad {
                return status(500);
            }
            let _permit = open.acquire().await;
            text("well")
        }
    });
    let gateway = Gateway::draft(&toml(
        "endpoints = [\"$shop\"]\nbreaker = { min_requests = 1, open_for = \"100ms\", probes = 1 }",
    ))
    .with("shop", &shop)
    .start()
    .await;
    assert_eq!(gateway.http1().send(get("/")).await.status, 500);
    fails.store(false, Ordering::SeqCst);
    until_it_is(&gateway, None, "half_open").await;
    for round in 2..5 {
        let probe = gateway.http1();
        let probing = tokio::spawn(async move { probe.try_send(get("/probe")).await });
        eventually("the probe is with the origin", async || {
            (shop.seen().len() == round).then_some(())
        })
        .await;
        let answer = gateway.http1().send(get("/")).await;
        answer.assert_problem(503, "circuit_open");
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(shop.seen().len(), round);
        // The client goes away with its probe.
        probing.abort();
        gateway
            .log_where("the probe is over", |line| {
                line["path"] == "/probe" && line["code"] == "client_closed"
            })
            .await;
    }
    gate.add_permits(Semaphore::MAX_PERMITS);
    eventually("somebody is let in again", async || {
        (gateway.http1().send(get("/")).await.status == 200).then_some(())
    })
    .await;
    until_it_is(&gateway, None, "closed").await;
}

#[tokio::test]
async fn clients_who_take_their_time_cannot_keep_it_half_open() {
    let (shop, fails) = switched();
    let gateway = Gateway::draft(&toml(
        "endpoints = [\"$shop\"]\nbreaker = { min_requests = 1, open_for = \"100ms\", probes = 2 }\nendpoint_breaker = { min_requests = 1, open_for = \"100ms\", probes = 2 }",
    ))
    .with("shop", &shop)
    .start()
    .await;
    assert_eq!(gateway.http1().send(get("/")).await.status, 500);
    fails.store(false, Ordering::SeqCst);
    until_it_is(&gateway, None, "half_open").await;
    until_it_is(&gateway, Some(&shop), "half_open").await;
    // They have both places, and say no more for as long as they may.
    let mut slow = Vec::new();
    for number in 0..2 {
        let mut client = RawClient::connect(gateway.address()).await;
        client
            .send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx")
            .await;
        slow.push(client);
        eventually("the probe is under way", async || {
            let shown = super::outliers::shown(&gateway, &shop.to_string()).await;
            (shown["in_flight"] == number + 1).then_some(())
        })
        .await;
    }
    let refused = gateway.http1().send(get("/")).await;
    refused.assert_problem(503, "circuit_open");
    eventually("others are let in", async || {
        (gateway.http1().send(get("/")).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(gateway.http1().send(get("/")).await.status, 200);
    until_it_is(&gateway, None, "closed").await;
    until_it_is(&gateway, Some(&shop), "closed").await;
    drop(slow);
}

#[tokio::test]
async fn slow_calls_open_it_too() {
    let shop = Origin::serving(Protocol::Http1, |_| async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        text("slow")
    });
    let gateway = Gateway::draft(&toml(
        "endpoints = [\"$shop\"]\nbreaker = { slow_call = \"50ms\", min_requests = 3, open_for = \"1m\" }",
    ))
    .with("shop", &shop)
    .start()
    .await;
    let client = gateway.http1();
    for _ in 0..3 {
        assert_eq!(client.send(get("/")).await.status, 200);
    }
    client
        .send(get("/"))
        .await
        .assert_problem(503, "circuit_open");
    let shown = breaker(&gateway, None).await;
    assert_eq!((&shown["tries"], &shown["slow"]), (&3.into(), &3.into()));
}

#[tokio::test]
async fn an_endpoint_is_left_alone_by_itself() {
    let (sick, fails) = switched();
    let well = Origin::http1(|_| text("other"));
    let gateway = Gateway::draft(&toml(
        "endpoints = [\"$sick\", \"$well\"]\nendpoint_breaker = { min_requests = 3, open_for = \"700ms\", probes = 1 }",
    ))
    .with("sick", &sick)
    .with("well", &well)
    .start()
    .await;
    let client = gateway.http1();
    eventually("it is open", async || {
        client.send(get("/")).await;
        let shown = super::outliers::shown(&gateway, &sick.to_string()).await;
        (shown["healthy"] == false).then_some(())
    })
    .await;
    let shown = super::outliers::shown(&gateway, &sick.to_string()).await;
    assert_eq!(
        (&shown["breaker"], &shown["out"][0]["kind"]),
        (&"open".into(), &"breaker".into())
    );
    for _ in 0..20 {
        let answer = client.send(get("/")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "other"));
    }
    fails.store(false, Ordering::SeqCst);
    until_it_is(&gateway, Some(&sick), "half_open").await;
    eventually("it is asked again", async || {
        (client.send(get("/")).await.text() == "well").then_some(())
    })
    .await;
    until_it_is(&gateway, Some(&sick), "closed").await;
}

/// More than are chosen one after the other before all are looked at.
#[tokio::test]
async fn each_of_many_half_open_endpoints_is_found() {
    const COUNT: usize = 24;
    let (fails, gate) = (Arc::new(AtomicBool::new(true)), Arc::new(Semaphore::new(0)));
    let origins = [(); COUNT].map(|()| {
        let (fails, gate) = (fails.clone(), gate.clone());
        Origin::serving(Protocol::Http1, move |_| {
            let (fails, gate) = (fails.load(Ordering::SeqCst), gate.clone());
            async move {
                if fails {
                    return status(500);
                }
                gate.acquire().await.expect("it is open").forget();
                text("well")
            }
        })
    });
    let endpoints = origins.each_ref().map(|it| format!("\"{it}\"")).join(", ");
    let rules = "endpoint_breaker = { min_requests = 1, open_for = \"2s\", probes = 1 }";
    let toml = toml(&format!("endpoints = [{endpoints}]\n{rules}"));
    let gateway = Gateway::draft(&toml).start().await;
    let client = Arc::new(gateway.http2());
    let ask = || {
        let client = client.clone();
        tokio::spawn(async move { client.send(get("/")).await.status })
    };
    // They take turns, so each has one of these.
    for asked in [(); COUNT].map(|()| ask()) {
        assert_eq!(asked.await.expect("no panic"), 500);
    }
    fails.store(false, Ordering::SeqCst);
    for origin in &origins {
        until_it_is(&gateway, Some(origin), "half_open").await;
    }
    let probes = [(); COUNT].map(|()| ask());
    eventually("each has its probe", async || {
        origins.iter().all(|it| it.seen().len() == 2).then_some(())
    })
    .await;
    client
        .send(get("/"))
        .await
        .assert_problem(503, "circuit_open");
    gate.add_permits(COUNT);
    for probe in probes {
        assert_eq!(probe.await.expect("no panic"), 200);
    }
}

#[tokio::test]
async fn an_operator_holds_breakers() {
    let shop = Origin::http1(|_| text("ok"));
    let other = Origin::http1(|_| text("other"));
    let draft = |more: &str, rules: &str| {
        let upstream = format!(
            "endpoints = [\"$shop\", \"$other\"]\nbreaker = {rules}\nendpoint_breaker = {rules}\n"
        );
        Gateway::draft(&toml(&format!("{upstream}{more}")))
            .with("shop", &shop)
            .with("other", &other)
    };
    let mut gateway = draft("", "{}").start().await;
    let client = gateway.http1();
    let order = async |gateway: &Gateway, target: &str| {
        gateway
            .admin(post(&format!("/breakers/{target}"), ""))
            .await
    };
    let held = order(&gateway, "shop/open").await.json();
    assert_eq!(
        (&held["state"], &held["held"]),
        (&"open".into(), &true.into())
    );
    let answer = client.send(get("/")).await;
    answer.assert_problem(503, "circuit_open");
    assert_eq!(answer.header("retry-after"), Some("5"));
    // It is held whatever is defined anew, around it and of itself.
    for (more, rules) in [
        ("timeouts = { first_byte = \"7s\" }", "{}"),
        (
            "",
            "{ failure_ratio = \"70%\", window = \"3s\", open_for = \"5s\" }",
        ),
        ("", "{}"),
    ] {
        draft(more, rules).apply(&mut gateway).await.unwrap();
        client
            .send(get("/"))
            .await
            .assert_problem(503, "circuit_open");
        assert_eq!(breaker(&gateway, None).await["held"], true);
    }
    let released = order(&gateway, "shop/release").await.json();
    assert_eq!(
        (&released["state"], &released["held"]),
        (&"half_open".into(), &false.into())
    );
    assert_eq!(client.send(get("/")).await.status, 200);

    let endpoint = format!("endpoint={other}");
    order(&gateway, &format!("shop/open?{endpoint}")).await;
    draft("", "{ probes = 1 }")
        .apply(&mut gateway)
        .await
        .unwrap();
    assert_eq!(breaker(&gateway, Some(&other)).await["held"], true);
    draft("", "{}").apply(&mut gateway).await.unwrap();
    assert_eq!(breaker(&gateway, Some(&other)).await["held"], true);
    assert_eq!(breaker(&gateway, Some(&shop)).await["held"], false);
    order(&gateway, &format!("shop/release?{endpoint}")).await;
    let until = northgate::text::Timestamp::from_unix(northgate::text::Timestamp::now().unix() + 2);
    let target = format!("shop/open?{endpoint}&expires={}", until.unwrap());
    let held = order(&gateway, &target).await.json();
    assert_eq!(held["until"], until.unwrap().to_string());
    for _ in 0..10 {
        assert_eq!(client.send(get("/")).await.text(), "ok");
    }
    // What is held ends by itself.
    eventually("both again", async || {
        (client.send(get("/")).await.text() == "other").then_some(())
    })
    .await;

    for (target, status, words) in [
        (
            "shop/release",
            409,
            "nobody holds the breaker of upstream shop",
        ),
        ("shp/open", 404, "did you mean \\\"shop\\\"?"),
        ("shop/open?endpoint=127.0.0.1:1", 404, "it has 127.0.0.1:"),
        ("shop/explode", 404, "open, close or release"),
        ("shop/open?expires=yesterday", 400, "expires"),
        ("shop/open?expires=2000-01-01", 400, "in the future"),
        ("shop/open?for=1h", 400, "says nothing here"),
        ("shop/release?expires=2999-01-01", 400, "31 days"),
    ] {
        let answer = order(&gateway, target).await;
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
        assert!(answer.text().contains(words), "{target}: {}", answer.text());
    }
}

#[tokio::test]
async fn what_has_no_breaker_says_how_to_get_one() {
    let shop = Origin::http1(|_| text("ok"));
    let gateway = Gateway::draft(&toml("endpoints = [\"$shop\"]"))
        .with("shop", &shop)
        .start()
        .await;
    assert_eq!(gateway.admin(get("/breakers")).await.text(), "[]");
    let answer = gateway.admin(post("/breakers/shop/open", "")).await;
    assert_eq!(answer.status, 404);
    assert!(
        answer
            .text()
            .contains("add breaker = {} to [upstreams.shop]")
    );
}

#[tokio::test]
async fn held_closed_it_stays_closed() {
    let (shop, _) = switched();
    let gateway = Gateway::draft(&toml(
        "endpoints = [\"$shop\"]\nbreaker = { min_requests = 1 }",
    ))
    .with("shop", &shop)
    .start()
    .await;
    gateway.admin(post("/breakers/shop/close", "")).await;
    let client = gateway.http1();
    for _ in 0..10 {
        assert_eq!(client.send(get("/")).await.status, 500);
    }
    assert_eq!(shop.seen().len(), 10);
}
