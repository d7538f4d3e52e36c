//! `concurrency`.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::harness::tokens::{Signer, from_now, jwks};
use crate::harness::*;

const GATEWAY: &str = r#"
    [upstreams.shop]
    endpoints = ["$shop"]
    protocol = "$protocol"

    [routes.shop]
    match = { path = "/{tenant}/{*rest}" }
    upstream = "shop"
    policies.concurrency = { by = ["path:tenant"], limit = 2 $queue }
"#;

fn held(protocol: Protocol) -> (Arc<Semaphore>, Origin) {
    let gate = Arc::new(Semaphore::new(0));
    let wait = gate.clone();
    let origin = Origin::serving(protocol, move |seen| {
        let gate = wait.clone();
        async move {
            if !seen.target.ends_with("/quick") {
                gate.acquire().await.unwrap().forget();
            }
            text(seen.target)
        }
    });
    (gate, origin)
}

fn draft(shop: &Origin, protocol: Protocol, queue: &str) -> Draft {
    Gateway::draft(GATEWAY)
        .with("shop", shop)
        .with("protocol", protocol)
        .with("queue", queue)
}

fn asking(client: &Arc<Client>, target: &str) -> JoinHandle<Answer> {
    let (client, ask) = (client.clone(), get(target));
    tokio::spawn(async move { client.send(ask).await })
}

const LIMIT: &str = "routes.shop.policies.concurrency";

/// Until the gateway says that so many requests are in flight, so many wait, and of so many callers.
async fn places(gateway: &Gateway, limit: &str, counts: [u32; 3]) {
    let states = ["in_flight", "waiting", "keys"].into_iter().zip(counts);
    let line = |(state, count)| {
        format!(
            "northgate_concurrency_places{{northgate_limit=\"{limit}\",state=\"{state}\"}} {count}\n"
        )
    };
    let lines: Vec<String> = states.map(line).collect();
    eventually(&lines.concat(), async || {
        let metrics = gateway.metrics().await;
        lines
            .iter()
            .all(|line| metrics.contains(line))
            .then_some(())
    })
    .await;
}

async fn in_flight(shop: &Origin, count: usize) {
    eventually(&format!("{count} at the origin"), async || {
        (shop.seen().len() >= count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_has_so_many_at_a_time_and_others_do_not_notice() {
    over_each_pair(|pair| async move {
        let (gate, shop) = held(pair.origin);
        let gateway = draft(&shop, pair.origin, "").start().await;
        let client = Arc::new(gateway.client(pair.client));
        let first = [asking(&client, "/acme/1"), asking(&client, "/acme/2")];
        in_flight(&shop, 2).await;
        let refused = client.send(get("/acme/quick")).await;
        refused.assert_problem(429, "concurrency_exceeded");
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert_eq!(gateway.log_of(&refused).await["flag"], "RL");
        let call = get("/acme/quick").header("content-type", "application/grpc");
        assert_eq!(client.send(call).await.header("grpc-status"), Some("8"));
        assert_eq!(client.send(get("/other/quick")).await.status, 200);
        gate.add_permits(2);
        for answer in first {
            assert_eq!(answer.await.unwrap().status, 200);
        }
        eventually("there is room again", async || {
            (client.send(get("/acme/quick")).await.status == 200).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_is_charged_for_nothing() {
    let (gate, shop) = held(Protocol::Http1);
    let limits = "}\npolicies.rate_limit = { by = [\"path:tenant\"], rate = \"1/h\", burst = 3 }\n\
                  policies.quota = { by = [\"path:tenant\"], requests = 3, per = \"month\"";
    let gateway = draft(&shop, Protocol::Http1, limits).start().await;
    let client = Arc::new(gateway.http2());
    let first = [asking(&client, "/acme/1"), asking(&client, "/acme/2")];
    in_flight(&shop, 2).await;
    for _ in 0..5 {
        let refused = client.send(get("/acme/quick")).await;
        refused.assert_problem(429, "concurrency_exceeded");
    }
    gate.add_permits(2);
    for answer in first {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    places(&gateway, LIMIT, [0, 0, 0]).await;
    assert_eq!(
        client.send(get("/acme/quick")).await.status,
        200,
        "the third"
    );
    let refused = client.send(get("/acme/quick")).await;
    refused.assert_problem(429, "rate_limited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_has_its_turn() {
    let (gate, shop) = held(Protocol::Http1);
    let queue = ", queue = { size = 1, timeout = \"1m\" }";
    let gateway = draft(&shop, Protocol::Http1, queue).start().await;
    let client = Arc::new(gateway.http2());
    let answers = [asking(&client, "/acme/1"), asking(&client, "/acme/2")];
    in_flight(&shop, 2).await;
    let third = asking(&client, "/acme/3");
    places(&gateway, LIMIT, [2, 1, 1]).await;
    let refused = client.send(get("/acme/4")).await;
    refused.assert_problem(429, "concurrency_exceeded");
    assert_eq!(shop.seen().len(), 2, "the third waits");
    gate.add_permits(1);
    in_flight(&shop, 3).await;
    places(&gateway, LIMIT, [2, 0, 1]).await;
    gate.add_permits(2);
    for answer in answers.into_iter().chain([third]) {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    places(&gateway, LIMIT, [0, 0, 0]).await;
    let targets: Vec<String> = shop.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets[2], "/acme/3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_in_whatever_way_counts_no_more() {
    let (_gate, shop) = held(Protocol::Http1);
    let gateway = draft(&shop, Protocol::Http1, "").start().await;
    for round in 1..=5 {
        let client = Arc::new(gateway.http2());
        let leaving = [asking(&client, "/acme/1"), asking(&client, "/acme/2")];
        in_flight(&shop, 2 * round).await;
        leaving.iter().for_each(JoinHandle::abort);
        drop(client);
        let client = gateway.http1();
        eventually("there is room again", async || {
            let answer = client.send(get("/acme/quick")).await;
            (answer.status == 200).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_plan_allows_is_counted_over_all_routes() {
    const GATEWAY: &str = r#"
        [gateway]
        default_plan = "free"
        policies.concurrency = { by = "client" }

        [plans.free]
        concurrency = 2

        [upstreams.shop]
        endpoints = ["$shop"]

        [routes]
        a = { match = { path = "/a/{*rest}" }, upstream = "shop" }
        b = { match = { path = "/b/{*rest}" }, upstream = "shop" }
        own = { match = { path = "/own" }, respond = { status = 200 }, policies.concurrency = { by = "client", limit = 1 } }
    "#;
    let (gate, shop) = held(Protocol::Http1);
    let gateway = Gateway::draft(GATEWAY).with("shop", &shop).start().await;
    let client = Arc::new(gateway.http2());
    let first = [asking(&client, "/a/1"), asking(&client, "/b/1")];
    in_flight(&shop, 2).await;
    for target in ["/a/quick", "/b/quick"] {
        let refused = client.send(get(target)).await;
        refused.assert_problem(429, "concurrency_exceeded");
    }
    assert_eq!(client.send(get("/own")).await.status, 200);
    let metrics = gateway.metrics().await;
    let limit = "northgate_limit=\"plans.free.concurrency by client\"";
    for line in [
        format!("northgate_concurrency_places{{{limit},state=\"in_flight\"}} 2\n"),
        format!("northgate_concurrency_places{{{limit},state=\"keys\"}} 1\n"),
        format!("northgate_concurrency_refused_total{{{limit},reason=\"full\"}} 2\n"),
    ] {
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    gate.add_permits(2);
    for answer in first {
        assert_eq!(answer.await.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_higher_limit_holds_for_those_who_wait() {
    let with = |limit: &str, shop: &Origin| {
        Gateway::draft(&GATEWAY.replace("limit = 2 $queue", limit))
            .with("shop", shop)
            .with("protocol", Protocol::Http1)
    };
    let (gate, shop) = held(Protocol::Http1);
    let queue = "queue = { size = 9, timeout = \"1m\" }";
    let mut gateway = with(&format!("limit = 1, {queue}"), &shop).start().await;
    let client = Arc::new(gateway.http2());
    let first = asking(&client, "/acme/1");
    in_flight(&shop, 1).await;
    let others = [asking(&client, "/acme/2"), asking(&client, "/acme/3")];
    places(&gateway, LIMIT, [1, 2, 1]).await;
    let raised = with(&format!("limit = 2, {queue}"), &shop);
    raised.apply(&mut gateway).await.unwrap();
    // It holds from its first request on, whosever that is.
    assert_eq!(client.send(get("/other/quick")).await.status, 200);
    places(&gateway, LIMIT, [2, 1, 1]).await;
    gate.add_permits(3);
    for answer in others.into_iter().chain([first]) {
        assert_eq!(answer.await.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_one_address_have_what_each_of_them_has_bought() {
    const GATEWAY: &str = r#"
        [gateway]
        policies.jwt = {}
        policies.concurrency = { by = "client" }

        [identity.jwt.main]
        issuer = "https://id.test/"
        audiences = ["shop"]
        jwks = { inline = '$jwks' }
        claims = { plan = "tier" }

        [plans.free]
        concurrency = 1

        [plans.gold]
        concurrency = 3

        [upstreams.shop]
        endpoints = ["$shop"]

        [routes]
        a = { match = { path = "/a/{*rest}" }, upstream = "shop" }
    "#;
    let signer = Signer::new("EdDSA", "k");
    let (gate, shop) = held(Protocol::Http1);
    let gateway = Gateway::draft(GATEWAY)
        .with("shop", &shop)
        .with("jwks", jwks([&signer]))
        .start()
        .await;
    let client = Arc::new(gateway.http2());
    let ask = |target: &str, tier: &str| {
        let claims = json!({
            "iss": "https://id.test/", "aud": "shop", "sub": "someone", "tier": tier, "exp": from_now(300),
        });
        let token = format!("Bearer {}", signer.token(&claims));
        let (client, ask) = (client.clone(), get(target).header("authorization", &token));
        tokio::spawn(async move { client.send(ask).await })
    };
    let gold = [
        ask("/a/1", "gold"),
        ask("/a/2", "gold"),
        ask("/a/3", "gold"),
    ];
    in_flight(&shop, 3).await;
    let free = ask("/a/4", "free");
    in_flight(&shop, 4).await;
    for tier in ["free", "gold"] {
        let refused = ask("/a/quick", tier).await.unwrap();
        refused.assert_problem(429, "concurrency_exceeded");
    }
    places(&gateway, "plans.gold.concurrency by client", [3, 0, 1]).await;
    places(&gateway, "plans.free.concurrency by client", [1, 0, 1]).await;
    gate.add_permits(4);
    for answer in gold.into_iter().chain([free]) {
        assert_eq!(answer.await.unwrap().status, 200);
    }
}
