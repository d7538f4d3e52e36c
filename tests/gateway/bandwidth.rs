//! `bandwidth`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::harness::tokens::{Signer, from_now, jwks};
use crate::harness::*;

fn draft(shop: &Origin, pair: Protocol, policy: &str) -> Draft {
    Gateway::draft(
        r#"
        [upstreams.shop]
        endpoints = ["$shop"]
        protocol = "$protocol"
        timeouts = { first_byte = "400ms", idle = "400ms" }

        [routes.shop]
        match = { path = "/{tenant}" }
        upstream = "shop"
        policies.bandwidth = { by = ["path:tenant"], $policy }
        "#,
    )
    .with("shop", shop)
    .with("protocol", pair)
    .with("policy", policy)
}

const KIB: usize = 1024;

#[tokio::test]
async fn responses_are_slowed_down_and_arrive_whole() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |seen| match seen.target.as_str() {
            "/small" => text(vec![b'.'; 64 * KIB]),
            _ => text(vec![b'.'; 192 * KIB]),
        });
        let policy = "response = \"64KiB\"";
        let gateway = draft(&shop, pair.origin, policy).start().await;
        let client = gateway.client(pair.client);
        // The burst.
        let begin = Instant::now();
        assert_eq!(client.send(get("/small")).await.body.len(), 64 * KIB);
        assert!(begin.elapsed() < Duration::from_millis(900));
        // Two seconds beyond it, and longer than the upstream may be silent.
        let begin = Instant::now();
        assert_eq!(client.send(get("/large")).await.body.len(), 192 * KIB);
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(1900), "{took:?}");
        assert!(took < Duration::from_secs(8), "{took:?}");
        // Other callers and other bodies have bursts of their own.
        let begin = Instant::now();
        let answer = client.send(post("/other", vec![b'.'; 64 * KIB])).await;
        assert_eq!(answer.body.len(), 192 * KIB);
        assert!(begin.elapsed() >= Duration::from_millis(1900));
    })
    .await;
}

#[tokio::test]
async fn requests_are_slowed_down_and_arrive_whole() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |seen| text(seen.body.len().to_string()));
        let policy = "request = \"64KiB\"";
        let gateway = draft(&shop, pair.origin, policy).start().await;
        let client = gateway.client(pair.client);
        let begin = Instant::now();
        let answer = client.send(post("/large", vec![b'.'; 192 * KIB])).await;
        assert_eq!(answer.text(), (192 * KIB).to_string());
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(1900), "{took:?}");
        assert!(took < Duration::from_secs(8), "{took:?}");
        let begin = Instant::now();
        let answer = client.send(post("/other", vec![b'.'; 32 * KIB])).await;
        assert_eq!(answer.text(), (32 * KIB).to_string());
        assert!(begin.elapsed() < Duration::from_millis(900));
    })
    .await;
}

/// A body larger than everything that is held of one on the way.
const LARGE: usize = 4096 * KIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_wait_take_nothing_from_others_on_their_connection() {
    let large = Bytes::from(vec![b'.'; LARGE]);
    let shop = Origin::speaking(Protocol::H2, move |seen| match seen.target.as_str() {
        "/free/page" => text(large.slice(..512 * KIB)),
        _ => text(large.clone()),
    });
    let gateway = Gateway::draft(
        r#"
        [upstreams.shop]
        endpoints = ["$shop"]
        protocol = "h2c"

        [routes.slow]
        match = { path = "/slow/{tenant}" }
        upstream = "shop"
        policies.bandwidth = { by = ["path:tenant"], response = "16KiB" }

        [routes.free]
        match = { path = "/free/{page}" }
        upstream = "shop"
        "#,
    )
    .with("shop", &shop)
    .start()
    .await;
    let client = gateway.http1();
    assert_eq!(client.send(get("/free/page")).await.body.len(), 512 * KIB);
    let client = Arc::new(client);
    let mut opening = JoinSet::new();
    for number in 0..40 {
        let (client, ask) = (client.clone(), get(&format!("/slow/{number}")));
        opening.spawn(async move { client.open(ask).await });
        // Of several at once one may find the connection taken by another, which is about to give it back, and have another
        // one made.
        eventually("the origin has the request", async || {
            (shop.seen().len() == number + 2).then_some(())
        })
        .await;
    }
    let paused = within("they have begun", opening.join_all()).await;
    // Each time, what the origin may still send of the others has come a bit further.
    for _ in 0..10 {
        assert_eq!(client.send(get("/free/page")).await.body.len(), 512 * KIB);
    }
    assert_eq!(shop.connections(), 1, "all of it was on one connection");
    drop(paused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_wait_take_nothing_from_others_on_their_connection() {
    let shop = Origin::http1(|seen| text(seen.body.len().to_string()));
    let gateway = Gateway::draft(
        r#"
        [upstreams.shop]
        endpoints = ["$shop"]

        [routes.slow]
        match = { path = "/slow/{tenant}" }
        upstream = "shop"
        policies.bandwidth = { by = ["path:tenant"], request = "4KiB" }

        [routes.free]
        match = { path = "/free" }
        upstream = "shop"
        "#,
    )
    .with("shop", &shop)
    .start()
    .await;
    let client = Arc::new(gateway.http2());
    let mut slow = JoinSet::new();
    for number in 0..40 {
        let ask = post(&format!("/slow/{number}"), vec![b'.'; LARGE]);
        let client = client.clone();
        slow.spawn(async move { client.send(ask).await });
    }
    let active = "http_server_active_requests{northgate_listener=\"public\"} 40\n";
    eventually("they have begun", async || {
        gateway.metrics().await.contains(active).then_some(())
    })
    .await;
    // Each time, what the client may still send of the others has gone a bit further.
    for _ in 0..10 {
        let answer = client.send(post("/free", vec![b'.'; 512 * KIB])).await;
        assert_eq!(answer.text(), (512 * KIB).to_string());
    }
    let metrics = gateway.metrics().await;
    assert!(metrics.contains(active), "they are still there: {metrics}");
}

/// The parts of a response are as its caller's own plan has them, and not as the slowest has.
#[tokio::test]
async fn nobodys_parts_are_those_of_a_slower_plan() {
    let shop = Origin::http1(|_| text(vec![b'.'; 64 * KIB]));
    let signer = Signer::new("EdDSA", "k");
    let gateway = Gateway::draft(
        r#"
        [identity.jwt.main]
        issuer = "https://id.test/"
        audiences = ["shop"]
        jwks = { inline = '$jwks' }
        claims = { plan = "tier" }

        [plans.free]
        bandwidth = { response = "4KiB" }

        [plans.gold]
        bandwidth = { response = "1GiB" }

        [upstreams.shop]
        endpoints = ["$shop"]

        [routes.shop]
        match = { path = "/" }
        upstream = "shop"
        policies = { jwt = {}, bandwidth = {} }
        "#,
    )
    .with("shop", &shop)
    .with("jwks", jwks([&signer]))
    .start()
    .await;
    let client = gateway.http2();
    let largest = async |tier: &str| {
        let claims = json!({
            "iss": "https://id.test/", "aud": "shop", "sub": tier, "exp": from_now(300), "tier": tier,
        });
        let token = format!("Bearer {}", signer.token(&claims));
        let mut incoming = client.open(get("/").header("authorization", &token)).await;
        let mut parts = Vec::new();
        while parts.iter().sum::<usize>() < 5 * KIB {
            parts.push(incoming.chunk().await.expect("there is more").len());
        }
        parts.into_iter().max()
    };
    assert!(largest("gold").await > Some(KIB));
    assert_eq!(largest("free").await, Some(KIB));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_while_a_body_waits_is_noticed() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |_| text(vec![b'.'; LARGE]));
        let gateway = draft(&shop, pair.origin, "response = \"16KiB\"")
            .start()
            .await;
        let client = gateway.client(pair.client);
        let mut leaving = client.open(get("/large")).await;
        leaving.chunk().await;
        let active = "http_server_active_requests{northgate_listener=\"public\"} ";
        assert!(gateway.metrics().await.contains(&format!("{active}1\n")));
        drop((leaving, client));
        eventually("it is over", async || {
            let metrics = gateway.metrics().await;
            metrics.contains(&format!("{active}0\n")).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_behind_more_than_flows_in_a_minute() {
    over_each_pair(|pair| async move {
        let shop = Origin::speaking(pair.origin, |seen| text(seen.body.len().to_string()));
        let policy = "request = \"2KiB\"";
        let gateway = draft(&shop, pair.origin, policy).start().await;
        let client = Arc::new(gateway.client(pair.client));
        let mut asked = JoinSet::new();
        for _ in 0..40 {
            let client = client.clone();
            let ask = post("/busy", vec![b'.'; 16 * KIB]);
            asked.spawn(async move { client.send(ask).await });
        }
        let refused = within("one is refused", asked.join_next()).await;
        let refused = refused.expect("some were asked").expect("no panic");
        refused.assert_problem(429, "bandwidth_exceeded");
        assert_comes_again(&refused);
        let line = gateway.log_of(&refused).await;
        assert_eq!(
            (&line["flag"], &line["fault"]),
            (&"RL".into(), &"client".into())
        );
        asked.abort_all();
        // Others wait for nobody.
        let answer = client.send(post("/other", vec![b'.'; KIB])).await;
        assert_eq!(answer.status, 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_would_wait_for_too_long_is_none() {
    let shop = Origin::http1(|_| text(vec![b'.'; 64 * KIB]));
    let gateway = draft(&shop, Protocol::Http1, "response = \"1KiB\"")
        .start()
        .await;
    let clients = [gateway.http2(), gateway.http2()].map(Arc::new);
    let mut asked = JoinSet::new();
    for number in 0..160 {
        let client = clients[number % 2].clone();
        asked.spawn(async move { client.try_send(get("/busy")).await });
    }
    let refused = within("one is refused", asked.join_next()).await;
    let refused = refused.expect("some were asked").expect("no panic");
    let refused = refused.expect("an answer");
    refused.assert_problem(429, "bandwidth_exceeded");
    assert_comes_again(&refused);
}

/// It is said when there may be room, which is not in more than the time of the part that was let through last.
fn assert_comes_again(refused: &Answer) {
    let later: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=64).contains(&later), "{later}");
}

#[tokio::test]
async fn tunnels_are_not_slowed_down() {
    let shop = RawOrigin::serving(|mut stream, _| async move {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        let switched =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        let all = [switched.as_bytes(), &[b'.'; 256 * KIB]].concat();
        stream.write_all(&all).await.expect("it reads");
    });
    let gateway = Gateway::draft(
        r#"
        [upstreams.shop]
        endpoints = ["$shop"]

        [routes.chat]
        match = { path = "/chat" }
        upstream = "shop"
        policies.bandwidth = { by = "all", request = "1KiB", response = "1KiB" }
        "#,
    )
    .with("shop", &shop)
    .start()
    .await;
    let mut client = RawClient::connect(gateway.address()).await;
    let upgrade =
        "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    client.send(upgrade).await;
    client.read_until("\r\n\r\n").await;
    let mut all = vec![0; 256 * KIB];
    let reading = client.stream.read_exact(&mut all);
    within("all of it", reading).await.expect("all of it");
}
