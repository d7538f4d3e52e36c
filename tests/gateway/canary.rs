//! `ramp` and `guard` of a split's branches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use northgate::text::Timestamp;
use serde_json::Value;

use crate::harness::*;

const GATEWAY: &str = r#"
    [upstreams]
    v1 = { endpoints = ["$one"] }
    v2 = { endpoints = ["$two"] }

    [routes.shop]
    match = { path = "/{*rest}" }
    split = { to = [{ upstream = "v1", weight = 1 }, { upstream = "v2", weight = 1, $rest }] }
"#;

fn draft(one: &Origin, two: impl std::fmt::Display, rest: &str) -> Draft {
    let draft = Gateway::draft(GATEWAY).with("one", one);
    draft.with("two", two).with("rest", rest)
}

async fn shown(gateway: &Gateway) -> Value {
    let all = gateway.admin(get("/canaries")).await.json();
    assert_eq!(all.as_array().map(Vec::len), Some(1), "{all}");
    all[0].clone()
}

/// How many of so many requests this origin gets.
async fn share(gateway: &Gateway, origin: &Origin, requests: usize) -> usize {
    let (client, before) = (gateway.http1(), origin.seen().len());
    for _ in 0..requests {
        client.send(get("/")).await;
    }
    origin.seen().len() - before
}

#[tokio::test]
async fn a_branch_that_fails_is_rolled_back_and_stays_so_until_it_is_reset() {
    let is_well = Arc::new(AtomicBool::new(false));
    let well = is_well.clone();
    let one = Origin::http1(|_| text("v1"));
    let two = Origin::http1(move |_| {
        status(if well.load(Ordering::SeqCst) {
            200
        } else {
            500
        })
    });
    let guard = "guard = { error_ratio = \"50%\", min_requests = 5, window = \"1m\" }";
    let gateway = draft(&one, &two, guard).start().await;
    let client = gateway.http2();
    let before = shown(&gateway).await;
    assert_eq!(
        (&before["rolled_back"], &before["weight"]),
        (&false.into(), &1.0.into())
    );
    eventually("the branch is rolled back", async || {
        client.send(get("/")).await;
        (shown(&gateway).await["rolled_back"] == true).then_some(())
    })
    .await;
    let canary = shown(&gateway).await;
    assert_eq!(
        (&canary["route"], &canary["upstream"]),
        (&"shop".into(), &"v2".into())
    );
    assert_eq!(
        (&canary["requests"], &canary["errors"]),
        (&5.into(), &5.into()),
        "{canary}"
    );
    assert_eq!(canary["weight"], 0.0);
    // Nobody is sent there, also once it is well.
    is_well.store(true, Ordering::SeqCst);
    assert_eq!(share(&gateway, &two, 50).await, 0);
    let metrics = gateway.metrics().await;
    for line in [
        "northgate_canary_rolled_back{http_route=\"shop\",northgate_upstream=\"v2\"} 1\n",
        "northgate_canary_rollbacks_total{http_route=\"shop\",northgate_upstream=\"v2\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let wrong = gateway.admin(post("/canaries/shop/v1/reset", "")).await;
    assert_eq!(wrong.status, 404);
    let reset = gateway.admin(post("/canaries/shop/v2/reset", "")).await;
    assert_eq!(reset.status, 200, "{reset:?}");
    assert_eq!(reset.json()["rolled_back"], false);
    assert_eq!(reset.json()["weight"], 1.0);
    let count = share(&gateway, &two, 100).await;
    // Half of 100, give or take five standard deviations.
    assert!((25..=75).contains(&count), "{count}");
    assert_eq!(shown(&gateway).await["rolled_back"], false);
}

#[tokio::test]
async fn a_verdict_outlives_reloads_for_as_long_as_the_route_says_what_it_said() {
    let one = Origin::http1(|_| text("v1"));
    let two = Origin::http1(|_| status(500));
    let guard = "guard = { error_ratio = \"50%\", min_requests = 3 }";
    let mut gateway = draft(&one, &two, guard).start().await;
    let client = gateway.http1();
    eventually("the branch is rolled back", async || {
        client.send(get("/")).await;
        (shown(&gateway).await["rolled_back"] == true).then_some(())
    })
    .await;
    let other = "[routes.other]\nmatch = { path = \"/o\" }\nrespond = { status = 200 }\n";
    let with_other = Gateway::draft(&format!("{GATEWAY}{other}"))
        .with("one", &one)
        .with("two", &two)
        .with("rest", guard);
    with_other.apply(&mut gateway).await.unwrap();
    assert_eq!(client.send(get("/o")).await.status, 200);
    assert_eq!(shown(&gateway).await["rolled_back"], true);
    assert_eq!(share(&gateway, &two, 30).await, 0);
    let otherwise = draft(&one, &two, &guard.replace("50%", "60%"));
    otherwise.apply(&mut gateway).await.unwrap();
    assert_eq!(shown(&gateway).await["rolled_back"], false);
}

#[tokio::test]
async fn a_branch_that_cannot_be_reached_is_rolled_back() {
    let one = Origin::http1(|_| text("v1"));
    let guard = "guard = { error_ratio = \"50%\", min_requests = 3 }";
    for fallback in ["", "fallback = { upstream = \"v1\" }\n"] {
        let toml = format!("{GATEWAY}{fallback}");
        let gateway = Gateway::draft(&toml)
            .with("one", &one)
            .with("two", free_address())
            .with("rest", guard)
            .start()
            .await;
        let client = gateway.http1();
        eventually("the branch is rolled back", async || {
            let answer = client.send(get("/")).await;
            assert!(fallback.is_empty() || answer.status == 200, "{answer:?}");
            (shown(&gateway).await["rolled_back"] == true).then_some(())
        })
        .await;
        for _ in 0..20 {
            assert_eq!(client.send(get("/")).await.status, 200);
        }
    }
}

#[tokio::test]
async fn a_branch_that_is_slow_is_rolled_back() {
    let one = Origin::http1(|_| text("v1"));
    let two = Origin::serving(Protocol::Http1, |_| async {
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        text("v2")
    });
    let guard = "guard = { latency = \"50ms\", min_requests = 3 }";
    let gateway = draft(&one, &two, guard).start().await;
    let client = gateway.http1();
    eventually("the branch is rolled back", async || {
        client.send(get("/")).await;
        (shown(&gateway).await["rolled_back"] == true).then_some(())
    })
    .await;
    assert_eq!(share(&gateway, &two, 30).await, 0);
}

#[tokio::test]
async fn a_weight_follows_the_clock() {
    let one = Origin::http1(|_| text("v1"));
    let two = Origin::http1(|_| text("v2"));
    let now = Timestamp::now().unix();
    let at = |seconds: i64| Timestamp::from_unix(now.saturating_add_signed(seconds)).unwrap();
    let guard = "guard = { error_ratio = 0.5 }";
    let ramp = |to: u32, start: Timestamp, over: &str| {
        format!(
            "{guard}, ramp = {{ to = {to}, start = \"{start}\", over = \"{over}\", steps = 2 }}"
        )
    };
    for (rest, weight) in [
        // It has not begun, is in its first of two steps, in its second, and over.
        (ramp(9, at(3600), "1h"), 1.0),
        (ramp(9, at(-600), "1h"), 1.0),
        (ramp(9, at(-2400), "1h"), 5.0),
        (ramp(9, at(-7200), "1h"), 9.0),
        (ramp(0, at(-7200), "1h"), 0.0),
    ] {
        let gateway = draft(&one, &two, &rest).start().await;
        assert_eq!(shown(&gateway).await["weight"], weight, "{rest}");
        let due: f64 = 200.0 * weight / (weight + 1.0);
        let count = share(&gateway, &two, 200).await;
        let most = 5.0 * (due * (1.0 - due / 200.0)).sqrt();
        assert!(
            (count as f64 - due).abs() <= most,
            "{count} of {due}: {rest}"
        );
    }
}
