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

/// A branch has handed everything over to one that turns out to be bad, and that is rolled back.
#[tokio::test]
async fn a_rollback_gives_back_what_was_handed_over() {
    let one = Origin::http1(|_| text("v1"));
    let two = Origin::http1(|_| status(500));
    let gateway = Gateway::draft(
        r#"
        [upstreams]
        v1 = { endpoints = ["$one"] }
        v2 = { endpoints = ["$two"] }
        [routes.shop]
        match = { path = "/{*rest}" }
        split.to = [
            { upstream = "v1", weight = 100, ramp = { to = 0, start = "2020-01-01T00:00:00Z", over = "1h" } },
            { upstream = "v2", weight = 0, ramp = { to = 100, start = "2020-01-01T00:00:00Z", over = "1h" }, guard = { error_ratio = "50%", min_requests = 3 } },
        ]
        "#,
    )
    .with("one", &one)
    .with("two", &two)
    .start()
    .await;
    let client = gateway.http1();
    for _ in 0..3 {
        assert_eq!(client.send(get("/")).await.status, 500);
    }
    assert_eq!(shown(&gateway).await["rolled_back"], true);
    assert_eq!(share(&gateway, &one, 20).await, 20);
    assert_eq!(two.seen().len(), 3);
    let reset = gateway.admin(post("/canaries/shop/v2/reset", "")).await;
    assert_eq!(reset.json()["weight"], 100.0);
    assert_eq!(client.send(get("/")).await.status, 500);
}

#[tokio::test]
async fn what_is_tried_again_with_success_is_no_error_of_the_branch() {
    let tries = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = tries.clone();
    let one = Origin::http1(|_| text("v1"));
    let two = Origin::http1(move |_| match count.fetch_add(1, Ordering::SeqCst) % 2 {
        0 => status(503),
        _ => text("v2"),
    });
    let toml = format!(
        "{}retry = {{ on = [\"503\"], backoff = {{ base = \"1ms\" }} }}\n",
        GATEWAY.replace("weight = 1 }, ", "weight = 0 }, ")
    );
    let gateway = Gateway::draft(&toml)
        .with("one", &one)
        .with("two", &two)
        .with(
            "rest",
            "guard = { error_ratio = \"10%\", min_requests = 3 }",
        )
        .start()
        .await;
    let client = gateway.http1();
    for _ in 0..8 {
        assert_eq!(client.send(get("/")).await.text(), "v2");
    }
    let canary = shown(&gateway).await;
    assert_eq!(
        (&canary["requests"], &canary["errors"]),
        (&8.into(), &0.into()),
        "{canary}"
    );
    assert_eq!(two.seen().len(), 16);
}

/// What is not served, and what is gone, says nothing in the metrics.
#[tokio::test]
async fn the_metric_says_what_runs() {
    let one = Origin::http1(|_| text("v1"));
    let two = Origin::http1(|_| status(500));
    let guard = "guard = { error_ratio = \"50%\", min_requests = 3 }";
    let mut gateway = draft(&one, &two, guard).start().await;
    let client = gateway.http1();
    let line = |value: u8| {
        format!(
            "northgate_canary_rolled_back{{http_route=\"shop\",northgate_upstream=\"v2\"}} {value}\n"
        )
    };
    assert!(gateway.metrics().await.contains(&line(0)));
    eventually("the branch is rolled back", async || {
        client.send(get("/")).await;
        (shown(&gateway).await["rolled_back"] == true).then_some(())
    })
    .await;
    // The route says something else in a configuration that cannot be served.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = format!(
        "{GATEWAY}[listeners.public]\nbind = \"127.0.0.1:0\"\n[listeners.other]\nbind = \"{}\"\n",
        taken.local_addr().unwrap()
    );
    let otherwise = guard.replace("50%", "60%");
    let refused = Gateway::draft(&refused).with("one", &one).with("two", &two);
    let refused = refused.with("rest", &otherwise).apply(&mut gateway).await;
    assert!(refused.is_err());
    assert!(gateway.metrics().await.contains(&line(1)));
    draft(&one, &two, &otherwise)
        .apply(&mut gateway)
        .await
        .unwrap();
    assert!(gateway.metrics().await.contains(&line(0)));
    draft(&one, &two, "").apply(&mut gateway).await.unwrap();
    let metrics = gateway.metrics().await;
    assert!(
        !metrics.contains("northgate_canary_rolled_back{"),
        "{metrics}"
    );
}
