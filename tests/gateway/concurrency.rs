//! `concurrency`.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

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
async fn who_waits_has_its_turn() {
    let (gate, shop) = held(Protocol::Http1);
    let queue = ", queue = { size = 1, timeout = \"1m\" }";
    let gateway = draft(&shop, Protocol::Http1, queue).start().await;
    let client = Arc::new(gateway.http2());
    let mut answers = vec![asking(&client, "/acme/1"), asking(&client, "/acme/2")];
    in_flight(&shop, 2).await;
    // One of these two waits, and the other has no place to.
    let (one, other) = (asking(&client, "/acme/3"), asking(&client, "/acme/4"));
    let (refused, waiting) = tokio::select! {
        refused = one => (refused.unwrap(), None),
        refused = other => (refused.unwrap(), None::<()>),
    };
    assert_eq!(waiting, None);
    refused.assert_problem(429, "concurrency_exceeded");
    gate.add_permits(3);
    for answer in answers.drain(..) {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    in_flight(&shop, 3).await;
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
    let limit = "northgate_limit=\"plans.concurrency by client\"";
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
