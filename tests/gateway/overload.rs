//! `[gateway.overload]` and `criticality`.

use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use crate::harness::frames::{self, FrameClient};
use crate::harness::tokens::{Signer, from_now, jwks};
use crate::harness::*;

/// A route for each class whose requests are answered, and one whose requests are held.
fn draft(overload: &str) -> Draft {
    let route = |class: &str| {
        format!(
            "[routes.{class}]\nmatch = {{ path = \"/{class}\" }}\nrespond = {{ body = \"ok\" }}\n\
             criticality = \"{class}\"\n"
        )
    };
    let routes: String = ["low", "normal", "high", "critical"].map(route).concat();
    Gateway::draft(&format!(
        "[gateway]\n{overload}\n[upstreams.held]\nendpoints = [\"$held\"]\n\
         [routes.held]\nmatch = {{ path = \"/held\" }}\nupstream = \"held\"\ncriticality = \"critical\"\n\
         [routes.locked]\nmatch = {{ path = \"/locked\" }}\nrespond = {{ body = \"ok\" }}\n\
         criticality = \"low\"\npolicies.basic = {{}}\n{routes}"
    ))
}

/// The status of a request of each class, from the least.
async fn statuses(client: &Client) -> [u16; 4] {
    let mut statuses = [0; 4];
    let paths = ["/low", "/normal", "/high", "/critical"];
    for (status, path) in statuses.iter_mut().zip(paths) {
        *status = client.send(get(path)).await.status;
    }
    statuses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_matters_less_is_refused_first_and_comes_back() {
    let gate = Arc::new(Semaphore::new(0));
    let wait = gate.clone();
    let held = Origin::serving(Protocol::Http1, move |_| {
        let gate = wait.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            text("ok")
        }
    });
    // What a busy machine does to the other two measures is not what is tested here.
    let on = "overload = { max_in_flight = 2, max_lag = \"1m\", max_cpu_percent = 100 }";
    let mut gateway = draft(on).with("held", &held).start().await;
    let client = Arc::new(gateway.http2());
    assert_eq!(statuses(&client).await, [200; 4]);
    let asking = || {
        let client = client.clone();
        tokio::spawn(async move { client.send(get("/held")).await })
    };
    let in_flight = [asking(), asking()];
    // Who was refused when for the first time.
    let (mut first, mut looks) = ([None; 4], 0);
    eventually("all but what is critical is refused", async || {
        looks += 1;
        for (first, status) in first.iter_mut().zip(statuses(&client).await) {
            if status == 503 {
                first.get_or_insert(looks);
            }
        }
        first[2].map(|_: i32| ())
    })
    .await;
    assert!(
        first[0].is_some() && first[0] <= first[1] && first[1] <= first[2],
        "{first:?}"
    );
    assert_eq!(first[3], None);
    eventually("the highest level", async || {
        let metrics = gateway.metrics().await;
        metrics
            .contains("northgate_overload_level 3\n")
            .then_some(())
    })
    .await;
    assert_eq!(statuses(&client).await, [503, 503, 503, 200]);
    let refused = client.send(get("/low")).await;
    let problem = refused.json();
    let kind = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";
    assert_eq!(
        (&problem["type"], &problem["code"]),
        (&kind.into(), &"overloaded".into())
    );
    let later: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=4).contains(&later), "{later}");
    assert_eq!(gateway.log_of(&refused).await["flag"], "OM");
    // It is said before anybody is asked who calls.
    assert_eq!(client.send(get("/locked")).await.status, 503);
    let call = get("/normal").header("content-type", "application/grpc");
    assert_eq!(client.send(call).await.header("grpc-status"), Some("14"));
    let metrics = gateway.metrics().await;
    for line in [
        "northgate_overload_in_flight 2\n",
        "northgate_overload_shed_total{class=\"high\"}",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    // What is switched off refuses nobody, whatever is in flight.
    draft("")
        .with("held", &held)
        .apply(&mut gateway)
        .await
        .unwrap();
    assert_eq!(statuses(&client).await, [200; 4]);
    assert_eq!(client.send(get("/locked")).await.status, 401);
    // And its metrics do not say for ever what it was like.
    let metrics = gateway.metrics().await;
    for name in ["level", "in_flight", "lag_seconds", "cpu_ratio"] {
        let line = format!("northgate_overload_{name} 0\n");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    draft(on)
        .with("held", &held)
        .apply(&mut gateway)
        .await
        .unwrap();
    eventually("it is on again", async || {
        (statuses(&client).await[0] == 503).then_some(())
    })
    .await;
    gate.add_permits(2);
    for answer in in_flight {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    eventually("all are served again", async || {
        (statuses(&client).await == [200; 4]).then_some(())
    })
    .await;
}

/// What makes no work is not in flight: open tunnels, and refusals that their clients do not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_work_does_not_count() {
    let shop = RawOrigin::serving(|mut stream, _| async move {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        let switched =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        stream
            .write_all(switched.as_bytes())
            .await
            .expect("it reads");
        let _ = stream.read(&mut request).await;
    });
    let gateway = Gateway::draft(
        r#"
        [gateway]
        overload = { max_in_flight = 2, max_lag = "1m", max_cpu_percent = 100 }

        [upstreams.shop]
        endpoints = ["$shop"]

        [routes.chat]
        match = { path = "/chat" }
        upstream = "shop"
        criticality = "critical"

        [routes.low]
        match = { path = "/low" }
        respond = { body = "ok" }
        criticality = "low"
        "#,
    )
    .with("shop", &shop)
    .start()
    .await;
    let passive = async |expected: i64| {
        let line =
            format!("northgate_passive_requests{{northgate_listener=\"public\"}} {expected}\n");
        eventually(&line, async || {
            gateway.metrics().await.contains(&line).then_some(())
        })
        .await;
    };
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut client = RawClient::connect(gateway.address()).await;
        let upgrade =
            "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        client.send(upgrade).await;
        client.read_until("\r\n\r\n").await;
        open.push(client);
    }
    passive(4).await;
    // A window of nothing: what it is answered cannot be sent.
    let mut silent = FrameClient::connect(gateway.address(), &[(4, 0)]).await;
    for stream in [1, 3, 5, 7] {
        silent.send_frame(frames::ask(stream, "/nowhere")).await;
    }
    passive(8).await;
    let client = gateway.http1();
    let measured = "northgate_overload_in_flight 0\n";
    for _ in 0..3 {
        assert_eq!(client.send(get("/low")).await.status, 200);
        eventually(measured, async || {
            gateway.metrics().await.contains(measured).then_some(())
        })
        .await;
    }
    assert!(
        gateway
            .metrics()
            .await
            .contains("northgate_overload_level 0\n")
    );
    drop((open, silent));
    passive(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_measured_is_shown() {
    let held = Origin::http1(|_| text("ok"));
    let on = "overload = { max_lag = \"1m\", max_cpu_percent = 100 }";
    let gateway = draft(on).with("held", &held).start().await;
    let client = gateway.http1();
    eventually("some of the processors are used", async || {
        for _ in 0..20 {
            client.send(get("/normal")).await;
        }
        let metrics = gateway.metrics().await;
        let value = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse::<f64>().ok())
        };
        let used = value("northgate_overload_cpu_ratio ").unwrap_or_default();
        (used > 0.0 && used <= 1.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_lesser_plans_go_first() {
    const GATEWAY: &str = r#"
        [gateway]
        overload = { max_in_flight = 10, max_lag = "1m", max_cpu_percent = 100 }

        [identity.jwt.main]
        issuer = "https://id.test/"
        audiences = ["shop"]
        jwks = { inline = '$jwks' }
        claims = { plan = "tier" }

        [plans.free]
        criticality = "low"

        [plans.gold]
        criticality = "critical"

        [upstreams.held]
        endpoints = ["$held"]

        [routes.held]
        match = { path = "/held" }
        upstream = "held"
        criticality = "critical"

        [routes.order]
        match = { path = "/order" }
        respond = { status = 200 }
        criticality = "high"
        policies.jwt = {}
    "#;
    let signer = Signer::new("EdDSA", "k");
    let held = Origin::serving(Protocol::Http1, |_| std::future::pending());
    let gateway = Gateway::draft(GATEWAY)
        .with("jwks", jwks([&signer]))
        .with("held", &held)
        .start()
        .await;
    let client = Arc::new(gateway.http2());
    let ask = |tier: &str| {
        let claims = json!({
            "iss": "https://id.test/", "aud": "shop", "sub": "someone", "tier": tier, "exp": from_now(300),
        });
        let token = signer.token(&claims);
        client.send(get("/order").header("authorization", &format!("Bearer {token}")))
    };
    assert_eq!(ask("free").await.status, 200);
    for _ in 0..10 {
        let client = client.clone();
        tokio::spawn(async move { client.try_send(get("/held")).await });
    }
    eventually("one of them is refused", async || {
        (ask("free").await.status == 503).then_some(())
    })
    .await;
    // Of this route nobody is refused yet for what the route is.
    assert_eq!(ask("gold").await.status, 200);
    // And nobody matters more than the route.
    eventually("the other one as well", async || {
        (ask("gold").await.status == 503).then_some(())
    })
    .await;
}
